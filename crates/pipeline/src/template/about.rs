//! What there is to know of a template before anybody uses it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Expanded, Policy, parameter};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{Piece, Program};
use crate::keys::ACTIONS;
use crate::lower::param::{Declared, expected};
use crate::plan::{Param, value_text};
use crate::source::Sources;
use crate::yaml::{Entry, Node, Value, Via};

/// A template as `shipline template show` tells it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AboutTemplate {
    pub description: Option<String>,
    /// The templates it lies over, with their exact versions.
    pub templates: Vec<String>,
    /// In the order of the file.
    pub params: Vec<AboutParameter>,
    /// In the order of the file, those of templates below it included.
    pub stages: Vec<AboutStage>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AboutParameter {
    pub name: String,
    /// What it takes, in words: "a whole number from 1 to 50".
    pub takes: String,
    #[serde(flatten)]
    pub param: Param,
}

#[derive(Clone, Debug, Serialize)]
pub struct AboutStage {
    pub name: String,
    pub action: Option<String>,
    pub description: Option<String>,
    /// What a pipeline may change of it; `None` is everything.
    pub may_change: Option<String>,
}

/// The value of every parameter as somebody will give it: nothing is known of it, so
/// it fits everywhere.
pub(crate) fn unknown(declared: &[Declared]) -> BTreeMap<String, Node> {
    let value = |declared: &Declared| {
        (declared.key.name.clone(), Node::new(Value::REPORTED, declared.key.span))
    };
    declared.iter().map(value).collect()
}

/// The values that hold when somebody gives only what must be given.
pub(crate) fn usual(declared: &[Declared]) -> BTreeMap<String, Node> {
    let value = |declared: &Declared| {
        let required = declared.param.as_ref().is_none_or(|param| param.required);
        let value = match &declared.default {
            Some(default) => Node { via: Some(Via::Parameter(default.span)), ..default.clone() },
            None if required => Node::new(Value::REPORTED, declared.key.span),
            None => parameter::absent(declared),
        };
        (declared.key.name.clone(), value)
    };
    declared.iter().map(value).collect()
}

/// Tells a template: `root` as it was written, and what it expands to.
pub(crate) fn about(
    root: &Node,
    declared: &[Declared],
    expanded: &Expanded,
    policies: &[Policy],
) -> AboutTemplate {
    let map = root.as_map();
    let text = |map: Option<&crate::yaml::Map>, key: &str| {
        map.and_then(|map| map.get(key)).and_then(Node::scalar_text).map(|text| text.into_owned())
    };
    let parameter = |declared: &Declared| {
        let param = declared.param.clone()?;
        Some(AboutParameter { name: declared.key.name.clone(), takes: expected(&param), param })
    };
    let stage = |entry: &Entry| {
        let map = entry.value.as_map();
        let keys = map.map(|map| map.0.as_slice()).unwrap_or_default();
        let action = keys.iter().map(|entry| entry.key.name.as_str());
        let action = action.clone().find(|key| ACTIONS.contains(key)).map(str::to_owned);
        AboutStage {
            name: entry.key.name.clone(),
            action: action.or_else(|| map.is_none().then(|| "run".to_owned())),
            description: text(map, "description"),
            may_change: policies.iter().find_map(|policy| policy.allows(&entry.key.name)),
        }
    };
    let stages = expanded.root.as_map().and_then(|map| map.get("stages")).and_then(Node::as_map);
    AboutTemplate {
        description: text(map, "description"),
        templates: expanded.used.iter().map(|used| used.label.clone()).collect(),
        params: declared.iter().filter_map(parameter).collect(),
        stages: stages.map(|map| map.0.iter().map(stage).collect()).unwrap_or_default(),
    }
}

/// W075 and W076: what makes a template hard to use.
pub(crate) fn lints(root: &Node, declared: &[Declared], sources: &Sources) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let Some(map) = root.as_map() else { return found };
    if map.get("description").is_none() {
        let at = map.0.first().map_or(root.span, |entry| entry.key.span);
        found.push(
            Diagnostic::warning(Code::W076, "the template has no `description`")
                .at(sources.place(at))
                .label("add one sentence: what it is for"),
        );
    }
    let mut read = BTreeSet::new();
    // A declaration reads nothing.
    let body = map.0.iter().filter(|entry| entry.key.name != "params");
    body.for_each(|entry| parameters_read(&entry.value, &mut read));
    for declared in declared {
        let name = &declared.key.name;
        let place = sources.place(declared.key.span);
        if !read.contains(name) {
            found.push(
                Diagnostic::warning(Code::W075, format!("nothing reads the parameter `{name}`"))
                    .at(place)
                    .label(format!("read it as `${{{{ params.{name} }}}}`, or remove it")),
            );
        } else if declared.param.as_ref().is_some_and(|param| param.description.is_none()) {
            found.push(
                Diagnostic::warning(Code::W076, format!("parameter `{name}` has no `description`"))
                    .at(place)
                    .label("say what it is for, in half a sentence"),
            );
        }
    }
    found
}

/// The names of all parameters that expressions below a node read.
fn parameters_read(node: &Node, read: &mut BTreeSet<String>) {
    match &node.value {
        Value::Mixed(pieces) => {
            for piece in pieces {
                let Piece::Expression(expression) = piece else { continue };
                match expression.parameter() {
                    Some(name) => drop(read.insert(name.to_owned())),
                    None => read.extend(parameters_of(&expression.source)),
                }
            }
        }
        // `if` takes its expression bare.
        Value::Text(text) if text.contains("params") => read.extend(parameters_of(text)),
        Value::List(list) => list.iter().for_each(|item| parameters_read(item, read)),
        Value::Map(map) => {
            map.0.iter().for_each(|entry| parameters_read(&entry.value, read));
        }
        _ => {}
    }
}

/// The parameters that an expression reads; a text that is none reads nothing.
fn parameters_of(source: &str) -> Vec<String> {
    let Ok(program) = Program::compile(source) else { return Vec::new() };
    let names = program.references.iter().map(|reference| &reference.name);
    let params = names.filter(|name| name.root == "params");
    params.filter_map(|name| name.fields.first().cloned()).collect()
}

impl AboutParameter {
    /// The default as documents show it.
    pub fn default_text(&self) -> String {
        match (&self.param.default, self.param.required) {
            (_, true) => "required".to_owned(),
            (Some(value), _) => value_text(value),
            (None, false) => "none".to_owned(),
        }
    }
}
