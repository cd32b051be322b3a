//! Units for who watches: how they fare, and what the proxy does.

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, HealthStatusEnum};
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;

use super::gate::{check_of, health_status};
use super::unit::UnitView;
use super::{DockerTarget, key_of};
use crate::health::Look;
use crate::{Inspected, Life, Observed, Spec, TargetError};

impl DockerTarget {
    pub(super) async fn inspect_units(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        let units = self.units(&key_of(spec)).await?;
        let admitted = units.iter().filter(|unit| unit.seen.admitted);
        let lives = admitted.map(async |unit| {
            let life = self.life(unit, spec).await?;
            Ok::<_, TargetError>(life.map(|life| (unit.seen.unit.clone(), life)))
        });
        let lives: BTreeMap<_, _> = try_join_all(lives).await?.into_iter().flatten().collect();
        let route = self.traffic.seen(&spec.route()).await?;
        let units = units.into_iter().map(|unit| unit.seen).collect();
        let observed = Observed { units, ..Observed::default() };
        Ok(Inspected { observed, lives, route })
    }

    /// `None` for one that was removed since it was listed.
    async fn life(&self, unit: &UnitView, spec: &Spec) -> Result<Option<Life>, TargetError> {
        let container = match self.inspect(&unit.seen.unit.0).await {
            Ok(container) => container,
            Err(error) if error.status == Some(404) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let check = check_of(unit, spec, &container);
        let complaint = match self.look(unit, &check, &container).await? {
            Look::Good => None,
            Look::Bad(_) if is_beginning(&container, spec) => None,
            Look::Bad(why) | Look::Dead(why) | Look::Other(why) => Some(why),
        };
        let state = container.state.as_ref();
        Ok(Some(Life {
            beginning: state.and_then(|state| state.started_at.clone()).unwrap_or_default(),
            restarts: container.restart_count.and_then(|count| count.try_into().ok()).unwrap_or(0),
            complaint,
        }))
    }
}

/// Whether a container has begun so shortly ago that it need not be well yet.
fn is_beginning(container: &ContainerInspectResponse, spec: &Spec) -> bool {
    if health_status(container) == Some(HealthStatusEnum::STARTING) {
        return true;
    }
    let started = container.state.as_ref().and_then(|state| state.started_at.as_deref());
    let started = started.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let patience = spec.health.as_ref().map(|health| health.start_period.std());
    started.zip(patience).is_some_and(|(started, patience)| {
        (Utc::now() - started.with_timezone(&Utc)).to_std().is_ok_and(|ago| ago < patience)
    })
}
