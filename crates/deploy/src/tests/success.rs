//! Deployments that reach what is wanted.

use event::{DeploymentKind, DeploymentState, EventKind, OpState};
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, release, spec, world_with};

#[tokio::test(start_paused = true)]
async fn the_first_deployment_brings_up_every_slot() {
    let world = World::new();
    let deployed = world.deploy(spec(1, 2, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!((deployed.release, deployed.previous), (release(1), None));
    assert_eq!(deployed.caught_before_admit, None);
    assert_eq!(world.show(), "0:1 1:1");
    assert_eq!(deployed.units, world.target.seen().units);
}

#[tokio::test(start_paused = true)]
async fn a_redeploy_of_what_runs_changes_nothing() {
    let world = world_with(&[(1, 3, 1)]).await;
    let deployed = world.deploy(spec(1, 3, 2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!(deployed.previous, Some(release(1)));
    assert_eq!(world.target.take_mutations(), []);
    assert_eq!(
        world.lines(),
        ["locked   web/prod", "preflight ok", "nothing to do: 3 units run it already", "succeeded"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_release_rolls_and_one_old_unit_per_slot_stays_warm() {
    let world = world_with(&[(1, 2, 1), (2, 2, 1)]).await;
    assert_eq!(world.show(), "(0:1) 0:2 (1:1) 1:2");
    let deployed = world.deploy(spec(3, 2, 1)).await.unwrap();
    assert_eq!(deployed.previous, Some(release(2)));
    assert_eq!(world.show(), "(0:2) 0:3 (1:2) 1:3");
}

#[tokio::test(start_paused = true)]
async fn capacity_never_falls_below_the_replicas() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.deploy(spec(2, 3, 2)).await.unwrap();
    for sample in world.target.take_samples() {
        assert!(sample.serving >= 3 && sample.broken == 0, "{sample:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn scaling_adds_and_removes_the_highest_slots() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.deploy(spec(1, 3, 1)).await.unwrap();
    assert_eq!(world.show(), "0:1 1:1 2:1");
    world.deploy(spec(1, 2, 1)).await.unwrap();
    assert_eq!(world.show(), "0:1 1:1");
    let serving: Vec<_> = world.target.take_samples().iter().map(|sample| sample.serving).collect();
    assert!(serving.iter().all(|serving| (1..=3).contains(serving)), "{serving:?}");
}

#[tokio::test(start_paused = true)]
async fn release_and_scale_change_in_one_deployment() {
    let world = world_with(&[(1, 3, 1)]).await;
    let deployed = world.deploy(spec(2, 2, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!(world.show(), "(0:1) 0:2 (1:1) 1:2");
}

#[tokio::test(start_paused = true)]
async fn every_op_may_be_applied_twice() {
    let world = World::new();
    world.target.twice();
    for (number, replicas, batch) in [(1, 2, 1), (2, 3, 2), (3, 1, 1)] {
        let deployed = world.deploy(spec(number, replicas, batch)).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::Succeeded);
    }
    world.target.never_healthy(release(4));
    let deployed = world.deploy(spec(4, 2, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.traffic(), "0:3");
}

#[tokio::test(start_paused = true)]
async fn the_stream_has_an_intent_before_and_a_result_after_each_op() {
    let world = World::new();
    let deployment = deployment(DeploymentKind::Deploy, spec(1, 1, 1));
    let id = deployment.id;
    world.deploy_as(deployment, &CancellationToken::new()).await.unwrap();
    let shown: Vec<_> = world
        .ledger
        .events(id)
        .iter()
        .map(|event| match event {
            EventKind::DeploymentRequested { by, .. } => format!("requested by {by}"),
            EventKind::DeploymentLocked { fence } => format!("locked {fence}"),
            EventKind::DeploymentPlanned { replicas, batches, ops, .. } => {
                format!("planned {replicas} in {batches} by {ops}")
            }
            EventKind::OpIntended { op, action, batch, undo: false, .. } => {
                format!("{op} {action} in {batch:?}")
            }
            EventKind::OpFinished { op, action, state: OpState::Done, .. } => {
                format!("{op} {action} done")
            }
            EventKind::DeploymentFinished { state, .. } => state.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "requested by ann",
            "locked 2",
            "planned 1 in 1 by 5",
            "0 fetch in None",
            "0 fetch done",
            "1 create in Some(1)",
            "1 create done",
            "2 start in Some(1)",
            "2 start done",
            "3 gate in Some(1)",
            "3 gate done",
            "4 admit in Some(1)",
            "4 admit done",
            "succeeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn i3_requests_that_were_cut_are_counted() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.cuts(2);
    let deployed = world.deploy(spec(2, 3, 1)).await.unwrap();
    assert_eq!(deployed.cut, 6);
    let last = world.ledger.events(deployed.deployment).pop();
    assert!(matches!(last, Some(EventKind::DeploymentFinished { cut: 6, .. })), "{last:?}");
    let lines = world.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("cut 2 in ")).count(), 3, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_names_every_op_that_was_applied() {
    let world = World::new();
    let deployed = world.deploy(spec(1, 1, 1)).await.unwrap();
    let unit = deployed.units[0].unit.0.clone();
    let told = world.told.lock().unwrap();
    let applied: Vec<_> = told.iter().filter_map(|told| told.applied.clone()).collect();
    let applied: Vec<_> =
        applied.iter().map(|(action, of)| (action.as_str(), of.as_str())).collect();
    let of_unit = |action| (action, unit.as_str());
    assert_eq!(
        applied,
        [
            ("fetch", "web-prod"),
            of_unit("create"),
            of_unit("start"),
            of_unit("gate"),
            of_unit("admit")
        ]
    );
    assert!(told.iter().all(|told| told.undone.is_none()));
}

/// The runner and the server drive deployments in tasks of their own.
#[test]
fn deployments_and_recoveries_can_be_spawned() {
    fn is_send<T: Send>(_: impl Fn(std::sync::Arc<World>) -> T) {}
    is_send(|world| async move { world.deploy(spec(1, 1, 1)).await });
    is_send(|world| async move { world.recover().await });
}
