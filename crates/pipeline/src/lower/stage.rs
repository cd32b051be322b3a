//! A stage: its action, what it needs, when it runs.

use super::draft::{Defaults, Draft};
use super::{Lowering, written_bytes};
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys::{self, ACTIONS};
use crate::model::{Action, Condition, Run, Setting, When};
use crate::name::{self, CHECKOUT};
use crate::scalar::{AnyText, ImageReference};
use crate::source::FileId;
use crate::suggest::{closest, quoted, translated};
use crate::yaml::{Entry, Map, Node, Value};

const SCRIPT_LIMIT_BYTES: usize = 128 << 10;
/// Of one variable; more cannot be handed to a process.
const VARIABLE_LIMIT_BYTES: usize = 128 << 10;
/// Of all variables of a stage.
const ENVIRONMENT_LIMIT_BYTES: usize = 1 << 20;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

impl Lowering<'_> {
    pub(super) fn stage(&mut self, entry: &Entry, defaults: &Defaults) -> Draft {
        let name = entry.key.name.as_str();
        self.stage_name(entry);
        let mut draft = Draft::new(entry);
        let short;
        let map = match &entry.value.value {
            Value::Map(map) => map,
            Value::Text(text) if text == "off" => {
                let error = self.error_at(
                    Code::E011,
                    format!("`off` removes a stage of a template, and `{name}` is none"),
                    &entry.value,
                );
                self.report(error.label("remove the line, or write what to run"));
                return draft;
            }
            Value::Text(_) | Value::Mixed(_) | Value::List(_) => {
                let key = crate::yaml::Key { name: "run".to_owned(), span: entry.value.span };
                short = Map(vec![Entry { key, value: entry.value.clone() }]);
                &short
            }
            other => {
                let message = format!(
                    "stage `{name}` takes a map, a command or a list of commands, not {}",
                    other.kind()
                );
                let error = self.error(Code::E012, message, entry.key.span);
                self.report(error.label("for example `run: make`"));
                return draft;
            }
        };
        let what = format!("stage `{name}`");
        for entry in &map.0 {
            self.key(&entry.key, &keys::STAGE, &what);
        }
        if let Some(node) = map.get("description") {
            self.plain::<String>("description", node);
        }
        draft.needs = self.needs(name, map);
        draft.when = map.get("when").map_or(When::Always, |node| self.when(node));
        draft.timeout = match (map.get("timeout"), &defaults.timeout) {
            (Some(node), _) => self.setting("timeout", node, Site::Plan),
            (None, Some(default)) => default.clone(),
            (None, None) => Some(Setting::builtin(DEFAULT_TIMEOUT)),
        };
        draft.action = self.action(entry, map, defaults);
        draft
    }

    fn stage_name(&mut self, entry: &Entry) {
        let name = entry.key.name.as_str();
        if name == CHECKOUT {
            let message =
                "`checkout` is the engine's own first stage, and cannot be the name of another";
            let error = self.error(Code::E016, message, entry.key.span);
            self.report(error.label("choose another name").help(
                "how the source is checked out is said by `checkout` at the top level of the file",
            ));
        } else if !name::is_stage_name(name) {
            let message = format!("a stage cannot be named `{name}`");
            let error = self.error(Code::E016, message, entry.key.span);
            let label = format!("write for example `{}`", name::corrected(name));
            self.report(error.label(label).note(name::STAGE_RULE));
        }
    }

    fn action(&mut self, entry: &Entry, map: &Map, defaults: &Defaults) -> Option<Action> {
        let name = entry.key.name.as_str();
        let found: Vec<&Entry> =
            map.0.iter().filter(|entry| ACTIONS.contains(&entry.key.name.as_str())).collect();
        let action = match found.as_slice() {
            [] => {
                self.no_action(entry, map);
                return None;
            }
            [action] => *action,
            [first, second, ..] => {
                let names = quoted(found.iter().map(|entry| entry.key.name.as_str()));
                let message = format!("stage `{name}` has {} actions: {names}", found.len());
                let error = self.error(Code::E013, message, second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(
                    error
                        .label("a stage has exactly one action")
                        .related("the first", place)
                        .note(format!("possible: {}", quoted(ACTIONS.iter().copied()))),
                );
                return None;
            }
        };
        self.keys_of_action(name, &action.key.name, map);
        let what = format!("`{}` of stage `{name}`", action.key.name);
        match action.key.name.as_str() {
            "run" => self.run(entry, action, map, defaults).map(Action::Run),
            "build" => self.build(&action.value, &what).map(Action::Build),
            "push" => self.push(name, action, &what).map(Action::Push),
            "deploy" => {
                self.deploy(name, action, &what).map(|deploy| Action::Deploy(Box::new(deploy)))
            }
            // Reported as a key that this version cannot run.
            _ => None,
        }
    }

    /// E013, or E036 when it was meant to change a stage of the template.
    fn no_action(&mut self, entry: &Entry, map: &Map) {
        let name = entry.key.name.as_str();
        let possible = format!("possible: {}", quoted(ACTIONS.iter().copied()));
        // For a slip or a foreign word, such as `script`, the action has been suggested.
        let meant = map.0.iter().map(|entry| entry.key.name.as_str()).any(|key| {
            let unknown = !keys::STAGE.all.contains(&key);
            unknown
                && (translated(key, ACTIONS).is_some()
                    || closest(key, ACTIONS.iter().copied()).is_some())
        });
        if meant {
            return;
        }
        match self.template_stages {
            Some(stages) if entry.key.span.file == FileId::PIPELINE => {
                let message =
                    format!("the template has no stage `{name}`, and this one has no action");
                let close = closest(name, stages.iter().map(String::as_str)).map(str::to_owned);
                let error = self.error(Code::E036, message, entry.key.span);
                let error = match close {
                    Some(close) => error.label(format!("did you mean `{close}`?")),
                    None => error.label("new stage? add `run`"),
                };
                let known = quoted(stages.iter().map(String::as_str));
                self.report(error.note(format!("stages of the template: {known}")));
            }
            _ => {
                let message = format!("stage `{name}` has no action");
                let error = self.error(Code::E013, message, entry.key.span);
                self.report(
                    error.label("add what it does, for example `run: make`").note(possible),
                );
            }
        }
    }

    /// Keys of the wrong action (E011).
    fn keys_of_action(&mut self, name: &str, action: &str, map: &Map) {
        for entry in &map.0 {
            let key = entry.key.name.as_str();
            let belongs = keys::actions_of(key);
            if belongs.is_some_and(|actions| !actions.contains(&action)) {
                let actions = quoted(belongs.unwrap_or_default().iter().copied());
                let message =
                    format!("`{key}` does not belong to the `{action}` of stage `{name}`");
                let error = self.error(Code::E011, message, entry.key.span);
                self.report(error.label(format!("belongs to {actions}")));
            } else if key == "env" && matches!(action, "build" | "deploy") {
                let message = format!(
                    "`env` beside `{action}` is part of the language, but this version cannot run it yet"
                );
                let instead = if action == "build" { "build.args" } else { "deploy.env" };
                let error = self.error(Code::E018, message, entry.key.span);
                self.report(error.label(format!("write it as `{instead}`")));
            } else if matches!(key, "run-before" | "run-after") {
                let message = format!(
                    "`{key}` extends the `run` of a template, and `{name}` is none of its stages"
                );
                let error = self.error(Code::E011, message, entry.key.span);
                self.report(error.label("write the commands into `run`"));
            }
        }
        if self.template_stages.is_none() {
            for key in ["after", "before"] {
                if let Some(entry) = map.entry(key) {
                    let message = format!(
                        "`{key}` places a stage among those of a template, and there is none"
                    );
                    let error = self.error(Code::E011, message, entry.key.span);
                    self.report(error.label("write `needs`"));
                }
            }
        }
    }

    fn run(
        &mut self,
        entry: &Entry,
        action: &Entry,
        map: &Map,
        defaults: &Defaults,
    ) -> Option<Run> {
        let commands = self.list::<String>("run", &action.value, Site::Run, true);
        if commands.is_empty() {
            if matches!(action.value.as_list(), Some([])) {
                let error = self.error_at(Code::E012, "`run` has no command", &action.value);
                self.report(error);
            }
            return None;
        }
        let image = match map.get("image") {
            Some(node) => self.setting::<ImageReference>("image", node, Site::Plan)?,
            None if defaults.has_image => defaults.image.clone()?,
            None => {
                let name = &entry.key.name;
                let message = format!("stage `{name}` has a `run`, but no `image` to run it in");
                let error = self.error(Code::E014, message, entry.key.span);
                self.report(error.help(format!(
                    "set it in one of these places\n`image` of stage `{name}`, for this stage\n\
                     `image` at the top level, or `defaults.image`, for every stage"
                )));
                return None;
            }
        };
        let mut env = defaults.env.clone();
        let own = map.get("env").map(|node| self.texts("env", node, Site::Value));
        for (name, setting) in own.unwrap_or_default() {
            match env.iter_mut().find(|(known, _)| *known == name) {
                Some((_, below)) => *below = setting,
                None => env.push((name, setting)),
            }
        }
        self.sizes(entry, action, &commands, &env);
        Some(Run { image, commands, env })
    }

    /// Limits of language.md §3, with the number found.
    fn sizes(
        &mut self,
        entry: &Entry,
        action: &Entry,
        commands: &[Setting<String>],
        env: &[(String, Setting<AnyText>)],
    ) {
        let name = &entry.key.name;
        let script: usize =
            commands.iter().map(|command| written_bytes(command, String::len)).sum();
        if script > SCRIPT_LIMIT_BYTES {
            let message = format!(
                "the `run` of stage `{name}` is {script} bytes long, the limit is {SCRIPT_LIMIT_BYTES}"
            );
            let error = self.error(Code::E003, message, action.key.span);
            self.report(error.label("put the script into a file of the repository"));
        }
        let mut all = 0;
        for (variable, setting) in env {
            let bytes = written_bytes(setting, |text| text.0.len());
            all += bytes;
            if bytes > VARIABLE_LIMIT_BYTES {
                let message = format!(
                    "`env.{variable}` of stage `{name}` is {bytes} bytes long, the limit is {VARIABLE_LIMIT_BYTES}"
                );
                let error = self.error(Code::E003, message, setting.span.unwrap_or(entry.key.span));
                self.report(error);
            }
        }
        if all > ENVIRONMENT_LIMIT_BYTES {
            let message = format!(
                "the `env` of stage `{name}` is {all} bytes long, the limit is {ENVIRONMENT_LIMIT_BYTES}"
            );
            let error = self.error(Code::E003, message, entry.key.span);
            self.report(error);
        }
    }

    fn when(&mut self, node: &Node) -> When {
        match &node.value {
            Value::Text(text) if text == "off" => When::Off,
            Value::Map(_) => When::Any(self.condition(node).into_iter().collect()),
            Value::List(items) => {
                When::Any(items.iter().filter_map(|item| self.condition(item)).collect())
            }
            other => {
                let message =
                    format!("`when` takes a map, a list of maps or `off`, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("for example `{ branch: main }`"));
                When::Always
            }
        }
    }

    fn condition(&mut self, node: &Node) -> Option<Condition> {
        let map = self.fields(node, &keys::WHEN, "`when`")?;
        Some(Condition { branch: map.get("branch").map(|node| self.patterns("branch", node)) })
    }
}
