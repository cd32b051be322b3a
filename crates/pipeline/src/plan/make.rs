//! Makes a plan: decides conditions, evaluates expressions, resolves environments.

use std::collections::BTreeMap;

use super::decide::decide;
use super::{
    BuildWork, Decision, Edge, EdgeReason, ImageSource, MailRule, Origin, OriginKind, Plan,
    PlannedStage, PushWork, RunWork, Work,
};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression::Scope;
use crate::model::{
    self, Action, Build, Checkout, Given, Image, Pipeline, Push, Run, Setting, SettingOrigin, Stage,
};
use crate::name::CHECKOUT;
use crate::scalar::{AnyText, Scalar};
use crate::yaml::{Node, Value};
use crate::{Context, Duration, Environment};

/// The form of the plan.
const FORMAT: u32 = 1;

/// Freezes a pipeline for one event.
///
/// The same pipeline and context give the same plan, byte for byte.
pub fn plan(pipeline: &Pipeline, context: &Context) -> Result<Plan, Diagnostics> {
    let name = pipeline.name(&context.project).to_owned();
    let scope =
        Scope::new(&pipeline.sources, &pipeline.programs, &pipeline.parameters, context, &name);
    let mut planner = Planner {
        pipeline,
        context,
        scope,
        found: Vec::new(),
        environments: BTreeMap::new(),
        unknown_is_fine: false,
        origins: BTreeMap::new(),
    };
    let mut decisions = decide(pipeline, context);
    let mut stages = Vec::with_capacity(pipeline.stages.len() + 1);
    stages.extend(pipeline.checkout.as_ref().map(|checkout| planner.checkout(checkout)));
    for at in &pipeline.graph.order {
        let (state, reason) = std::mem::take(&mut decisions[*at]);
        stages.extend(planner.stage(*at, state, reason));
    }
    planner.unknown_is_fine = false;
    let notify = pipeline.notify.iter().map(|mail| planner.mail(mail)).collect();
    if !planner.found.is_empty() {
        return Err(Diagnostics::from(planner.found));
    }
    Ok(Plan {
        format: FORMAT,
        pipeline: name,
        file: pipeline.file().to_owned(),
        event: context.event,
        sha: context.git.sha.clone(),
        branch: context.git.branch.clone(),
        tag: context.git.tag.clone(),
        trusted: context.trusted,
        stages,
        environments: planner.environments,
        notify,
        diagnostics: pipeline.warnings.to_json(),
    })
}

pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) context: &'a Context,
    scope: Scope<'a>,
    pub(super) found: Vec<Diagnostic>,
    pub(super) environments: BTreeMap<String, Environment>,
    /// The stage is skipped: what cannot be known for this event is never read.
    pub(super) unknown_is_fine: bool,
    /// Of the stage that is being planned.
    pub(super) origins: BTreeMap<String, Origin>,
}

impl Planner<'_> {
    fn checkout(&self, checkout: &Checkout) -> PlannedStage {
        let origin = match checkout.span {
            Some(span) => SettingOrigin { by: OriginKind::File, at: Some(span) },
            None => SettingOrigin { by: OriginKind::Builtin, at: None },
        };
        PlannedStage {
            name: CHECKOUT.to_owned(),
            stage: CHECKOUT.to_owned(),
            matrix: BTreeMap::new(),
            needs: Vec::new(),
            state: Decision::Run,
            reason: "no condition".to_owned(),
            deferred: Vec::new(),
            secrets: Vec::new(),
            timeout: Duration::from_secs(3600),
            origins: BTreeMap::from([("checkout".to_owned(), self.origin(origin))]),
            work: Work::Checkout { depth: checkout.depth },
        }
    }

    fn stage(&mut self, at: usize, state: Decision, reason: String) -> Option<PlannedStage> {
        let stage = &self.pipeline.stages[at];
        self.unknown_is_fine = state == Decision::Skip;
        self.origins = BTreeMap::new();
        let timeout = self.value("timeout", &stage.timeout);
        let work = self.work(stage);
        Some(PlannedStage {
            name: stage.name.clone(),
            stage: stage.name.clone(),
            matrix: BTreeMap::new(),
            needs: self.needs(at),
            state,
            reason,
            deferred: Vec::new(),
            secrets: Vec::new(),
            timeout: timeout?,
            origins: std::mem::take(&mut self.origins),
            work: work?,
        })
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

    fn work(&mut self, stage: &Stage) -> Option<Work> {
        Some(match &stage.action {
            Action::Run(run) => Work::Run(self.run(run)?),
            Action::Build(build) => Work::Build(self.build(build)?),
            Action::Push(push) => Work::Push(self.push(push)?),
            Action::Deploy(deploy) => Work::Deploy(Box::new(self.deploy(stage, deploy)?)),
        })
    }

    fn run(&mut self, run: &Run) -> Option<RunWork> {
        let image = self.value("image", &run.image);
        let commands = self.list("run", &run.commands);
        let env = self.texts("env", &run.env);
        Some(RunWork { image: image?.0, run: commands?, env: env? })
    }

    fn build(&mut self, build: &Build) -> Option<BuildWork> {
        let context = self.value("build.context", &build.context);
        let file = self.value("build.file", &build.file);
        let args = self.texts("build.args", &build.args);
        let tags = self.list("build.tags", &build.tags);
        let tags = tags.map(|tags| tags.into_iter().map(|tag| tag.0).collect());
        Some(BuildWork { context: context?.0, file: file?.0, args: args?, tags: tags? })
    }

    fn push(&mut self, push: &Push) -> Option<PushWork> {
        let image = self.image("push.image", &push.image);
        let registry = self.value("push.registry", &push.registry);
        let tags = self.list("push.tags", &push.tags);
        let tags = tags.map(|tags| tags.into_iter().map(|tag| tag.0).collect());
        Some(PushWork { image: image?, registry: registry?, tags: tags? })
    }

    pub(super) fn image(&mut self, path: &str, image: &Image) -> Option<ImageSource> {
        match image {
            Image::Stage { stage, span } => {
                let origin = SettingOrigin { by: self.kind_of(*span), at: Some(*span) };
                self.record(path, origin);
                Some(ImageSource::Stage(self.pipeline.stages[*stage].name.clone()))
            }
            Image::Reference(reference) => {
                self.value(path, reference).map(|reference| ImageSource::Reference(reference.0))
            }
        }
    }

    fn mail(&mut self, mail: &model::Mail) -> MailRule {
        let to = mail.to.iter().filter_map(|to| self.value("to", to)).map(|to| to.0).collect();
        MailRule { to, on: mail.on.clone() }
    }

    fn list<T: Scalar>(&mut self, path: &str, settings: &[Setting<T>]) -> Option<Vec<T>> {
        // All of them, so that all errors are found.
        let values: Vec<Option<T>> =
            settings.iter().map(|setting| self.value(path, setting)).collect();
        values.into_iter().collect()
    }

    pub(super) fn texts(
        &mut self,
        path: &str,
        settings: &[(String, Setting<AnyText>)],
    ) -> Option<BTreeMap<String, String>> {
        let mut texts = BTreeMap::new();
        let mut whole = true;
        for (name, setting) in settings {
            match self.value(&format!("{path}.{name}"), setting) {
                Some(text) => {
                    texts.insert(name.clone(), text.0);
                }
                None => whole = false,
            }
        }
        whole.then_some(texts)
    }

    /// Returns the value of a setting and remembers where it came from.
    pub(super) fn value<T: Scalar>(&mut self, path: &str, setting: &Setting<T>) -> Option<T> {
        self.record(path, setting.origin);
        let (pieces, span) = match (&setting.given, setting.span) {
            (Given::Value(value), _) => return Some(value.clone()),
            (Given::Expression(pieces), Some(span)) => (pieces, span),
            // Only what stands in a file can be an expression.
            (Given::Expression(_), None) => return None,
        };
        let value = self.scope.value(pieces, span);
        let read = value.and_then(|value| self.read(path, &Node::new(value, span)));
        match read {
            Ok(value) => Some(value),
            Err(_) if self.unknown_is_fine => {
                Some(T::unknown(self.pipeline.sources.text(span).trim_matches(['"', '\''])))
            }
            Err(diagnostic) => {
                self.found.push(*diagnostic);
                None
            }
        }
    }

    /// Reads what an expression gave; a wrong type is the expression's (E042).
    fn read<T: Scalar>(&self, path: &str, node: &Node) -> Result<T, Box<Diagnostic>> {
        let sources = &self.pipeline.sources;
        let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
        if matches!(node.value, Value::Null) {
            let message = format!("the expression of `{key}` has no value for this event");
            let place = sources.place(node.span);
            return Err(Box::new(Diagnostic::error(Code::E042, message).at(place)));
        }
        T::read(node).map_err(|mut misfit| {
            // The value is not in the file, so nothing of it can be pointed at.
            misfit.part = None;
            let mut diagnostic = misfit.diagnostic(key, node, sources);
            if diagnostic.code == Code::E012 {
                diagnostic.code = Code::E042;
                diagnostic.label = Some(format!("the expression gives {}", node.value.kind()));
            }
            Box::new(diagnostic)
        })
    }

    pub(super) fn record(&mut self, path: &str, origin: SettingOrigin) {
        let origin = self.origin(origin);
        self.origins.entry(path.to_owned()).or_insert(origin);
    }

    pub(super) fn origin(&self, origin: SettingOrigin) -> Origin {
        let Some(span) = origin.at else {
            return Origin { file: String::new(), line: 0, column: 0, by: origin.by };
        };
        let source = self.pipeline.sources.file(span.file);
        let (line, column) = source.line_column(span.start as usize);
        Origin { file: source.name().to_owned(), line, column, by: origin.by }
    }

    pub(super) fn kind_of(&self, span: crate::source::Span) -> OriginKind {
        if span.file == crate::source::FileId::PIPELINE {
            OriginKind::File
        } else {
            OriginKind::Template
        }
    }
}
