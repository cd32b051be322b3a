//! A scope as one file sees it: `params` are those of its template.

use super::{Scope, part_of_text, some_changed};
use crate::expression::Piece;
use crate::expression::evaluate::{Budget, Fault, World, evaluate, missing};
use crate::expression::value::Datum;
use crate::source::FileId;
use crate::yaml::{Node, Value};

/// A scope as one file sees it.
pub(super) struct Here<'s, 'a> {
    pub(super) scope: &'s Scope<'a>,
    pub(super) file: FileId,
}

impl World for Here<'_, '_> {
    fn name(&self, root: &str, field: Option<&str>, budget: &Budget) -> Result<Datum, Fault> {
        let shared = &self.scope.shared;
        let whole = match root {
            "env" => return self.env(field, budget),
            "params" => shared.parameters.get(&self.file),
            "matrix" => self.scope.matrix.as_ref(),
            root => shared.names.get(root),
        };
        let Some(whole) = whole else { return Err(missing(root)) };
        match field {
            None => Ok(whole.clone()),
            Some(field) => {
                whole.field(field).cloned().ok_or_else(|| missing(&format!("{root}.{field}")))
            }
        }
    }

    fn changed(&self, globs: &[String], budget: &Budget) -> Result<bool, Fault> {
        some_changed(self.scope.shared.changed.as_deref(), globs, budget)
    }

    fn hash(&self, _: &[String]) -> Result<String, Fault> {
        // Whatever calls it is pending.
        Err(missing("hash()"))
    }
}

impl Here<'_, '_> {
    /// Variables are text, whatever they were written as.
    fn env(&self, field: Option<&str>, budget: &Budget) -> Result<Datum, Fault> {
        let env = &self.scope.shared.env;
        match field {
            Some(field) => {
                let node = env.get(field).ok_or_else(|| missing(&format!("env.{field}")))?;
                self.variable(node, budget)
            }
            None => {
                let variables: Result<Vec<_>, _> = env
                    .iter()
                    .map(|(name, node)| Ok((*name, self.variable(node, budget)?)))
                    .collect();
                Ok(Datum::map(variables?))
            }
        }
    }

    fn variable(&self, node: &Node, budget: &Budget) -> Result<Datum, Fault> {
        let Value::Mixed(pieces) = &node.value else {
            return Ok(node.scalar_text().map_or(Datum::Null, Datum::text));
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Expression(expression) => {
                    let program = self.scope.shared.programs.get(&expression.source);
                    let Some(program) = program else { return Err(missing("env")) };
                    let there = Here { scope: self.scope, file: expression.span.file };
                    match part_of_text(&evaluate(&program.root, &there, budget)?) {
                        Ok(part) => text.push_str(&part),
                        Err("nothing") if pieces.len() == 1 => return Ok(Datum::Null),
                        Err(found) => {
                            let message = format!("a variable of `env` takes text, not {found}");
                            return Err(Fault::Type(message));
                        }
                    }
                }
            }
        }
        budget.bytes(text.len())?;
        Ok(Datum::text(text))
    }
}
