//! What expressions read when a plan is made, and their evaluation.

mod export;
mod file;
mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use export::Export;
use file::Here;
use names::names;

use super::check::no_text;
use super::evaluate::{Budget, Fault, evaluate};
use super::program::Program;
use super::tree::Expr;
use super::value::Datum;
use super::{Expression, Piece, brief};
use crate::codes::Code;
use crate::context::Context;
use crate::diagnostic::Diagnostic;
use crate::model::Pipeline;
use crate::pattern::{Pattern, some_match};
use crate::plan::{PlannedStage, Scopes};
use crate::source::{FileId, Sources, Span};
use crate::yaml::{Node, Value};

/// What `changed` counts in steps, for each glob and for the paths it looks at.
const GLOB_STEPS: usize = 100;
const PATHS_PER_STEP: usize = 16;

/// The values of the parameters of each template, by the template's file.
pub(crate) type Parameters = BTreeMap<FileId, BTreeMap<String, Node>>;

/// What an expression gives when a plan is made.
#[derive(Debug)]
pub(crate) enum Evaluated {
    Known(Value),
    /// It reads `stages`, `run` or the workspace, and is evaluated when its stage starts.
    Pending,
}

/// Evaluates expressions for one plan. One for each cell of a matrix: they share
/// everything but the cell.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    shared: Arc<Shared<'a>>,
    matrix: Option<Datum>,
}

struct Shared<'a> {
    sources: &'a Sources,
    programs: &'a HashMap<String, Arc<Program>>,
    /// `git`, `event`, `pipeline`, `project`.
    names: BTreeMap<&'static str, Datum>,
    parameters: BTreeMap<FileId, Datum>,
    /// `env` of the pipeline and of `defaults`, as it is written.
    env: BTreeMap<&'a str, &'a Node>,
    /// Variables whose values are known only when a stage starts.
    pending_env: BTreeSet<&'a str>,
    changed: Option<Vec<String>>,
}

impl<'a> Scope<'a> {
    /// `manual` are the values of the parameters of a manual run.
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        context: &Context,
        name: &str,
        manual: &BTreeMap<String, serde_json::Value>,
    ) -> Self {
        let env = pipeline.defaults.get("env").and_then(Node::as_map);
        let env: BTreeMap<&str, &Node> = env
            .map(|env| env.0.iter().map(|entry| (entry.key.name.as_str(), &entry.value)).collect())
            .unwrap_or_default();
        let programs = &*pipeline.programs;
        let is_pending = |node: &Node| {
            expressions(node).any(|expression| {
                programs.get(&expression.source).is_some_and(|program| program.is_pending())
            })
        };
        let manual = manual.iter().map(|(name, value)| (name.as_str(), Datum::from(value)));
        let shared = Shared {
            sources: &pipeline.sources,
            programs,
            names: names(context, name),
            parameters: BTreeMap::from([(FileId::PIPELINE, Datum::map(manual))]),
            pending_env: env
                .iter()
                .filter(|(_, node)| is_pending(node))
                .map(|(name, _)| *name)
                .collect(),
            env,
            changed: context.changed.clone(),
        };
        let mut scope = Self { shared: Arc::new(shared), matrix: None };
        // Outer files first: their parameters are what `with` of inner ones reads.
        for (file, values) in &*pipeline.parameters {
            let values =
                Datum::map(values.iter().map(|(name, node)| (name.as_str(), scope.held(node))));
            if let Some(shared) = Arc::get_mut(&mut scope.shared) {
                shared.parameters.insert(*file, values);
            }
        }
        scope
    }

    /// The same scope with the values of a cell.
    pub(crate) fn with_matrix(&self, cell: &BTreeMap<String, serde_json::Value>) -> Self {
        let cell = cell.iter().map(|(axis, value)| (axis.as_str(), Datum::from(value)));
        Self { shared: self.shared.clone(), matrix: Some(Datum::map(cell)) }
    }

    /// The value of a parameter. Values in `with` may hold expressions; what they
    /// cannot say is missing, and reading it then is the error.
    fn held(&self, node: &Node) -> Datum {
        match &node.value {
            Value::Null => Datum::Null,
            Value::Bool(value) => Datum::Bool(*value),
            Value::Int(value, _) => Datum::Int(*value),
            Value::Float(value, _) => Datum::Float(*value),
            Value::Text(text) => Datum::text(text),
            Value::List(list) => Datum::list(list.iter().map(|item| self.held(item)).collect()),
            Value::Map(map) => {
                let entries = map.0.iter();
                Datum::map(entries.map(|entry| (entry.key.name.as_str(), self.held(&entry.value))))
            }
            Value::Mixed(pieces) => self.known(pieces).unwrap_or(Datum::Null),
        }
    }

    /// Returns the value of a text: typed when it is one expression, else a text.
    pub(crate) fn value(&self, pieces: &[Piece], span: Span) -> Result<Evaluated, Box<Diagnostic>> {
        if self.is_pending(pieces) {
            return Ok(Evaluated::Pending);
        }
        self.known(pieces).map(|value| Evaluated::Known(value.into_value(span)))
    }

    fn is_pending(&self, pieces: &[Piece]) -> bool {
        pieces.iter().any(|piece| match piece {
            Piece::Text(_) => false,
            Piece::Expression(expression) => {
                let program = self.shared.programs.get(&expression.source);
                program
                    .is_some_and(|program| program.is_pending() || self.reads_pending_env(program))
            }
        })
    }

    fn reads_pending_env(&self, program: &Program) -> bool {
        let pending = &self.shared.pending_env;
        let mut env = program.references.iter().filter(|reference| reference.name.root == "env");
        env.any(|reference| match reference.name.field() {
            Some(field) => pending.contains(field),
            None => !pending.is_empty(),
        })
    }

    fn known(&self, pieces: &[Piece]) -> Result<Datum, Box<Diagnostic>> {
        if let [Piece::Expression(expression)] = pieces {
            return self.evaluate(expression);
        }
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Expression(expression) => match part_of_text(&self.evaluate(expression)?) {
                    Ok(part) => text.push_str(&part),
                    Err("nothing") => {
                        let message =
                            format!("`{}` has no value for this event", brief(&expression.source));
                        return Err(Box::new(
                            self.error(Code::E042, message, expression)
                                .label("expected text, found nothing"),
                        ));
                    }
                    Err(found) => {
                        return Err(Box::new(no_text(expression, found, self.shared.sources)));
                    }
                },
            }
        }
        Ok(Datum::text(text))
    }

    fn error(&self, code: Code, message: String, expression: &Expression) -> Diagnostic {
        Diagnostic::error(code, message).at(self.shared.sources.place(expression.span))
    }

    fn evaluate(&self, expression: &Expression) -> Result<Datum, Box<Diagnostic>> {
        let Some(program) = self.shared.programs.get(&expression.source) else {
            // Only what was checked is in a pipeline, and what was checked compiled.
            let message = format!("`{}` was never checked", brief(&expression.source));
            return Err(Box::new(self.error(Code::E040, message, expression)));
        };
        let here = Here { scope: self, file: expression.span.file };
        evaluate(&program.root, &here, &Budget::new()).map_err(|fault| {
            let (code, message) = told(&brief(&expression.source), &program.root, &fault);
            let error = self.error(code, message, expression);
            Box::new(match (&fault, &program.root) {
                (Fault::Missing(_), Expr::Name(name)) => error
                    .label(format!("if it may be missing, write `default({}, '…')`", name.path())),
                _ => error,
            })
        })
    }

    /// What the pending values and deferred conditions of a plan are evaluated with:
    /// no more than they read, and nothing when there are none.
    pub(crate) fn export(&self, stages: &[PlannedStage]) -> Scopes {
        let mut export = Export { shared: &self.shared, scopes: Scopes::default() };
        for stage in stages {
            let tests = stage.condition.iter().flat_map(|condition| &condition.any);
            let tests = tests.flat_map(|alternative| &alternative.all);
            let parts = stage.pending.iter().flat_map(|pending| &pending.parts);
            for part in parts.chain(tests.filter_map(|test| test.expression.as_ref())) {
                export.part(part);
            }
        }
        export.scopes
    }
}

/// A value inside other text, or what it is instead.
pub(crate) fn part_of_text(value: &Datum) -> Result<String, &'static str> {
    match value {
        Datum::Bool(value) => Ok(value.to_string()),
        Datum::Int(value) => Ok(value.to_string()),
        Datum::Float(value) => Ok(value.to_string()),
        Datum::Text(text) => Ok(text.to_string()),
        Datum::Null | Datum::List(_) | Datum::Map(_) => Err(value.kind()),
    }
}

/// The code and the words of a fault of an expression.
pub(crate) fn told(shown: &str, root: &Expr, fault: &Fault) -> (Code, String) {
    match (fault, root) {
        (Fault::Expensive(message), _) => {
            (Code::E046, format!("`{shown}` is too expensive: {message}"))
        }
        (Fault::Missing(_), Expr::Name(_)) => (Code::E042, format!("`{shown}` has no value here")),
        (fault, _) => (Code::E042, format!("`{shown}` cannot be evaluated: {}", fault.message())),
    }
}

/// Whether a changed file matches; when it is not known what changed, it may be anything.
pub(crate) fn some_changed(
    changed: Option<&[String]>,
    globs: &[String],
    budget: &Budget,
) -> Result<bool, Fault> {
    let patterns: Result<Vec<Pattern>, Fault> = globs
        .iter()
        .map(|glob| {
            Pattern::parse(glob)
                .map_err(|error| Fault::Bad(format!("`{glob}` is no pattern: {}", error.0)))
        })
        .collect();
    let patterns = patterns?;
    let Some(changed) = changed else { return Ok(true) };
    budget.spend(globs.len() * (GLOB_STEPS + changed.len() / PATHS_PER_STEP))?;
    Ok(some_match(&patterns, changed))
}

fn expressions(node: &Node) -> impl Iterator<Item = &Expression> {
    let pieces = match &node.value {
        Value::Mixed(pieces) => pieces.as_slice(),
        _ => &[],
    };
    pieces.iter().filter_map(|piece| match piece {
        Piece::Expression(expression) => Some(expression),
        Piece::Text(_) => None,
    })
}
