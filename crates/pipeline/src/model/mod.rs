//! A checked pipeline: typed, every value with its place.
//!
//! A [`Pipeline`] exists only after [`check`](crate::check), so whoever has one
//! has a pipeline without errors: names are resolved, the graph has no cycle, and
//! what is still open depends on the event alone.

mod stage;
mod trigger;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) use stage::{Cell, Condition, Events, Globs, Matrix, ParamTest, Read, Stage, When};
pub use trigger::Schedule;
pub(crate) use trigger::{
    GerritEvent, GerritTrigger, ManualTrigger, PullRequestTrigger, PullRequestType, PushTrigger,
    SvnTrigger, TagTrigger, Triggers,
};

use crate::diagnostic::Diagnostics;
use crate::expression::{Parameters, Program};
use crate::graph::Graph;
use crate::lower::Names;
use crate::plan::{Param, Submodules, Verify};
use crate::source::{Sources, Span};
use crate::template::Used;
use crate::yaml::{Map, Node};
use crate::{Environment, TriggerEvent};

/// A pipeline without errors.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) sources: Sources,
    pub(crate) programs: Arc<HashMap<String, Arc<Program>>>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) names: Arc<Names>,
    /// The chain of templates, that of the file first.
    pub(crate) templates: Vec<Used>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) on: Triggers,
    pub(crate) auto: bool,
    pub(crate) run_timeout: Option<Node>,
    /// As it is written.
    pub(crate) concurrency: Option<Node>,
    /// `None` when it is off.
    pub(crate) checkout: Option<Checkout>,
    /// Values for every stage that can use them, by key.
    pub(crate) defaults: Map,
    /// The same as the stages see them that a template has sealed.
    pub(crate) sealed: Arc<BTreeMap<String, Map>>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) graph: Graph,
    pub(crate) environments: BTreeMap<String, FileEnvironment>,
    /// They have no expressions, so a plan has them as they are.
    pub(crate) suites: BTreeMap<String, Vec<Verify>>,
    /// As it is written.
    pub(crate) notify: Option<Node>,
    pub(crate) warnings: Diagnostics,
}

impl Pipeline {
    /// The file it was read from, as it was named to `parse`.
    pub fn file(&self) -> &str {
        self.sources.file(crate::source::FileId::PIPELINE).name()
    }

    /// The texts it was made from: the pipeline file and its templates.
    pub fn files(&self) -> &[crate::SourceFile] {
        self.sources.all()
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

    /// Types and defaults of the parameters of a manual run.
    pub fn params(&self) -> &BTreeMap<String, Param> {
        &self.on.params
    }

    /// When runs start by the clock.
    pub fn schedules(&self) -> &[Schedule] {
        &self.on.schedules
    }

    /// Triggers of the file whose events this version does not receive: `gerrit`
    /// and `svn`. Whoever watches a repository tells people so.
    pub fn unheard(&self) -> Vec<TriggerEvent> {
        let gerrit = self.on.gerrit.is_some().then_some(TriggerEvent::Gerrit);
        let svn = self.on.svn.is_some().then_some(TriggerEvent::Svn);
        gerrit.into_iter().chain(svn).collect()
    }

    /// `description` of the file.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// What `check` warned of; it is part of every plan.
    pub const fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    /// `None` is the full history.
    pub(crate) depth: Option<u32>,
    pub(crate) submodules: Submodules,
    pub(crate) lfs: bool,
    pub(crate) paths: Vec<String>,
    /// `None` when the file says nothing.
    pub(crate) span: Option<Span>,
}

/// `environments.NAME` of the file; it counts where no server defines one.
#[derive(Clone, Debug)]
pub(crate) struct FileEnvironment {
    pub(crate) span: Span,
    /// As it is written.
    pub(crate) node: Node,
    /// As far as it is known without an event.
    pub(crate) known: Environment,
}
