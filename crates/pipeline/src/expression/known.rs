//! What the file itself says of the names an expression reads: parameters, axes,
//! variables and outputs, their kinds, and who chooses their text.

use std::collections::BTreeMap;

use super::check::Checker;
use super::flow::{Flow, Kind, Known, Taint, flow};
use super::name::{UNTRUSTED, variable_part};
use super::scope::Parameters;
use super::tree::{Expr, Name};
use super::{Expression, Piece};
use crate::keys::ACTIONS;
use crate::source::FileId;
use crate::yaml::{Map, Node, Value};

/// Values that lead to values, this often: `with` of templates in templates.
const DEPTH_LIMIT: u8 = 16;

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
    kind: Kind,
    untrusted: bool,
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
    const fn trusted(kind: Kind) -> Self {
        Self { kind, untrusted: false }
    }

    const fn untrusted(kind: Kind) -> Self {
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

    fn output(kind: Option<&str>) -> Self {
        match kind {
            Some("int") => Self::trusted(Kind::Int),
            Some("bool") => Self::trusted(Kind::Bool),
            Some("json") => Self::untrusted(Kind::Any),
            _ => Self::untrusted(Kind::Text),
        }
    }
}

impl StageFacts {
    fn of(node: &Node) -> Self {
        // A command in place of a stage has no outputs.
        let Some(map) = node.as_map() else {
            return Self { untrusted: true, ..Self::default() };
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

    fn output(&self, name: &str) -> Declared {
        let unknown = Declared { kind: Kind::Any, untrusted: self.untrusted };
        self.outputs.get(name).copied().unwrap_or(unknown)
    }

    fn has_untrusted_outputs(&self) -> bool {
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

/// What is known where an expression stands.
pub(super) struct Here<'a> {
    pub(super) checker: &'a Checker,
    pub(super) parameters: &'a Parameters,
    /// Of the expression: `params` are those of its file.
    pub(super) file: FileId,
    pub(super) depth: u8,
}

impl Known for Here<'_> {
    fn name(&self, name: &Name) -> Flow {
        let untrusted = |kind: Kind, variable: Option<String>| Flow {
            kind,
            taint: Some(Taint { path: name.path(), at: name.at.clone(), variable }),
        };
        let flow = |declared: Declared, variable: Option<String>| match declared {
            Declared { kind, untrusted: true } => untrusted(kind, variable),
            Declared { kind, untrusted: false } => Flow::clean(kind),
        };
        let Some(field) = name.field() else {
            let tainted = match name.root.as_str() {
                "git" | "event" | "stages" => true,
                "params" => self.some_parameter_is_untrusted(),
                "env" => {
                    self.checker.facts.env.values().any(|node| self.node(node).taint.is_some())
                }
                "matrix" => self.some_axis_is_untrusted(),
                _ => false,
            };
            return if tainted { untrusted(Kind::Map, None) } else { Flow::clean(Kind::Map) };
        };
        let whole = name.fields.len() == 1;
        match name.root.as_str() {
            root @ ("git" | "event") => {
                let kind = match field {
                    "number" => Kind::Int,
                    "trusted" => Kind::Bool,
                    _ => Kind::Text,
                };
                match UNTRUSTED.iter().find(|(context, text, _)| *context == root && *text == field)
                {
                    Some((_, _, variable)) => untrusted(kind, Some((*variable).to_owned())),
                    None => Flow::clean(kind),
                }
            }
            "run" => match field {
                "number" | "attempt" => Flow::clean(Kind::Int),
                _ => Flow::clean(Kind::Text),
            },
            "pipeline" | "project" => Flow::clean(Kind::Text),
            "params" => {
                let mut found = match self.parameters.get(&self.file) {
                    Some(values) => match values.get(field) {
                        Some(node) => self.held(node, name),
                        None => Flow::clean(Kind::Any),
                    },
                    None => {
                        let manual = self.checker.facts.manual.as_ref();
                        let declared = manual.and_then(|manual| manual.get(field));
                        let declared = declared.copied().unwrap_or(Declared::untrusted(Kind::Any));
                        let variable = format!("SHIPLINE_PARAM_{}", variable_part(field));
                        flow(declared, Some(variable))
                    }
                };
                if !whole {
                    found.kind = Kind::Any;
                }
                found
            }
            "env" => match self.checker.facts.env.get(field) {
                Some(node) if self.node(node).taint.is_some() => {
                    untrusted(Kind::Text, Some(field.to_owned()))
                }
                _ => Flow::clean(Kind::Text),
            },
            "matrix" => {
                let variable = format!("SHIPLINE_MATRIX_{}", variable_part(field));
                if self.axis_is_untrusted(field) {
                    untrusted(Kind::Any, Some(variable).filter(|_| whole))
                } else {
                    Flow::clean(Kind::Any)
                }
            }
            "stages" => self.stage(name, &flow),
            // It does not exist, and that is told.
            _ => untrusted(Kind::Any, None),
        }
    }
}

impl Here<'_> {
    fn stage(&self, name: &Name, flow: &dyn Fn(Declared, Option<String>) -> Flow) -> Flow {
        let unknown = StageFacts { untrusted: true, ..StageFacts::default() };
        let stage = name.field().and_then(|stage| self.checker.facts.stages.get(stage));
        let stage = stage.unwrap_or(&unknown);
        let fields: Vec<&str> = name.fields.iter().skip(1).map(String::as_str).collect();
        let fields = match fields.as_slice() {
            ["cells", _, rest @ ..] => rest,
            rest => rest,
        };
        match fields {
            ["result"] => Flow::clean(Kind::Text),
            ["outputs", output] => flow(stage.output(output), None),
            ["outputs", output, ..] => {
                flow(Declared { kind: Kind::Any, ..stage.output(output) }, None)
            }
            _ => flow(Declared { kind: Kind::Map, untrusted: stage.has_untrusted_outputs() }, None),
        }
    }

    fn some_parameter_is_untrusted(&self) -> bool {
        match self.parameters.get(&self.file) {
            Some(values) => values.values().any(|node| self.node(node).taint.is_some()),
            None => {
                self.checker.facts.manual.iter().flat_map(BTreeMap::values).any(|one| one.untrusted)
            }
        }
    }

    /// The axes of the stage that is read; in `defaults`, those of every stage.
    fn axes(&self) -> impl Iterator<Item = (&String, &Vec<Node>)> {
        let stages = &self.checker.facts.stages;
        let current = self.checker.stage.as_deref();
        let stages =
            stages.iter().filter(move |(name, _)| current.is_none_or(|stage| stage == *name));
        stages.flat_map(|(_, stage)| stage.axes.iter().flatten())
    }

    fn axis_is_untrusted(&self, axis: &str) -> bool {
        let mut nodes = self.axes().filter(|(name, _)| *name == axis).flat_map(|(_, nodes)| nodes);
        nodes.any(|node| self.node(node).taint.is_some())
    }

    fn some_axis_is_untrusted(&self) -> bool {
        self.axes().flat_map(|(_, nodes)| nodes).any(|node| self.node(node).taint.is_some())
    }

    /// A parameter that holds a value of the file; its taint is told by its own name.
    fn held(&self, node: &Node, name: &Name) -> Flow {
        let Flow { kind, taint } = self.node(node);
        // A value that is exactly one name is in the variable of that name, too.
        let variable = match &node.value {
            Value::Mixed(pieces) => match pieces.as_slice() {
                [Piece::Expression(expression)] => {
                    let program = self.checker.programs.get(&expression.source);
                    let alone =
                        program.is_some_and(|program| matches!(program.root, Expr::Name(_)));
                    taint.as_ref().filter(|_| alone).and_then(|taint| taint.variable.clone())
                }
                _ => None,
            },
            _ => None,
        };
        Flow {
            kind,
            taint: taint.map(|_| Taint { path: name.path(), at: name.at.clone(), variable }),
        }
    }

    /// What is known of a value of the file.
    fn node(&self, node: &Node) -> Flow {
        let kind = match &node.value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Int(..) => Kind::Int,
            Value::Float(..) => Kind::Float,
            Value::Text(_) => Kind::Text,
            Value::List(list) => {
                let taint = list.iter().find_map(|item| self.node(item).taint);
                return Flow { kind: Kind::List, taint };
            }
            Value::Map(map) => {
                let taint = map.0.iter().find_map(|entry| self.node(&entry.value).taint);
                return Flow { kind: Kind::Map, taint };
            }
            Value::Mixed(pieces) => return self.pieces(pieces),
        };
        Flow::clean(kind)
    }

    fn pieces(&self, pieces: &[Piece]) -> Flow {
        if let [Piece::Expression(expression)] = pieces {
            return self.expression(expression);
        }
        let mut expressions = pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Text(_) => None,
        });
        let taint = expressions.find_map(|expression| self.expression(expression).taint);
        Flow { kind: Kind::Text, taint }
    }

    fn expression(&self, expression: &Expression) -> Flow {
        let program = self.checker.programs.get(&expression.source);
        match program {
            Some(program) if self.depth < DEPTH_LIMIT => {
                let there = Here {
                    checker: self.checker,
                    parameters: self.parameters,
                    file: expression.span.file,
                    depth: self.depth + 1,
                };
                flow(&program.root, &there).0
            }
            // What was never checked, or leads to itself, is not trusted.
            _ => {
                let path = expression.source.trim().to_owned();
                Flow { kind: Kind::Any, taint: Some(Taint { path, at: 0..0, variable: None }) }
            }
        }
    }
}
