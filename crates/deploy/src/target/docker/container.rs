//! Containers: started, stopped, removed; each step may be repeated.

use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    InspectContainerOptions, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};

use super::call::{CallError, call};
use super::unit::UnitView;
use super::{CALL, DockerTarget, done};
use crate::{OpOutcome, Spec, TargetError, UnitId};

/// From TERM to KILL of a unit whose deployment is undone, where it has no less.
pub(super) const UNDO_TIMEOUT: Duration = Duration::from_secs(10);

impl DockerTarget {
    pub(super) async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse, CallError> {
        let inspecting = self.docker.inspect_container(name, None::<InspectContainerOptions>);
        call(CALL, "inspect", inspecting).await
    }

    pub(super) async fn set_policy(
        &self,
        unit: &UnitId,
        policy: RestartPolicyNameEnum,
    ) -> Result<(), TargetError> {
        let update = ContainerUpdateBody {
            restart_policy: Some(RestartPolicy { name: Some(policy), maximum_retry_count: None }),
            ..Default::default()
        };
        match call(CALL, "update", self.docker.update_container(&unit.0, update)).await {
            Ok(()) => Ok(()),
            Err(error) if error.status == Some(404) && policy == RestartPolicyNameEnum::NO => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn start(&self, unit: &UnitId) -> Result<OpOutcome, TargetError> {
        let options = None::<bollard::query_parameters::StartContainerOptions>;
        match call(CALL, "start", self.docker.start_container(&unit.0, options)).await {
            Ok(()) => Ok(done("started")),
            Err(error) if error.status == Some(304) => Ok(done("runs already")),
            // The engine understood and the container could not begin: a command
            // that does not exist, a user that does not. That is the release's fault.
            Err(error) if error.is_about_the_image() => Ok(OpOutcome::Unhealthy {
                reason: error.message,
                logs: self.last_lines(unit).await,
            }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn stop(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        let name = &unit.seen.unit;
        // Before the stop, or a daemon restart in between would revive it.
        self.set_policy(name, RestartPolicyNameEnum::NO).await?;
        self.stop_container(name, unit.stop_timeout).await?;
        Ok(done("stopped, warm"))
    }

    pub(super) async fn confirm_out(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        self.traffic.confirm_out(&spec.route(), &unit.seen.unit, fence).await?;
        if unit.seen.admitted {
            let message = format!("{} still gets traffic", unit.seen.unit);
            return Err(TargetError::Infrastructure { part: "docker".to_owned(), message });
        }
        Ok(())
    }

    pub(super) async fn stop_container(
        &self,
        unit: &UnitId,
        grace: Duration,
    ) -> Result<(), TargetError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stopping = self.docker.stop_container(&unit.0, Some(options));
        match call(grace + CALL, "stop", stopping).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.status, Some(304 | 404)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn remove_container(&self, unit: &UnitId) -> Result<(), TargetError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match call(CALL, "remove", self.docker.remove_container(&unit.0, Some(options))).await {
            Ok(()) => Ok(()),
            // 409: somebody else's removal is under way.
            Err(error) if matches!(error.status, Some(404 | 409)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Compensates `Create`: whatever became of the unit, it is gone.
    pub(super) async fn undo_create(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        self.drain_if_served(unit, spec, fence).await?;
        // A unit behind the switch without a restart policy never got a request:
        // nothing of it is worth waiting for.
        if !unit.is_routed() || unit.comes_back {
            self.set_policy(&unit.seen.unit, RestartPolicyNameEnum::NO).await?;
            self.stop_container(&unit.seen.unit, unit.stop_timeout.min(UNDO_TIMEOUT)).await?;
        }
        self.remove_container(&unit.seen.unit).await?;
        Ok(done("removed"))
    }
}
