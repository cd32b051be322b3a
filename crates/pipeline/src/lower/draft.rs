//! A stage while it is read: parts that were wrong are missing.
//!
//! Names and needs are there even when the action is not, so that a cycle is
//! found beside a typing error and not after it.

use crate::model::{Matrix, Read, Stage, When};
use crate::plan::{PlannedStage, RunOn};
use crate::source::Span;
use crate::yaml::Entry;

/// A stage as the first reading leaves it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) span: Span,
    /// `None`: all stages above.
    pub(crate) needs: Option<Vec<Need>>,
    /// Spliced-in stages that want to stand before this one.
    pub(crate) before: Vec<Need>,
    pub(crate) when: When,
    pub(crate) run_on: RunOn,
    pub(crate) matrix: Option<Matrix>,
    /// The stage whose image this one pushes or deploys.
    pub(crate) image: Option<Need>,
    /// What its expressions read of other stages.
    pub(crate) reads: Vec<Read>,
    /// Its keys but those that place it in the graph, with zeros for what expressions
    /// will give; `None` when the action could not be read.
    pub(crate) body: Option<PlannedStage>,
}

/// An edge as the file writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Index of the stage; `None` is `checkout`.
    pub(crate) stage: Option<usize>,
    pub(crate) span: Span,
    /// `must: run`.
    pub(crate) must: bool,
}

impl Draft {
    pub(super) fn new(entry: &Entry) -> Self {
        Self {
            name: entry.key.name.clone(),
            span: entry.key.span,
            needs: None,
            before: Vec::new(),
            when: When::Always,
            run_on: RunOn::Success,
            matrix: None,
            image: None,
            reads: Vec::new(),
            body: None,
        }
    }

    /// The stage, when nothing of it is missing.
    pub(crate) fn finish(self, entry: &Entry) -> Option<Stage> {
        Some(Stage {
            name: self.name,
            span: self.span,
            entry: entry.clone(),
            when: self.when,
            run_on: self.run_on,
            matrix: self.matrix,
            body: self.body?,
        })
    }
}
