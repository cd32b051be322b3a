//! Evaluates an expression, within a number of steps.
//!
//! Everything that costs is counted: each part of the tree, each element gone over,
//! each 64 bytes of text read or made. So no expression runs long or makes much,
//! whatever whoever pushes has written (language.md §3).

use std::cell::Cell;

use super::function::{self, Function};
use super::tree::{Call, Collect, Expr, Fold, Name};
use super::value::Datum;

/// Of one evaluation.
pub(super) const STEP_LIMIT: usize = 100_000;
/// Bytes of text that count as one step.
const BYTES_PER_STEP: usize = 64;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A name, field or item that is not there: what `default` is for.
    Missing(String),
    /// Values of types that do not go together.
    Type(String),
    /// A value that cannot be worked with.
    Bad(String),
    /// Too many steps.
    Expensive(String),
}

impl Fault {
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Missing(message)
            | Self::Type(message)
            | Self::Bad(message)
            | Self::Expensive(message) => message,
        }
    }
}

/// The steps that are left.
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(STEP_LIMIT))
    }

    pub(crate) fn spend(&self, steps: usize) -> Result<(), Fault> {
        match self.0.get().checked_sub(steps) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => {
                Err(Fault::Expensive(format!("it takes more than the limit of {STEP_LIMIT} steps")))
            }
        }
    }

    pub(crate) fn bytes(&self, bytes: usize) -> Result<(), Fault> {
        self.spend(bytes / BYTES_PER_STEP)
    }
}

/// What an expression can ask for.
pub(crate) trait World {
    /// The value of `root`, or of `root.field` when there is a field.
    fn name(&self, root: &str, field: Option<&str>, budget: &Budget) -> Result<Datum, Fault>;
    /// `changed(globs)`.
    fn changed(&self, globs: &[String], budget: &Budget) -> Result<bool, Fault>;
    /// `hash(globs)`.
    fn hash(&self, globs: &[String]) -> Result<String, Fault>;
}

pub(crate) fn evaluate(expr: &Expr, world: &dyn World, budget: &Budget) -> Result<Datum, Fault> {
    Evaluation { world, budget, bound: Vec::new() }.expr(expr)
}

struct Evaluation<'e> {
    world: &'e dyn World,
    budget: &'e Budget,
    /// Variables of loops, inner ones last. The result of a loop can be a fault
    /// that a later round takes back: `[0, 1].exists(x, 1 / x == 1)` is true.
    bound: Vec<(&'e str, Result<Datum, Fault>)>,
}

impl<'e> Evaluation<'e> {
    fn expr(&mut self, expr: &'e Expr) -> Result<Datum, Fault> {
        self.budget.spend(1)?;
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Name(name) => self.name(name),
            Expr::Bound(name) => {
                let found = self.bound.iter().rev().find(|(bound, _)| bound == name);
                found.map_or_else(|| Err(missing(name)), |(_, value)| value.clone())
            }
            Expr::Select(operand, field) => field_of(&self.expr(operand)?, field),
            Expr::Has(operand, field) => match self.expr(operand) {
                Ok(Datum::Map(map)) => Ok(Datum::Bool(map.contains_key(field.as_str()))),
                Ok(Datum::Null) | Err(Fault::Missing(_)) => Ok(Datum::Bool(false)),
                Ok(other) => {
                    let message =
                        format!("`has` asks {} for a field, and only a map has some", other.kind());
                    Err(Fault::Type(message))
                }
                Err(fault) => Err(fault),
            },
            Expr::Index(operand, index) => {
                let operand = self.expr(operand)?;
                index_of(&operand, &self.expr(index)?)
            }
            Expr::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.expr(item)).collect();
                items.map(Datum::list)
            }
            Expr::Map(entries) => {
                let mut map = std::collections::BTreeMap::new();
                for (key, value) in entries {
                    let key = match self.expr(key)? {
                        Datum::Text(key) => key,
                        other => {
                            let message = format!("a key of a map is text, not {}", other.kind());
                            return Err(Fault::Type(message));
                        }
                    };
                    if map.contains_key(&key) {
                        return Err(Fault::Bad(format!("the map has the key `{key}` twice")));
                    }
                    map.insert(key, self.expr(value)?);
                }
                Ok(Datum::Map(std::sync::Arc::new(map)))
            }
            Expr::Not(operand) => match self.expr(operand)? {
                Datum::Bool(value) => Ok(Datum::Bool(!value)),
                other => Err(Fault::Type(format!("`!` does not go with {}", other.kind()))),
            },
            Expr::And(one, other) => self.logical(one, other, false),
            Expr::Or(one, other) => self.logical(one, other, true),
            Expr::If(parts) => {
                let [condition, yes, no] = &**parts;
                match self.expr(condition)? {
                    Datum::Bool(true) => self.expr(yes),
                    Datum::Bool(false) => self.expr(no),
                    other => {
                        let message = format!(
                            "the condition before `?` is {}, not true or false",
                            other.kind()
                        );
                        Err(Fault::Type(message))
                    }
                }
            }
            Expr::Default(value, otherwise) => match self.expr(value) {
                Ok(Datum::Null) | Err(Fault::Missing(_)) => self.expr(otherwise),
                other => other,
            },
            Expr::NotStrictlyFalse(operand) => match self.expr(operand) {
                Err(fault @ Fault::Expensive(_)) => Err(fault),
                value => Ok(Datum::Bool(value != Ok(Datum::Bool(false)))),
            },
            Expr::Call(call) => self.call(call),
            Expr::Collect(collect) => self.collect(collect),
            Expr::Fold(fold) => self.fold(fold),
        }
    }

    fn name(&self, name: &Name) -> Result<Datum, Fault> {
        let mut value = self.world.name(&name.root, name.field(), self.budget)?;
        for (at, field) in name.fields.iter().enumerate().skip(1) {
            self.budget.spend(1)?;
            value = match value.field(field) {
                Some(value) => value.clone(),
                None if matches!(value, Datum::Map(_) | Datum::Null) => {
                    return Err(missing(&name.prefix(at + 1)));
                }
                None => return Err(no_fields(&name.prefix(at), &value, field)),
            };
        }
        Ok(value)
    }

    /// `&&` and `||`: what decides alone decides, also beside a fault.
    fn logical(&mut self, one: &'e Expr, other: &'e Expr, decides: bool) -> Result<Datum, Fault> {
        let one = self.expr(one);
        if matches!(one, Err(Fault::Expensive(_))) || one == Ok(Datum::Bool(decides)) {
            return one;
        }
        let other = self.expr(other);
        if matches!(other, Err(Fault::Expensive(_))) || other == Ok(Datum::Bool(decides)) {
            return other;
        }
        match (one?, other?) {
            (Datum::Bool(_), Datum::Bool(_)) => Ok(Datum::Bool(!decides)),
            (one, other) => {
                let operator = if decides { "||" } else { "&&" };
                let message =
                    format!("`{operator}` does not go with {} and {}", one.kind(), other.kind());
                Err(Fault::Type(message))
            }
        }
    }

    fn call(&mut self, call: &'e Call) -> Result<Datum, Fault> {
        let given: Result<Vec<_>, _> =
            call.arguments.iter().map(|argument| self.expr(argument)).collect();
        let given = given?;
        if let (Some(pattern), [Datum::Text(text), _]) = (&call.pattern, given.as_slice()) {
            return function::is_match(pattern, text, self.budget).map(Datum::Bool);
        }
        if !matches!(call.function, Function::Hash | Function::Changed) {
            return call.function.apply(&given, self.budget);
        }
        let globs: Option<Vec<String>> = given
            .iter()
            .map(|glob| match glob {
                Datum::Text(glob) => Some(glob.to_string()),
                _ => None,
            })
            .collect();
        let Some(globs) = globs else {
            return Err(Fault::Type(call.function.misfit(given.iter().map(Datum::kind))));
        };
        if call.function == Function::Changed {
            self.world.changed(&globs, self.budget).map(Datum::Bool)
        } else {
            self.world.hash(&globs).map(Datum::text)
        }
    }

    /// The elements of a list, or the keys of a map.
    fn range(&mut self, range: &'e Expr) -> Result<Vec<Datum>, Fault> {
        let range = self.expr(range)?;
        let items = match &range {
            Datum::List(list) => list.iter().cloned().collect::<Vec<_>>(),
            Datum::Map(map) => map.keys().map(|key| Datum::Text(key.clone())).collect(),
            other => {
                let message =
                    format!("a loop goes over a list or a map, not over {}", other.kind());
                return Err(Fault::Type(message));
            }
        };
        self.budget.spend(items.len())?;
        Ok(items)
    }

    fn collect(&mut self, collect: &'e Collect) -> Result<Datum, Fault> {
        let mut elements = Vec::new();
        for item in self.range(&collect.range)? {
            self.bound.push((&collect.item, Ok(item)));
            let element = self.element(collect);
            self.bound.pop();
            elements.extend(element?);
        }
        Ok(Datum::list(elements))
    }

    fn element(&mut self, collect: &'e Collect) -> Result<Option<Datum>, Fault> {
        if let Some(filter) = &collect.filter {
            match self.expr(filter)? {
                Datum::Bool(true) => {}
                Datum::Bool(false) => return Ok(None),
                other => {
                    let message =
                        format!("what a loop filters by is {}, not true or false", other.kind());
                    return Err(Fault::Type(message));
                }
            }
        }
        self.expr(&collect.element).map(Some)
    }

    fn fold(&mut self, fold: &'e Fold) -> Result<Datum, Fault> {
        let items = self.range(&fold.range)?;
        let mut result = self.expr(&fold.init);
        for item in items {
            let bound = self.bound.len();
            self.bound.push((&fold.result, result.clone()));
            let go_on = self.expr(&fold.go_on);
            if go_on == Ok(Datum::Bool(true)) {
                self.bound.push((&fold.item, Ok(item)));
                result = self.expr(&fold.step);
            }
            self.bound.truncate(bound);
            if matches!(result, Err(Fault::Expensive(_))) {
                return result;
            }
            if go_on? != Datum::Bool(true) {
                break;
            }
        }
        self.bound.push((&fold.result, result));
        let last = self.expr(&fold.last);
        self.bound.pop();
        last
    }
}

pub(crate) fn missing(path: &str) -> Fault {
    Fault::Missing(format!("there is no `{path}`"))
}

fn no_fields(path: &str, value: &Datum, field: &str) -> Fault {
    Fault::Type(format!("`{path}` is {}, and has no field `{field}`", value.kind()))
}

fn field_of(value: &Datum, field: &str) -> Result<Datum, Fault> {
    match value {
        Datum::Map(map) => map.get(field).cloned().ok_or_else(|| missing(field)),
        Datum::Null => Err(missing(field)),
        other => {
            let message = format!("{} has no field `{field}`", other.kind());
            Err(Fault::Type(message))
        }
    }
}

fn index_of(operand: &Datum, index: &Datum) -> Result<Datum, Fault> {
    match (operand, index) {
        (Datum::Map(map), Datum::Text(key)) => map.get(key).cloned().ok_or_else(|| missing(key)),
        (Datum::Null, _) => Err(Fault::Missing("there is nothing to take an item of".to_owned())),
        (Datum::List(list), Datum::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned().ok_or_else(|| {
                let items = if list.len() == 1 { "item" } else { "items" };
                Fault::Missing(format!(
                    "there is no item {at}, the list has {} {items}",
                    list.len()
                ))
            })
        }
        (operand, index) => {
            Err(Fault::Type(format!("{} cannot be asked for {}", operand.kind(), index.kind())))
        }
    }
}
