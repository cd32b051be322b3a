//! A stage while it is read: parts that were wrong are missing.
//!
//! Names and needs are there even when the action is not, so that a cycle is
//! found beside a typing error and not after it.

use crate::Duration;
use crate::model::{Action, Setting, Stage, When};
use crate::scalar::{AnyText, ImageReference};
use crate::source::Span;
use crate::yaml::Entry;

#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) span: Span,
    /// `None`: all stages above.
    pub(crate) needs: Option<Vec<Need>>,
    /// Spliced-in stages that want to stand before this one.
    pub(crate) before: Vec<Need>,
    pub(crate) when: When,
    pub(crate) timeout: Option<Setting<Duration>>,
    pub(crate) action: Option<Action>,
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
            timeout: None,
            action: None,
        }
    }

    /// The stage, when nothing of it is missing.
    pub(crate) fn finish(self) -> Option<Stage> {
        Some(Stage {
            name: self.name,
            span: self.span,
            action: self.action?,
            when: self.when,
            timeout: self.timeout?,
        })
    }
}

/// Values for every stage that can use them.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    /// Also when the image could not be read.
    pub(super) has_image: bool,
    pub(super) image: Option<Setting<ImageReference>>,
    pub(super) env: Vec<(String, Setting<AnyText>)>,
    /// The inner `None` is one that could not be read.
    pub(super) timeout: Option<Option<Setting<Duration>>>,
}
