//! Makes a plan: decides conditions, evaluates expressions, resolves environments.

use std::collections::BTreeMap;

use super::decide::decide;
use super::{
    BuildWork, Decision, DeployWork, Edge, EdgeReason, Expose, Health, ImageSource, MailRule, Origin,
    OriginKind, Plan, PlannedStage, Probe, PushWork, RunWork, Strategy, Work,
};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expression::Scope;
use crate::model::{
    self, Action, Build, Checkout, Deploy, Given, Image, Pipeline, Push, Run, Setting, SettingOrigin,
    Stage,
};
use crate::name::CHECKOUT;
use crate::scalar::{AnyText, Count, Scalar};
use crate::suggest::{closest, quoted};
use crate::yaml::{Node, Value};
use crate::{Context, Duration, Environment, Place, Tier};

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

struct Planner<'a> {
    pipeline: &'a Pipeline,
    context: &'a Context,
    scope: Scope<'a>,
    found: Vec<Diagnostic>,
    environments: BTreeMap<String, Environment>,
    /// The stage is skipped: what cannot be known for this event is never read.
    unknown_is_fine: bool,
    /// Of the stage that is being planned.
    origins: BTreeMap<String, Origin>,
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
        Some(BuildWork { context: context?, file: file?, args: args?, tags: tags? })
    }

    fn push(&mut self, push: &Push) -> Option<PushWork> {
        let image = self.image("push.image", &push.image);
        let registry = self.value("push.registry", &push.registry);
        let tags = self.list("push.tags", &push.tags);
        let tags = tags.map(|tags| tags.into_iter().map(|tag| tag.0).collect());
        Some(PushWork { image: image?, registry: registry?, tags: tags? })
    }

    fn image(&mut self, path: &str, image: &Image) -> Option<ImageSource> {
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

    fn deploy(&mut self, stage: &Stage, deploy: &Deploy) -> Option<DeployWork> {
        let name = self.value("deploy.environment", &deploy.environment);
        let environment = name.and_then(|name| self.environment(stage, deploy, name));
        let image = self.image("deploy.image", &deploy.image);
        let given = deploy.replicas.as_ref().map(|setting| self.value("deploy.replicas", setting));
        let own = self.texts("deploy.env", &deploy.env);
        let expose = deploy.expose.as_ref().map(|expose| self.expose(expose));
        let health = deploy.health.as_ref().map(|health| self.health(health));
        let strategy = self.strategy(&deploy.strategy);
        let (environment, definition) = environment?;
        let replicas = match (given, definition.as_ref().and_then(|definition| definition.replicas)) {
            (Some(given), _) => given?.0,
            (None, Some(replicas)) => {
                self.origins.insert("deploy.replicas".to_owned(), self.environment_origin(&environment));
                replicas
            }
            (None, None) => {
                self.record("deploy.replicas", SettingOrigin { by: OriginKind::Builtin, at: None });
                1
            }
        };
        // The stage's own variables stand above those of the environment.
        let mut env = definition.map(|definition| definition.env).unwrap_or_default();
        for variable in env.keys() {
            let origin = self.environment_origin(&environment);
            self.origins.entry(format!("deploy.env.{variable}")).or_insert(origin);
        }
        env.extend(own?);
        Some(DeployWork {
            environment,
            image: image?,
            replicas,
            expose: transposed(expose)?,
            health: transposed(health)?,
            strategy: strategy?,
            env,
        })
    }

    /// Finds who defines the environment: the server where there is one, else the file.
    fn environment(
        &mut self,
        stage: &Stage,
        deploy: &Deploy,
        name: String,
    ) -> Option<(String, Option<Environment>)> {
        let definition = match &self.context.place {
            Place::Server { environments } => environments.get(&name).cloned(),
            Place::Local => match self.pipeline.environments.get(&name) {
                Some(environment) => Some(self.file_environment(environment)?),
                None => None,
            },
        };
        match definition {
            Some(definition) => {
                self.environments.insert(name.clone(), definition.clone());
                Some((name, Some(definition)))
            }
            None if self.unknown_is_fine => Some((name, None)),
            None => {
                self.unknown_environment(stage, deploy, &name);
                None
            }
        }
    }

    fn unknown_environment(&mut self, stage: &Stage, deploy: &Deploy, name: &str) {
        let in_file = self.pipeline.environments.get(name);
        let span = deploy.environment.span.unwrap_or(stage.span);
        let place = self.pipeline.sources.place(span);
        let file: Vec<&str> = self.pipeline.environments.keys().map(String::as_str).collect();
        let stage = &stage.name;
        let diagnostic = match (&self.context.place, in_file) {
            (Place::Server { .. }, Some(environment)) if environment.tier == Tier::Prod => {
                let message = format!(
                    "stage `{stage}` deploys to the protected environment `{name}`, which the server does not define"
                );
                Diagnostic::error(Code::E063, message)
                    .at(place)
                    .label("define it on the server; the file alone cannot")
                    .related("in the file", self.pipeline.sources.place(environment.span))
            }
            (Place::Server { environments }, _) => {
                let known: Vec<&str> = environments.keys().map(String::as_str).collect();
                let message = format!(
                    "stage `{stage}` deploys to `{name}`, which the server does not define for this project"
                );
                let diagnostic = Diagnostic::error(Code::E062, message).at(place);
                let diagnostic = diagnostic.note(format!("defined on the server: {}", or_none(&known)));
                suggest(diagnostic, name, &known)
            }
            (Place::Local, _) => {
                let message = format!("stage `{stage}` deploys to `{name}`, which is not an environment");
                let diagnostic = Diagnostic::error(Code::E062, message)
                    .at(place)
                    .note(format!("defined in the file: {}", or_none(&file)))
                    .help(format!(
                        "define it for local runs, for example\nenvironments:\n  {name}: {{ target: {{ docker: {{ host: \"unix:///var/run/docker.sock\" }} }} }}"
                    ));
                suggest(diagnostic, name, &file)
            }
        };
        self.found.push(diagnostic);
    }

    fn file_environment(&mut self, environment: &model::FileEnvironment) -> Option<Environment> {
        // Its values are not values of the stage.
        let origins = std::mem::take(&mut self.origins);
        let replicas = environment.replicas.as_ref().map(|setting| self.value("replicas", setting));
        let url = environment.url.as_ref().map(|setting| self.value("url", setting));
        let env = self.texts("env", &environment.env);
        self.origins = origins;
        Some(Environment {
            target: environment.target.clone(),
            tier: environment.tier,
            replicas: transposed(replicas)?.map(|count: Count| count.0),
            url: transposed(url)?,
            env: env?,
        })
    }

    fn environment_origin(&self, name: &str) -> Origin {
        let in_file = self.pipeline.environments.get(name);
        match (&self.context.place, in_file) {
            (Place::Local, Some(environment)) => self.origin(SettingOrigin {
                by: self.kind_of(environment.span),
                at: Some(environment.span),
            }),
            _ => self.origin(SettingOrigin { by: OriginKind::Server, at: None }),
        }
    }

    fn expose(&mut self, expose: &model::Expose) -> Option<Expose> {
        let port = self.value("deploy.expose.port", &expose.port);
        let host = self.value("deploy.expose.host", &expose.host);
        let path = self.value("deploy.expose.path", &expose.path);
        Some(Expose { port: port?.0, host: host?.0, path: path?.0 })
    }

    fn health(&mut self, health: &model::Health) -> Option<Health> {
        let probe = match &health.probe {
            model::Probe::Http { path, port } => {
                let path = self.value("deploy.health.http", path);
                let port = self.value("deploy.health.port", port);
                path.zip(port).map(|(path, port)| Probe::Http { path: path.0, port: port.0 })
            }
            model::Probe::Tcp(port) => {
                self.value("deploy.health.tcp", port).map(|port| Probe::Tcp(port.0))
            }
        };
        let interval = self.value("deploy.health.interval", &health.interval);
        let timeout = self.value("deploy.health.timeout", &health.timeout);
        let successes = self.value("deploy.health.successes", &health.successes);
        let failures = self.value("deploy.health.failures", &health.failures);
        let start_period = self.value("deploy.health.start-period", &health.start_period);
        let deadline = self.value("deploy.health.deadline", &health.deadline);
        Some(Health {
            probe: probe?,
            interval: interval?,
            timeout: timeout?,
            successes: successes?.0,
            failures: failures?.0,
            start_period: start_period?,
            deadline: deadline?,
        })
    }

    fn strategy(&mut self, strategy: &model::Strategy) -> Option<Strategy> {
        let batch = self.value("deploy.strategy.batch", &strategy.batch);
        let bake = self.value("deploy.strategy.bake", &strategy.bake);
        let drain = self.value("deploy.strategy.drain", &strategy.drain);
        Some(Strategy { batch: batch?.0, bake: bake?, drain: drain? })
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

    fn texts(
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
    fn value<T: Scalar>(&mut self, path: &str, setting: &Setting<T>) -> Option<T> {
        self.record(path, setting.origin);
        let (pieces, span) = match (&setting.given, setting.span) {
            (Given::Value(value), _) => return Some(value.clone()),
            (Given::Expression(pieces), Some(span)) => (pieces, span),
            // Only what stands in a file can be an expression.
            (Given::Expression(_), None) => return None,
        };
        let value = self.scope.value(pieces, span).map_err(|diagnostic| *diagnostic);
        let read = value.and_then(|value| self.read(path, Node::new(value, span)));
        match read {
            Ok(value) => Some(value),
            Err(_) if self.unknown_is_fine => {
                Some(T::unknown(self.pipeline.sources.text(span).trim_matches(['"', '\''])))
            }
            Err(diagnostic) => {
                self.found.push(diagnostic);
                None
            }
        }
    }

    /// Reads what an expression gave; a wrong type is the expression's (E042).
    fn read<T: Scalar>(&self, path: &str, node: Node) -> Result<T, Diagnostic> {
        let sources = &self.pipeline.sources;
        let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
        if matches!(node.value, Value::Null) {
            let message = format!("the expression of `{key}` has no value for this event");
            return Err(Diagnostic::error(Code::E042, message).at(sources.place(node.span)));
        }
        T::read(&node).map_err(|misfit| {
            let mut diagnostic = misfit.diagnostic(key, &node, sources);
            if diagnostic.code == Code::E012 {
                diagnostic.code = Code::E042;
                diagnostic.label = Some(format!("the expression gives {}", node.value.kind()));
            }
            diagnostic
        })
    }

    fn record(&mut self, path: &str, origin: SettingOrigin) {
        let origin = self.origin(origin);
        self.origins.entry(path.to_owned()).or_insert(origin);
    }

    fn origin(&self, origin: SettingOrigin) -> Origin {
        let Some(span) = origin.at else {
            return Origin { file: String::new(), line: 0, column: 0, by: origin.by };
        };
        let source = self.pipeline.sources.file(span.file);
        let (line, column) = source.line_column(span.start as usize);
        Origin { file: source.name().to_owned(), line, column, by: origin.by }
    }

    fn kind_of(&self, span: crate::source::Span) -> OriginKind {
        if span.file == crate::source::FileId::PIPELINE { OriginKind::File } else { OriginKind::Template }
    }
}

/// `Some(None)` is a value that is there and could not be read.
fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { quoted(names.iter().copied()) }
}

fn suggest(diagnostic: Diagnostic, name: &str, known: &[&str]) -> Diagnostic {
    match closest(name, known.iter().copied()) {
        Some(close) => diagnostic.label(format!("did you mean `{close}`?")),
        None => diagnostic,
    }
}
