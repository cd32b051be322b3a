//! Deployments to some units, and ways back in haste.

use std::time::Duration;

use event::{DeploymentKind, DeploymentState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, key, release, spec, world_with};
use crate::testing::FaultKind;
use crate::{
    Deployed, Deployment, DriftKind, Ledger, Scope, Spec, UnitId, drift, drift_of, last_good,
    resting, standing,
};

fn to_slots(kind: DeploymentKind, spec: Spec, slots: &[u32]) -> Deployment {
    let scope = Scope { slots: slots.iter().copied().collect(), emergency: false };
    Deployment { scope, ..deployment(kind, spec) }
}

impl World {
    async fn change_some(&self, kind: DeploymentKind, spec: Spec, slots: &[u32]) -> Deployed {
        let some = to_slots(kind, spec, slots);
        self.deploy_as(some, &CancellationToken::new()).await.unwrap()
    }

    /// The slots that something was done to since the last time.
    fn touched(&self) -> Vec<u32> {
        let slot = |(_, unit): (String, UnitId)| {
            unit.0.strip_prefix("web-prod-")?.split('-').next()?.parse().ok()
        };
        let mut slots: Vec<u32> =
            self.target.take_mutations().into_iter().filter_map(slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

fn succeeded(deployed: &Deployed) {
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
}

#[tokio::test(start_paused = true)]
async fn some_units_get_a_release_and_what_should_run_stays_as_it_was() {
    let world = world_with(&[(1, 3, 1)]).await;
    // However many units the file says: no number of them is changed.
    succeeded(&world.change_some(DeploymentKind::Deploy, spec(2, 1, 1), &[1]).await);
    assert_eq!(world.traffic(), "0:1 1:2 2:1");
    assert_eq!(world.touched(), [1]);
    let history = world.ledger.history(&key(), 10).await.unwrap();
    let stands = standing(&history).unwrap();
    assert_eq!((stands.spec().release, stands.spec().replicas), (release(1), 3));
    // It is told where the two differ, and is no place to go back to.
    let told = drift(Some(stands), &world.target.seen());
    let told: Vec<_> = told.iter().map(|drift| (drift.slot, drift.kind)).collect();
    assert_eq!(told, [(1, DriftKind::Release)]);
    assert_eq!(last_good(&history), None);
    // All of it makes it one again; what has the release already is left alone.
    succeeded(&world.deploy(spec(2, 3, 1)).await.unwrap());
    assert_eq!(world.traffic(), "0:2 1:2 2:2");
    assert_eq!(world.touched(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn some_units_are_restarted_stopped_and_started_and_the_others_are_left_alone() {
    let world = world_with(&[(1, 3, 1)]).await;
    succeeded(&world.change_some(DeploymentKind::Restart, spec(1, 3, 1), &[0]).await);
    assert_eq!((world.touched(), world.traffic().as_str()), (vec![0], "0:1 1:1 2:1"));
    succeeded(&world.change_some(DeploymentKind::Stop, spec(1, 3, 1), &[2]).await);
    assert_eq!((world.touched(), world.show().ends_with(" 1:1 (2:1)")), (vec![2], true));
    let history = world.ledger.history(&key(), 10).await.unwrap();
    assert!(!standing(&history).unwrap().is_stopped(), "the environment goes on");
    assert_eq!(resting(&history).into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(drift_of(&history, &world.target.seen()), [], "it is wanted so");
    succeeded(&world.change_some(DeploymentKind::Start, spec(1, 3, 1), &[2]).await);
    assert_eq!((world.touched(), world.traffic().as_str()), (vec![2], "0:1 1:1 2:1"));
    let history = world.ledger.history(&key(), 10).await.unwrap();
    assert!(resting(&history).is_empty());
    assert_eq!(world.target.take_violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn some_units_that_fail_go_back_and_touch_no_other() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.never_healthy(release(2));
    let deployed = world.change_some(DeploymentKind::Deploy, spec(2, 3, 1), &[0, 2]).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
    assert!(!world.touched().contains(&1));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_to_some_units_killed_anywhere_ends_as_wanted_or_as_before() {
    let mut ends = std::collections::BTreeSet::new();
    for call in 0.. {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.fault_in(call, FaultKind::HangAfter);
        let died = world.die(to_slots(DeploymentKind::Deploy, spec(2, 3, 1), &[1])).await;
        if died.is_some() {
            break;
        }
        world.target.clear_faults();
        let ended = world.recover().await.remove(0);
        let expected =
            if ended.state == DeploymentState::Succeeded { "0:1 1:2 2:1" } else { "0:1 1:1 2:1" };
        assert_eq!(world.traffic(), expected, "call {call}: {:?}", ended.state);
        assert!(!world.touched().iter().any(|slot| *slot != 1), "call {call}");
        ends.insert(ended.state.name());
    }
    assert!(ends.contains("succeeded") && ends.contains("rolled-back"), "{ends:?}");
}

fn in_haste(spec: Spec) -> Deployment {
    let scope = Scope { emergency: true, ..Scope::default() };
    Deployment { scope, ..deployment(DeploymentKind::Rollback, spec) }
}

#[tokio::test(start_paused = true)]
async fn haste_changes_all_units_at_once_and_waits_for_nothing_but_their_health() {
    let world = world_with(&[(1, 3, 1), (2, 3, 1)]).await;
    world.target.gate_takes(Duration::from_secs(1));
    let mut slow = spec(1, 3, 1);
    slow.strategy.bake = pipeline::Duration::from_secs(600);
    let begun = Instant::now();
    let haste = in_haste(slow.clone());
    let deployed = world.deploy_as(haste, &CancellationToken::new()).await.unwrap();
    succeeded(&deployed);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
    assert!(world.lines().contains(&"batch 1 of 1".to_owned()), "{:?}", world.lines());
    assert_eq!(world.target.take_violations(), [""; 0]);
    // What stands is deployed with care the next time.
    let history = world.ledger.history(&key(), 1).await.unwrap();
    assert_eq!(history[0].deployment.spec.strategy, slow.strategy);
    assert!(history[0].deployment.scope.emergency);
}

#[tokio::test(start_paused = true)]
async fn haste_sends_nobody_to_units_that_are_not_well() {
    let world = world_with(&[(1, 2, 1), (2, 2, 1)]).await;
    world.target.never_healthy(release(1));
    let haste = in_haste(spec(1, 2, 1));
    let deployed = world.deploy_as(haste, &CancellationToken::new()).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Stuck, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:2 1:2");
    assert_eq!(world.target.take_violations(), [""; 0]);
}
