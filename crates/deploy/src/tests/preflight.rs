//! What the engine itself checks before any change.

use event::{DeploymentKind, DeploymentState, EventKind, Severity};
use pipeline::RolloutOrder;
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, release, spec, world_with};
use crate::{Artifact, Deployed, ObservedUnit, Policy, Spec, UnitId, UnitState};

impl World {
    async fn deploy_by(&self, policy: Policy, spec: Spec) -> Deployed {
        let deployment = deployment(DeploymentKind::Deploy, spec);
        self.deploy_with(deployment, policy, &CancellationToken::new()).await.unwrap()
    }

    /// The ids of what was found, with `!` behind errors.
    fn found(&self, deployed: &Deployed) -> Vec<String> {
        let events = self.ledger.events(deployed.deployment);
        let found = events.iter().find_map(|event| match event {
            EventKind::DeploymentChecked { findings } => Some(findings.clone()),
            _ => None,
        });
        let id = |finding: event::Finding| match finding.severity {
            Severity::Error => format!("{}!", finding.id),
            Severity::Warning => finding.id,
        };
        found.unwrap_or_default().into_iter().map(id).collect()
    }

    fn foreign(&self, slot: u32) -> ObservedUnit {
        let mut unit = self.target.seen().units[0].clone();
        unit.unit = UnitId(format!("web-prod-{slot}-foreign"));
        (unit.slot, unit.release, unit.spec) = (slot, release(66), "foreign".to_owned());
        unit.deployment = deployment(DeploymentKind::Deploy, spec(66, 1, 1)).id;
        unit
    }
}

#[tokio::test(start_paused = true)]
async fn all_findings_appear_at_once_and_nothing_is_changed() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.unfetchable(release(1));
    world.target.put(world.foreign(1));
    let mut wanted = spec(2, 1, 1);
    let reference = "registry.example/web:latest".to_owned();
    wanted.artifact = Artifact::Digest { reference, credential: None };
    let policy = Policy { needs_health: true, ..Policy::default() };
    let deployed = world.deploy_by(policy, wanted).await;
    assert_eq!(deployed.state, DeploymentState::Failed);
    assert_eq!(world.found(&deployed), ["health!", "digest!", "foreign-change!", "last-good!"]);
    let reason = deployed.reason.as_deref().unwrap();
    for id in ["[health]", "[digest]", "[foreign-change]", "[last-good]"] {
        assert!(reason.contains(id), "{reason}");
        assert!(
            world
                .lines()
                .iter()
                .any(|line| line.starts_with("preflight error: ") && line.ends_with(id))
        );
    }
    assert_eq!(world.target.take_mutations(), []);
}

#[tokio::test(start_paused = true)]
async fn a_broken_fleet_is_told_and_may_be_mended() {
    let world = world_with(&[(1, 3, 1)]).await;
    for index in [0, 1] {
        let mut dead = world.target.seen().units[index].clone();
        dead.state = UnitState::Exited;
        world.target.put(dead);
    }
    // One at a time may be missing here, and two are.
    let mut wanted = spec(2, 3, 1);
    wanted.strategy.order = RolloutOrder::StopFirst;
    let deployed = world.deploy(wanted).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.found(&deployed), ["capacity"]);
    let said = "preflight warning: 1 of 3 units serve, and it should never be less than 2";
    assert!(world.lines().iter().any(|line| line.starts_with(said)), "{:?}", world.lines());
}

#[tokio::test(start_paused = true)]
async fn foreign_units_are_taken_over_only_when_somebody_says_so() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.put(world.foreign(1));
    let deployed = world.deploy(spec(2, 2, 1)).await.unwrap();
    assert_eq!(world.found(&deployed), ["foreign-change!"]);
    assert!(deployed.reason.unwrap().starts_with("web-prod-1-foreign: "));
    let policy = Policy { adopt: true, ..Policy::default() };
    let deployed = world.deploy_by(policy, spec(2, 2, 1)).await;
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:2 1:2");
}

#[tokio::test(start_paused = true)]
async fn i8_nothing_begins_that_could_not_be_gone_back_from() {
    let world = world_with(&[(1, 1, 1), (2, 1, 1)]).await;
    world.target.unfetchable(release(2));
    let deployed = world.deploy(spec(3, 1, 1)).await.unwrap();
    assert_eq!(world.found(&deployed), ["last-good!"]);
    assert_eq!(world.target.take_mutations(), []);
    // Going back is not held up by it.
    let back = deployment(DeploymentKind::Rollback, spec(1, 1, 1));
    let deployed = world.deploy_as(back, &CancellationToken::new()).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
}

#[tokio::test(start_paused = true)]
async fn what_policy_asks_for_is_told_in_production_and_refuses_nothing() {
    let world = World::new();
    let unwell = crate::Check::User.warning("units run as root", "name a user");
    world.target.findings(vec![unwell, crate::Check::Disk.warning("little room", "make some")]);
    let told = world.deploy_by(Policy::default(), spec(1, 1, 1)).await;
    assert_eq!(world.found(&told), ["disk"]);
    let hardened = Policy { hardened: true, ..Policy::default() };
    let told = world.deploy_by(hardened, spec(2, 1, 1)).await;
    assert_eq!(world.found(&told), ["user", "disk"]);
    assert_eq!(told.state, DeploymentState::Succeeded, "{:?}", told.reason);
}
