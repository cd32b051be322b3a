//! Services changed: each time only if nobody else has since it was looked at.

use std::time::Duration;

use bollard::models::{Service, ServiceSpec};
use bollard::query_parameters::{InspectServiceOptions, UpdateServiceOptionsBuilder};
use chrono::{SecondsFormat, Utc};
use tokio::time::{Instant, sleep};

use super::SwarmTarget;
use super::task::{Stage, newest, stage_of, words};
use super::unit::{STOPPED, UnitView, label, replicas};
use crate::target::docker::CALL;
use crate::target::docker::call::call;
use crate::target::docker::unit::{FENCE, INSTANCE, KIND};
use crate::target::driving::{Driving, done};
use crate::{OpOutcome, Spec, TargetError, UnitId};

const LOOK: Duration = Duration::from_millis(100);
/// Until a node has taken a task; there may be none that can.
const PENDING: Duration = Duration::from_secs(30);
/// Until its node has fetched the image.
const PREPARING: Duration = Duration::from_secs(600);
/// Somebody else may change a service between a look and a change.
const TRIES: u32 = 5;

impl SwarmTarget {
    /// Returns a service; `None` for one that does not exist.
    pub(super) async fn service(&self, unit: &UnitId) -> Result<Option<Service>, TargetError> {
        let inspecting = self.docker().inspect_service(&unit.0, None::<InspectServiceOptions>);
        match call(CALL, "inspect service", inspecting).await {
            Ok(service) => Ok(Some(service)),
            Err(error) if error.status == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses what is no unit of this instance: a name is not yet a permission.
    pub(super) async fn own(&self, unit: &UnitId) -> Result<Service, TargetError> {
        let found = self.service(unit).await?.filter(|found| {
            label(found, INSTANCE) == Some(self.instance.as_str())
                && label(found, KIND) == Some("unit")
        });
        found.ok_or_else(|| gone(unit))
    }

    /// Changes the specification of a unit, unless an engine with a larger fence made it.
    /// One that is as wanted is left alone.
    pub(super) async fn change(
        &self,
        unit: &UnitId,
        fence: u64,
        change: impl Fn(&mut ServiceSpec),
    ) -> Result<(), TargetError> {
        for _ in 0..TRIES {
            let service = self.own(unit).await?;
            let newer = label(&service, FENCE).and_then(|made| made.parse::<u64>().ok());
            if let Some(newer) = newer.filter(|made| *made > fence) {
                let message = format!("{unit} is held under fence {newer}");
                return Err(TargetError::Fenced(message));
            }
            let version = service.version.and_then(|version| version.index).unwrap_or(0);
            let Some(before) = service.spec else { return Err(gone(unit)) };
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok(());
            }
            let version = i32::try_from(version).unwrap_or(i32::MAX);
            let options = UpdateServiceOptionsBuilder::new().version(version).build();
            let updating = self.docker().update_service(&unit.0, after, options, None);
            match call(CALL, "update service", updating).await {
                Ok(_) => return Ok(()),
                Err(error) if error.message.contains("out of sequence") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(infrastructure(format!("{unit} is changed by somebody else, again and again")))
    }

    /// Gives a unit its task, and waits until its container has begun.
    pub(super) async fn start(
        &self,
        unit: &UnitView,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let name = &unit.seen.unit;
        if unit.seen.state == crate::UnitState::Running {
            return Ok(done("runs already"));
        }
        self.change(name, fence, |spec| {
            scale(spec, 1);
            unlabel(spec, STOPPED);
        })
        .await?;
        let service = self.own(name).await?;
        let begun = Instant::now();
        loop {
            let tasks = self.tasks(service.id.clone().into_iter().collect()).await?;
            if let Some(failed) = super::task::failure(&tasks, service.updated_at) {
                let (reason, logs) = (words(failed), self.last_lines(name).await);
                return Ok(OpOutcome::Unhealthy { reason, logs });
            }
            let task = newest(&tasks);
            let (limit, why) = match task.map(stage_of) {
                Some(Stage::Begins | Stage::Runs) => return Ok(done("started")),
                Some(Stage::Prepares) => (PREPARING, task.map(words)),
                _ => (PENDING, task.map(words)),
            };
            if begun.elapsed() >= limit {
                let why = why.unwrap_or_else(|| "the swarm has made no task of it".to_owned());
                let reason = format!("{why}, still after {} s", limit.as_secs());
                return Ok(OpOutcome::Unhealthy { reason, logs: Vec::new() });
            }
            sleep(LOOK).await;
        }
    }

    pub(super) async fn stop(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        self.stop_service(unit, fence).await?;
        Ok(done("stopped, warm"))
    }

    /// Takes the task away from a unit, and waits until its container has ended.
    pub(super) async fn stop_service(
        &self,
        unit: &UnitView,
        fence: u64,
    ) -> Result<(), TargetError> {
        if unit.seen.state == crate::UnitState::Exited {
            return Ok(());
        }
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        self.change(&unit.seen.unit, fence, |spec| {
            scale(spec, 0);
            let labels = spec.labels.get_or_insert_default();
            labels.entry(STOPPED.to_owned()).or_insert_with(|| now.clone());
        })
        .await?;
        self.await_end(&unit.service, grace(&unit.service)).await
    }

    /// Waits until no container of a service runs any more.
    async fn await_end(&self, service: &Service, grace: Duration) -> Result<(), TargetError> {
        let begun = Instant::now();
        let id: Vec<String> = service.id.clone().into_iter().collect();
        loop {
            let runs = match self.tasks(id.clone()).await {
                Ok(tasks) => tasks.iter().any(|task| stage_of(task) != Stage::Ended),
                // Tasks of a service that is gone cannot be asked for.
                Err(TargetError::Infrastructure { message, .. })
                    if message.contains("not found") =>
                {
                    false
                }
                Err(error) => return Err(error),
            };
            if !runs {
                return Ok(());
            }
            if begun.elapsed() > grace + CALL {
                let name = service.spec.as_ref().and_then(|spec| spec.name.as_deref());
                let message = format!(
                    "{} has not ended within {} s",
                    name.unwrap_or_default(),
                    (grace + CALL).as_secs()
                );
                return Err(infrastructure(message));
            }
            sleep(LOOK).await;
        }
    }

    pub(super) async fn remove_service(&self, unit: &UnitId) -> Result<(), TargetError> {
        match call(CALL, "remove service", self.docker().delete_service(&unit.0)).await {
            Ok(()) => Ok(()),
            Err(error) if error.status == Some(404) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn confirm_out(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        self.traffic.confirm_out(&spec.route(), &unit.seen.unit, fence).await?;
        if unit.seen.admitted {
            return Err(infrastructure(format!("{} still gets traffic", unit.seen.unit)));
        }
        Ok(())
    }

    /// Takes a unit away: out of use, stopped as long as it may take, and gone.
    pub(super) async fn take_away(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        if unit.is_routed() && unit.label(super::unit::CURRENT).is_some() {
            self.drain(unit, spec, fence).await?;
        }
        if replicas(&unit.service) > 0 {
            self.stop_service(unit, fence).await?;
        }
        self.remove_service(&unit.seen.unit).await?;
        Ok(done("removed"))
    }
}

fn scale(spec: &mut ServiceSpec, count: i64) {
    let mode = spec.mode.get_or_insert_default();
    mode.replicated.get_or_insert_default().replicas = Some(count);
}

pub(super) fn unlabel(spec: &mut ServiceSpec, name: &str) {
    if let Some(labels) = &mut spec.labels {
        labels.remove(name);
    }
}

/// From TERM to KILL, as it was made.
fn grace(service: &Service) -> Duration {
    let template = service.spec.as_ref().and_then(|spec| spec.task_template.as_ref());
    let container = template.and_then(|template| template.container_spec.as_ref());
    let nanos = container.and_then(|container| container.stop_grace_period);
    nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map_or(Duration::from_secs(10), Duration::from_nanos)
}

pub(super) fn gone(unit: &UnitId) -> TargetError {
    infrastructure(format!("{unit} does not exist"))
}

pub(super) fn infrastructure(message: String) -> TargetError {
    TargetError::Infrastructure { part: "swarm".to_owned(), message }
}
