//! A checked pipeline: typed, every value with its place.
//!
//! A [`Pipeline`] exists only after [`check`](crate::check), so whoever has one
//! has a pipeline without errors: names are resolved, the graph has no cycle, and
//! what is still open depends on the event alone.

mod setting;
mod stage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) use setting::{Given, Setting, SettingOrigin};
pub(crate) use stage::{
    Action, Build, Condition, Deploy, Expose, Health, Image, Probe, Push, Run, Stage, Strategy,
    When,
};

use crate::diagnostic::Diagnostics;
use crate::expression::{Parameters, Program};
use crate::graph::Graph;
use crate::pattern::Pattern;
use crate::scalar::{AnyText, Count, Recipient};
use crate::source::{Sources, Span};
use crate::{MailEvent, TargetSpec, Tier};

/// A pipeline without errors.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) sources: Sources,
    pub(crate) programs: Arc<HashMap<String, Arc<Program>>>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) name: Option<String>,
    pub(crate) on: Triggers,
    /// `None` when it is off.
    pub(crate) checkout: Option<Checkout>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) graph: Graph,
    pub(crate) environments: BTreeMap<String, FileEnvironment>,
    pub(crate) notify: Vec<Mail>,
    pub(crate) warnings: Diagnostics,
}

impl Pipeline {
    /// The file it was read from, as it was named to `parse`.
    pub fn file(&self) -> &str {
        self.sources.file(crate::source::FileId::PIPELINE).name()
    }

    /// The name in the file, or the name of a file in `.shipline/`; a single
    /// `.shipline.yml` without `name` goes by the name of its project.
    pub fn name<'a>(&'a self, project: &'a str) -> &'a str {
        if let Some(name) = &self.name {
            return name;
        }
        let file = self.file().rsplit('/').next().unwrap_or_default();
        match file.strip_suffix(".yml") {
            Some(stem) if !stem.is_empty() && stem != ".shipline" => stem,
            _ => project,
        }
    }

    /// Names of the stages in the order of the file, without `checkout`.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|stage| stage.name.as_str())
    }

    /// What `check` warned of; it is part of every plan.
    pub const fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }
}

/// `on`: what starts a run.
#[derive(Clone, Debug)]
pub(crate) struct Triggers {
    pub(crate) push: Option<PushTrigger>,
    pub(crate) pull_request: bool,
    pub(crate) manual: bool,
}

impl Default for Triggers {
    fn default() -> Self {
        Self { push: Some(PushTrigger::default()), pull_request: true, manual: true }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PushTrigger {
    /// `None`: every branch.
    pub(crate) branch: Option<Vec<Pattern>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    /// `None` is the full history.
    pub(crate) depth: Option<u32>,
    /// `None` when the file says nothing.
    pub(crate) span: Option<Span>,
}

/// `environments.NAME` of the file; it counts where no server defines one.
#[derive(Clone, Debug)]
pub(crate) struct FileEnvironment {
    pub(crate) span: Span,
    pub(crate) target: TargetSpec,
    pub(crate) tier: Tier,
    pub(crate) replicas: Option<Setting<Count>>,
    pub(crate) url: Option<Setting<String>>,
    pub(crate) env: Vec<(String, Setting<AnyText>)>,
}

/// `notify.mail`.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: Vec<Setting<Recipient>>,
    pub(crate) on: Vec<MailEvent>,
}
