//! Environments of the pipeline file, for those who change and look at them without a server.

mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use deploy::{
    Acceptance, Bootstrapped, ChangeError, DeployError, Deployed, Deployment, DeploymentRecord,
    EnvironmentKey, ExecOptions, Ledger, LedgerError, Limits, LogOptions, Order, OrderError,
    PreviewError, Progress, Release, Request, RollbackError, Target, TargetError, Terminal, Trace,
    UnitId,
};
use event::{DeploymentId, Event, Stream, Verdict};
use futures_util::StreamExt as _;
use pipeline::{Decision, DeployWork, Environment, Plan, TargetSpec, Tier, Work};
use runner::{Registries, SideEffects, Verification};
use serde::Serialize;
use serde_json::Value;
use server::UnitOutput;
use store::{Closing, Closure, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::arguments::{PlaceArguments, SimulationArguments};
use crate::error::{CommandError, Context as _, Kind};
use crate::home::Home;
use crate::{docker_credentials, home, local, local_checks, recovery};

/// Deployments looked through for the one that stands.
const HISTORY: u32 = 200;
/// Events read at a time.
const EVENTS: u32 = 500;
/// How often a deployment is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Until somebody acts on a decision: the lease of a dead process has run out by then.
const ACTED: Duration = Duration::from_secs(45);

pub(crate) struct LocalEnvironments {
    home: Home,
    project: String,
    plan: Plan,
    store: Store,
}

/// A deployment that goes on in this process.
pub(crate) struct Begun {
    pub(crate) id: DeploymentId,
    pub(crate) work: JoinHandle<Result<Deployed, DeployError>>,
    /// Ends when the work does.
    pub(crate) progress: mpsc::Receiver<Progress>,
}

impl LocalEnvironments {
    /// Reads the environments of the pipeline file of this directory.
    pub(crate) async fn open(place: &PlaceArguments) -> Result<Self, CommandError> {
        let planned = local::plan(&place.pipeline, &SimulationArguments::default()).await?;
        let home = Home::from_environment()?;
        let store = home.store().await?;
        let project = place.project.clone().unwrap_or(planned.project);
        Ok(Self { home, project, plan: planned.plan, store })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.plan.environments.keys().cloned().collect()
    }

    /// What should run, what does, and what was deployed last.
    pub(crate) async fn status(&self, name: &str) -> Result<Value, CommandError> {
        let target = self.target(name).await?;
        let key = self.key(name);
        let observed = target.observe(&key).await.environment("cannot observe the environment")?;
        let history =
            self.store.history(&key, HISTORY).await.environment("cannot read the history")?;
        let releases = self.known_releases().await?;
        let lock =
            self.store.closure(&key, Utc::now()).await.environment("cannot read the locks")?;
        let hosts = target.hosts();
        let status = server::environment_status(&key, &observed, &history, &releases, lock, &hosts);
        let incidents = self.store.open_incidents(&key).await;
        let incidents = incidents.environment("cannot read the incidents")?;
        let switch = target.switch().map(server::SwitchView::from);
        json_of(&server::EnvironmentStatus { incidents, switch, ..status })
    }

    pub(crate) async fn preview(&self, name: &str, order: &Order) -> Result<Value, CommandError> {
        let target = self.target_with_logins(name).await?;
        let ledger = self.ledger();
        let deployment = self.deployment_of(name, order, Trace::None).await?;
        let policy = order.policy(self.is_production(name));
        let preview = deploy::preview(&deployment, policy, target.as_ref(), ledger.as_ref());
        let preview = preview.await.map_err(|error| match &error {
            PreviewError::Nothing { .. } => CommandError::usage(&error),
            _ => CommandError::caused(Kind::Environment, "cannot plan the deployment", &error),
        })?;
        json_of(&server::preview_view(&deployment, preview, &self.known_releases().await?))
    }

    /// Begins a deployment that `cancel` ends.
    pub(crate) async fn begin(
        &self,
        name: &str,
        order: &Order,
        cancel: &CancellationToken,
    ) -> Result<Begun, CommandError> {
        let target = self.target_with_logins(name).await?;
        recovery::recover_deployments(&self.home, &self.store).await?;
        let deployment = self.deployment_of(name, order, Trace::Recorded).await?;
        let id = deployment.id;
        let runner = local_checks::runner(&deployment.spec, &self.store, &self.plan).await?;
        let request = Request {
            deployment,
            holder: format!("{} (process {})", whoami(), std::process::id()),
            policy: order.policy(self.is_production(name)),
            runner,
        };
        let wait = order.lock_wait_ms.map(Duration::from_millis);
        let limits = Limits::default();
        let limits = Limits { lock_wait: wait.unwrap_or(limits.lock_wait), ..limits };
        let (ledger, cancel) = (self.ledger(), cancel.clone());
        let (told, progress) = mpsc::channel(64);
        let work = tokio::spawn(async move {
            deploy::deploy_within(request, limits, target, ledger, told, &cancel).await
        });
        Ok(Begun { id, work, progress })
    }

    /// Waits until a deployment is written down, or has ended without.
    pub(crate) async fn is_recorded(&self, begun: &Begun) -> Result<bool, CommandError> {
        const WHAT: &str = "cannot read the deployment";
        while self.store.deployment(begun.id).await.environment(WHAT)?.is_none() {
            if begun.work.is_finished() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }

    /// What an order asks for, configured as the pipeline file says.
    async fn deployment_of(
        &self,
        name: &str,
        order: &Order,
        trace: Trace,
    ) -> Result<Deployment, CommandError> {
        let work = self.deploy_work(name)?;
        let configure = |release: &Release| {
            let environment = self.plan.environments.get(name);
            work.map(|(work, verification)| {
                runner::specification(&self.project, environment, work, release, verification)
            })
        };
        let (ledger, key) = (self.ledger(), self.key(name));
        order
            .deployment(&ledger, &key, &whoami(), Utc::now(), trace, configure)
            .await
            .map_err(|error| refused(name, &error))
    }

    /// What the one deploy stage of an environment says. Where several deploy to it, or
    /// none, nothing does.
    fn deploy_work(&self, name: &str) -> Result<Option<(&DeployWork, Verification)>, CommandError> {
        let mut found = self.plan.stages.iter().filter_map(|stage| match &stage.work {
            Work::Deploy(work) if work.environment == name => Some((stage, work)),
            _ => None,
        });
        let (Some((stage, work)), None) = (found.next(), found.next()) else { return Ok(None) };
        let mut stage = stage.clone();
        stage.state = Decision::Run;
        let alone = Plan { stages: vec![stage], ..self.plan.clone() };
        let unsupported = runner::unsupported(&alone, SideEffects::Allowed, true);
        if unsupported.is_empty() {
            let env = work.verify_env.clone();
            let verification = runner::verification(&self.plan, work, env)
                .map_err(|error| CommandError::usage(&error))?;
            return Ok(Some((work, verification)));
        }
        let text: Vec<String> = unsupported.iter().map(ToString::to_string).collect();
        Err(CommandError::usage(text.join("\n\n")))
    }

    pub(crate) async fn history(&self, name: &str, limit: u32) -> Result<Value, CommandError> {
        self.environment(name)?;
        let history = self.store.history(&self.key(name), limit).await;
        let history = history.environment("cannot read the history")?;
        let releases = self.known_releases().await?;
        let views: Vec<_> =
            history.iter().map(|record| server::deployment_view(record, &releases)).collect();
        let incidents = self.store.incidents(&self.key(name), limit.max(HISTORY)).await;
        let incidents = incidents.environment("cannot read the incidents")?;
        json_of(&server::with_incidents(views, &incidents))
    }

    pub(crate) async fn releases(&self, name: Option<&str>) -> Result<Value, CommandError> {
        let Some(name) = name else { return json_of(&self.known_releases().await?) };
        let target = self.target(name).await?;
        let listed = server::listed_releases(&self.store, &self.key(name), target.as_ref()).await;
        json_of(&listed.environment("cannot read the releases")?)
    }

    pub(crate) async fn deployment(&self, id: &str) -> Result<Value, CommandError> {
        let record = self.record(id).await?;
        json_of(&server::deployment_view(&record, &self.known_releases().await?))
    }

    pub(crate) async fn mark(
        &self,
        id: &str,
        verdict: Verdict,
        reason: Option<&str>,
    ) -> Result<Value, CommandError> {
        let record = self.record(id).await?;
        if record.state.is_none() {
            return Err(CommandError::usage(format_args!("deployment `{id}` has not ended yet")));
        }
        let reason = reason.map(str::to_owned);
        let marked = self.store.mark(record.deployment.id, verdict, &whoami(), reason).await;
        marked.environment("cannot mark the deployment")?;
        self.deployment(id).await
    }

    /// Decides about a deployment that is held, and sees to it that somebody acts on that.
    pub(crate) async fn decide(
        &self,
        id: &str,
        decision: event::Decision,
        reason: Option<&str>,
    ) -> Result<Value, CommandError> {
        let record = self.record(id).await?;
        let deployment = record.deployment.id;
        let reason = reason.map(str::to_owned);
        let decided = self.store.decide(deployment, decision, &whoami(), reason).await;
        decided.map_err(|error| match error {
            LedgerError::NotHeld(_) => CommandError::usage(&error),
            _ => CommandError::caused(Kind::Environment, "cannot write the decision", &error),
        })?;
        let decided_at = self.record(id).await?.moved_at;
        let asked = Instant::now();
        // Its process acts within a second, unless it is dead: then it is up to this one.
        while asked.elapsed() < ACTED {
            let record = self.record(id).await?;
            if record.state.is_some() || record.moved_at != decided_at {
                break;
            }
            if recovery::take_up(&self.home, &self.store, deployment).await? {
                break;
            }
            tokio::time::sleep(5 * LOOK).await;
        }
        self.deployment(id).await
    }

    pub(crate) async fn lock(
        &self,
        name: &str,
        reason: &str,
        until: DateTime<Utc>,
        mine: bool,
    ) -> Result<Value, CommandError> {
        self.environment(name)?;
        let (owner, reason) = (whoami(), reason.to_owned());
        let closure = Closure { owner, reason, since: Utc::now(), until, reserved: mine };
        let closing = self.store.close_environment(&self.key(name), &closure).await;
        match closing.environment("cannot write the lock")? {
            Closing::Others(other) => Err(closed(name, &other)),
            Closing::Done | Closing::Nothing => json_of(&closure),
        }
    }

    /// Opens an environment, and returns whose lock that was.
    pub(crate) async fn unlock(
        &self,
        name: &str,
        force: bool,
    ) -> Result<Option<String>, CommandError> {
        self.environment(name)?;
        let key = self.key(name);
        let closure = self.store.closure(&key, Utc::now()).await;
        let closure = closure.environment("cannot read the locks")?;
        let opened = self.store.open_environment(&key, &whoami(), force, Utc::now()).await;
        match opened.environment("cannot remove the lock")? {
            Closing::Done => Ok(closure.map(|closure| closure.owner)),
            Closing::Others(other) => {
                Err(closed(name, &other).hint("`--force` opens it all the same"))
            }
            Closing::Nothing => {
                Err(CommandError::usage(format_args!("environment `{name}` is not locked")))
            }
        }
    }

    /// Hands out the events of a deployment, of this process or another, until its end.
    pub(crate) async fn follow(
        &self,
        id: &str,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<(), CommandError> {
        let id = self.record(id).await?.deployment.id;
        let mut after = 0;
        loop {
            let new = self.store.events(Stream::Deployment(id), after, EVENTS).await;
            for event in new.environment("cannot read the events of the deployment")? {
                after = event.seq;
                let ended = event.kind.is_terminal();
                // Nobody listens any more: the end is waited for all the same.
                let _ = events.send(event);
                if ended {
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Hands out what a unit has written, and with `follow` what it will.
    pub(crate) async fn unit_log(
        &self,
        name: &str,
        unit: &str,
        options: LogOptions,
        pieces: &mpsc::Sender<UnitOutput>,
    ) -> Result<(), CommandError> {
        const WHAT: &str = "cannot read what the unit has written";
        let unit = UnitId(unit.to_owned());
        let target = self.target(name).await?;
        let mut output = target.logs(&unit, options).await.environment(WHAT)?;
        while let Some(chunk) = output.next().await {
            let piece = UnitOutput::new(&unit, chunk.environment(WHAT)?);
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Begins a command beside a unit.
    pub(crate) async fn exec(
        &self,
        name: &str,
        unit: &str,
        options: ExecOptions,
    ) -> Result<Terminal, CommandError> {
        let target = self.target(name).await?;
        let opened = target.exec(&UnitId(unit.to_owned()), options).await;
        opened.map_err(|error| match error {
            TargetError::Refused { message } => CommandError::usage(message),
            error => CommandError::caused(Kind::Environment, "cannot run the command", &error),
        })
    }

    /// Looks at the hosts of an environment, and makes them ready if that is to be done.
    pub(crate) async fn bootstrap(
        &self,
        name: &str,
        accept: &Acceptance,
        apply: bool,
    ) -> Result<Vec<Bootstrapped>, CommandError> {
        let environment = self.environment(name)?;
        let hosts = match &environment.target {
            TargetSpec::Inline(target) => {
                let target = target.clone().only(environment.only.as_ref());
                server::hosts_target(&target, self.store.instance(), &home::machine())
            }
            TargetSpec::Named(_) => None,
        };
        let hosts = hosts.ok_or_else(|| {
            let what =
                format!("environment `{name}` has no hosts that are written out in the file");
            CommandError::usage(what).hint("its target is `hosts: { hosts: [web-1] }`, for example")
        })?;
        Ok(hosts.bootstrap(&self.project, accept, apply).await)
    }

    async fn record(&self, id: &str) -> Result<DeploymentRecord, CommandError> {
        let record = match id.parse::<DeploymentId>() {
            Ok(id) => self.store.deployment(id).await,
            Err(_) => self.store.deployment_by_short(id).await,
        };
        record.environment("cannot read the deployment")?.ok_or_else(|| {
            CommandError::usage(format_args!("there is no deployment `{id}`"))
                .hint("`shipline history` lists them")
        })
    }

    fn environment(&self, name: &str) -> Result<&Environment, CommandError> {
        self.plan.environments.get(name).ok_or_else(|| {
            let names = self.names();
            CommandError::usage(format_args!("the pipeline file has no environment `{name}`")).hint(
                if names.is_empty() {
                    "define one under `environments`, or name the server with `--server`".to_owned()
                } else {
                    format!("its environments are {}", names.join(", "))
                },
            )
        })
    }

    fn is_production(&self, name: &str) -> bool {
        self.plan.environments.get(name).is_some_and(|environment| environment.tier == Tier::Prod)
    }

    async fn target(&self, name: &str) -> Result<Arc<dyn Target>, CommandError> {
        connect(name, self.environment(name)?, &self.store, &Registries::default()).await
    }

    /// The target with the logins of this machine: something may be fetched.
    async fn target_with_logins(&self, name: &str) -> Result<Arc<dyn Target>, CommandError> {
        let environment = self.environment(name)?;
        let configuration = docker_credentials::configuration()?;
        let allowed = SideEffects::Allowed;
        let registries =
            docker_credentials::registries(&self.plan, &configuration, allowed).await?;
        connect(name, environment, &self.store, &registries).await
    }

    async fn known_releases(&self) -> Result<Vec<Release>, CommandError> {
        Ledger::releases(&self.store, &self.project).await.environment("cannot read the releases")
    }

    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(self.store.clone())
    }

    fn key(&self, name: &str) -> EnvironmentKey {
        EnvironmentKey { project: self.project.clone(), environment: name.to_owned() }
    }
}

/// Why nothing was asked of the engine.
fn refused(name: &str, error: &OrderError) -> CommandError {
    let kind = match error {
        OrderError::Ledger(_)
        | OrderError::Rollback(RollbackError::Ledger(_))
        | OrderError::Change(ChangeError::Ledger(_)) => Kind::Environment,
        _ => Kind::Usage,
    };
    let told = CommandError::new(kind, runner::causes(error));
    match error {
        OrderError::NothingBuilt { .. } => {
            told.hint("`shipline run --allow-side-effects` builds and deploys one")
        }
        OrderError::NotBuiltFrom { .. } => {
            told.hint("`shipline run` builds what is checked out here")
        }
        OrderError::NoRelease { .. } => told.hint("`shipline releases` lists them"),
        OrderError::NothingStands { .. } => told.hint(format_args!(
            "deploy all of it first, without `--only`: `shipline deploy {name}`"
        )),
        OrderError::Stopped { .. } => told.hint(format_args!("`shipline start {name}`")),
        OrderError::Suite(_) => told.hint("suites stand under `suites` of the pipeline file"),
        OrderError::Rollback(_) => {
            told.hint(format_args!("`shipline rollback {name} --list` says why"))
        }
        OrderError::NoConfiguration { .. } => told
            .hint("a deploy stage of the pipeline file says how; where several do, run one first"),
        _ => told,
    }
}

fn closed(name: &str, other: &Closure) -> CommandError {
    let Closure { owner, reason, .. } = other;
    CommandError::usage(format_args!("environment `{name}` is locked by {owner}: {reason}"))
}

/// Who asks, as the machine knows them.
pub(crate) fn whoami() -> String {
    let named = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| "local".to_owned())
}

fn json_of(value: &impl Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(value)
        .map_err(|error| CommandError::environment(format_args!("this is no JSON: {error}")))
}

/// The targets of the environments that deploy stages of a plan name.
pub(crate) async fn targets(
    plan: &Plan,
    store: &Store,
    registries: &Registries,
) -> Result<BTreeMap<String, Arc<dyn Target>>, CommandError> {
    let mut targets = BTreeMap::new();
    for (name, environment) in &plan.environments {
        targets.insert(name.clone(), connect(name, environment, store, registries).await?);
    }
    Ok(targets)
}

/// Connects to the target of a deployment that was made from somewhere else.
pub(crate) async fn target_of(
    record: &DeploymentRecord,
    environments: &BTreeMap<String, Environment>,
    store: &Store,
) -> Result<Option<Arc<dyn Target>>, CommandError> {
    let name = &record.deployment.spec.environment;
    match environments.get(name) {
        Some(environment) => {
            Ok(Some(connect(name, environment, store, &Registries::default()).await?))
        }
        None => Ok(None),
    }
}

async fn connect(
    name: &str,
    environment: &Environment,
    store: &Store,
    registries: &Registries,
) -> Result<Arc<dyn Target>, CommandError> {
    let TargetSpec::Inline(target) = &environment.target else {
        return Err(CommandError::usage(format_args!(
            "environment `{name}` names a target of a server"
        ))
        .hint("write the target out for local runs, or use `--server`"));
    };
    let target = &target.clone().only(environment.only.as_ref());
    let connected = server::inline_target(target, store.instance(), registries, &home::machine())
        .await
        .environment(&format!("cannot reach the target of environment `{name}`"))?;
    connected.ok_or_else(|| {
        CommandError::usage(format_args!(
            "the target of environment `{name}` is `{}`, which this version cannot deploy to",
            target.name()
        ))
    })
}

/// The project that is meant: `--project`, else that of the pipeline file here.
pub(crate) async fn project_name(place: &PlaceArguments) -> Result<String, CommandError> {
    if let Some(project) = &place.project {
        return Ok(project.clone());
    }
    let checked = local::check(&place.pipeline).await?;
    match &checked.pipeline {
        Some(pipeline) => Ok(local::project(pipeline, &checked.directory)),
        None => Err(CommandError::usage(
            "no project is named, and this directory has no pipeline file to tell it",
        )
        .hint("give `--project NAME`")),
    }
}
