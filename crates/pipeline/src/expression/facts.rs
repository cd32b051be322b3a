//! What a file declares of the names that expressions read: parameters, variables,
//! outputs and axes.

use std::collections::BTreeMap;

use super::flow::Kind;
use crate::keys::ACTIONS;
use crate::yaml::{Map, Node, Value};

/// What a file declares, as far as expressions are concerned.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Parameters of manual runs; `None` when there are none.
    pub(super) manual: Option<BTreeMap<String, Declared>>,
    /// `env` of the pipeline and of `defaults`.
    pub(super) env: BTreeMap<String, Node>,
    pub(super) stages: BTreeMap<String, StageFacts>,
}

/// A value that comes from outside, by its declared type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared {
    pub(super) kind: Kind,
    pub(super) untrusted: bool,
}

#[derive(Debug, Default)]
pub(super) struct StageFacts {
    /// Outputs that are declared, or that the engine makes.
    outputs: BTreeMap<String, Declared>,
    /// Whether outputs that nobody declared are untrusted.
    untrusted: bool,
    /// Axes of the matrix, with the nodes their values come from.
    pub(super) axes: Option<BTreeMap<String, Vec<Node>>>,
}

impl Facts {
    pub(crate) fn of(root: &Node) -> Self {
        let Some(map) = root.as_map() else { return Self::default() };
        let inside = |path: &[&str]| {
            path.iter().try_fold(root, |node, key| node.as_map()?.get(key)).and_then(Node::as_map)
        };
        let mut env = BTreeMap::new();
        for variables in [inside(&["defaults", "env"]), inside(&["env"])].into_iter().flatten() {
            let entries = variables.0.iter();
            env.extend(entries.map(|entry| (entry.key.name.clone(), entry.value.clone())));
        }
        let stages = map.get("stages").and_then(Node::as_map);
        let stages = stages.map(|stages| stages.0.as_slice()).unwrap_or_default();
        Self {
            manual: inside(&["on", "manual", "params"]).map(declared),
            env,
            stages: stages
                .iter()
                .map(|entry| (entry.key.name.clone(), StageFacts::of(&entry.value)))
                .collect(),
        }
    }
}

/// The parameters of a map of declarations.
fn declared(params: &Map) -> BTreeMap<String, Declared> {
    let declared = params.0.iter().map(|entry| {
        let text = |key: &str| match entry.value.as_map()?.get(key)?.value {
            Value::Text(ref text) => Some(text.as_str()),
            _ => None,
        };
        (entry.key.name.clone(), Declared::parameter(text("type"), text("of")))
    });
    declared.collect()
}

impl Declared {
    pub(super) const fn trusted(kind: Kind) -> Self {
        Self { kind, untrusted: false }
    }

    pub(super) const fn untrusted(kind: Kind) -> Self {
        Self { kind, untrusted: true }
    }

    fn parameter(kind: Option<&str>, of: Option<&str>) -> Self {
        match kind {
            Some("int") => Self::trusted(Kind::Int),
            Some("bool") => Self::trusted(Kind::Bool),
            Some("duration" | "size") => Self::trusted(Kind::Text),
            // Its values can be numbers.
            Some("enum") => Self::trusted(Kind::Any),
            Some("list") => {
                let typed = matches!(of, Some("int" | "bool" | "enum" | "duration" | "size"));
                Self { kind: Kind::List, untrusted: !typed }
            }
            Some("map") => Self::untrusted(Kind::Map),
            Some("string") => Self::untrusted(Kind::Text),
            _ => Self::untrusted(Kind::Any),
        }
    }

    pub(super) fn output(kind: Option<&str>) -> Self {
        match kind {
            Some("int") => Self::trusted(Kind::Int),
            Some("bool") => Self::trusted(Kind::Bool),
            Some("json") => Self::untrusted(Kind::Any),
            _ => Self::untrusted(Kind::Text),
        }
    }
}

impl StageFacts {
    /// Nothing is declared, so anything may come.
    pub(super) fn unknown() -> Self {
        Self { untrusted: true, ..Self::default() }
    }

    fn of(node: &Node) -> Self {
        // A command in place of a stage has no outputs.
        let Some(map) = node.as_map() else {
            return Self::unknown();
        };
        let action = ACTIONS.iter().find(|action| map.get(action).is_some());
        let engine = |names: &[&str]| {
            let outputs =
                names.iter().map(|name| ((*name).to_owned(), Declared::trusted(Kind::Text)));
            outputs.collect::<BTreeMap<_, _>>()
        };
        let (outputs, untrusted) = match action.copied() {
            Some("build") => (engine(&["image"]), false),
            Some("push") => (engine(&["digest", "ref"]), false),
            Some("deploy") => (engine(&["release", "previous", "state", "reason"]), false),
            Some("trigger") => (engine(&["run", "result"]), false),
            Some("approve") => {
                let fields =
                    map.get("approve").and_then(Node::as_map).and_then(|map| map.get("fields"));
                let mut outputs = fields.and_then(Node::as_map).map(declared).unwrap_or_default();
                outputs.extend(engine(&["by"]));
                (outputs, true)
            }
            _ => (run_outputs(map.get("outputs")), true),
        };
        Self { outputs, untrusted, axes: map.get("matrix").map(axes) }
    }

    pub(super) fn output(&self, name: &str) -> Declared {
        let unknown = Declared { kind: Kind::Any, untrusted: self.untrusted };
        self.outputs.get(name).copied().unwrap_or(unknown)
    }

    pub(super) fn has_untrusted_outputs(&self) -> bool {
        self.untrusted || self.outputs.values().any(|output| output.untrusted)
    }
}

/// A list of names, or a map from names to types.
fn run_outputs(node: Option<&Node>) -> BTreeMap<String, Declared> {
    let text = |node: &Node| match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    match node.map(|node| &node.value) {
        Some(Value::List(names)) => {
            names.iter().filter_map(text).map(|name| (name, Declared::output(None))).collect()
        }
        Some(Value::Map(types)) => types
            .0
            .iter()
            .map(|entry| (entry.key.name.clone(), Declared::output(text(&entry.value).as_deref())))
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn axes(matrix: &Node) -> BTreeMap<String, Vec<Node>> {
    let mut axes: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    for entry in matrix.as_map().map(|map| map.0.as_slice()).unwrap_or_default() {
        match entry.key.name.as_str() {
            "exclude" => {}
            "include" => {
                let cells =
                    entry.value.as_list().unwrap_or_default().iter().filter_map(Node::as_map);
                for value in cells.flat_map(|cell| cell.0.iter()) {
                    axes.entry(value.key.name.clone()).or_default().push(value.value.clone());
                }
            }
            axis => axes.entry(axis.to_owned()).or_default().push(entry.value.clone()),
        }
    }
    axes
}
