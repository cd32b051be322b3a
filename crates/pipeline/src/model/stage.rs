//! A stage that was checked: its place in the graph as values, the rest as it is
//! written, to be read again when its expressions have values.

use crate::lower::Body;
use crate::pattern::Pattern;
use crate::plan::RunOn;
use crate::source::Span;
use crate::yaml::{Entry, Node};

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
    pub(crate) body: Body,
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
    pub(crate) span: Span,
    pub(crate) branch: Option<Globs>,
    pub(crate) tag: Option<Globs>,
    pub(crate) event: Option<Words>,
    pub(crate) changed: Option<Globs>,
    /// Name and accepted values.
    pub(crate) params: Vec<(String, Vec<Node>)>,
    pub(crate) environment: Option<Globs>,
    /// The expression, bare or in `${{ }}`; always one piece.
    pub(crate) expression: Option<Node>,
}

impl Condition {
    /// Whether two conditions test the same things for the same values.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let globs = |one: &Option<Globs>, other: &Option<Globs>| {
            one.as_ref().map(|globs| &globs.patterns) == other.as_ref().map(|globs| &globs.patterns)
        };
        let words = |words: &Option<Words>| words.as_ref().map(|words| words.words.clone());
        // Parameters and expressions are compared by nobody who can be wrong about it.
        globs(&self.branch, &other.branch)
            && globs(&self.tag, &other.tag)
            && globs(&self.changed, &other.changed)
            && globs(&self.environment, &other.environment)
            && words(&self.event) == words(&other.event)
            && [self, other].iter().all(|one| one.params.is_empty() && one.expression.is_none())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Globs {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) node: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) words: Vec<String>,
    pub(crate) node: Node,
}

/// `matrix`, as it is written: axes may be expressions.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) span: Span,
    /// Name, and the list of values or the expression that gives it.
    pub(crate) axes: Vec<(String, Node)>,
    pub(crate) include: Vec<Node>,
    pub(crate) exclude: Vec<Node>,
}

/// What an expression of a stage reads of another.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// The other stage, by the name in the expression.
    pub(crate) stage: String,
    /// `outputs.NAME`, or `None` for `result` or all of it.
    pub(crate) output: Option<String>,
    /// The cell in `cells["…"]`.
    pub(crate) cell: Option<String>,
    /// Inside `has(…)` or `default(…)`: it may be missing.
    pub(crate) guarded: bool,
    /// In `when.if`: it defers the decision.
    pub(crate) in_condition: bool,
    pub(crate) span: Span,
}
