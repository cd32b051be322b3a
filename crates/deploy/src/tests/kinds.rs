//! Restart, scale, stop and start: plans of the same ops, and what they leave to
//! those that follow.

use std::sync::Arc;

use event::{DeploymentKind, DeploymentState, EventKind};
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, key, release, spec, world_with};
use crate::testing::FaultKind;
use crate::{
    Change, ChangeError, Deployed, Ledger, ObservedUnit, OpAction, Spec, UnitState, change_spec,
    standing,
};

impl World {
    async fn asked(&self, change: Change) -> Result<Spec, ChangeError> {
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        change_spec(&ledger, &key(), change).await
    }

    pub(super) async fn change(&self, change: Change) -> Deployed {
        let spec = self.asked(change).await.unwrap();
        self.deploy_of(change.kind(), spec).await
    }

    async fn deploy_of(&self, kind: DeploymentKind, spec: Spec) -> Deployed {
        self.deploy_as(deployment(kind, spec), &CancellationToken::new()).await.unwrap()
    }

    async fn replicas(&self) -> (u32, u32) {
        let history = self.ledger.history(&key(), 100).await.unwrap();
        let standing = standing(&history).unwrap();
        (standing.spec().replicas, standing.declared())
    }
}

fn succeeded(deployed: &Deployed) {
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
}

fn reason(deployed: &Deployed) -> &str {
    assert_eq!(deployed.state, DeploymentState::Failed);
    deployed.reason.as_deref().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_restart_makes_every_unit_anew_and_loses_no_capacity() {
    let world = world_with(&[(1, 3, 1)]).await;
    let before = world.target.seen();
    let deployed = world.change(Change::Restart).await;
    succeeded(&deployed);
    assert_eq!(world.show(), "(0:1) 0:1 (1:1) 1:1 (2:1) 2:1");
    for old in &before.units {
        assert!(!world.target.seen().unit(&old.unit).unwrap().admitted, "{}", old.unit);
    }
    for sample in world.target.take_samples() {
        assert!(sample.serving >= 3 && sample.broken == 0, "{sample:?}");
    }
    // The same request again is another restart.
    succeeded(&world.change(Change::Restart).await);
    assert!(!world.target.take_mutations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_leaves_the_units_that_served() {
    let world = world_with(&[(1, 2, 1)]).await;
    let before = world.target.seen();
    world.target.never_healthy(release(1));
    let deployed = world.change(Change::Restart).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.target.seen(), before);
}

#[tokio::test(start_paused = true)]
async fn scale_changes_the_number_of_units_and_nothing_else() {
    let world = world_with(&[(1, 2, 1)]).await;
    let two = world.target.seen().units;
    succeeded(&world.change(Change::Scale(4)).await);
    assert_eq!(world.show(), "0:1 1:1 2:1 3:1");
    assert_eq!(world.target.seen().units[..2], two, "no other unit is touched");
    succeeded(&world.change(Change::Scale(1)).await);
    assert_eq!(world.show(), "0:1");
    assert!(matches!(world.asked(Change::Scale(0)).await, Err(ChangeError::NoUnits { .. })));
}

#[tokio::test(start_paused = true)]
async fn more_units_that_do_not_get_healthy_are_taken_away_again() {
    let world = world_with(&[(1, 2, 1)]).await;
    world.target.slot_never_healthy(3);
    let deployed = world.change(Change::Scale(4)).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.show(), "0:1 1:1");
    assert_eq!(world.replicas().await, (2, 2));
}

#[tokio::test(start_paused = true)]
async fn i15_scaled_stays_scaled_until_the_file_says_another_number() {
    let world = world_with(&[(1, 2, 1)]).await;
    succeeded(&world.change(Change::Scale(5)).await);
    assert_eq!(world.replicas().await, (5, 2));
    // The file still says two.
    succeeded(&world.deploy(spec(2, 2, 2)).await.unwrap());
    assert_eq!(world.traffic(), "0:2 1:2 2:2 3:2 4:2");
    assert_eq!(world.replicas().await, (5, 2));
    // So does that of the release it goes back to.
    succeeded(&world.deploy_of(DeploymentKind::Rollback, spec(1, 2, 2)).await);
    assert_eq!(world.traffic(), "0:1 1:1 2:1 3:1 4:1");
    // A deployment that fails changes nothing about it.
    world.target.never_healthy(release(3));
    let failed = world.deploy(spec(3, 4, 2)).await.unwrap();
    assert_eq!(failed.state, DeploymentState::RolledBack);
    assert_eq!(world.replicas().await, (5, 2));
    // Now the file says something new.
    succeeded(&world.deploy(spec(2, 3, 2)).await.unwrap());
    assert_eq!(world.traffic(), "0:2 1:2 2:2");
    assert_eq!(world.replicas().await, (3, 3));
    // And a restart keeps what there is.
    succeeded(&world.change(Change::Scale(1)).await);
    succeeded(&world.change(Change::Restart).await);
    assert_eq!((world.traffic().as_str(), world.replicas().await), ("0:2", (1, 3)));
}

#[tokio::test(start_paused = true)]
async fn without_scaling_a_rollback_brings_the_number_of_its_own_time() {
    let world = world_with(&[(1, 3, 1), (2, 1, 1)]).await;
    succeeded(&world.deploy_of(DeploymentKind::Rollback, spec(1, 3, 1)).await);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
    // The next deployment of the file is not held for a scaled one.
    succeeded(&world.deploy(spec(3, 1, 1)).await.unwrap());
    assert_eq!(world.traffic(), "0:3");
}

#[tokio::test(start_paused = true)]
async fn stop_takes_all_down_and_start_brings_the_same_units_back() {
    let world = world_with(&[(1, 2, 1), (2, 3, 1)]).await;
    let before = world.target.seen();
    succeeded(&world.change(Change::Stop).await);
    assert_eq!(world.show(), "(0:1) (0:2) (1:1) (1:2) (2:2)");
    world.target.take_mutations();
    // Again there is nothing to do.
    succeeded(&world.change(Change::Stop).await);
    assert_eq!(world.target.take_mutations(), []);

    succeeded(&world.change(Change::Start).await);
    assert_eq!(world.target.seen(), before);
    let made: Vec<_> = world.target.take_mutations();
    assert!(made.iter().all(|(action, _)| action != OpAction::Create.name()), "{made:?}");
    assert_eq!(world.replicas().await, (3, 3));
}

#[tokio::test(start_paused = true)]
async fn i15_stopped_stays_stopped_until_start() {
    let world = world_with(&[(1, 2, 1), (2, 2, 1)]).await;
    succeeded(&world.change(Change::Scale(3)).await);
    succeeded(&world.change(Change::Stop).await);
    world.target.take_mutations();
    let stopped = "environment `prod` was stopped on purpose: \
                   bring it back first with `shipline start prod` [stopped]";
    let asked = |kind, spec| world.deploy_of(kind, spec);
    assert_eq!(reason(&asked(DeploymentKind::Deploy, spec(3, 2, 1)).await), stopped);
    assert_eq!(reason(&asked(DeploymentKind::Rollback, spec(1, 2, 1)).await), stopped);
    assert_eq!(reason(&world.change(Change::Restart).await), stopped);
    assert_eq!(reason(&world.change(Change::Scale(1)).await), stopped);
    assert_eq!(world.target.take_mutations(), []);
    assert_eq!(world.traffic(), "");
    succeeded(&world.change(Change::Start).await);
    assert_eq!(world.traffic(), "0:2 1:2 2:2");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_brings_everything_back() {
    let world = world_with(&[(1, 2, 1)]).await;
    let before = world.target.seen();
    // Two drains, then the first stop.
    world.target.fault_in(2, FaultKind::FailBefore);
    let deployed = world.change(Change::Stop).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
    assert_eq!(world.target.seen(), before);
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_units_do_not_come_up_leaves_it_stopped() {
    let world = world_with(&[(1, 2, 1)]).await;
    succeeded(&world.change(Change::Stop).await);
    let before = world.target.seen();
    world.target.slot_never_healthy(1);
    let deployed = world.change(Change::Start).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.target.seen(), before);
}

#[tokio::test(start_paused = true)]
async fn a_start_makes_what_is_gone_anew() {
    let world = world_with(&[(1, 2, 1)]).await;
    succeeded(&world.change(Change::Stop).await);
    let gone = world.target.seen().units[1].unit.clone();
    world.target.lose(&gone);
    succeeded(&world.change(Change::Start).await);
    assert_eq!(world.show(), "0:1 1:1");
}

#[tokio::test(start_paused = true)]
async fn a_warm_rollback_wakes_the_units_that_wait() {
    let world = world_with(&[(1, 2, 1), (2, 2, 1)]).await;
    assert_eq!(world.show(), "(0:1) 0:2 (1:1) 1:2");
    succeeded(&world.deploy_of(DeploymentKind::Rollback, spec(1, 2, 1)).await);
    assert_eq!(world.show(), "0:1 (0:2) 1:1 (1:2)");
    let done: Vec<_> =
        world.target.take_mutations().into_iter().map(|(action, _)| action).collect();
    assert!(!done.iter().any(|action| action == "create" || action == "fetch"), "{done:?}");
    for sample in world.target.take_samples() {
        assert!(sample.serving >= 2 && sample.broken == 0, "{sample:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_lock_takes_the_release_that_stands_then() {
    let world = world_with(&[(1, 2, 1)]).await;
    let old = world.asked(Change::Restart).await.unwrap();
    world.deploy(spec(2, 2, 1)).await.unwrap();
    // It was asked for when release 1 ran.
    let deployed = world.deploy_of(DeploymentKind::Restart, old).await;
    succeeded(&deployed);
    assert_eq!(deployed.release, release(2));
    assert_eq!(world.traffic(), "0:2 1:2");
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_restarted_where_nothing_was_deployed() {
    let world = World::new();
    assert!(matches!(world.asked(Change::Restart).await, Err(ChangeError::Nothing { .. })));
    let deployed = world.deploy_of(DeploymentKind::Stop, spec(1, 1, 1)).await;
    assert_eq!(reason(&deployed), "nothing was ever deployed to environment `prod`");
}

#[tokio::test(start_paused = true)]
async fn the_stream_says_what_was_planned() {
    let world = world_with(&[(1, 2, 1)]).await;
    let deployed = world.change(Change::Scale(3)).await;
    let events = world.ledger.events(deployed.deployment);
    let EventKind::DeploymentRequested { change, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*change, DeploymentKind::Scale);
    let planned =
        EventKind::DeploymentPlanned { release: release(1), replicas: 3, batches: 1, ops: 5 };
    assert_eq!(events[2], planned, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repair_makes_what_is_dead_or_gone_and_leaves_the_rest_alone() {
    let world = world_with(&[(1, 3, 1)]).await;
    let before = world.target.seen().units;
    world.target.put(ObservedUnit { state: UnitState::Exited, ..before[1].clone() });
    world.target.lose(&before[2].unit);
    world.target.take_mutations();
    succeeded(&world.change(Change::Repair).await);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
    assert_eq!(world.target.take_violations(), Vec::<String>::new());
    assert_eq!(world.target.seen().unit(&before[0].unit), Some(&before[0]));
    let touched = world.target.take_mutations();
    assert!(touched.iter().all(|(_, unit)| *unit != before[0].unit), "{touched:?}");
    // What runs as it should is left alone altogether.
    succeeded(&world.change(Change::Repair).await);
    assert_eq!(world.target.take_mutations(), []);
}

#[tokio::test(start_paused = true)]
async fn a_repair_takes_a_unit_that_runs_into_traffic_again() {
    let world = world_with(&[(1, 2, 1)]).await;
    let before = world.target.seen().units;
    world.target.put(ObservedUnit { admitted: false, ..before[1].clone() });
    succeeded(&world.change(Change::Repair).await);
    assert_eq!(world.target.seen().units, before);
}

#[tokio::test(start_paused = true)]
async fn i15_a_repair_never_revives_what_was_stopped_on_purpose() {
    let world = world_with(&[(1, 2, 1)]).await;
    succeeded(&world.change(Change::Stop).await);
    world.target.take_mutations();
    let refused = world.change(Change::Repair).await;
    assert_eq!(refused.state, DeploymentState::Failed);
    assert!(reason(&refused).contains("was stopped on purpose"), "{refused:?}");
    assert_eq!(world.target.take_mutations(), []);
}
