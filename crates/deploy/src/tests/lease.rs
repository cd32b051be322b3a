//! One engine at a time.

use std::time::Duration;

use event::{DeploymentKind, DeploymentState, EventKind};
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, key, spec, world_with};
use crate::testing::FaultKind;
use crate::{DeployError, DeploymentRecord, Ledger, Limits};

#[tokio::test(start_paused = true)]
async fn two_deployments_at_once_go_one_after_the_other() {
    let world = world_with(&[(1, 2, 1)]).await;
    world.target.gate_takes(Duration::from_secs(40));
    let (first, second) = tokio::join!(world.deploy(spec(2, 2, 1)), world.deploy(spec(3, 2, 1)));
    assert_eq!(first.unwrap().state, DeploymentState::Succeeded);
    assert_eq!(second.unwrap().state, DeploymentState::Succeeded);
    assert_eq!(world.show(), "(0:2) 0:3 (1:2) 1:3");
    assert!(
        world.lines().contains(&"waiting: environment `prod` is held by ann's engine".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_obtained_in_time_refuses_the_deployment() {
    let mut world = World::new();
    world.limits = Limits { lock_wait: Duration::from_secs(10), ..Limits::default() };
    let other = deployment(DeploymentKind::Deploy, spec(1, 1, 1)).id;
    let ttl = Duration::from_secs(600);
    world.ledger.acquire(&key(), other, "bob's engine", ttl).await.unwrap();
    let deployed = world.deploy(spec(2, 1, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Refused);
    let reason = "environment `prod` is held by bob's engine, and was for 10 s";
    assert_eq!(deployed.reason.as_deref(), Some(reason));
    assert_eq!(world.target.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_lock_can_be_cancelled() {
    let world = World::new();
    let other = deployment(DeploymentKind::Deploy, spec(1, 1, 1)).id;
    world.ledger.acquire(&key(), other, "bob's engine", Duration::from_secs(600)).await.unwrap();
    let cancel = CancellationToken::new();
    let new = deployment(DeploymentKind::Deploy, spec(2, 1, 1));
    let (deployed, ()) = tokio::join!(world.deploy_as(new, &cancel), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert_eq!(deployed.unwrap().state, DeploymentState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_long_deployment_keeps_its_lock() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.gate_takes(Duration::from_secs(60));
    let (deployed, refused) = tokio::join!(world.deploy(spec(2, 1, 1)), async {
        tokio::time::sleep(Duration::from_secs(55)).await;
        let other = deployment(DeploymentKind::Deploy, spec(3, 1, 1)).id;
        world.ledger.acquire(&key(), other, "bob", Duration::from_secs(30)).await
    });
    assert_eq!(deployed.unwrap().state, DeploymentState::Succeeded);
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_written_down_is_given_back_at_once() {
    let world = World::new();
    // Nobody has requested it, so nothing can be appended to it.
    let record = DeploymentRecord::new(
        deployment(DeploymentKind::Deploy, spec(1, 1, 1)),
        std::time::SystemTime::now().into(),
    );
    let recovered =
        crate::recover(record, world.target.clone(), world.ledger.clone(), "ann".to_owned(), None)
            .await;
    assert!(matches!(recovered, Err(DeployError::Ledger(_))), "{recovered:?}");
    let other = deployment(DeploymentKind::Deploy, spec(2, 1, 1)).id;
    let acquired = world.ledger.acquire(&key(), other, "bob", Duration::from_secs(30)).await;
    assert!(acquired.is_ok(), "{acquired:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_free_after_any_end() {
    let world = World::new();
    world.target.never_healthy(super::world::release(1));
    world.deploy(spec(1, 1, 1)).await.unwrap();
    let other = deployment(DeploymentKind::Deploy, spec(2, 1, 1)).id;
    assert!(world.ledger.acquire(&key(), other, "bob", Duration::from_secs(30)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_lost_its_lock_reverts_under_a_new_one() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.gate_takes(Duration::from_secs(60));
    let begun = tokio::time::Instant::now();
    let (deployed, ()) = tokio::join!(world.deploy(spec(2, 1, 1)), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.ledger.expire(&key());
    });
    let deployed = deployed.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.show(), "0:1");
    assert!(begun.elapsed() < Duration::from_secs(60), "it stopped when it lost the lock");
}

#[tokio::test(start_paused = true)]
async fn an_engine_in_doubt_about_its_lock_starts_nothing() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.gate_takes(Duration::from_secs(25));
    let deploying = async {
        let calls = world.target.calls();
        let deployed = world.deploy(spec(2, 1, 1)).await;
        (deployed, world.target.calls() - calls)
    };
    let breaking = async {
        // Not renewed from here on: the gate ends 25 s after the start.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.ledger.refuse_renewal(true);
        tokio::time::sleep(Duration::from_secs(26)).await;
        assert_eq!(world.traffic(), "0:1 [0:2]", "nothing was admitted after the gate");
        world.ledger.refuse_renewal(false);
        // The next try finds the lease still ours.
        tokio::time::sleep(Duration::from_secs(30)).await;
    };
    let ((deployed, _), ()) = tokio::join!(deploying, breaking);
    assert_eq!(deployed.unwrap().state, DeploymentState::Succeeded);
    assert_eq!(world.traffic(), "0:2");
}

#[tokio::test(start_paused = true)]
async fn i6_a_smaller_fence_has_no_effect_on_the_target() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.fault_in(3, FaultKind::HangBefore);
    // The first engine stands still, is overtaken, and wakes up too late: what it
    // had begun is in the way of nobody.
    assert!(world.deploy_and_die(spec(2, 1, 1)).await.is_none());
    let dead = world.ledger.unfinished().await.unwrap().remove(0);
    world.deploy(spec(3, 1, 1)).await.unwrap();
    assert_refused(&world, &dead).await;
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::Failed);
    assert_eq!(world.traffic(), "0:3");
}

#[tokio::test(start_paused = true)]
async fn i10_what_came_after_a_dead_deployment_stays_when_that_one_is_ended() {
    for call in 0..9 {
        let world = world_with(&[(1, 2, 2)]).await;
        world.target.fault_in(call, FaultKind::HangAfter);
        assert!(world.deploy_and_die(spec(2, 2, 2)).await.is_none());
        // Somebody deploys before the dead one is ended.
        world.deploy(spec(3, 2, 2)).await.unwrap();
        assert_eq!(world.traffic(), "0:3 1:3");
        // The engine that ends it dies once more.
        world.target.fault_in(0, FaultKind::HangBefore);
        tokio::select! {
            biased;
            () = world.target.hanging() => {}
            ended = world.recover() => assert_eq!(ended.len(), 1),
        }
        world.target.clear_faults();
        world.recover().await;
        assert_eq!(world.recover().await, [], "nothing stays without an end");
        assert_eq!(world.traffic(), "0:3 1:3", "{call}");
        for sample in world.target.take_samples() {
            assert!(sample.serving >= 2 && sample.broken == 0, "{call}: {sample:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i10_an_older_request_does_not_replace_a_newer_one() {
    let world = world_with(&[(1, 1, 1)]).await;
    let other = deployment(DeploymentKind::Deploy, spec(9, 1, 1)).id;
    let ttl = Duration::from_secs(30);
    let lease = world.ledger.acquire(&key(), other, "bob", ttl).await.unwrap();
    let (older, newer) = tokio::join!(world.deploy(spec(2, 1, 1)), async {
        // Both wait; the newer one is let in first.
        tokio::time::sleep(Duration::from_millis(900)).await;
        world.ledger.unlock(&lease).await.unwrap();
        world.deploy(spec(3, 1, 1)).await
    });
    assert_eq!(newer.unwrap().state, DeploymentState::Succeeded);
    let older = older.unwrap();
    assert_eq!(older.state, DeploymentState::Refused);
    assert!(older.reason.unwrap().ends_with("was requested later and is already there"));
    assert_eq!(world.traffic(), "0:3");
}

/// Another home: a ledger of its own, and the same target.
fn beside(world: &World) -> World {
    World { target: world.target.clone(), ..World::new() }
}

/// Takes over what serves, which is another home's.
async fn take_over(world: &World, spec: crate::Spec) -> crate::Deployed {
    let policy = crate::Policy { adopt: true, ..crate::Policy::default() };
    let new = deployment(DeploymentKind::Deploy, spec);
    world.deploy_with(new, policy, &CancellationToken::new()).await.unwrap()
}

fn begun_at(world: &World) -> u64 {
    let events = world.ledger.all_events();
    let fences = events.iter().filter_map(|event| match event {
        EventKind::DeploymentLocked { fence } => Some(*fence),
        _ => None,
    });
    fences.max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn two_homes_go_one_after_the_other_and_each_hears_of_the_other() {
    let one = World::new();
    let two = beside(&one);
    one.target.gate_takes(Duration::from_secs(40));
    let (first, second) = tokio::join!(one.deploy(spec(1, 2, 1)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        take_over(&two, spec(2, 2, 1)).await
    });
    assert_eq!(first.unwrap().state, DeploymentState::Succeeded);
    assert_eq!(second.state, DeploymentState::Succeeded, "{:?}", second.reason);
    assert_eq!(one.traffic(), "0:2 1:2");
    let waited = two.lines().into_iter().find(|line| line.starts_with("waiting: ")).unwrap();
    assert!(waited.starts_with("waiting: environment `prod` is held by ann@"), "{waited}");
    assert!(waited.contains(" (deployment ") && waited.contains(") since 2"), "{waited}");
    assert!(waited.ends_with(" UTC, at its target"), "{waited}");
    assert!(begun_at(&two) > begun_at(&one), "fences of two ledgers can be compared");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_home_in_vain_has_never_held_anything() {
    let one = world_with(&[(1, 1, 1)]).await;
    let mut two = beside(&one);
    two.limits = Limits { lock_wait: Duration::from_secs(10), ..Limits::default() };
    one.target.gate_takes(Duration::from_secs(60));
    let (first, second) = tokio::join!(one.deploy(spec(2, 1, 1)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let deployed = two.deploy(spec(3, 1, 1)).await.unwrap();
        let another = deployment(DeploymentKind::Deploy, spec(4, 1, 1)).id;
        let lock = two.ledger.acquire(&key(), another, "bob", Duration::from_secs(1)).await;
        assert!(lock.is_ok(), "nobody of its own home waits for it");
        deployed
    });
    assert_eq!(first.unwrap().state, DeploymentState::Succeeded);
    assert_eq!(second.state, DeploymentState::Refused);
    assert!(second.reason.unwrap().ends_with(", at its target, and was for 10 s"));
    let record = two.ledger.history(&key(), 1).await.unwrap().remove(0);
    assert_eq!(record.fence, 0);
    assert_eq!(one.traffic(), "0:2");
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_home_that_died_ends_by_itself_and_its_fence_is_too_small_then() {
    let one = world_with(&[(1, 1, 1)]).await;
    let two = beside(&one);
    one.target.fault_in(2, FaultKind::HangAfter);
    assert!(one.deploy_and_die(spec(2, 1, 1)).await.is_none());
    let dead = one.ledger.unfinished().await.unwrap().remove(0);
    let begun = tokio::time::Instant::now();
    let deployed = take_over(&two, spec(3, 1, 1)).await;
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    let waited = begun.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(40)).contains(&waited), "{waited:?}");
    // The dead one wakes up in the middle of its work.
    assert_refused(&one, &dead).await;
    // Its own home ends it, under a fence that counts.
    one.recover().await;
    assert!(begun_at(&one) > begun_at(&two));
    assert_eq!(one.recover().await, [], "nothing stays without an end");
}

#[tokio::test(start_paused = true)]
async fn its_own_home_takes_up_at_once_what_a_dead_engine_held_at_the_target() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.fault_in(2, FaultKind::HangAfter);
    assert!(world.deploy_and_die(spec(2, 1, 1)).await.is_none());
    world.ledger.expire(&key());
    let begun = tokio::time::Instant::now();
    assert_eq!(world.recover().await.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_engine_whose_lease_at_the_target_was_taken_reverts_under_a_new_one() {
    let one = world_with(&[(1, 1, 1)]).await;
    one.target.gate_takes(Duration::from_secs(60));
    let begun = tokio::time::Instant::now();
    let (deployed, ()) = tokio::join!(one.deploy(spec(2, 1, 1)), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        one.target.lose_lease();
    });
    assert_eq!(deployed.unwrap().state, DeploymentState::RolledBack);
    assert_eq!(one.show(), "0:1");
    assert!(begun.elapsed() < Duration::from_secs(60), "it stopped when it lost the lease");
}

/// What an engine that was overtaken still wants to do is not done.
async fn assert_refused(world: &World, dead: &crate::DeploymentRecord) {
    let unit = world.target.seen().units[0].clone();
    let late = crate::Op {
        action: crate::OpAction::Remove,
        unit: unit.unit,
        slot: 0,
        replaces: None,
        deployment: dead.deployment.id,
    };
    let cancel = CancellationToken::new();
    let spec = &dead.deployment.spec;
    let refused = crate::Target::apply(&*world.target, &late, spec, dead.fence, &cancel).await;
    assert!(matches!(refused, Err(crate::TargetError::Fenced(_))), "{refused:?}");
}
