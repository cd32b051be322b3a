//! Everything that can be checked before any change, all at once.

use std::time::Duration;

use event::{DeploymentKind, Finding};
use pipeline::{RolloutOrder, Strategy, StrategyKind};

use crate::finding::about;
use crate::standing::Standing;
use crate::suite::VerifyStep;
use crate::{
    Artifact, Check, DeploymentRecord, Observed, ObservedUnit, Policy, Spec, Target, TargetError,
    UnitState,
};

/// How long all checks together may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// What there is to check.
pub(crate) struct Preflight<'a> {
    pub(crate) kind: DeploymentKind,
    /// As it is settled.
    pub(crate) spec: &'a Spec,
    pub(crate) seen: &'a Observed,
    pub(crate) standing: Option<Standing<'a>>,
    /// Newest first.
    pub(crate) history: &'a [DeploymentRecord],
    pub(crate) policy: Policy,
    /// Whether checks that need a container can be made.
    pub(crate) can_run: bool,
}

/// Checks what the target can see, and what the engine knows.
pub(crate) async fn check(
    target: &dyn Target,
    preflight: &Preflight<'_>,
) -> Result<Vec<Finding>, TargetError> {
    let late = || TargetError::Infrastructure {
        part: "target".to_owned(),
        message: format!("preflight was not done within {} s", DEADLINE.as_secs()),
    };
    let checking = async {
        let mut findings = preflight.of_engine();
        findings.extend(preflight.last_good(target).await?);
        let hardened = preflight.policy.hardened && preflight.kind == DeploymentKind::Deploy;
        let of_target = target.preflight(preflight.spec, preflight.seen).await?;
        findings.extend(
            of_target.into_iter().filter(|finding| hardened || !Check::is_of_policy(finding)),
        );
        Ok(findings)
    };
    tokio::time::timeout(DEADLINE, checking).await.map_err(|_| late())?
}

impl Preflight<'_> {
    /// What the engine itself has against a deployment.
    fn of_engine(&self) -> Vec<Finding> {
        let single = [self.stopped(), self.capacity(), self.health(), self.verify(), self.digest()];
        single.into_iter().flatten().chain(self.foreign_changes()).collect()
    }

    fn stopped(&self) -> Option<Finding> {
        let environment = &self.spec.environment;
        let ends_it = matches!(self.kind, DeploymentKind::Stop | DeploymentKind::Start);
        let stopped = self.standing.is_some_and(|standing| standing.is_stopped());
        (stopped && !ends_it).then(|| {
            Check::Stopped.finding(
                format!("environment `{environment}` was stopped on purpose"),
                format!("bring it back first with `shipline start {environment}`"),
            )
        })
    }

    /// A broken fleet is told and not refused: the deployment may be what mends it.
    fn capacity(&self) -> Option<Finding> {
        let standing = self.standing.filter(|standing| !standing.is_stopped())?;
        let wanted = standing.spec().replicas;
        let least = wanted.saturating_sub(may_be_missing(self.spec));
        let serves = |slot: &u32| {
            let unit = self.seen.current(*slot);
            unit.is_some_and(|unit| unit.state == UnitState::Running)
        };
        let serving = u32::try_from((0..wanted).filter(serves).count()).unwrap_or(wanted);
        (serving < least).then(|| {
            Check::Capacity.warning(
                format!(
                    "{serving} of {wanted} units serve, and it should never be less than {least}"
                ),
                format!("look at `shipline status {}`", self.spec.environment),
            )
        })
    }

    fn health(&self) -> Option<Finding> {
        let makes_units = matches!(
            self.kind,
            DeploymentKind::Deploy | DeploymentKind::Restart | DeploymentKind::Scale
        );
        let missing = self.spec.health.is_none() && self.policy.needs_health && makes_units;
        missing.then(|| {
            Check::Health.finding(
                "production takes no units without a `health` check",
                "write `health: {http: /healthz, port: 8080}` or the like, \
                 or grant it with `--no-health`",
            )
        })
    }

    fn verify(&self) -> Option<Finding> {
        let image = self.spec.verify.iter().find_map(VerifyStep::image)?;
        (!self.can_run).then(|| {
            Check::Verify.finding(
                format!("`verify` runs commands in `{image}`, and nothing here can"),
                "ask an address with `http` instead, or deploy from where stages run",
            )
        })
    }

    fn digest(&self) -> Option<Finding> {
        let Artifact::Digest { reference, .. } = &self.spec.artifact else { return None };
        (!reference.contains("@sha256:")).then(|| {
            Check::Digest.finding(
                format!("image `{reference}` can change after it was deployed"),
                "name it with its digest, `@sha256:…`, or push it in a stage",
            )
        })
    }

    /// Units in traffic that no deployment here has put there.
    fn foreign_changes(&self) -> Vec<Finding> {
        if self.policy.adopt || self.kind == DeploymentKind::Stop {
            return Vec::new();
        }
        let stands = self.standing.map(|standing| standing.spec().unit_hash());
        let is_known = |unit: &ObservedUnit| {
            let mut known = self.history.iter();
            known.any(|record| record.deployment.id == unit.deployment)
        };
        let is_foreign = |unit: &&ObservedUnit| {
            unit.admitted && Some(&unit.spec) != stands.as_ref() && !is_known(unit)
        };
        let finding = |unit: &ObservedUnit| {
            let cause = format!(
                "it serves release {}, and no deployment of this history has brought it",
                unit.release.short()
            );
            let fix =
                format!("take it over with `shipline deploy {} --adopt`", self.spec.environment);
            about(&unit.unit, Check::ForeignChange.finding(cause, fix))
        };
        self.seen.units.iter().filter(is_foreign).map(finding).collect()
    }

    /// What runs now is where a failed deployment goes back to, and what replaces a
    /// unit that dies meanwhile.
    async fn last_good(&self, target: &dyn Target) -> Result<Option<Finding>, TargetError> {
        let replaces = self.kind == DeploymentKind::Deploy;
        let Some(standing) = self.standing.filter(|_| replaces) else { return Ok(None) };
        if standing.spec().artifact == self.spec.artifact {
            return Ok(None);
        }
        let missing = target.fetchable(standing.spec()).await?;
        Ok(missing.map(|why| {
            Check::LastGood.finding(
                format!("what runs now could not be had again, should this fail: {why}"),
                "push that image again, or roll back to a release that can be fetched",
            )
        }))
    }
}

/// How many units a strategy may take out of traffic at once.
pub(crate) fn may_be_missing(spec: &Spec) -> u32 {
    let Strategy { kind, order, max_unavailable, .. } = &spec.strategy;
    match (kind, order) {
        (StrategyKind::Recreate, _) => spec.replicas,
        (_, RolloutOrder::StartFirst) => max_unavailable.map_or(0, |size| size.of(spec.replicas)),
        (_, RolloutOrder::StopFirst) => max_unavailable.map_or(1, |size| size.of(spec.replicas)),
    }
}
