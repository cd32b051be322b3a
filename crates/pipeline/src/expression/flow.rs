//! What is known of a value before there is one: its kind, and whether text that
//! others choose can be in it.
//!
//! The mark of untrusted text follows every operation whose result can hold the
//! text: putting together, taking out, loops, branches, defaults. It errs on one
//! side only; a value without the mark never holds such text. What merely decides,
//! as a comparison or a condition does, does not carry it (language.md §6).

use std::ops::Range;

use super::function::Function;
use super::tree::{Call, Collect, Expr, Fold, Name};
use super::value::Datum;
use crate::yaml::{Map, Value};

/// The kind of a value, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Null,
    Bool,
    Int,
    Float,
    Text,
    List,
    Map,
    /// The map that `semver` gives: of its fields only `pre` is text.
    Version,
}

impl Kind {
    /// In the words of an error.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Null => "nothing",
            Self::Bool => "true or false",
            Self::Int | Self::Float => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Map | Self::Version => "a map",
        }
    }

    /// A value of the kind, to see whether a key takes such values at all. `None`
    /// when it can be anything, and of nothing, which is told when it is there.
    pub(crate) fn example(self) -> Option<Value> {
        Some(match self {
            Self::Any | Self::Null => return None,
            Self::Bool => Value::Bool(true),
            Self::Int => Value::Int(1, "1".to_owned()),
            Self::Float => Value::Float(1.5, "1.5".to_owned()),
            Self::Text => Value::Text("text".to_owned()),
            Self::List => Value::List(Vec::new()),
            Self::Map | Self::Version => Value::Map(Map::default()),
        })
    }

    fn of(value: &Datum) -> Self {
        match value {
            Datum::Null => Self::Null,
            Datum::Bool(_) => Self::Bool,
            Datum::Int(_) => Self::Int,
            Datum::Float(_) => Self::Float,
            Datum::Text(_) => Self::Text,
            Datum::List(_) => Self::List,
            Datum::Map(_) => Self::Map,
        }
    }

    /// The kind of a value that is one or the other.
    fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Any }
    }
}

/// A name whose text others choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taint {
    /// As it is written: `git.branch`, `params.target`.
    pub(crate) path: String,
    /// Bytes of the source of the expression.
    pub(crate) at: Range<usize>,
    /// The variable that already holds the text.
    pub(crate) variable: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) kind: Kind,
    pub(crate) taint: Option<Taint>,
}

impl Flow {
    pub(crate) const fn clean(kind: Kind) -> Self {
        Self { kind, taint: None }
    }
}

/// What is known of names where an expression stands.
pub(super) trait Known {
    fn name(&self, name: &Name) -> Flow;
}

/// Kinds that can never go together.
#[derive(Debug)]
pub(crate) struct Mismatch {
    pub(crate) message: String,
    pub(crate) at: Range<usize>,
}

pub(super) fn flow(expr: &Expr, known: &dyn Known) -> (Flow, Vec<Mismatch>) {
    let mut following = Following { known, bound: Vec::new(), mismatches: Vec::new() };
    let flow = following.expr(expr);
    (flow, following.mismatches)
}

struct Following<'e> {
    known: &'e dyn Known,
    bound: Vec<(&'e str, Flow)>,
    mismatches: Vec<Mismatch>,
}

impl<'e> Following<'e> {
    fn expr(&mut self, expr: &'e Expr) -> Flow {
        match expr {
            Expr::Literal(value) => Flow::clean(Kind::of(value)),
            Expr::Name(name) => self.known.name(name),
            Expr::Bound(name) => {
                let found = self.bound.iter().rev().find(|(bound, _)| bound == name);
                found.map_or_else(|| Flow::clean(Kind::Any), |(_, flow)| flow.clone())
            }
            Expr::Select(operand, field) => {
                let operand = self.expr(operand);
                match (operand.kind, field.as_str()) {
                    (Kind::Version, "major" | "minor" | "patch") => Flow::clean(Kind::Int),
                    (Kind::Version, "pre") => Flow { kind: Kind::Text, ..operand },
                    _ => Flow { kind: Kind::Any, ..operand },
                }
            }
            Expr::Has(operand, _) | Expr::NotStrictlyFalse(operand) => {
                self.expr(operand);
                Flow::clean(Kind::Bool)
            }
            Expr::Index(operand, index) => {
                let operand = self.expr(operand);
                self.expr(index);
                Flow { kind: Kind::Any, ..operand }
            }
            Expr::List(items) => {
                let taint = self.first_taint(items);
                Flow { kind: Kind::List, taint }
            }
            Expr::Map(entries) => {
                let mut taint = None;
                for (key, value) in entries {
                    let (key, value) = (self.expr(key), self.expr(value));
                    taint = taint.or(key.taint).or(value.taint);
                }
                Flow { kind: Kind::Map, taint }
            }
            Expr::Not(operand) => {
                self.truth("!", operand);
                Flow::clean(Kind::Bool)
            }
            Expr::And(one, other) => self.both("&&", one, other),
            Expr::Or(one, other) => self.both("||", one, other),
            Expr::If(parts) => {
                let [condition, yes, no] = &**parts;
                self.truth("?", condition);
                self.either(yes, no)
            }
            Expr::Default(value, otherwise) => self.either(value, otherwise),
            Expr::Call(call) => self.call(call),
            Expr::Collect(collect) => self.collect(collect),
            Expr::Fold(fold) => self.fold(fold),
        }
    }

    fn first_taint(&mut self, exprs: &'e [Expr]) -> Option<Taint> {
        let mut taint = None;
        for expr in exprs {
            let flow = self.expr(expr);
            taint = taint.or(flow.taint);
        }
        taint
    }

    fn both(&mut self, operator: &str, one: &'e Expr, other: &'e Expr) -> Flow {
        self.truth(operator, one);
        self.truth(operator, other);
        Flow::clean(Kind::Bool)
    }

    /// The operand of an operator that takes true or false.
    fn truth(&mut self, operator: &str, operand: &'e Expr) {
        let kind = self.expr(operand).kind;
        if !matches!(kind, Kind::Bool | Kind::Any) {
            let message = format!("`{operator}` takes true or false, and this is {}", kind.words());
            self.mismatches.push(Mismatch { message, at: place(operand) });
        }
    }

    /// Either of two values.
    fn either(&mut self, one: &'e Expr, other: &'e Expr) -> Flow {
        let (one, other) = (self.expr(one), self.expr(other));
        Flow { kind: one.kind.or(other.kind), taint: one.taint.or(other.taint) }
    }

    fn call(&mut self, call: &'e Call) -> Flow {
        let given: Vec<Flow> = call.arguments.iter().map(|argument| self.expr(argument)).collect();
        let kinds: Vec<Kind> = given.iter().map(|flow| flow.kind).collect();
        if call.function.wrong_count(kinds.len()).is_none() && !call.function.takes(&kinds) {
            let message = call.function.misfit(kinds.iter().map(|kind| kind.words()));
            self.mismatches.push(Mismatch { message, at: call.at.clone() });
        }
        let kind = match (call.function, kinds.as_slice()) {
            (Function::Add, [one, other]) if one == other => *one,
            (Function::Dyn, _) => Kind::Any,
            (function, _) => function.gives(),
        };
        let taint = given.into_iter().find_map(|flow| flow.taint);
        Flow { kind, taint: taint.filter(|_| call.function.carries()) }
    }

    fn collect(&mut self, collect: &'e Collect) -> Flow {
        let range = self.expr(&collect.range);
        self.bound.push((&collect.item, Flow { kind: Kind::Any, ..range }));
        if let Some(filter) = &collect.filter {
            self.truth("filter", filter);
        }
        let element = self.expr(&collect.element);
        self.bound.pop();
        Flow { kind: Kind::List, taint: element.taint }
    }

    fn fold(&mut self, fold: &'e Fold) -> Flow {
        let range = self.expr(&fold.range);
        let mut result = self.expr(&fold.init);
        // Twice: what a step puts into the result, the next can read from it.
        for _ in 0..2 {
            self.bound.push((&fold.result, Flow { kind: Kind::Any, ..result.clone() }));
            self.bound.push((&fold.item, Flow { kind: Kind::Any, ..range.clone() }));
            let before = self.mismatches.len();
            let step = self.expr(&fold.step);
            self.mismatches.truncate(before);
            self.bound.pop();
            self.bound.pop();
            result = Flow { kind: result.kind.or(step.kind), taint: result.taint.or(step.taint) };
        }
        self.bound.push((&fold.result, result));
        let last = self.expr(&fold.last);
        self.bound.pop();
        last
    }
}

/// Where an expression begins, as far as it is known.
fn place(expr: &Expr) -> Range<usize> {
    match expr {
        Expr::Name(name) => name.at.clone(),
        Expr::Call(call) => call.at.clone(),
        Expr::Select(operand, _) | Expr::Index(operand, _) | Expr::Default(operand, _) => {
            place(operand)
        }
        _ => 0..0,
    }
}
