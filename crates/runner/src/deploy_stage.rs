//! Stages that deploy: what the plan says becomes a release and a specification,
//! the deploy engine does the rest, and its progress is told as output and events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deploy::{
    Artifact, CheckRunner, CheckSettings, Deployed, Deployment, HostSettings, OpAction, Policy,
    Profile, Progress, Release, Request, Scope, Spec, Target, TargetError, UnitSettings,
    UnknownSuite, VerifyStep, Waiting,
};
use event::{
    DeploymentId, DeploymentKind, DeploymentState, EventKind, Outputs, ReleaseId, StageResult,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pipeline::{DeployWork, Environment, ImageSource, Plan, Strategy, Tier, Work, slug};
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::causes;
use crate::container_checks::ContainerChecks;
use crate::environment::variables;
use crate::executor::{Attempt, Shared, Source, beside};
use crate::image_stage::{IMAGE, REF, no_image, text};
use crate::limit::{Cause, Ended, Pause};
use crate::output::AttemptLog;
use crate::release_files::release_files;
use crate::verdict::Verdict;

/// How long the way back may take after a cancel. The engine has deadlines of
/// its own below this one; giving up leaves the rest to its recovery.
const WAY_BACK: Duration = Duration::from_secs(10 * 60);
const PROGRESS: usize = 64;

pub(crate) async fn deploy(
    attempt: &mut Attempt<'_>,
    work: &DeployWork,
) -> Result<Verdict, Verdict> {
    attempt.report_started(None).await;
    let shared = attempt.shared;
    let Some(target) = shared.targets.get(&work.environment).map(Arc::clone) else {
        let reason = format!("environment `{}` has no target here", work.environment);
        return Err(Verdict::failed(Some("E062"), reason));
    };
    let artifact = artifact(attempt, work, &*target).await?;
    let release = shared.ledger.release(release(shared, artifact)).await.map_err(|error| {
        Verdict::infrastructure(format!("the release could not be recorded: {}", causes(&error)))
    })?;
    let (stage, number) = (attempt.stage, attempt.assignment.attempt);
    // What stages find in their containers, as the commands of checks do.
    let env = variables(&shared.identity, &shared.plan, stage, number, &work.verify_env);
    let verified = verification(&shared.plan, work, env)
        .map_err(|unknown| Verdict::failed(Some("E067"), unknown.to_string()))?;
    let request = Request {
        deployment: Deployment {
            id: DeploymentId::new(Uuid::now_v7()),
            kind: DeploymentKind::Deploy,
            spec: specification(
                &shared.context.project,
                shared.plan.environments.get(&work.environment),
                work,
                &release,
                verified,
            ),
            by: shared.by.clone(),
            reason: None,
            name: String::new(),
            run: Some(shared.context.run),
            stage: Some(attempt.stage.name.clone()),
            scope: Scope::default(),
        },
        holder: format!("run {} of {}", shared.context.run.short(), shared.by),
        policy: policy(shared, work),
        runner: Some(checks(shared)),
    };
    let deployment = request.deployment.id;
    let (progress, told) = mpsc::channel(PROGRESS);
    let limit = attempt.limit.clone();
    let ended = beside(
        &limit,
        limit.on(WAY_BACK, |token| async move {
            deploy::deploy(request, target, shared.ledger.clone(), progress, &token).await
        }),
        tell(shared, &attempt.stage.name, deployment, told, &limit.pause, &mut attempt.log),
        |ended| !matches!(ended, Ended::Done(_)),
    )
    .await;
    let (result, cause) = match ended {
        Ended::Done(result) => (result, None),
        Ended::Late(result, cause) => (result, Some(cause)),
        Ended::GivenUp(cause) => {
            let verdict = Verdict::cut(attempt.cut(cause));
            let left = "the deployment has no end yet: the next start of shipline ends it";
            return Err(Verdict { reason: Some(with(verdict.reason.as_deref(), left)), ..verdict });
        }
    };
    match result {
        Ok(deployed) => {
            report_stuck(attempt, &deployed).await;
            Ok(judge(attempt, &deployed, cause))
        }
        Err(error) => Err(Verdict::infrastructure(causes(&error))),
    }
}

/// Runs what `verify` runs, on the engine of the stages.
fn checks(shared: &Shared) -> Arc<dyn CheckRunner> {
    Arc::new(ContainerChecks::masked(
        Arc::clone(&shared.backend),
        shared.context.instance.clone(),
        shared.registries.clone(),
        Arc::clone(&shared.masker),
    ))
}

/// What is checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    pub verify: Vec<VerifyStep>,
    pub settings: CheckSettings,
}

/// Returns what a deploy stage wants checked; `env` is for commands.
pub fn verification(
    plan: &Plan,
    work: &DeployWork,
    env: BTreeMap<String, String>,
) -> Result<Verification, UnknownSuite> {
    let suites = deploy::suites(&plan.suites);
    let verify = deploy::verify_steps(&work.verify, &suites)?;
    Ok(Verification { verify, settings: CheckSettings { suites, env } })
}

/// Writes down what the engine says, until it has nothing more to say. Where somebody is to
/// decide, whoever can be asked here is, and the time of the stage stands still: how long
/// people may take is the deployment's own limit.
async fn tell(
    shared: &Shared,
    stage: &str,
    deployment: DeploymentId,
    mut told: mpsc::Receiver<Progress>,
    pause: &Pause,
    log: &mut AttemptLog,
) {
    let mut asking: Option<BoxFuture<'_, ()>> = None;
    loop {
        let answered = async {
            match &mut asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        let progress = tokio::select! {
            progress = told.recv() => progress,
            () = answered => {
                asking = None;
                continue;
            }
        };
        let Some(Progress { line, applied, undone, waiting }) = progress else { return };
        log.say(line).await;
        match waiting {
            Some(Waiting::Begun { reason, .. }) => {
                pause.begin();
                asking = Some(ask(shared, stage.to_owned(), deployment, reason).boxed());
            }
            Some(Waiting::Over) => {
                pause.end();
                asking = None;
            }
            None => {}
        }
        let stage = stage.to_owned();
        if let Some((action, unit)) = applied {
            shared.report(EventKind::DeployApplied { stage, action, unit }).await;
        } else if let Some((action, unit)) = undone {
            shared.report(EventKind::DeployUndone { stage, action, unit }).await;
        }
    }
}

/// Writes down what somebody here chooses about a deployment that is held.
async fn ask(shared: &Shared, stage: String, deployment: DeploymentId, reason: String) {
    let Some(approver) = &shared.approver else { return };
    // It may quote what a unit printed.
    let reason = shared.masker.text(&reason);
    let Some(decision) = approver.decide(&stage, &reason).await else { return };
    let decided = shared.ledger.decide(deployment, decision, &shared.by, None).await;
    if let Err(error) = decided {
        // Somebody else was quicker, or it is over.
        tracing::warn!("deployment {deployment}: {}", causes(&error));
    }
}

/// Names the new units that a failed way back left standing.
async fn report_stuck(attempt: &Attempt<'_>, deployed: &Deployed) {
    if deployed.state != DeploymentState::Stuck {
        return;
    }
    for unit in deployed.units.iter().filter(|unit| unit.deployment == deployed.deployment) {
        let stuck = EventKind::DeployStuck {
            stage: attempt.stage.name.clone(),
            action: OpAction::Remove.name().to_owned(),
            unit: unit.unit.to_string(),
        };
        attempt.shared.report(stuck).await;
    }
}

fn judge(attempt: &Attempt<'_>, deployed: &Deployed, cause: Option<Cause>) -> Verdict {
    // It may quote what a unit printed.
    let reason = deployed.reason.as_deref().map(|reason| attempt.shared.masker.text(reason));
    let reason = reason.as_deref();
    let failed = || {
        let state = deployed.state.name();
        Verdict::failed(Some("E098"), with(Some(state), reason.unwrap_or_default()))
    };
    // After the first change of traffic, to cancel is to roll back.
    let cancelled = deployed.state == DeploymentState::Cancelled
        || (deployed.state == DeploymentState::RolledBack && cause.is_some());
    let verdict = match deployed.state {
        DeploymentState::Succeeded => Verdict::passed(Outputs::new()),
        _ if !cancelled => failed(),
        _ => {
            let cut = Verdict::cut(attempt.cut(cause.unwrap_or(Cause::Cancelled)));
            let reason = match cut.result {
                StageResult::Cancelled => reason.map(str::to_owned),
                _ => Some(with(cut.reason.as_deref(), reason.unwrap_or_default())),
            };
            Verdict { reason, ..cut }
        }
    };
    let outputs = [
        ("release", Value::from(deployed.release.to_string())),
        ("previous", deployed.previous.map_or(Value::Null, |id| id.to_string().into())),
        ("state", deployed.state.output().into()),
        ("reason", reason.map_or(Value::Null, Value::from)),
    ];
    let outputs = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Verdict { outputs, ..verdict }
}

/// Production takes no units that nobody can ask for their health.
fn policy(shared: &Shared, work: &DeployWork) -> Policy {
    let environment = shared.plan.environments.get(&work.environment);
    let production = environment.is_some_and(|environment| environment.tier == Tier::Prod);
    Policy { needs_health: production, hardened: production, ..Policy::default() }
}

/// Returns what the units will run, always by digest.
async fn artifact(
    attempt: &mut Attempt<'_>,
    work: &DeployWork,
    target: &dyn Target,
) -> Result<Artifact, Verdict> {
    let shared = attempt.shared;
    let Source { result, outputs } = &attempt.assignment.source;
    let missing = |stage: &str| no_image(stage, *result, "deploy");
    match &work.image {
        Some(ImageSource::Stage(stage)) => {
            match shared.plan.stage(stage).map(|stage| &stage.work) {
                Some(Work::Push(push)) => Ok(Artifact::Digest {
                    reference: text(outputs, REF).ok_or_else(|| missing(stage))?,
                    credential: Some(push.registry.clone()),
                }),
                _ => Ok(Artifact::ImageId(text(outputs, IMAGE).ok_or_else(|| missing(stage))?)),
            }
        }
        Some(ImageSource::Reference(reference)) if reference.contains("@sha256:") => {
            let host = reference.split('/').next();
            let mut named = shared.registries.named.iter();
            let credential = named.find(|(_, registry)| Some(registry.host.as_str()) == host);
            Ok(Artifact::Digest {
                reference: reference.clone(),
                credential: credential.map(|(name, _)| name.clone()),
            })
        }
        None => match &work.hosts {
            Some(hosts) if !hosts.artifact.is_empty() => {
                release_files(attempt, &hosts.artifact).await
            }
            _ => Err(Verdict::failed(Some("E090"), "there is no `image` to deploy")),
        },
        Some(ImageSource::Reference(reference)) if work.allow_mutable_tag => {
            target.resolve(reference).await.map_err(|error| match error {
                TargetError::Infrastructure { .. } => Verdict::infrastructure(error.to_string()),
                error => Verdict::failed(Some("E090"), error.to_string()),
            })
        }
        Some(ImageSource::Reference(reference)) => Err(Verdict::failed(
            Some("E090"),
            format!(
                "image `{reference}` can change after it was deployed: name it with its digest, `@sha256:…`, or push it in a stage"
            ),
        )),
    }
}

fn release(shared: &Shared, artifact: Artifact) -> Release {
    let plan = &shared.plan;
    Release {
        id: ReleaseId::new(Uuid::now_v7()),
        project: shared.context.project.clone(),
        version: version(
            plan.tag.as_deref(),
            plan.branch.as_deref(),
            &plan.sha,
            shared.identity.number,
        ),
        branch: plan.branch.clone(),
        sha: plan.sha.clone(),
        committer: shared.identity.git.author.clone(),
        artifact,
        built_at: shared.clock.now(),
    }
}

/// Returns the name of a release for people: its tag, or branch and short commit.
fn version(tag: Option<&str>, branch: Option<&str>, sha: &str, run: u64) -> String {
    let commit = sha.get(..8).unwrap_or(sha);
    match (tag, branch.map(slug)) {
        (Some(tag), _) => tag.to_owned(),
        _ if commit.is_empty() => format!("run-{run}"),
        (None, Some(branch)) if !branch.is_empty() => format!("{branch}-{commit}"),
        (None, _) => commit.to_owned(),
    }
}

/// Returns what a deploy stage wants of its environment: one release, configured.
pub fn specification(
    project: &str,
    environment: Option<&Environment>,
    work: &DeployWork,
    release: &Release,
    Verification { verify, settings }: Verification,
) -> Spec {
    let mut env = environment.map_or_else(Default::default, |environment| environment.env.clone());
    env.extend(work.env.clone());
    Spec {
        project: project.to_owned(),
        environment: work.environment.clone(),
        release: release.id,
        artifact: release.artifact.clone(),
        replicas: work.replicas,
        expose: work.expose.clone(),
        health: work.health.clone(),
        verify,
        checks: settings,
        // The engine asks the target for them.
        hosts: Vec::new(),
        strategy: strategy(work),
        env,
        unit: UnitSettings {
            command: work.command.clone(),
            resources: work.resources.clone(),
            volumes: work.volumes.clone(),
            networks: work.networks.clone(),
            ports: work.ports.clone(),
            stop_timeout: work.stop_timeout,
            keep_warm: work.keep_warm,
            hosts: work.hosts.as_ref().map(|hosts| HostSettings {
                reload: profile(hosts.reload.as_deref()),
                service: None,
            }),
        },
    }
}

/// What is said for hosts alone goes before what is said for all kinds of target.
fn strategy(work: &DeployWork) -> Strategy {
    let groups = work.hosts.as_ref().map(|hosts| &hosts.groups).filter(|it| !it.is_empty());
    let groups = groups.unwrap_or(&work.strategy.groups).clone();
    Strategy { groups, ..work.strategy.clone() }
}

/// The words of `reload`, which the language has checked.
fn profile(reload: Option<&str>) -> Profile {
    match reload {
        Some("systemd") => Profile::Systemd,
        Some("php-fpm") => Profile::PhpFpm,
        Some("tomcat") => Profile::Tomcat,
        Some("node") => Profile::Node,
        _ => Profile::None,
    }
}

fn with(first: Option<&str>, second: &str) -> String {
    match first {
        None | Some("") => second.to_owned(),
        Some(first) if second.is_empty() => first.to_owned(),
        Some(first) => format!("{first}: {second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_after_its_tag_or_its_branch_and_commit() {
        let sha = "0123456789abcdef";
        assert_eq!(version(Some("v1.2"), Some("main"), sha, 7), "v1.2");
        assert_eq!(version(None, Some("feature/pay"), sha, 7), "feature-pay-01234567");
        assert_eq!(version(None, None, sha, 7), "01234567");
        assert_eq!(version(None, Some("main"), "", 7), "run-7");
    }
}
