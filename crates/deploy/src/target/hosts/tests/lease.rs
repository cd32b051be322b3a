//! Engines that have nothing in common but the hosts.

use std::sync::Arc;
use std::time::Duration;

use event::{DeploymentId, DeploymentState};
use pipeline::BatchSize;
use uuid::Uuid;

use super::world::{Home, World, ended};
use crate::{HostsTarget, LeaseAnswer, LeaseAsk, Limits, Policy, Spec, Target, TargetError};

fn ask(holder: &str) -> LeaseAsk {
    LeaseAsk {
        deployment: DeploymentId::new(Uuid::now_v7()),
        holder: holder.to_owned(),
        ttl: Duration::from_secs(30),
        above: 0,
    }
}

/// The fence it was taken with, or who has it.
async fn asked(engine: &HostsTarget, ask: &LeaseAsk) -> Result<u64, String> {
    match engine.lease(&World::key(), ask).await {
        Ok(LeaseAnswer::Taken { fence }) => Ok(fence),
        Ok(LeaseAnswer::Held(by)) => Err(by.holder),
        other => Err(format!("{other:?}")),
    }
}

fn lost(renewed: Result<(), TargetError>) -> String {
    match renewed {
        Err(TargetError::Fenced(by)) => by,
        other => format!("{other:?}"),
    }
}

/// Whose the lease is on each host.
fn carried(world: &World) -> Vec<Option<String>> {
    (1..=world.sshds.len()).map(|number| world.lease(number)).collect()
}

/// Nothing is routed to, so no proxy keeps two apart.
fn without_route(spec: Spec) -> Spec {
    let mut spec = Spec { expose: None, ..spec };
    spec.strategy.batch = BatchSize::Units(1);
    spec
}

#[tokio::test]
async fn every_host_carries_the_lease_and_to_ask_for_it_changes_nothing() {
    let world = World::new(3).await;
    let (one, two) = (world.engine_of(1..=3), world.engine_of(1..=3));
    let (ann, bob) = (ask("ann@one (it's \"her\")"), ask("bob@two"));
    let fence = asked(&one, &ann).await.unwrap();
    assert_eq!(carried(&world), vec![Some(ann.holder.clone()); 3]);
    assert_eq!(world.fences(), [Some(fence); 3]);
    assert_eq!(asked(&two, &bob).await, Err(ann.holder.clone()));
    let later = LeaseAsk { above: 99, ..bob.clone() };
    assert_eq!(asked(&two, &later).await, Err(ann.holder.clone()));
    assert_eq!(world.fences(), [Some(fence); 3], "the holder keeps its fence");
    one.renew(&World::key(), fence, &ann).await.unwrap();
    one.release(&World::key(), fence, &ann).await.unwrap();
    assert_eq!(carried(&world), [None, None, None]);
    assert_eq!(asked(&two, &later).await, Ok(100));
    let late = lost(one.renew(&World::key(), fence, &ann).await);
    assert!(late.ends_with("is held by bob@two"), "{late}");
    two.release(&World::key(), 100, &later).await.unwrap();
    let late = lost(one.renew(&World::key(), fence, &ann).await);
    assert!(late.contains(&format!("has seen fence 100, this engine holds {fence}")), "{late}");
}

#[tokio::test]
async fn of_two_who_ask_at_once_one_has_it_everywhere_and_the_other_nowhere() {
    let world = World::new(3).await;
    let (one, two) = (world.engine_of(1..=3), world.engine_of(1..=3));
    for _ in 0..5 {
        let (ann, bob) = (ask("ann@one"), ask("bob@two"));
        let (of_ann, of_bob) = tokio::join!(asked(&one, &ann), asked(&two, &bob));
        assert!(of_ann.is_ok() != of_bob.is_ok(), "{of_ann:?} {of_bob:?}");
        let (winner, engine, fence) = match (&of_ann, &of_bob) {
            (Ok(fence), _) => (&ann, &one, *fence),
            (_, Ok(fence)) => (&bob, &two, *fence),
            _ => unreachable!("one of them has it"),
        };
        assert_eq!(carried(&world), vec![Some(winner.holder.clone()); 3]);
        engine.release(&World::key(), fence, winner).await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_whatever_the_clock_of_its_host_says() {
    let world = World::new(2).await;
    let (one, two) = (world.engine_of(1..=2), world.engine_of(1..=2));
    let short = |holder: &str| LeaseAsk { ttl: Duration::from_secs(10), ..ask(holder) };
    let (ann, bob) = (short("ann@one"), short("bob@two"));
    // To connect may take longer than a lease lasts.
    two.observe(&World::key()).await.unwrap();
    // An hour is added and taken away while it is held.
    world.tool("date", "exec /bin/date -d '+1 hour' \"$@\"");
    let fence = asked(&one, &ann).await.unwrap();
    assert_eq!(asked(&two, &bob).await, Err("ann@one".to_owned()));
    world.tool("date", "exec /bin/date -d '-1 hour' \"$@\"");
    one.renew(&World::key(), fence, &ann).await.unwrap();
    assert_eq!(asked(&two, &bob).await, Err("ann@one".to_owned()));
    tokio::time::sleep(ann.ttl + Duration::from_secs(1)).await;
    let taken = asked(&two, &bob).await.unwrap();
    assert!(taken > fence);
    lost(one.renew(&World::key(), fence, &ann).await);
    assert_eq!(carried(&world), vec![Some("bob@two".to_owned()); 2]);
    // What the late one gives back is not the other's.
    one.release(&World::key(), fence, &ann).await.unwrap();
    assert_eq!(carried(&world), vec![Some("bob@two".to_owned()); 2]);

    // A machine that came up since has been up for longer than any lease lasts.
    for number in 1..=2 {
        let path = world.root(number).join(".shipline/lease");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let boot = lines[4];
        std::fs::write(&path, text.replace(boot, "00000000-0000-0000-0000-000000000000")).unwrap();
    }
    let fence = asked(&one, &ann).await.unwrap();
    // Words that are not ours are nobody's.
    for (number, text) in [(1, "mine"), (2, "a\nb\nc\nd\ne\nf\n")] {
        std::fs::write(world.root(number).join(".shipline/lease"), text).unwrap();
    }
    assert_eq!(asked(&two, &bob).await, Ok(fence + 1));
}

#[tokio::test]
async fn a_host_that_is_away_blocks_nobody_and_carries_it_when_it_is_back() {
    let mut world = World::new(3).await;
    // The one that would decide.
    world.sshds[0].die().await;
    let (one, two) = (world.engine_of(1..=3), world.engine_of(1..=3));
    let (ann, bob) = (ask("ann@one"), ask("bob@two"));
    let fence = asked(&one, &ann).await.unwrap();
    let of_ann = Some(ann.holder.clone());
    assert_eq!(carried(&world), [None, of_ann.clone(), of_ann.clone()]);
    world.sshds[1].die().await;
    one.renew(&World::key(), fence, &ann).await.unwrap();
    assert_eq!(asked(&two, &bob).await, Err("ann@one".to_owned()));
    world.sshds[0].revive();
    one.renew(&World::key(), fence, &ann).await.unwrap();
    assert_eq!(carried(&world), vec![of_ann.clone(); 3]);
    // Where nobody answers nobody knows, and that is no reason to go on.
    world.sshds[0].die().await;
    world.sshds[2].die().await;
    let alone = one.renew(&World::key(), fence, &ann).await;
    assert!(matches!(alone, Err(TargetError::Infrastructure { .. })), "{alone:?}");
    let nobody = two.lease(&World::key(), &bob).await;
    let Err(TargetError::Infrastructure { part, message }) = nobody else { panic!("{nobody:?}") };
    assert_eq!(part, "host web-1");
    assert!(message.starts_with("it cannot be reached: "), "{message}");
}

#[tokio::test]
async fn two_who_did_not_see_each_other_meet_and_the_larger_fence_stays() {
    let world = World::new(3).await;
    let (left, right, all) =
        (world.engine_of(1..=2), world.engine_of(3..=3), world.engine_of(1..=3));
    let (ann, bob) = (ask("ann@one"), ask("bob@two"));
    let fence = asked(&left, &ann).await.unwrap();
    assert_eq!(asked(&right, &bob).await, Ok(fence));
    // Of equal ones neither is the later one: both take it anew.
    let met = lost(all.renew(&World::key(), fence, &ann).await);
    assert!(met.ends_with("is held by bob@two"), "{met}");
    let met = lost(all.renew(&World::key(), fence, &bob).await);
    assert!(met.ends_with("is held by ann@one"), "{met}");
    let higher = LeaseAsk { above: fence, ..ann.clone() };
    let fence = asked(&left, &higher).await.unwrap();
    all.renew(&World::key(), fence, &ann).await.unwrap();
    assert_eq!(carried(&world), vec![Some("ann@one".to_owned()); 3]);
    let late = lost(right.renew(&World::key(), fence - 1, &bob).await);
    assert!(late.ends_with("is held by ann@one"), "{late}");
}

#[tokio::test]
async fn two_homes_change_hosts_one_after_the_other_and_hear_of_each_other() {
    let world = World::new(2).await;
    let engine = || Arc::new(world.engine_of(1..=2));
    let (ann, mut bob) = (Home::of("ann", &engine()), Home::of("bob", &engine()));
    bob.limits = Limits { lock_wait: Duration::from_secs(1), ..Limits::default() };
    bob.policy = Policy { adopt: true, ..Policy::default() };
    let mut watched = without_route(world.spec(1));
    watched.strategy.bake = pipeline::Duration::from_secs(5);
    let began = async {
        while world.lease(2).is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let refused = bob.try_deploy(without_route(world.spec(2))).await;
        (refused, world.lease(2))
    };
    let ((first, _), ((refused, _), still)) = tokio::join!(ann.try_deploy(watched), began);
    ended(&first.unwrap(), DeploymentState::Succeeded);
    let refused = refused.unwrap();
    ended(&refused, DeploymentState::Refused);
    let reason = refused.reason.unwrap();
    assert!(reason.starts_with("environment `prod` is held by ann@"), "{reason}");
    assert!(reason.ends_with(" UTC, at its target, and was for 1 s"), "{reason}");
    assert!(still.is_some_and(|holder| holder.starts_with("ann@")));
    assert_eq!(carried(&world), [None, None], "it is given back at the end");
    assert_eq!(world.answer(2).await, "release 1");
    let (second, _) = bob.try_deploy(without_route(world.spec(2))).await;
    ended(&second.unwrap(), DeploymentState::Succeeded);
    assert_eq!(
        (world.answer(1).await, world.answer(2).await),
        ("release 2".into(), "release 2".into())
    );
}

#[tokio::test]
async fn an_engine_that_lost_its_lease_begins_no_further_host() {
    let world = World::new(2).await;
    let engine = || Arc::new(world.engine_of(1..=2));
    let (home, other) = (Home::of("ann", &engine()), engine());
    ended(
        &home.try_deploy(without_route(world.spec(1))).await.0.unwrap(),
        DeploymentState::Succeeded,
    );
    let mut watched = without_route(world.spec(2));
    watched.strategy.bake = pipeline::Duration::from_secs(15);
    let taking = async {
        while world.answer(1).await != "release 2" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // As if it had not been renewed for as long as it lasts.
        for number in 1..=2 {
            std::fs::remove_file(world.root(number).join(".shipline/lease")).unwrap();
        }
        let bob = ask("bob@two");
        let fence = asked(&other, &bob).await.unwrap();
        // Longer than the one who lost it needs to see that.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let second = world.answer(2).await;
        other.release(&World::key(), fence, &bob).await.unwrap();
        second
    };
    let ((deployed, said), second) = tokio::join!(home.try_deploy(watched), taking);
    let deployed = deployed.unwrap();
    assert_eq!(second, "release 1", "while somebody else has it, nothing is begun");
    let (before, after) = said.split_once("the lock was lost: ").expect(&said);
    assert!(after.starts_with("host web-") && after.contains(" is held by bob@two"), "{said}");
    assert!(!before.contains("web-2"), "{said}");
    // Release 2 serves on the first host and is well: once the lock is free the rest follows.
    ended(&deployed, DeploymentState::Succeeded);
    assert_eq!(
        (world.answer(1).await, world.answer(2).await),
        ("release 2".into(), "release 2".into())
    );
}
