//! Lowers the tree to the typed model, and says everything that is wrong with it.
//!
//! One pass, all errors: what cannot be read is reported and left out, and the
//! rest goes on. Each file reads one part of the language. This one holds what they
//! share, which is how errors are told; `key` has how keys are read, `value` how
//! scalars are, and `origin` how it is remembered where they stand.

mod build;
mod canary;
mod checkout;
mod condition;
mod defaults;
mod deploy;
mod draft;
mod environment;
mod files;
mod health;
mod image;
mod key;
mod matrix;
mod needs;
mod notify;
mod origin;
pub(crate) mod param;
mod people;
mod promotion;
mod run;
mod schedule;
mod secret;
mod service;
mod settings;
mod stage;
mod stages;
mod strategy;
mod suite;
mod switch;
mod target;
mod top;
mod trigger;
mod value;
mod variable;
mod verify;

use std::collections::{BTreeMap, HashMap};

pub(crate) use condition::Tested;
pub(crate) use defaults::defaults;
pub(crate) use deploy::Publishing;
pub(crate) use draft::{Draft, Need};
pub(crate) use matrix::too_many_stages;
pub(crate) use origin::key_of;
use origin::last;
pub(crate) use stages::STAGE_LIMIT;
pub(crate) use top::{is_map, names, pipeline};

use crate::Origin;
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Related};
use crate::expression::{Checker, Parameters, Scope};
use crate::model::Read;
use crate::plan::Pending;
use crate::scalar::Misfit;
use crate::source::{Sources, Span};
use crate::yaml::{Map, Node, Via};

/// What lowering needs to know, and where it writes what it finds.
///
/// The same functions read a file twice. `check` reads it to find what is wrong;
/// expressions are then checked and not evaluated. `plan` reads each stage again,
/// once per cell of its matrix, with the values of its expressions. What a
/// function returns after it has reported an error is never used: with one error
/// there is neither a pipeline nor a plan.
pub(crate) struct Lowering<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) names: &'a Names,
    /// Values for every stage that can use them, by key.
    pub(crate) defaults: &'a Map,
    /// `defaults` as the stages see them that a template has sealed.
    pub(crate) sealed: &'a BTreeMap<String, Map>,
    pub(crate) pass: Pass<'a>,
    pub(crate) found: &'a mut Vec<Diagnostic>,
    /// Values of `defaults` are being read.
    pub(crate) in_defaults: bool,
    /// Of the stage that is being read, when a plan is made.
    pub(crate) origins: BTreeMap<String, Origin>,
    pub(crate) pending: Vec<Pending>,
}

pub(crate) enum Pass<'a> {
    Check {
        checker: &'a mut Checker,
        parameters: &'a Parameters,
    },
    Plan {
        scope: &'a Scope<'a>,
        /// The stage is skipped: what cannot be known for this event is never read.
        unknown_is_fine: bool,
    },
}

/// The names a file gives, for those that refer to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Every stage by name.
    pub(crate) stages: HashMap<String, usize>,
    /// In the order of the file, for lists in notes.
    pub(crate) in_order: Vec<String>,
    /// Stages that a file removed with `off`, and where.
    pub(crate) removed: BTreeMap<String, Span>,
    /// The pipeline uses a template that has these stages.
    pub(crate) template_stages: Option<Vec<String>>,
    /// `checkout: off`.
    pub(crate) checkout_off: Option<Span>,
    /// Of `suites`, in the order of the file.
    pub(crate) suites: Vec<String>,
}

impl Lowering<'_> {
    const fn is_check(&self) -> bool {
        matches!(self.pass, Pass::Check { .. })
    }

    /// The plan of a stage that is skipped is being made.
    const fn is_skipped(&self) -> bool {
        matches!(self.pass, Pass::Plan { unknown_is_fine: true, .. })
    }

    /// What the expressions read since the last time it was asked.
    fn take_reads(&mut self) -> Vec<Read> {
        match &mut self.pass {
            Pass::Check { checker, .. } => std::mem::take(&mut checker.reads),
            Pass::Plan { .. } => Vec::new(),
        }
    }

    /// Says which stage is read from here on, for the names its expressions know.
    fn enter(&mut self, stage: Option<&str>) {
        if let Pass::Check { checker, .. } = &mut self.pass {
            checker.enter(stage);
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    fn error(&self, code: Code, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic::error(code, message).at(self.sources.place(span))
    }

    /// An error about a value: where it stands, and where it was brought in.
    fn error_at(&self, code: Code, message: impl Into<String>, node: &Node) -> Diagnostic {
        self.with_use(self.error(code, message, node.span), node)
    }

    fn with_use(&self, diagnostic: Diagnostic, node: &Node) -> Diagnostic {
        match node.via {
            None => diagnostic,
            Some(Via::Alias(span)) => diagnostic.related("used here", self.sources.place(span)),
            Some(Via::Parameter(span)) => {
                diagnostic.related("the parameter is set here", self.sources.place(span))
            }
        }
    }

    fn misfit(&self, key: &str, misfit: &Misfit, node: &Node) -> Diagnostic {
        self.with_use(misfit.diagnostic(key, node, self.sources), node)
    }

    /// Errors of expressions tell both places, too: the expression itself may stand
    /// in the template or in the value that a parameter brought in.
    fn tell_use(&mut self, before: usize, node: &Node) {
        let Some(via) = node.via else { return };
        for diagnostic in &mut self.found[before..] {
            let in_file = |span: Span| {
                diagnostic.place.as_ref().is_some_and(|place| place.order == span.file.0)
            };
            let (message, span) = if in_file(via.span()) && !in_file(node.span) {
                ("used here", node.span)
            } else {
                ("the value comes from here", via.span())
            };
            let place = self.sources.place(span);
            diagnostic.related.push(Related { message: message.to_owned(), place });
        }
    }
}
