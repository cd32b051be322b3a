//! How many units may fail, and what happens when more do.

use std::time::Duration;

use event::DeploymentState;
use pipeline::{OnFailure, RolloutOrder, StrategyKind};

use super::world::{World, key, release, spec, world_with};
use crate::testing::FaultKind;
use crate::{Ledger, Spec};

fn tolerant(number: u128, replicas: u32, tolerate: u32) -> Spec {
    let mut spec = spec(number, replicas, 1);
    spec.strategy.tolerate = tolerate;
    spec
}

fn then(on_failure: OnFailure, number: u128) -> Spec {
    let mut spec = spec(number, 3, 1);
    spec.strategy.on_failure = on_failure;
    spec
}

#[tokio::test(start_paused = true)]
async fn a_tolerated_unit_goes_back_to_what_it_was_and_the_rest_goes_on() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let deployed = world.deploy(tolerant(2, 3, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    let reason = deployed.reason.unwrap();
    assert!(reason.starts_with("given up, as tolerated: slot 1: web-prod-1-"), "{reason}");
    assert_eq!(world.traffic(), "0:2 1:1 2:2");
    for sample in world.target.take_samples() {
        assert!(sample.serving >= 3 && sample.broken == 0, "{sample:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_count_over_all_batches_and_one_too_many_takes_everything_back() {
    let world = world_with(&[(1, 4, 1)]).await;
    world.target.slot_never_healthy(0);
    world.target.slot_never_healthy(2);
    let deployed = world.deploy(tolerant(2, 4, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.caught_before_admit, Some(false));
    assert_eq!(world.show(), "0:1 1:1 2:1 3:1");
}

#[tokio::test(start_paused = true)]
async fn within_the_budget_no_unit_waits_for_less_because_another_failed() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.gate_takes(Duration::from_secs(9));
    world.target.slot_never_healthy(1);
    let mut wanted = tolerant(2, 3, 1);
    wanted.strategy.batch = pipeline::BatchSize::Units(3);
    let deployed = world.deploy(wanted).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:2 1:1 2:2");
}

#[tokio::test(start_paused = true)]
async fn a_tolerated_unit_without_a_former_one_is_left_out() {
    let world = World::new();
    world.target.slot_never_healthy(1);
    let deployed = world.deploy(tolerant(1, 3, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!(world.show(), "0:1 2:1");
    // Two releases never run at once where everything went down first.
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let mut all = tolerant(2, 3, 1);
    all.strategy.kind = StrategyKind::Recreate;
    all.strategy.order = RolloutOrder::StopFirst;
    let deployed = world.deploy(all).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:2 2:2");
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_turns_bad_while_it_is_watched_can_be_tolerated_too() {
    let world = world_with(&[(1, 2, 1)]).await;
    let mut wanted = tolerant(2, 2, 2);
    wanted.strategy.bake = pipeline::Duration::from_secs(3);
    world.target.healthy_then_bad(release(2));
    let deployed = world.deploy(wanted).await.unwrap();
    // Both turned bad, both were tolerated, and so nothing new is left.
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!(world.traffic(), "0:1 1:1");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_meanwhile_leaves_traffic_and_the_rest_goes_on() {
    // Before its batch, in the middle of it, and when that was done.
    for call in 1..=18 {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.dies_in(call, 1);
        let deployed = world.deploy(tolerant(2, 3, 1)).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::Succeeded, "{call}: {:?}", deployed.reason);
        let reason = deployed.reason.unwrap();
        assert!(reason.starts_with("given up, as tolerated: slot 1: "), "{call}: {reason}");
        let gave_up = world.lines().iter().any(|line| line == "gave up slot 1, which is away");
        assert!(gave_up, "{call}: {:?}", world.lines());
        assert_eq!(world.traffic(), "0:2 2:2", "{call}");
        world.target.revive();
        assert_eq!(
            world.traffic().replace(" [1:1]", "").replace(" [1:2]", ""),
            "0:2 2:2",
            "{call}"
        );
        let deployed = world.deploy(spec(2, 3, 1)).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::Succeeded, "{call}: {:?}", deployed.reason);
        assert_eq!(world.traffic(), "0:2 1:2 2:2", "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_beyond_the_budget_takes_the_others_back_and_is_named() {
    for call in [3, 9, 16] {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.dies_in(call, 1);
        let deployed = world.deploy(spec(2, 3, 1)).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::Stuck, "{call}: {:?}", deployed.reason);
        let reason = deployed.reason.unwrap();
        assert!(reason.contains("not rolled back: slot 1: "), "{call}: {reason}");
        assert_eq!(world.traffic(), "0:1 2:1", "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn stop_leaves_what_serves_and_takes_back_what_failed() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let deployed = world.deploy(then(OnFailure::Stop, 2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Failed);
    assert_eq!(world.traffic(), "0:2 1:1 2:1");
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("stopped half way: slot 0: "), "{reason}");
    let history = world.ledger.history(&key(), 1).await.unwrap();
    assert!(history[0].mixed);
    assert_eq!(history[0].caught, Some(event::Caught::AfterAdmit));
    // The next one makes it whole.
    world.target.heal();
    let deployed = world.deploy(spec(3, 3, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:3 1:3 2:3");
}

#[tokio::test(start_paused = true)]
async fn stop_before_anything_serves_has_changed_nothing() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.never_healthy(release(2));
    let deployed = world.deploy(then(OnFailure::Stop, 2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Failed);
    assert_eq!(world.show(), "0:1 1:1 2:1");
    assert!(!world.ledger.history(&key(), 1).await.unwrap()[0].mixed);
}

#[tokio::test(start_paused = true)]
async fn i11_what_failed_before_a_crash_still_counts() {
    let world = world_with(&[(1, 4, 1)]).await;
    world.target.slot_never_healthy(0);
    world.target.slot_never_healthy(2);
    // One is given up; the engine dies in the next batch.
    let calls = 1 + 3 + 1 + 2;
    world.target.fault_in(calls, FaultKind::HangBefore);
    assert!(world.deploy_and_die(tolerant(2, 4, 1)).await.is_none());
    assert_eq!(world.traffic(), "0:1 1:1 [1:2] 2:1 3:1");
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::RolledBack, "{:?}", ended[0].reason);
    assert_eq!(world.show(), "0:1 1:1 2:1 3:1");

    // Had it lived on with what serves, the second failure is still one too many.
    let world = world_with(&[(1, 4, 1)]).await;
    world.target.slot_never_healthy(0);
    world.target.slot_never_healthy(2);
    world.target.fault_in(calls + 3, FaultKind::HangAfter);
    assert!(world.deploy_and_die(tolerant(2, 4, 1)).await.is_none());
    assert_eq!(world.traffic(), "0:1 1:2 2:1 3:1");
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::RolledBack, "{:?}", ended[0].reason);
    assert_eq!(world.show(), "0:1 1:1 2:1 3:1");
}
