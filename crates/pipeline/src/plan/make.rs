//! Makes a plan: decides conditions, evaluates expressions, resolves environments.

use std::collections::BTreeMap;

use super::decide::{Decided, Facts, decide};
use super::matrix::{Expanded, planned_name};
use super::trigger;
use super::{
    Concurrency, Decision, ImageSource, MailRule, Notice, Origin, OriginKind, Plan, PlannedStage,
    Work, default_run_timeout,
};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression::{Scope, Site};
use crate::lint::is_allowed;
use crate::lower::{Lowering, Pass};
use crate::model::{Cell, Checkout, Pipeline, Stage, When};
use crate::name::CHECKOUT;
use crate::{Context, Duration, Environment};

/// The form of the plan.
pub(super) const FORMAT: u32 = 1;

/// How the reason begins of a stage that runs because somebody named it.
pub const FORCED: &str = "forced although";

/// Freezes a pipeline for one event.
///
/// The same pipeline and context give the same plan, byte for byte.
pub fn plan(pipeline: &Pipeline, context: &Context) -> Result<Plan, Diagnostics> {
    let name = pipeline.name(&context.project).to_owned();
    let scope = Scope::new(pipeline, context, &name, &BTreeMap::new());
    let mut planner = Planner {
        pipeline,
        context,
        scope,
        cell: None,
        found: Vec::new(),
        warnings: Vec::new(),
        environments: BTreeMap::new(),
        unknown_is_fine: false,
    };
    planner.template_is_used();
    let params = planner.params();
    planner.scope = Scope::new(pipeline, context, &name, &params);
    let mut expanded = planner.expand();
    if !planner.found.is_empty() {
        return Err(Diagnostics::from(planner.found));
    }
    let mut facts = Facts::new(context);
    facts.environments = planner.deployed_to(&expanded);
    let mut stages = Vec::with_capacity(pipeline.stages.len() + 1);
    stages.extend(pipeline.checkout.as_ref().map(|checkout| planner.checkout(checkout)));
    // Needs come first in this order, so theirs are decided.
    for at in &pipeline.graph.order {
        match expanded[*at].cells.clone() {
            None => stages.extend(planner.planned(*at, None, &mut facts, &mut expanded)),
            Some(cells) => {
                for cell in cells.iter() {
                    stages.extend(planner.planned(*at, Some(cell), &mut facts, &mut expanded));
                }
            }
        }
    }
    planner.cell = None;
    planner.unknown_is_fine = false;
    let (whole_run, traces) = planner.lowering(|lowering| WholeRun::read(pipeline, lowering));
    let scopes = planner.scope.export(&stages);
    if !planner.found.is_empty() {
        return Err(Diagnostics::from(planner.found));
    }
    let mut warnings = pipeline.warnings.clone();
    planner.warnings.retain(|warning| !is_allowed(warning));
    warnings.extend(Diagnostics::from(planner.warnings));
    Ok(Plan {
        format: FORMAT,
        pipeline: name,
        file: pipeline.file().to_owned(),
        event: context.event,
        sha: context.git.sha.clone(),
        branch: context.git.branch.clone(),
        tag: context.git.tag.clone(),
        pull_request: context.pull_request.clone(),
        trusted: context.trusted,
        auto: !trigger::held(pipeline, context),
        run_timeout: whole_run.timeout,
        concurrency: whole_run.concurrency,
        templates: pipeline.templates.iter().map(|used| used.label.clone()).collect(),
        params,
        stages,
        environments: planner.environments,
        suites: pipeline.suites.clone(),
        notify: whole_run.mails,
        notices: whole_run.notices,
        origins: traces.origins,
        scopes,
        diagnostics: warnings.to_json(),
    })
}

/// The keys at the top of a file that hold for the run, not for its stages.
struct WholeRun {
    timeout: Duration,
    concurrency: Option<Concurrency>,
    mails: Vec<MailRule>,
    notices: Vec<Notice>,
}

impl WholeRun {
    fn read(pipeline: &Pipeline, lowering: &mut Lowering<'_>) -> Self {
        let timeout = pipeline.run_timeout.as_ref();
        let concurrency = pipeline.concurrency.as_ref();
        let notify = pipeline.notify.as_ref();
        let (mails, notices) = notify.map(|node| lowering.notify(node)).unwrap_or_default();
        Self {
            timeout: timeout.map_or_else(default_run_timeout, |node| lowering.run_timeout(node)),
            concurrency: concurrency.and_then(|node| lowering.concurrency(node, Site::Pipeline)),
            mails,
            notices,
        }
    }
}

pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) context: &'a Context,
    scope: Scope<'a>,
    /// With the values of the cell that is being planned.
    cell: Option<Scope<'a>>,
    pub(super) found: Vec<Diagnostic>,
    /// What only the place of the plan can warn of.
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) environments: BTreeMap<String, Environment>,
    /// The stage is skipped: what cannot be known for this event is never read.
    pub(super) unknown_is_fine: bool,
}

/// What a reading leaves besides its value.
pub(super) struct Traces {
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) pending: Vec<super::Pending>,
}

impl Planner<'_> {
    /// Reads something of the file again, with the values of its expressions.
    pub(super) fn lowering<T>(&mut self, read: impl FnOnce(&mut Lowering<'_>) -> T) -> (T, Traces) {
        let mut lowering = Lowering {
            sources: &self.pipeline.sources,
            names: &self.pipeline.names,
            defaults: &self.pipeline.defaults,
            sealed: &self.pipeline.sealed,
            pass: Pass::Plan {
                scope: self.cell.as_ref().unwrap_or(&self.scope),
                unknown_is_fine: self.unknown_is_fine,
            },
            found: &mut self.found,
            in_defaults: false,
            origins: BTreeMap::new(),
            pending: Vec::new(),
        };
        let value = read(&mut lowering);
        let Lowering { origins, pending, .. } = lowering;
        (value, Traces { origins, pending })
    }

    fn checkout(&self, checkout: &Checkout) -> PlannedStage {
        let origin = match checkout.span {
            Some(span) => self.pipeline.sources.origin(span, OriginKind::File),
            None => Origin::builtin(),
        };
        let work = Work::Checkout {
            depth: checkout.depth,
            submodules: checkout.submodules,
            lfs: checkout.lfs,
            paths: checkout.paths.clone(),
        };
        let origins = BTreeMap::from([("checkout".to_owned(), origin)]);
        PlannedStage { origins, ..PlannedStage::new(CHECKOUT, work) }
    }

    /// Where the stages of the plan deploy to, for conditions of others that ask. A
    /// stage counts when its own `when` does not fail; what its needs do is not asked,
    /// for they may be the ones that ask.
    fn deployed_to(&mut self, expanded: &[Expanded]) -> Vec<String> {
        let asked = self.pipeline.stages.iter().any(|stage| match &stage.when {
            When::Any(conditions) => conditions.iter().any(|one| one.environment.is_some()),
            When::Always | When::Off => false,
        });
        let mut environments: Vec<String> = Vec::new();
        if !asked {
            return environments;
        }
        let mut facts = Facts::new(self.context);
        for (at, stage) in self.pipeline.stages.iter().enumerate() {
            if !matches!(stage.body.work, Work::Deploy(_)) {
                continue;
            }
            let cells = expanded[at].cells.as_deref().unwrap_or_default();
            let cells: Vec<Option<&Cell>> = match cells {
                [] => vec![None],
                cells => cells.iter().map(Some).collect(),
            };
            for cell in cells {
                self.enter(cell);
                let own = self.own_environment(stage);
                let decided = self.decided(stage, own.as_deref(), &mut facts).0;
                if let Some(own) = own.filter(|_| decided.state == Decision::Run)
                    && !environments.contains(&own)
                {
                    environments.push(own);
                }
            }
        }
        self.cell = None;
        environments
    }

    /// Expressions from here on read the values of this cell.
    fn enter(&mut self, cell: Option<&Cell>) {
        self.cell = cell.map(|cell| self.scope.with_matrix(&cell.values));
    }

    /// The environment a deploy stage names.
    fn own_environment(&mut self, stage: &Stage) -> Option<String> {
        let node = stage.key_of("deploy", "environment")?;
        let outer = std::mem::replace(&mut self.unknown_is_fine, true);
        let (name, _) = self.lowering(|lowering| lowering.environment_name(node));
        self.unknown_is_fine = outer;
        Some(name)
    }

    fn decided(
        &mut self,
        stage: &Stage,
        own: Option<&str>,
        facts: &mut Facts<'_>,
    ) -> (Decided, Vec<Diagnostic>) {
        self.unknown_is_fine = false;
        let (mut decided, errors) = self.lowering(|lowering| decide(stage, own, facts, lowering)).0;
        if decided.state == Decision::Skip && self.context.forced.contains(&stage.name) {
            decided.state = Decision::Run;
            decided.reason = format!("{FORCED} {}", decided.reason);
        }
        (decided, errors)
    }

    /// Whether no value of the matrix could make the stage run.
    pub(super) fn is_skipped_anyway(&mut self, stage: &Stage) -> bool {
        let mut facts = Facts::new(self.context);
        let (decided, errors) = self.decided(stage, None, &mut facts);
        decided.state == Decision::Skip && errors.is_empty()
    }

    fn planned(
        &mut self,
        at: usize,
        cell: Option<&Cell>,
        facts: &mut Facts<'_>,
        expanded: &mut [Expanded],
    ) -> Option<PlannedStage> {
        let stage = &self.pipeline.stages[at];
        self.enter(cell);
        let own = match &stage.body.work {
            Work::Deploy(_) => self.own_environment(stage),
            _ => None,
        };
        let (mut decided, errors) = self.decided(stage, own.as_deref(), facts);
        if let Some(need) = self.skipped_need(at, cell, expanded) {
            decided.state = Decision::Skip;
            decided.reason = format!("`{need}` was skipped");
            decided.deferred.clear();
        } else {
            self.found.extend(errors);
        }
        expanded[at].decided(stage, cell, decided.state);
        let needs = self.needs(at, cell, expanded);
        self.unknown_is_fine = decided.state == Decision::Skip;
        let (read, mut traces) = self.lowering(|lowering| lowering.stage_again(&stage.entry));
        let mut planned = read?;
        if let Work::Deploy(deploy) = &mut planned.work {
            self.deploy(stage, deploy, &mut traces)?;
        }
        if let Some(maker) = self.image_cell(at, cell, expanded) {
            match &mut planned.work {
                Work::Push(push) => push.image = ImageSource::Stage(maker),
                Work::Deploy(deploy) => deploy.image = Some(ImageSource::Stage(maker)),
                _ => {}
            }
        }
        // Its place in the graph; the rest is what the file says.
        planned.name = planned_name(stage, cell);
        planned.stage.clone_from(&stage.name);
        planned.matrix = cell.map(|cell| cell.values.clone()).unwrap_or_default();
        planned.needs = needs;
        planned.run_on = stage.run_on;
        planned.state = decided.state;
        planned.reason = decided.reason;
        planned.condition = decided.condition;
        planned.deferred = decided.deferred;
        planned.pending = traces.pending;
        planned.origins = traces.origins;
        if planned.state == Decision::Run {
            self.offered(stage, &mut planned);
        }
        Some(planned)
    }
}
