//! Makes a plan: decides conditions, evaluates expressions, resolves environments.

use std::collections::BTreeMap;

use super::decide::{Decided, decide};
use super::{Decision, Edge, EdgeReason, Origin, OriginKind, Plan, PlannedStage, Work};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression::{Scope, Site};
use crate::lint::is_allowed;
use crate::lower::{Body, Lowering, Pass};
use crate::model::{Checkout, Pipeline};
use crate::name::CHECKOUT;
use crate::{Context, Environment};

/// The form of the plan.
pub(super) const FORMAT: u32 = 1;

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
        found: Vec::new(),
        warnings: Vec::new(),
        environments: BTreeMap::new(),
        unknown_is_fine: false,
    };
    let params = planner.params();
    planner.scope = Scope::new(pipeline, context, &name, &params);
    let mut decisions = decide(pipeline, context);
    let mut stages = Vec::with_capacity(pipeline.stages.len() + 1);
    stages.extend(pipeline.checkout.as_ref().map(|checkout| planner.checkout(checkout)));
    for at in &pipeline.graph.order {
        let decided = std::mem::take(&mut decisions[*at]);
        stages.extend(planner.stage(*at, decided));
    }
    planner.unknown_is_fine = false;
    let (notify, notices) = match &pipeline.notify {
        Some(node) => planner.lowering(|lowering| lowering.notify(node)).0,
        None => (Vec::new(), Vec::new()),
    };
    let concurrency = pipeline
        .concurrency
        .as_ref()
        .and_then(|node| planner.lowering(|lowering| lowering.concurrency(node, Site::Pipeline)).0);
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
        trusted: context.trusted,
        auto: pipeline.auto,
        run_timeout: pipeline.run_timeout,
        concurrency,
        params,
        stages,
        environments: planner.environments,
        notify,
        notices,
        scopes,
        diagnostics: warnings.to_json(),
    })
}

pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) context: &'a Context,
    scope: Scope<'a>,
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
            pass: Pass::Plan { scope: &self.scope, unknown_is_fine: self.unknown_is_fine },
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
            None => builtin(),
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

    fn stage(&mut self, at: usize, decided: Decided) -> Option<PlannedStage> {
        let stage = &self.pipeline.stages[at];
        self.unknown_is_fine = decided.state == Decision::Skip;
        let (body, mut traces) = self.lowering(|lowering| lowering.stage_again(&stage.entry));
        let Body {
            description,
            secrets,
            timeout,
            cancel_grace,
            allow_failure,
            retry,
            concurrency,
            runner,
            resources,
            cache,
            inputs,
            artifacts,
            merge,
            mut work,
        } = body?;
        if let Work::Deploy(deploy) = &mut work {
            self.deploy(stage, deploy, &mut traces)?;
        }
        let mut planned = PlannedStage {
            name: stage.name.clone(),
            stage: stage.name.clone(),
            matrix: BTreeMap::new(),
            description,
            needs: self.needs(at),
            run_on: stage.run_on,
            state: decided.state,
            reason: decided.reason,
            condition: decided.condition,
            deferred: decided.deferred,
            secrets,
            timeout,
            cancel_grace,
            allow_failure,
            retry,
            concurrency,
            runner,
            resources,
            cache,
            inputs,
            artifacts,
            merge,
            pending: traces.pending,
            origins: traces.origins,
            work,
        };
        if planned.state == Decision::Run {
            self.offered(stage, &mut planned);
        }
        Some(planned)
    }

    fn needs(&self, at: usize) -> Vec<Edge> {
        let graph = &self.pipeline.graph;
        let mut needs = Vec::with_capacity(graph.needs[at].len());
        if self.pipeline.checkout.is_some() && graph.after_checkout[at] {
            let by = if graph.needs[at].is_empty() { EdgeReason::Order } else { EdgeReason::Needs };
            needs.push(Edge { stage: CHECKOUT.to_owned(), by, must: None });
        }
        needs.extend(graph.needs[at].iter().map(|edge| Edge {
            stage: self.pipeline.stages[edge.stage].name.clone(),
            by: edge.by,
            must: edge.must.then(|| "run".to_owned()),
        }));
        needs
    }
}

/// The place of what stands in no file.
pub(super) fn builtin() -> Origin {
    Origin { file: String::new(), line: 0, column: 0, by: OriginKind::Builtin }
}
