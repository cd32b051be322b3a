//! `run`: commands in a container, and the keys that belong to them.

use std::collections::BTreeMap;

use super::Lowering;
use super::value::written_bytes;
use crate::codes::Code;
use crate::expression::Site;
use crate::plan::{OutputType, RunWork, Shell};
use crate::scalar::{AnyText, ImageReference, PullAlways, User, WorkingDirectory};
use crate::suggest::{quoted_text, translated};
use crate::yaml::{Entry, Key, Map, Node, Value};

const SCRIPT_LIMIT_BYTES: usize = 128 << 10;
const OUTPUT_LIMIT: usize = 200;

impl Lowering<'_> {
    pub(super) fn run(&mut self, entry: &Entry, action: &Entry, map: &Map) -> Option<RunWork> {
        let of = format!("stage `{}`", entry.key.name);
        let run = self.commands(&action.value);
        if is_blank(&action.value) {
            let error = self.error_at(Code::E012, "`run` has no command", &action.value);
            self.report(error.label("for example `run: make`"));
        }
        self.script_size(&of, action);
        let image = self.run_image(entry, map);
        // Read also without an image, so that all mistakes are told.
        let settings = self.run_settings(map, &of);
        Some(RunWork { image: image?.0, run, ..settings })
    }

    /// The commands of `run`. Maps and lists among them are mostly a text with a
    /// colon, or the steps of another system.
    fn commands(&mut self, node: &Node) -> Vec<String> {
        let is_wrong = |node: &Node| matches!(node.value, Value::Map(_) | Value::List(_));
        match &node.value {
            Value::Map(_) => {
                let message = "`run` takes a command or a list of commands, not a map";
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label(match self.command_of(node) {
                    Some(command) => format!("write `run: {command}`"),
                    None => "for example `run: make`".to_owned(),
                }));
                Vec::new()
            }
            Value::List(items) if items.iter().any(is_wrong) => {
                for item in items.iter().filter(|item| is_wrong(item)) {
                    let message =
                        format!("a command in `run` is one text, not {}", item.value.kind());
                    let error = self.error_at(Code::E012, message, item);
                    let label = self.instead_of_command(item);
                    self.report(error.label(label));
                }
                let rest = items.iter().filter(|item| !is_wrong(item)).cloned().collect();
                let rest = Node { value: Value::List(rest), ..node.clone() };
                self.list("run", &rest, Site::Run, true)
            }
            _ => self.list("run", node, Site::Run, true),
        }
    }

    /// The command of a step as other systems have it: `sh: make`, `{ name: …, run: make }`.
    fn command_of(&self, step: &Node) -> Option<String> {
        let own = |name: &str| name == "run" || translated(name, ["run"]).is_some();
        let entry = step.as_map()?.0.iter().find(|entry| own(&entry.key.name))?;
        let written = self.sources.text(entry.value.span);
        (entry.value.scalar_text().is_some() && !written.contains('\n')).then(|| written.to_owned())
    }

    fn instead_of_command(&self, item: &Node) -> String {
        let written = self.sources.text(item.span);
        match &item.value {
            Value::Map(map) => match (self.command_of(item), map.0.as_slice()) {
                (Some(command), _) => format!("write the command alone: `{command}`"),
                (None, [_]) if !written.contains('\n') && !written.starts_with('{') => {
                    format!("`: ` made a map of it; write `{}`", quoted_text(written))
                }
                _ => "for example `make test`".to_owned(),
            },
            Value::List(words) if words.iter().all(|word| word.scalar_text().is_some()) => {
                let words: Vec<_> = words.iter().filter_map(Node::scalar_text).collect();
                format!("write `{}`", words.join(" "))
            }
            _ => "for example `make test`".to_owned(),
        }
    }

    /// Everything about a container but its image and its commands.
    pub(super) fn run_settings(&mut self, map: &Map, of: &str) -> RunWork {
        let env = self.env(map);
        let pull: Option<PullAlways> = self.optional(map, "pull", Site::Never("pull"));
        let shell = match self.own_or_default(map, "shell") {
            Some((node, false)) => self.shell(node),
            Some((node, true)) => self.of_defaults(|lowering| lowering.shell(node)),
            None => Shell::Sh,
        };
        let user: Option<User> = self.optional(map, "user", Site::Plan);
        let workdir: Option<WorkingDirectory> = self.optional(map, "workdir", Site::Plan);
        let services = self.services(map, of);
        let outputs = map.get("outputs").map(|node| self.outputs(node, of));
        let reports = map.get("reports").and_then(|node| self.reports(node, of));
        RunWork {
            image: String::new(),
            run: Vec::new(),
            env,
            pull: pull.is_some(),
            shell,
            user: user.map(|user| user.0),
            workdir: workdir.map(|directory| directory.0),
            services,
            outputs: outputs.unwrap_or_default(),
            reports,
        }
    }

    fn run_image(&mut self, entry: &Entry, map: &Map) -> Option<ImageReference> {
        match self.own_or_default(map, "image") {
            Some((node, false)) => Some(self.value("image", node, Site::Plan)),
            Some((node, true)) => {
                Some(self.of_defaults(|lowering| lowering.value("image", node, Site::Plan)))
            }
            None => {
                let name = &entry.key.name;
                let message = format!("stage `{name}` has a `run`, but no `image` to run it in");
                let error = self.error(Code::E014, message, entry.key.span);
                self.report(error.help(format!(
                    "set it in one of these places\n`image` of stage `{name}`, for this stage\n\
                     `image` at the top level, or `defaults.image`, for every stage"
                )));
                None
            }
        }
    }

    /// `sh`, `bash`, or a program and its arguments.
    pub(super) fn shell(&mut self, node: &Node) -> Shell {
        let Some(items) = node.as_list() else { return self.value("shell", node, Site::Run) };
        if items.is_empty() {
            let error = self.error_at(Code::E012, "`shell` has no program", node);
            self.report(error.label("for example `[python3, -c]`"));
        }
        let words: Vec<AnyText> = self.list("shell", node, Site::Run, false);
        Shell::Command(words.into_iter().map(|word| word.0).collect())
    }

    /// `outputs`: a list of names, or a map from names to types.
    fn outputs(&mut self, node: &Node, of: &str) -> BTreeMap<String, OutputType> {
        self.record("outputs", node);
        let mut outputs = BTreeMap::new();
        let mut known = BTreeMap::new();
        match &node.value {
            value if value.is_reported() => {}
            Value::List(items) => {
                for item in items {
                    let name = self.name_of_variable("outputs", item, "an output");
                    let Some(name) = name else { continue };
                    let key = Key { name: name.clone(), span: item.span };
                    if !self.given_before(&mut known, &key, "output") {
                        outputs.insert(name, OutputType::String);
                    }
                }
            }
            Value::Map(map) => {
                for entry in &map.0 {
                    let key = &entry.key;
                    let name = Node::new(Value::Text(key.name.clone()), key.span);
                    let name = self.name_of_variable("outputs", &name, "an output");
                    let path = format!("outputs.{}", key.name);
                    let kind = self.value(&path, &entry.value, Site::Never("outputs"));
                    outputs.extend(name.map(|name| (name, kind)));
                }
            }
            other => {
                let message = format!("`outputs` takes a list or a map, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("for example `[version]` or `{ version: string }`"));
            }
        }
        if outputs.len() > OUTPUT_LIMIT {
            let message =
                format!("{of} has {} outputs, the limit is {OUTPUT_LIMIT}", outputs.len());
            let error = self.error_at(Code::E003, message, node);
            self.report(error.label("one output of type `json` holds many values"));
        }
        outputs
    }

    fn script_size(&mut self, of: &str, action: &Entry) {
        let script: usize = match action.value.as_list() {
            Some(commands) => commands.iter().map(written_bytes).sum(),
            None => written_bytes(&action.value),
        };
        if script > SCRIPT_LIMIT_BYTES {
            let message = format!(
                "the `run` of {of} is {script} bytes long, the limit is {SCRIPT_LIMIT_BYTES}"
            );
            let error = self.error(Code::E003, message, action.key.span);
            self.report(error.label("put the script into a file of the repository"));
        }
    }
}

/// Whether there is no command at all: an empty text, an empty list, a list of them.
fn is_blank(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.trim().is_empty(),
        Value::List(items) => items.iter().all(is_blank),
        _ => false,
    }
}
