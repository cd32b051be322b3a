//! Environments: what should run in them, and what does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use deploy::{
    Deployment, DeploymentRecord, Drift, EnvironmentKey, HostPlace, Ledger as _, Observed,
    ObservedUnit, Release, SwitchCaps,
};
use event::{Caught, DeploymentId, DeploymentKind, DeploymentState, ReleaseId, RunId, Verdict};
use pipeline::{TargetSpec, Tier};
use serde::Serialize;
use store::{Closure, IncidentRow};

use super::{Named, project};
use crate::app::App;
use crate::problem::Problem;

/// Deployments looked through for the one that stands.
const HISTORY: u32 = 200;
/// Deployments shown.
const SHOWN: usize = 5;
/// What a target may take to say what runs.
const OBSERVE: Duration = Duration::from_secs(10);

/// An environment as lists show it.
#[derive(Serialize)]
pub(crate) struct EnvironmentView {
    environment: String,
    target: String,
    tier: Tier,
    url: Option<String>,
}

/// What should run in an environment, what does, and how it came to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnvironmentStatus {
    pub project: String,
    pub environment: String,
    /// Of the deployment that stands; `None` before the first.
    pub release: Option<ReleaseId>,
    pub version: Option<String>,
    /// Units that should run.
    pub wanted: Option<u32>,
    /// Whether nothing runs because somebody wants it so.
    #[serde(skip_serializing_if = "is_no")]
    pub stopped: bool,
    pub units: Vec<UnitView>,
    /// The hosts of the target, in their order; none where units are on none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostStatus>,
    /// The last ones, newest first.
    pub deployments: Vec<DeploymentView>,
    /// Who changes it now.
    pub locked_by: Option<String>,
    /// Who keeps others from changing it, by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Closure>,
    /// The slots that were stopped on purpose, while the others go on.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub resting: BTreeSet<u32>,
    /// What is asked for and does not go on yet, and why, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// Where what runs is not what should.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// What whoever watches found wrong, and is not over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentRow>,
    /// What leads requests here, and what it can promise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchView>,
    /// Why nobody knows what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A host of a target, and what of the environment is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub slot: u32,
    pub state: HostState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// One of its units is the one that serves.
    Serving,
    /// It has units, and none serves.
    Idle,
    /// Nothing was deployed to it yet.
    Empty,
    /// Nobody can look at it.
    Away,
}

/// A traffic switch as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchView {
    #[serde(flatten)]
    pub caps: SwitchCaps,
    /// The same in a sentence.
    pub promises: String,
}

impl From<SwitchCaps> for SwitchView {
    fn from(caps: SwitchCaps) -> Self {
        Self { promises: caps.promises(), caps }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitView {
    #[serde(flatten)]
    pub unit: ObservedUnit,
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeploymentView {
    pub deployment: DeploymentId,
    pub short: String,
    /// For people.
    pub name: String,
    pub environment: String,
    pub kind: DeploymentKind,
    /// `None` while it goes on.
    pub state: Option<DeploymentState>,
    pub release: ReleaseId,
    pub version: Option<String>,
    pub by: String,
    pub reason: Option<String>,
    /// What became of it, in words.
    pub outcome: Option<String>,
    /// Of a failure: whether anything new had got traffic.
    pub caught: Option<Caught>,
    /// Whether it failed since the target or the registry did, and nothing was switched.
    pub infrastructure: bool,
    /// Requests that did not end within `drain`.
    pub cut: u64,
    /// While it waits for a decision: until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<DateTime<Utc>>,
    /// Whether it ever held the environment's lock.
    pub held_lock: bool,
    pub verdict: Verdict,
    /// The slots it was about; none is all of them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub slots: BTreeSet<u32>,
    #[serde(skip_serializing_if = "is_no")]
    pub emergency: bool,
    pub run: Option<RunId>,
    pub requested_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// What was found wrong while it stood, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentRow>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_no(value: &bool) -> bool {
    !*value
}

/// Puts together what is recorded of an environment, newest deployment first,
/// and what was observed.
pub fn environment_status(
    key: &EnvironmentKey,
    observed: &Observed,
    history: &[DeploymentRecord],
    releases: &[Release],
    lock: Option<Closure>,
    hosts: &[HostPlace],
) -> EnvironmentStatus {
    let version = |id: ReleaseId| version(releases, id);
    let standing = deploy::standing(history);
    let open = history.iter().find(|record| record.state.is_none() && record.fence > 0);
    let spec = standing.map(|standing| standing.spec());
    let stopped = standing.is_some_and(|standing| standing.is_stopped());
    EnvironmentStatus {
        project: key.project.clone(),
        environment: key.environment.clone(),
        release: spec.map(|spec| spec.release),
        version: spec.and_then(|spec| version(spec.release)),
        wanted: spec.map(|spec| if stopped { 0 } else { spec.replicas }),
        stopped,
        units: observed
            .units
            .iter()
            .map(|unit| UnitView { unit: unit.clone(), version: version(unit.release) })
            .collect(),
        hosts: host_statuses(hosts, observed),
        deployments: history
            .iter()
            .take(SHOWN)
            .map(|record| deployment_view(record, releases))
            .collect(),
        locked_by: open.map(|record| {
            let Deployment { id, kind, by, .. } = &record.deployment;
            format!("{} {} by {by}", kind.name(), id.short())
        }),
        waits: waits(history, lock.as_ref()),
        lock,
        resting: deploy::resting(history),
        drift: deploy::drift_of(history, observed),
        incidents: Vec::new(),
        switch: None,
        error: None,
    }
}

fn host_statuses(hosts: &[HostPlace], observed: &Observed) -> Vec<HostStatus> {
    let status = |(slot, HostPlace { name, group, .. }): (u32, &HostPlace)| {
        let state = if observed.away.contains(&slot) {
            HostState::Away
        } else if observed.current(slot).is_some() {
            HostState::Serving
        } else if observed.units.iter().any(|unit| unit.slot == slot) {
            HostState::Idle
        } else {
            HostState::Empty
        };
        HostStatus { host: name.clone(), group: group.clone(), slot, state }
    };
    (0..).zip(hosts).map(status).collect()
}

/// What of a history, newest first, waits: for the lock, for the end of a lock by hand, or
/// for somebody to decide.
fn waits(history: &[DeploymentRecord], lock: Option<&Closure>) -> Vec<String> {
    let holder = history.iter().find(|record| record.state.is_none() && record.fence > 0);
    let wait = |record: &DeploymentRecord| {
        let Deployment { id, kind, by, .. } = &record.deployment;
        let what = format!("{} {} by {by}", kind.name(), id.short());
        if let Some(until) = record.held_until {
            let until = until.format("%H:%M UTC");
            return Some(format!(
                "{what} is held: it goes back at {until} unless somebody decides"
            ));
        }
        let is_barred = |lock: &&Closure| {
            *kind != DeploymentKind::Rollback && !(lock.reserved && lock.owner == *by)
        };
        match (record.fence, lock.filter(is_barred), holder) {
            (1.., ..) => None,
            (0, Some(lock), _) => Some(format!("{what} waits for {} to open it", lock.owner)),
            (0, None, Some(holder)) => {
                Some(format!("{what} waits for {}", holder.deployment.id.short()))
            }
            (0, None, None) => Some(format!("{what} waits for the lock")),
        }
    };
    let open = history.iter().rev().filter(|record| record.state.is_none());
    open.filter_map(wait).collect()
}

fn version(releases: &[Release], id: ReleaseId) -> Option<String> {
    releases.iter().find(|release| release.id == id).map(|release| release.version.clone())
}

/// A deployment as people see it; `releases` are those of its project.
pub fn deployment_view(record: &DeploymentRecord, releases: &[Release]) -> DeploymentView {
    let Deployment { id, kind, spec, by, reason, run, name, scope, .. } = &record.deployment;
    DeploymentView {
        deployment: *id,
        short: id.short(),
        name: name.clone(),
        environment: spec.environment.clone(),
        kind: *kind,
        state: record.state,
        release: spec.release,
        version: version(releases, spec.release),
        by: by.clone(),
        reason: reason.clone(),
        outcome: record.outcome.clone(),
        caught: record.caught,
        infrastructure: record.infrastructure,
        cut: record.cut,
        held_until: record.held_until,
        held_lock: record.fence > 0,
        verdict: record.verdict,
        slots: scope.slots.clone(),
        emergency: scope.emergency,
        run: *run,
        requested_at: record.requested_at,
        finished_at: record.finished_at,
        incidents: Vec::new(),
    }
}

/// Puts incidents to the deployments that stood when they began.
pub fn with_incidents(
    mut deployments: Vec<DeploymentView>,
    incidents: &[IncidentRow],
) -> Vec<DeploymentView> {
    for view in &mut deployments {
        let of_it = incidents.iter().filter(|row| row.deployment == view.deployment);
        view.incidents = of_it.cloned().collect();
    }
    deployments
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
) -> Result<Json<Vec<EnvironmentView>>, Problem> {
    let project = project(&app, &name).await?;
    let environments = app.config.environments(&project.name);
    let views = environments.into_iter().map(|(name, environment)| EnvironmentView {
        environment: name,
        target: match environment.target {
            TargetSpec::Named(target) => target,
            TargetSpec::Inline(_) => String::new(),
        },
        tier: environment.tier,
        url: environment.url,
    });
    Ok(Json(views.collect()))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
) -> Result<Json<EnvironmentStatus>, Problem> {
    let key = key(&app, &name, &environment).await?;
    let target = app.target(&key.project, &key.environment);
    let target = target.map_err(|reason| Problem::unprocessable("E062", reason))?;
    let history = app.store.history(&key, HISTORY).await?;
    let releases = app.store.releases(&key.project).await?;
    let seen = match tokio::time::timeout(OBSERVE, target.observe(&key)).await {
        Ok(seen) => seen.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the target did not answer within {} s", OBSERVE.as_secs())),
    };
    let (observed, error) = match seen {
        Ok(observed) => (observed, None),
        // What is wanted is known also when nobody can say what runs.
        Err(error) => (Observed::default(), Some(error)),
    };
    let lock = app.store.closure(&key, Utc::now()).await?;
    let hosts = target.hosts();
    let mut status = environment_status(&key, &observed, &history, &releases, lock, &hosts);
    if error.is_some() {
        // Nobody knows whether what runs is what should.
        status.drift.clear();
        status.hosts.clear();
    }
    status.error = error;
    status.switch = target.switch().map(SwitchView::from);
    status.incidents = app.store.open_incidents(&key).await?;
    Ok(Json(status))
}

/// An environment of the configuration, or 404.
pub(super) async fn key(
    app: &App,
    name: &str,
    environment: &str,
) -> Result<EnvironmentKey, Problem> {
    let project = project(app, name).await?;
    if !app.config.environments(&project.name).contains_key(environment) {
        let detail = format!("project `{name}` has no environment `{environment}` on this server");
        return Err(Problem::not_found(detail));
    }
    Ok(EnvironmentKey { project: project.name, environment: environment.to_owned() })
}
