//! What is known of a name before there is a run: the kind of its value, and whether
//! others choose its text.

use std::collections::BTreeMap;

use super::check::Checker;
use super::facts::{Declared, StageFacts};
use super::flow::{Flow, Kind, Known, Taint, flow};
use super::name::{UNTRUSTED, variable_part};
use super::scope::Parameters;
use super::tree::{Expr, Name};
use super::{Expression, Piece};
use crate::source::FileId;
use crate::yaml::{Node, Value};

/// Values that lead to values, this often: `with` of templates in templates.
const DEPTH_LIMIT: u8 = 16;

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
        let unknown = StageFacts::unknown();
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
            // What was wrong and has been told can be anything.
            value if value.is_reported() => Kind::Any,
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
