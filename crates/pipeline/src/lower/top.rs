//! The top level of a file: everything around the stages.

use std::collections::{BTreeMap, HashMap};

use super::Lowering;
use super::checkout::checkout;
use super::defaults::read_defaults;
use super::draft::Draft;
use super::stages::stages;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::layout::{FOLDER, pipeline_of_file};
use crate::model::{Checkout, FileEnvironment, Triggers};
use crate::name;
use crate::plan::Verify;
use crate::scalar::Timeout;
use crate::source::{FileId, Span};
use crate::suggest::translated;
use crate::yaml::{Entry, Map, Node, Value};

/// The version of the language.
const VERSION: i64 = 1;

/// What a file says, without its graph.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) on: Triggers,
    pub(crate) auto: bool,
    pub(crate) run_timeout: Option<Node>,
    pub(crate) concurrency: Option<Node>,
    pub(crate) checkout: Option<Checkout>,
    pub(crate) stages: Vec<Draft>,
    pub(crate) environments: BTreeMap<String, FileEnvironment>,
    pub(crate) suites: BTreeMap<String, Vec<Verify>>,
    pub(crate) notify: Option<Node>,
}

/// Lowers a whole file. With errors reported, the result is not to be used.
pub(crate) fn pipeline(lowering: &mut Lowering<'_>, root: &Node) -> Option<Lowered> {
    let map = root.as_map()?;
    for entry in &map.0 {
        // Room for anchors and for other tools.
        if !entry.key.name.starts_with("x-") {
            let known = lowering.key(&entry.key, &keys::TOP, "the file");
            if !known && is_stage(entry) {
                let label = "a stage stands under `stages`, indented";
                if let Some(error) = lowering.found.last_mut() {
                    error.label.get_or_insert_with(|| label.to_owned());
                }
            }
        }
    }
    if let Some(node) = map.get("version") {
        version(lowering, node);
    }
    let description = map.get("description").map(|node| lowering.plain("description", node));
    let name = match map.get("name") {
        Some(node) => pipeline_name(lowering, node),
        None => {
            file_name(lowering, first_key(map, root));
            None
        }
    };
    let auto = map.get("auto").is_none_or(|node| lowering.plain("auto", node));
    let on = match map.get("on") {
        Some(node) => lowering.triggers(node, auto),
        None => Triggers::builtin(auto),
    };
    let checkout = checkout(lowering, map.get("checkout"));
    read_defaults(lowering);
    let environments = map.get("environments").map(|node| lowering.environments(node));
    let suites = map.get("suites").map(|node| lowering.suites(node));
    if let Some(node) = map.get("notify") {
        lowering.notify(node);
    }
    if let Some(node) = map.get("concurrency") {
        lowering.concurrency(node, Site::Pipeline);
    }
    if let Some(node) = map.get("run-timeout") {
        lowering.run_timeout(node);
    }
    let stages = match map.entry("stages") {
        Some(entry) => stages(lowering, entry),
        None => {
            if lowering.lacks(map, &keys::TOP, "stages") {
                let at = first_key(map, root);
                let error = lowering.error(Code::E014, "there are no `stages`", at);
                lowering.report(error.help("add `stages`, for example\nstages:\n  build: make"));
            }
            Vec::new()
        }
    };
    Some(Lowered {
        name,
        description,
        on,
        auto,
        run_timeout: map.get("run-timeout").cloned(),
        concurrency: map.get("concurrency").cloned(),
        checkout,
        stages,
        environments: environments.unwrap_or_default(),
        suites: suites.unwrap_or_default(),
        notify: map.get("notify").cloned(),
    })
}

impl Lowering<'_> {
    /// The deadline of the whole run.
    pub(crate) fn run_timeout(&mut self, node: &Node) -> Duration {
        self.plain::<Timeout>("run-timeout", node).0
    }
}

/// Says that a file is no map; its root is one from here on.
pub(crate) fn is_map(lowering: &mut Lowering<'_>, root: &Node) -> bool {
    if root.as_map().is_some() {
        return true;
    }
    let message = format!("a pipeline is a map, and this is {}", root.value.kind());
    let error = lowering.error(Code::E004, message, root.span);
    lowering.report(error.help("a smallest pipeline is\nimage: debian:12\nstages:\n  build: make"));
    false
}

/// The names that stages and removals give, before any stage is read.
pub(crate) fn names(
    root: &Node,
    removed: BTreeMap<String, Span>,
    template_stages: Option<Vec<String>>,
) -> super::Names {
    let map = root.as_map();
    let entries = map
        .and_then(|map| map.get("stages"))
        .and_then(Node::as_map)
        .map(|map| map.0.as_slice())
        .unwrap_or_default();
    let checkout = map.and_then(|map| map.get("checkout")).filter(|node| node.is_text("off"));
    let suites = map.and_then(|map| map.get("suites")).and_then(Node::as_map);
    let suites = suites.map(|map| map.0.as_slice()).unwrap_or_default();
    super::Names {
        stages: entries
            .iter()
            .enumerate()
            .map(|(at, entry)| (entry.key.name.clone(), at))
            .collect::<HashMap<_, _>>(),
        in_order: entries.iter().map(|entry| entry.key.name.clone()).collect(),
        removed,
        template_stages,
        checkout_off: checkout.map(|node| node.span),
        suites: suites.iter().map(|entry| entry.key.name.clone()).collect(),
    }
}

/// Whether a key at the top level looks like a stage.
fn is_stage(entry: &Entry) -> bool {
    let action = |name: &str| keys::ACTIONS.contains(&name) || translated(name, ["run"]).is_some();
    entry.value.as_map().is_some_and(|map| map.0.iter().any(|entry| action(&entry.key.name)))
}

fn first_key(map: &Map, root: &Node) -> Span {
    map.0.first().map_or(root.span, |entry| entry.key.span)
}

fn version(lowering: &mut Lowering<'_>, node: &Node) {
    let error = match &node.value {
        Value::Int(VERSION, _) => return,
        value if value.is_reported() => return,
        Value::Int(newer, _) if *newer > VERSION => {
            let message = format!("this file is written in version {newer} of the language");
            let error = lowering.error_at(Code::E006, message, node);
            error
                .label("this Shipline reads version 1")
                .help(format!("use Shipline {newer}.0 or later"))
        }
        Value::Int(..) => lowering
            .error_at(Code::E015, "the first version of the language is 1", node)
            .label("write `1`"),
        other => {
            let found = match other {
                Value::Float(_, text) => format!("`{text}`"),
                other => other.kind().to_owned(),
            };
            let message = format!("`version` takes a whole number, not {found}");
            lowering.error_at(Code::E012, message, node).label("write `1`")
        }
    };
    lowering.report(error);
}

fn pipeline_name(lowering: &mut Lowering<'_>, node: &Node) -> Option<String> {
    let before = lowering.found.len();
    let text: String = lowering.plain("name", node);
    if lowering.found.len() > before || name::is_label(&text) {
        return Some(text);
    }
    let error = lowering.error_at(Code::E016, format!("a pipeline cannot be named `{text}`"), node);
    lowering.report(
        error
            .label(format!("write for example `{}`", name::corrected(&text)))
            .note(name::LABEL_RULE),
    );
    None
}

/// A file of the folder goes by its own name, which has to be one.
fn file_name(lowering: &mut Lowering<'_>, at: Span) {
    let file = lowering.sources.file(FileId::PIPELINE).name().to_owned();
    let in_folder =
        file.rsplit_once('/').filter(|(folder, _)| folder.rsplit('/').next() == Some(FOLDER));
    let Some(name) = in_folder.and_then(|(_, name)| pipeline_of_file(name)) else { return };
    if name::is_label(name) {
        return;
    }
    let message = format!("the pipeline is named after its file, and `{name}` cannot be a name");
    let error = lowering.error(Code::E016, message, at);
    let corrected = name::corrected(name);
    lowering.report(
        error
            .label(format!("add `name: {corrected}`, or rename the file to `{corrected}.yml`"))
            .note(name::LABEL_RULE),
    );
}
