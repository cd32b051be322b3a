//! A failed batch that waits for somebody to decide.

use std::time::Duration;

use event::{Decision, DeploymentKind, DeploymentState, EventKind, OpState};
use pipeline::{BatchSize, OnFailure, RolloutOrder};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, release, spec, world_with};
use crate::testing::{FaultKind, Hang};
use crate::{Deployed, Ledger, LedgerError, Spec, UnitState};

/// Release `number` in three units, one at a time, held where one fails.
fn held(number: u128) -> Spec {
    let mut spec = spec(number, 3, 1);
    spec.strategy.on_failure = OnFailure::Hold;
    spec
}

impl World {
    /// Deploys, and decides as soon as it is held.
    async fn deploy_deciding(&self, spec: Spec, decision: Option<Decision>) -> Deployed {
        tokio::select! {
            deployed = self.deploy(spec) => deployed.unwrap(),
            () = self.deciding(decision) => unreachable!(),
        }
    }

    /// Recovers, and decides as soon as something is held.
    async fn recover_deciding(&self, decision: Option<Decision>) -> Vec<Deployed> {
        tokio::select! {
            ended = self.recover() => ended,
            () = self.deciding(decision) => unreachable!(),
        }
    }

    async fn deciding(&self, decision: Option<Decision>) {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Some(decision) = decision {
                self.decide(decision).await;
            }
        }
    }

    /// Decides about what is held, if anything is.
    async fn decide(&self, decision: Decision) {
        let open = self.ledger.unfinished().await.unwrap();
        if let Some(held) = open.iter().find(|record| record.held_until.is_some()) {
            self.ledger.decide(held.deployment.id, decision, "bob", None).await.unwrap();
        }
    }

    /// Lets the engine die a minute after it was held.
    async fn die_held(&self, spec: Spec) {
        let deploying = tokio::time::timeout(Duration::from_secs(60), self.deploy(spec));
        assert!(deploying.await.is_err(), "it waits");
    }

    fn assert_capacity(&self, least: usize) {
        for sample in self.target.take_samples() {
            assert!(sample.serving >= least && sample.broken == 0, "{sample:?}");
        }
        assert_eq!(self.target.take_violations(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn hold_waits_and_goes_on_when_somebody_says_so() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let deployed = world.deploy_deciding(held(2), Some(Decision::Continue)).await;
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:2 1:1 2:2");
    let events = world.ledger.events(deployed.deployment);
    let held = events.iter().find_map(|event| match event {
        EventKind::DeploymentHeld { units, .. } => Some(units.clone()),
        _ => None,
    });
    assert!(held.unwrap()[0].starts_with("web-prod-1-"));
    assert!(events.iter().any(|event| matches!(
        event,
        EventKind::DeploymentDecided { decision: Decision::Continue, by, .. } if by == "bob"
    )));
}

#[tokio::test(start_paused = true)]
async fn hold_rolls_back_when_somebody_says_so_or_nobody_says_anything() {
    for decision in [Some(Decision::Rollback), None] {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.slot_never_healthy(1);
        let begun = tokio::time::Instant::now();
        let deployed = world.deploy_deciding(held(2), decision).await;
        assert_eq!(deployed.state, DeploymentState::RolledBack);
        assert_eq!(world.traffic(), "0:1 1:1 2:1");
        let reason = deployed.reason.unwrap();
        let why = match decision {
            Some(_) => "; somebody chose to go back",
            None => "; nobody decided within 30 min",
        };
        assert!(reason.contains("is unhealthy") && reason.ends_with(why), "{reason}");
        let waited = begun.elapsed().as_secs();
        match decision {
            Some(_) => assert!(waited < 10, "{waited}"),
            None => assert!((1_800..1_810).contains(&waited), "{waited}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_watched_and_goes_back_when_it_gets_worse() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let worse = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut unit = world.target.seen().current(0).unwrap().clone();
        assert_eq!(unit.release, release(2));
        unit.state = UnitState::Exited;
        world.target.put(unit);
    };
    let (deployed, ()) = tokio::join!(world.deploy_deciding(held(2), None), worse);
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_failed_in_traffic_is_drained_while_it_is_held() {
    let world = world_with(&[(1, 3, 1)]).await;
    let mut wanted = held(2);
    wanted.strategy.bake = pipeline::Duration::from_secs(1);
    world.target.healthy_then_bad(release(2));
    let looking = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        // What failed can be looked at, and its former unit serves.
        assert_eq!(world.traffic(), "0:1 [0:2] 1:1 2:1");
    };
    let (deployed, ()) = tokio::join!(world.deploy_deciding(wanted, None), looking);
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
    for sample in world.target.take_samples() {
        assert!(sample.serving >= 3 && sample.broken == 0, "{sample:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_while_it_is_held_rolls_back() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let cancel = CancellationToken::new();
    let new = deployment(DeploymentKind::Deploy, held(2));
    let id = new.id;
    let (deployed, ()) = tokio::join!(world.deploy_as(new, &cancel), async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        cancel.cancel();
    });
    assert_eq!(deployed.unwrap().state, DeploymentState::RolledBack);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
    let late = world.ledger.decide(id, Decision::Continue, "bob", None).await;
    assert!(matches!(late, Err(LedgerError::NotHeld(_))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn what_turns_bad_while_it_is_held_goes_back_though_it_runs() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    let worse = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.traffic(), "0:2 1:1 [1:2] 2:1");
        world.target.sick_slot_of(0, release(2));
    };
    let (deployed, ()) = tokio::join!(world.deploy_deciding(held(2), None), worse);
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    assert!(reason.ends_with("turned bad meanwhile: GET / → 500"), "{reason}");
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
}

#[tokio::test(start_paused = true)]
async fn what_was_brought_up_beside_a_failed_unit_is_looked_at_when_it_goes_on() {
    let world = world_with(&[(1, 3, 1)]).await;
    let mut wanted = held(2);
    wanted.strategy.batch = BatchSize::Units(3);
    wanted.strategy.bake = pipeline::Duration::from_secs(1);
    world.target.sick_later_slot_of(0, release(2));
    let deployed = world.deploy_deciding(wanted, Some(Decision::Continue)).await;
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    assert_eq!(world.traffic(), "0:1 1:2 2:2");
    let events = world.ledger.events(deployed.deployment);
    let baked: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::OpFinished { action, unit, state: OpState::Done, .. }
                if action == "bake" =>
            {
                Some(&unit[..10])
            }
            _ => None,
        })
        .collect();
    assert_eq!(baked, ["web-prod-1", "web-prod-2"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_serves_a_failed_first_deployment_is_held_as_it_is() {
    let world = World::new();
    world.target.never_healthy(release(1));
    let deployed = world.deploy_deciding(held(1), Some(Decision::Rollback)).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.show(), "");
}

#[tokio::test(start_paused = true)]
async fn what_was_held_when_its_engine_died_is_held_on() {
    for (decision, state, traffic) in [
        (Some(Decision::Continue), DeploymentState::Succeeded, "0:2 1:1 2:2"),
        (Some(Decision::Rollback), DeploymentState::RolledBack, "0:1 1:1 2:1"),
        (None, DeploymentState::RolledBack, "0:1 1:1 2:1"),
    ] {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.slot_never_healthy(1);
        world.die_held(held(2)).await;
        assert_eq!(world.traffic(), "0:2 1:1 [1:2] 2:1");
        let ended = world.recover_deciding(decision).await;
        assert_eq!(ended[0].state, state, "{:?}", ended[0].reason);
        assert_eq!(world.traffic(), traffic);
        world.assert_capacity(3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_while_no_engine_lives_is_what_happens() {
    for (decision, state) in [
        (Decision::Continue, DeploymentState::Succeeded),
        (Decision::Rollback, DeploymentState::RolledBack),
    ] {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.slot_never_healthy(0);
        world.die_held(held(2)).await;
        world.decide(decision).await;
        let ended = world.recover().await;
        assert_eq!(ended[0].state, state, "{:?}", ended[0].reason);
        world.assert_capacity(3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_got_worse_while_no_engine_looked_goes_back() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    world.die_held(held(2)).await;
    world.target.sick_slot_of(0, release(2));
    let ended = world.recover_deciding(Some(Decision::Continue)).await;
    assert_eq!(ended[0].state, DeploymentState::RolledBack, "{:?}", ended[0].reason);
    assert_eq!(world.traffic(), "0:1 1:1 2:1");
}

#[tokio::test(start_paused = true)]
async fn nobody_else_changes_what_is_held_though_its_engine_is_dead() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.slot_never_healthy(1);
    world.die_held(held(2)).await;
    world.target.take_mutations();
    let other = world.deploy(spec(3, 3, 1)).await.unwrap();
    assert_eq!(other.state, DeploymentState::Refused);
    let reason = other.reason.unwrap();
    assert!(reason.contains("`shipline decide prod continue`"), "{reason}");
    assert_eq!(world.target.take_mutations(), []);
    let ended = world.recover_deciding(Some(Decision::Rollback)).await;
    assert_eq!(ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.deploy(spec(1, 3, 1)).await.unwrap().state, DeploymentState::Succeeded);
}

/// I7 of a deployment that is held and then decided about.
#[tokio::test(start_paused = true)]
async fn i7_a_held_deployment_killed_anywhere_ends_as_decided_or_as_before() {
    let world_and_plan = async || {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.sick_slot_of(1, release(2));
        let mut spec = held(2);
        spec.strategy.bake = pipeline::Duration::from_secs(1);
        (world, spec)
    };
    let (mut ends, mut deaths) = (std::collections::BTreeSet::new(), 0);
    for kill in 0.. {
        let mut died = false;
        for way in 0..4 {
            let (world, spec) = world_and_plan().await;
            match way {
                0 => world.target.fault_in(kill, FaultKind::HangBefore),
                1 => world.target.fault_in(kill, FaultKind::HangAfter),
                2 => world.ledger.hang_in(kill, Hang::Before),
                _ => world.ledger.hang_in(kill, Hang::After),
            }
            let ended = tokio::select! {
                ended = world.die(deployment(DeploymentKind::Deploy, spec)) => ended,
                () = world.deciding(Some(Decision::Continue)) => unreachable!(),
            };
            let state = match ended {
                Some(ended) => ended.unwrap().state,
                None => {
                    died = true;
                    deaths += 1;
                    world.target.clear_faults();
                    world.recover_deciding(Some(Decision::Continue)).await[0].state
                }
            };
            let expected = match state {
                DeploymentState::Succeeded => "0:2 1:1 2:2",
                DeploymentState::RolledBack | DeploymentState::Failed => "0:1 1:1 2:1",
                other => panic!("{kill} {way}: {other}"),
            };
            assert_eq!(world.traffic(), expected, "{kill} {way}: {state}");
            world.assert_capacity(3);
            ends.insert(state.name());
        }
        if !died {
            break;
        }
    }
    assert!(deaths > 40, "{deaths}");
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), ["failed", "rolled-back", "succeeded"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever fails and whoever decides: capacity holds while it is held, and the end is
    /// what was decided.
    #[test]
    fn i1_and_i11_what_is_held_serves_on_and_ends_as_decided(
        replicas in 1u32..6, batch in 1u32..4, stop_first in any::<bool>(),
        sick in prop::collection::btree_set(0u32..6, 1..4), later in any::<bool>(),
        goes_on in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = world_with(&[(1, replicas, 1)]).await;
            // Of what is in traffic one may be given up; a second one is found by the watch.
            let sick: Vec<u32> = sick.into_iter().take(if later { 1 } else { 4 }).collect();
            for slot in &sick {
                match later {
                    true => world.target.sick_later_slot_of(*slot, release(2)),
                    false => world.target.sick_slot_of(*slot, release(2)),
                }
            }
            let mut wanted = Spec { replicas, ..held(2) };
            wanted.strategy.batch = BatchSize::Units(batch);
            wanted.strategy.bake = pipeline::Duration::from_secs(1);
            if stop_first {
                wanted.strategy.order = RolloutOrder::StopFirst;
            }
            let decision = if goes_on { Decision::Continue } else { Decision::Rollback };
            let deployed = world.deploy_deciding(wanted, Some(decision)).await;
            let failing = sick.iter().filter(|slot| **slot < replicas).count();
            let expected = match failing == 0 || goes_on {
                true => DeploymentState::Succeeded,
                false => DeploymentState::RolledBack,
            };
            assert_eq!(deployed.state, expected, "{:?}", deployed.reason);
            let on_old = world.target.seen().units.iter()
                .filter(|unit| unit.admitted && unit.release == release(1)).count();
            let kept = if expected == DeploymentState::Succeeded { failing } else { replicas as usize };
            assert_eq!(on_old, kept);
            // Where two of a slot cannot run at once, one that failed is missed while it waits.
            let missing = usize::from(stop_first);
            world.assert_capacity((replicas as usize).saturating_sub(missing));
        });
    }
}
