//! A stage that was checked: its place in the graph as values, the rest as it is
//! written, to be read again when its expressions have values.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::TriggerEvent;
use crate::expression::Piece;
use crate::pattern::Pattern;
use crate::plan::{PlannedStage, RunOn};
use crate::source::Span;
use crate::yaml::{Entry, Node, Value};

#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Of the name.
    pub(crate) span: Span,
    /// The stage as it is written.
    pub(crate) entry: Entry,
    pub(crate) when: When,
    pub(crate) run_on: RunOn,
    pub(crate) matrix: Option<Matrix>,
    /// As far as it is known without an event; what expressions give is a zero or
    /// the text of the expression.
    pub(crate) body: PlannedStage,
}

impl Stage {
    /// The value of a key of the stage.
    pub(crate) fn key(&self, key: &str) -> Option<&Node> {
        self.entry.value.as_map()?.get(key)
    }

    /// The value of a key of its action.
    pub(crate) fn key_of(&self, action: &str, key: &str) -> Option<&Node> {
        self.key(action)?.as_map()?.get(key)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum When {
    Always,
    /// `when: off`.
    Off,
    /// One of these must hold.
    Any(Vec<Condition>),
}

/// All of it must hold; `None` is no test.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) branch: Option<Globs>,
    pub(crate) tag: Option<Globs>,
    pub(crate) event: Option<Events>,
    pub(crate) changed: Option<Globs>,
    pub(crate) params: Vec<ParamTest>,
    pub(crate) environment: Option<Globs>,
    /// A word, `true` or `false`, or one expression.
    pub(crate) expression: Option<Node>,
    /// Stages that the expression reads.
    pub(crate) reads: Vec<String>,
}

impl Condition {
    /// Whether two conditions test the same things for the same values.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let globs = |one: &Option<Globs>, other: &Option<Globs>| {
            one.as_ref().map(|globs| &globs.patterns) == other.as_ref().map(|globs| &globs.patterns)
        };
        let events = |events: &Option<Events>| events.as_ref().map(|events| events.events.clone());
        globs(&self.branch, &other.branch)
            && globs(&self.tag, &other.tag)
            && globs(&self.changed, &other.changed)
            && globs(&self.environment, &other.environment)
            && events(&self.event) == events(&other.event)
            && self.params.len() == other.params.len()
            && self.params.iter().zip(&other.params).all(|(one, other)| one.same(other))
            && same_expression(self.expression.as_ref(), other.expression.as_ref())
    }
}

/// The same text in the same file; what it reads of a matrix differs from stage to
/// stage all the same.
fn same_expression(one: Option<&Node>, other: Option<&Node>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    match (&one.value, &other.value) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Mixed(ours), Value::Mixed(theirs)) => match (ours.as_slice(), theirs.as_slice()) {
            ([Piece::Expression(ours)], [Piece::Expression(theirs)]) => {
                ours.source.trim() == theirs.source.trim()
                    && ours.span.file == theirs.span.file
                    && !ours.source.contains("matrix")
            }
            _ => false,
        },
        _ => false,
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Globs {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) node: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) events: Vec<TriggerEvent>,
    pub(crate) node: Node,
}

/// `params` of a condition: one parameter, and the values it may have.
#[derive(Clone, Debug)]
pub(crate) struct ParamTest {
    pub(crate) name: String,
    /// As they are written.
    pub(crate) values: Vec<String>,
    pub(crate) node: Node,
    /// The expression that gives the parameter's value.
    pub(crate) value: Node,
}

impl ParamTest {
    fn same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.values == other.values
            && self.value.span.file == other.value.span.file
    }
}

/// `matrix`: its axes, and its cells when no expression makes them.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    /// Of the key.
    pub(crate) span: Span,
    /// In the order of the file.
    pub(crate) axes: Vec<String>,
    /// `None` when an axis is an expression.
    pub(crate) cells: Option<Arc<[Cell]>>,
}

impl Matrix {
    /// The name of a cell, for examples.
    pub(crate) fn example(&self) -> String {
        match self.cells.as_deref().and_then(<[Cell]>::first) {
            Some(cell) => cell.name.clone(),
            None => {
                let axes: Vec<String> =
                    self.axes.iter().map(|axis| format!("{axis}=VALUE")).collect();
                axes.join(",")
            }
        }
    }
}

/// One instance of a stage with a matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    /// `db=mysql:8,os=linux`, in the order of the axes.
    pub(crate) name: String,
    pub(crate) values: BTreeMap<String, serde_json::Value>,
}

/// What an expression of a stage reads of another.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// The other stage, by the name in the expression.
    pub(crate) stage: String,
    /// `outputs.NAME`, or `None` for `result` or all of it.
    pub(crate) output: Option<String>,
    /// All of `outputs`: which one is not known before there are values.
    pub(crate) all_outputs: bool,
    /// The cell in `cells["…"]`.
    pub(crate) cell: Option<String>,
    /// Inside `has(…)` or `default(…)`: it may be missing.
    pub(crate) guarded: bool,
    pub(crate) span: Span,
}
