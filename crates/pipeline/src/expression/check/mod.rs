//! Checks expressions where they stand: syntax, names, what is available there,
//! types, and that nobody else's text becomes part of a command.

mod place;

use std::collections::HashMap;
use std::sync::Arc;

use place::Place;

use super::facts::Facts;
use super::flow::{Kind, flow};
use super::name::Site;
use super::program::{CompileError, Program};
use super::scope::Parameters;
use super::{Expression, Piece, brief};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::Read;
use crate::source::Sources;
use crate::suggest::foreign_sign;
use crate::yaml::Node;

/// Compiles each expression once, however often it stands in the file.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) programs: HashMap<String, Arc<Program>>,
    /// What the file declares.
    pub(super) facts: Facts,
    /// The stage that is being read; `None` outside of stages.
    pub(super) stage: Option<String>,
    /// What the expressions checked so far read of other stages; whoever reads a
    /// stage takes them.
    pub(crate) reads: Vec<Read>,
}

impl Checker {
    /// Takes in what a file declares. Once for the pipeline file, whose manual
    /// parameters `with` reads, and again when its templates are laid out below it.
    pub(crate) fn learn(&mut self, root: &Node) {
        self.facts = Facts::of(root);
    }

    /// Says which stage is read from here on.
    pub(crate) fn enter(&mut self, stage: Option<&str>) {
        self.stage = stage.map(str::to_owned);
    }

    /// Checks every expression of a value, and returns the kind of the value.
    pub(crate) fn check(
        &mut self,
        pieces: &[Piece],
        site: Site,
        parameters: &Parameters,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) -> Kind {
        // What was wrong and has been told can be anything.
        let mut kind = if pieces.is_empty() { Kind::Any } else { Kind::Text };
        for piece in pieces {
            let Piece::Expression(expression) = piece else { continue };
            let before = found.len();
            let given = self.expression(expression, site, parameters, sources, found);
            if pieces.len() == 1 {
                kind = given;
            } else if found.len() == before
                && matches!(given, Kind::List | Kind::Map | Kind::Version | Kind::Null)
            {
                found.push(no_text(expression, given.words(), sources));
            }
        }
        kind
    }

    fn expression(
        &mut self,
        expression: &Expression,
        site: Site,
        parameters: &Parameters,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) -> Kind {
        if let Site::Never(key) = site {
            let message = format!("expressions are not available in `{key}`");
            found.push(
                Diagnostic::error(Code::E045, message)
                    .at(sources.place(expression.span))
                    .label("write the value itself"),
            );
            return Kind::Any;
        }
        let Some(program) = self.program(expression, sources, found) else { return Kind::Any };
        let at = Place { checker: self, expression, site, parameters, sources };
        let before = found.len();
        found.extend(program.references.iter().filter_map(|reference| at.name(&reference.name)));
        found.extend(program.foreign.iter().map(|foreign| at.foreign(foreign)));
        if site != Site::Cache {
            found.extend(program.hashes.iter().map(|hash| at.hash(hash)));
        }
        let mut kind = Kind::Any;
        let mut reads = Vec::new();
        if found.len() == before {
            let file = expression.span.file;
            let (flow, mismatches) = flow(&program.root, &at.here(file));
            for mismatch in mismatches {
                let message = format!(
                    "`{}` cannot be evaluated: {}",
                    brief(&expression.source),
                    mismatch.message
                );
                found.push(Diagnostic::error(Code::E042, message).at(at.part(&mismatch.at)));
            }
            if site == Site::Run {
                found.extend(at.untrusted(&flow));
            }
            kind = flow.kind;
            reads = program.references.iter().flat_map(|reference| at.reads(reference)).collect();
        }
        self.reads.extend(reads);
        kind
    }

    fn program(
        &mut self,
        expression: &Expression,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Arc<Program>> {
        if let Some(known) = self.programs.get(&expression.source) {
            return Some(known.clone());
        }
        match Program::compile(&expression.source) {
            Ok(program) => {
                let program = Arc::new(program);
                self.programs.insert(expression.source.clone(), program.clone());
                Some(program)
            }
            Err(error) => {
                found.push(refused(expression, error, sources));
                None
            }
        }
    }
}

fn refused(expression: &Expression, error: CompileError, sources: &Sources) -> Diagnostic {
    let whole = sources.place(expression.span);
    match error {
        CompileError::Syntax { .. } if expression.source.trim().is_empty() => {
            Diagnostic::error(Code::E040, "the expression is empty").at(whole)
        }
        CompileError::Syntax { message, at } => {
            let message = format!("this is not an expression: {message}");
            let hint = expression.source.get(at.start..).and_then(foreign_sign);
            let error = Diagnostic::error(Code::E040, message)
                .at(sources.place(expression.part(sources, at)));
            match hint {
                Some(hint) => error.label(hint),
                None => error,
            }
        }
        CompileError::Expensive(message) => Diagnostic::error(Code::E046, message)
            .at(whole)
            .label("compute it in a stage, or in parts"),
    }
}

/// E042 for a list or map inside other text.
pub(crate) fn no_text(expression: &Expression, found: &str, sources: &Sources) -> Diagnostic {
    let message = format!("`{}` is {found}, and this place needs text", brief(&expression.source));
    Diagnostic::error(Code::E042, message)
        .at(sources.place(expression.span))
        .label(format!("expected text, found {found}"))
}
