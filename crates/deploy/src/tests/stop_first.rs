//! Deployments that take the old units away before the new ones start.

use event::DeploymentState;
use pipeline::{BatchSize, RolloutOrder, StrategyKind};

use super::world::{World, release, spec, world_with};
use crate::Spec;
use crate::testing::FaultKind;

/// Three units of release `number`, one after the other, the old one of a slot first.
fn stop_first(number: u128) -> Spec {
    let mut spec = spec(number, 3, 3);
    spec.strategy.order = RolloutOrder::StopFirst;
    spec.strategy.bake = pipeline::Duration::from_secs(1);
    spec
}

/// Three units of release `number`, when all others are down.
fn recreate(number: u128) -> Spec {
    let mut spec = stop_first(number);
    spec.strategy.kind = StrategyKind::Recreate;
    spec
}

/// Asserts what holds at every instant, and returns how few units served at least.
fn least_serving(world: &World) -> Option<usize> {
    let samples = world.target.take_samples();
    for sample in &samples {
        assert_eq!((sample.broken, sample.doubled), (0, 0), "{sample:?}");
    }
    samples.iter().map(|sample| sample.serving).min()
}

#[tokio::test(start_paused = true)]
async fn no_two_units_of_a_slot_run_at_once_and_one_slot_is_out_at_a_time() {
    let world = world_with(&[(1, 3, 1)]).await;
    let deployed = world.deploy(stop_first(2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!(world.show(), "(0:1) 0:2 (1:1) 1:2 (2:1) 2:2");
    assert_eq!(least_serving(&world), Some(2));
}

#[tokio::test(start_paused = true)]
async fn as_many_are_out_as_max_unavailable_says() {
    let world = world_with(&[(1, 3, 1)]).await;
    let mut wanted = stop_first(2);
    wanted.strategy.max_unavailable = Some(BatchSize::Units(2));
    world.deploy(wanted).await.unwrap();
    assert_eq!(least_serving(&world), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_costs_one_slot_until_the_old_unit_is_back() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.never_healthy(release(2));
    let deployed = world.deploy(stop_first(2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.caught_before_admit, Some(true));
    assert_eq!(world.show(), "0:1 1:1 2:1");
    assert_eq!(least_serving(&world), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_turns_bad_goes_back_slot_by_slot() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.healthy_then_bad(release(2));
    let deployed = world.deploy(stop_first(2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.caught_before_admit, Some(false));
    assert_eq!(world.show(), "0:1 1:1 2:1");
    assert_eq!(least_serving(&world), Some(2));
}

#[tokio::test(start_paused = true)]
async fn recreate_never_runs_two_releases_at_once_forward_or_back() {
    for bad in [false, true] {
        let world = world_with(&[(1, 3, 1)]).await;
        if bad {
            world.target.healthy_then_bad(release(2));
        }
        let deployed = world.deploy(recreate(2)).await.unwrap();
        let (state, shown) = match bad {
            false => (DeploymentState::Succeeded, "0:2 1:2 2:2"),
            true => (DeploymentState::RolledBack, "0:1 1:1 2:1"),
        };
        assert_eq!((deployed.state, world.traffic().as_str()), (state, shown));
        for sample in world.target.take_samples() {
            // The first deployment made its units one after the other.
            let releases = sample.running.len();
            assert!(releases <= 1 && sample.doubled == 0, "{sample:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_engine_dies_recovery_finishes_or_reverts() {
    for wanted in [stop_first(2), recreate(2)] {
        for bad in [false, true] {
            for kind in [FaultKind::HangBefore, FaultKind::HangAfter] {
                for call in 0.. {
                    let world = world_with(&[(7, 3, 1), (1, 3, 1)]).await;
                    if bad {
                        world.target.never_healthy(release(2));
                    }
                    world.target.fault_in(call, kind);
                    if world.deploy_and_die(wanted.clone()).await.is_some() {
                        assert!(call > 6, "it never died");
                        break;
                    }
                    let state = world.recover().await[0].state;
                    let expected = match state {
                        DeploymentState::Succeeded => "0:2 1:2 2:2",
                        DeploymentState::RolledBack | DeploymentState::Failed => "0:1 1:1 2:1",
                        other => panic!("{kind:?} {call}: {other}"),
                    };
                    assert_eq!(world.traffic(), expected, "{kind:?} {call} {state}");
                    assert_eq!(world.recover().await, [], "nothing stays without an end");
                    least_serving(&world);
                }
            }
        }
    }
}
