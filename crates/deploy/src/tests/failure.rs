//! Deployments that fail, are cancelled, or die.

use std::time::Duration;

use event::{DeploymentKind, DeploymentState, EventKind, OpState};
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, release, spec, world_with};
use crate::testing::FaultKind;
use crate::{DeployError, Spec};

#[tokio::test(start_paused = true)]
async fn a_release_that_never_gets_healthy_never_gets_traffic() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.never_healthy(release(2));
    let deployed = world.deploy(spec(2, 3, 2)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.caught_before_admit, Some(true));
    assert!(deployed.reason.unwrap().ends_with("is unhealthy: GET / → 500"));
    assert_eq!(world.show(), "0:1 1:1 2:1");
    for sample in world.target.take_samples() {
        assert_eq!((sample.serving, sample.serving_by_deployment.len()), (3, 1));
    }
    let touched = world.target.take_mutations().into_iter().map(|(_, unit)| unit.0);
    let slots: std::collections::BTreeSet<_> =
        touched.filter_map(|unit| unit.split('-').nth(2).map(str::to_owned)).collect();
    assert_eq!(slots.into_iter().collect::<Vec<_>>(), ["0", "1"], "only the first batch");
    assert!(world.lines().contains(&"  | it hurts".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_turns_bad_is_undone_in_all_batches() {
    let world = world_with(&[(1, 3, 1)]).await;
    let mut bad = spec(2, 3, 1);
    bad.strategy.bake = pipeline::Duration::from_secs(5);
    world.target.healthy_then_bad(release(2));
    let deployed = world.deploy(bad.clone()).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.caught_before_admit, Some(false));
    assert_eq!(world.show(), "0:1 1:1 2:1");
    for sample in world.target.take_samples() {
        assert!(sample.serving >= 3, "{sample:?}");
        let bad = sample.serving_by_deployment.values().min().copied().unwrap_or(0);
        assert!(sample.serving_by_deployment.len() == 1 || bad <= 1, "{sample:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_touched_slot_goes_back_to_its_own_previous_unit() {
    // Slot 2 came later than the others and runs another release.
    let world = world_with(&[(1, 2, 1)]).await;
    let mut other = world.target.seen().units[0].clone();
    other.unit = crate::UnitId("web-prod-2-other".to_owned());
    (other.slot, other.release, other.spec) = (2, release(7), "other".to_owned());
    world.target.put(other);
    assert_eq!(world.show(), "0:1 1:1 2:7");
    // The last of the ops that start a unit fails: all slots are touched by then.
    world.target.fault_in(1 + 6 + 6 + 1, FaultKind::FailAfter);
    let deployed = world.deploy(spec(2, 3, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
    assert_eq!(world.show(), "0:1 1:1 2:7");
    assert_eq!(deployed.caught_before_admit, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_that_fails_leaves_nothing() {
    let world = World::new();
    world.target.never_healthy(release(1));
    let deployed = world.deploy(spec(1, 2, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(world.show(), "");
}

#[tokio::test(start_paused = true)]
async fn findings_of_preflight_end_it_before_any_change() {
    let world = world_with(&[(1, 1, 1)]).await;
    let finding = |check: crate::Check, cause| check.finding(cause, "mend it");
    let findings = [(crate::Check::Proxy, "no proxy"), (crate::Check::Artifact, "no image")];
    world.target.findings(findings.map(|(check, cause)| finding(check, cause)).into());
    let deployed = world.deploy(spec(2, 1, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Failed);
    assert_eq!(
        deployed.reason.as_deref(),
        Some("no proxy: mend it [proxy]; no image: mend it [artifact]")
    );
    assert_eq!(deployed.caught_before_admit, Some(true));
    assert_eq!(world.target.take_mutations(), []);
}

#[tokio::test(start_paused = true)]
async fn infrastructure_that_fails_before_any_batch_is_an_error_and_recorded() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.fault_in(0, FaultKind::FailBefore);
    let failed = world.deploy(spec(2, 1, 1)).await;
    assert!(
        matches!(&failed, Err(DeployError::Infrastructure { part, .. }) if part == "memory"),
        "{failed:?}"
    );
    let history = crate::Ledger::history(&*world.ledger, &super::world::key(), 2).await.unwrap();
    assert_eq!(history[0].state, Some(DeploymentState::Failed));
    let told = history[0].infrastructure && !history[1].infrastructure;
    assert!(told, "whoever looks later is told so, too");
    assert_eq!(world.show(), "0:1");
}

/// The calls of the target that deploying release 2 over release 1 makes.
async fn calls_of(before: &[(u128, u32, u32)], wanted: &Spec) -> usize {
    let world = world_with(before).await;
    let calls = world.target.calls();
    world.deploy(wanted.clone()).await.unwrap();
    world.target.calls() - calls
}

#[tokio::test(start_paused = true)]
async fn whichever_op_fails_the_world_is_as_before_or_as_wanted() {
    let before = [(7, 3, 1), (1, 3, 1)];
    let mut wanted = spec(2, 2, 1);
    wanted.strategy.bake = pipeline::Duration::from_secs(1);
    for kind in [FaultKind::FailBefore, FaultKind::FailAfter] {
        for call in 0..calls_of(&before, &wanted).await {
            let world = world_with(&before).await;
            world.target.fault_in(call, kind);
            let deployed = world.deploy(wanted.clone()).await;
            let expected = match &deployed {
                // Only the removal of what is no longer kept may fail unpunished.
                Ok(deployed) if deployed.state == DeploymentState::Succeeded => {
                    assert!(call >= 18, "call {call} failed and it succeeded");
                    "0:2 1:2"
                }
                Ok(deployed) => {
                    assert_eq!(deployed.state, DeploymentState::RolledBack, "{kind:?} {call}");
                    "0:1 1:1 2:1"
                }
                Err(DeployError::Infrastructure { .. }) => "0:1 1:1 2:1",
                Err(error) => panic!("{kind:?} {call}: {error}"),
            };
            assert_eq!(world.traffic(), expected, "{kind:?} {call}");
            for sample in world.target.take_samples() {
                assert!(sample.serving >= 2 && sample.broken == 0, "{kind:?} {call}: {sample:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_engine_dies_recovery_finishes_or_reverts() {
    let before = [(7, 3, 1), (1, 3, 1)];
    let wanted = spec(2, 2, 1);
    for bad in [false, true] {
        for kind in [FaultKind::HangBefore, FaultKind::HangAfter] {
            let mut ends = std::collections::BTreeSet::new();
            for call in 0.. {
                let world = world_with(&before).await;
                if bad {
                    world.target.never_healthy(release(2));
                }
                world.target.fault_in(call, kind);
                if world.deploy_and_die(wanted.clone()).await.is_some() {
                    assert!(call > 3, "it never died");
                    break;
                }
                let ended = world.recover().await;
                assert_eq!(ended.len(), 1, "{kind:?} {call}");
                let expected = match ended[0].state {
                    DeploymentState::Succeeded => "0:2 1:2",
                    DeploymentState::RolledBack | DeploymentState::Failed => "0:1 1:1 2:1",
                    other => panic!("{kind:?} {call}: {other} {:?}", ended[0].reason),
                };
                assert_eq!(world.traffic(), expected, "{kind:?} {call}");
                assert_eq!(world.recover().await, [], "nothing stays without an end");
                for sample in world.target.take_samples() {
                    assert!(
                        sample.serving >= 2 && sample.broken == 0,
                        "{kind:?} {call}: {sample:?}"
                    );
                }
                ends.insert(ended[0].state.name());
            }
            let all: &[&str] = if bad {
                &["failed", "rolled-back"]
            } else {
                &["failed", "rolled-back", "succeeded"]
            };
            assert_eq!(ends.into_iter().collect::<Vec<_>>(), all);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_on_the_way_back_is_recovered_too() {
    let before = [(1, 2, 1)];
    let mut wanted = spec(2, 2, 1);
    wanted.strategy.bake = pipeline::Duration::from_secs(1);
    for call in 0.. {
        let world = world_with(&before).await;
        world.target.healthy_then_bad(release(2));
        world.target.fault_in(8 + call, FaultKind::HangAfter);
        if world.deploy_and_die(wanted.clone()).await.is_some() {
            assert!(call > 3, "it never died");
            break;
        }
        // Where the last of its units was gone already, nothing tells that a batch had begun.
        let nothing_left = world.traffic() == "0:1 1:1";
        let expected =
            if nothing_left { DeploymentState::Failed } else { DeploymentState::RolledBack };
        let ended = world.recover().await;
        assert_eq!(ended[0].state, expected, "{call}: {:?}", ended[0].reason);
        assert_eq!(world.traffic(), "0:1 1:1", "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_first_admit_undoes_what_was_made() {
    let world = world_with(&[(1, 2, 1)]).await;
    world.target.gate_takes(Duration::from_secs(3));
    let cancel = CancellationToken::new();
    let new = deployment(DeploymentKind::Deploy, spec(2, 2, 1));
    let (deployed, ()) = tokio::join!(world.deploy_as(new, &cancel), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    let deployed = deployed.unwrap();
    assert_eq!(deployed.state, DeploymentState::Cancelled);
    assert_eq!(deployed.reason.as_deref(), Some("cancelled"));
    assert_eq!(world.show(), "0:1 1:1");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_after_the_first_admit_rolls_back() {
    let world = world_with(&[(1, 2, 1)]).await;
    world.target.gate_takes(Duration::from_secs(3));
    let cancel = CancellationToken::new();
    let new = deployment(DeploymentKind::Deploy, spec(2, 2, 1));
    let (deployed, ()) = tokio::join!(world.deploy_as(new, &cancel), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(world.traffic(), "0:2 1:1 [1:2]");
        cancel.cancel();
    });
    let deployed = deployed.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.reason.as_deref(), Some("cancelled"));
    assert_eq!(deployed.caught_before_admit, None);
    assert_eq!(world.show(), "0:1 1:1");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_fails_leaves_all_that_serves_and_says_where() {
    let world = world_with(&[(1, 2, 1)]).await;
    let mut bad = spec(2, 2, 1);
    bad.strategy.bake = pipeline::Duration::from_secs(1);
    world.target.healthy_then_bad(release(2));
    // The old release does not come up any more.
    world.target.never_healthy(release(1));
    let deployed = world.deploy(bad).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Stuck);
    let reason = deployed.reason.unwrap();
    assert!(
        reason.contains("not rolled back: slot 0: ") && reason.contains("in traffic"),
        "{reason}"
    );
    // Slot 0 keeps the only unit that may still answer; slot 1 was never touched.
    assert_eq!(world.traffic(), "[0:1] 0:2 1:1");
    for sample in world.target.take_samples() {
        assert_eq!(sample.serving, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_back_does_so_at_once_within_the_surge_that_is_allowed() {
    for (surge, rounds) in [(None, 1), (Some(2), 2), (Some(1), 4)] {
        let world = world_with(&[(1, 4, 1)]).await;
        world.target.gate_takes(Duration::from_secs(3));
        world.target.sick_later_slot_of(3, release(2));
        let mut bad = spec(2, 4, 1);
        bad.strategy.bake = pipeline::Duration::from_secs(1);
        bad.strategy.max_surge = surge.map(pipeline::BatchSize::Units);
        let begun = tokio::time::Instant::now();
        let deployed = world.deploy(bad).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
        assert_eq!(world.show(), "0:1 1:1 2:1 3:1");
        // Four batches forward, each with one gate.
        assert_eq!(begun.elapsed().as_secs(), 4 * 3 + rounds * 3, "{surge:?}");
        for sample in world.target.take_samples() {
            assert!(sample.serving >= 4 && sample.broken == 0, "{sample:?}");
            assert!(sample.doubled <= surge.unwrap_or(4) as usize, "{sample:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_takes_too_long_is_stuck() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.never_healthy(release(2));
    // The removal of the bad unit hangs.
    world.target.fault_in(4, FaultKind::HangBefore);
    let deployed = world.deploy(spec(2, 1, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Stuck);
    assert!(deployed.reason.unwrap().contains("not done within 60 s"));
}

#[tokio::test(start_paused = true)]
async fn an_explicit_rollback_that_fails_is_not_rolled_back() {
    let world = world_with(&[(1, 3, 1), (2, 3, 1)]).await;
    let back = deployment(DeploymentKind::Rollback, spec(1, 3, 1));
    // Its units wait, and are started and asked at once: the last of them does not answer.
    world.target.fault_in(5, FaultKind::FailBefore);
    let deployed = world.deploy_as(back, &CancellationToken::new()).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Stuck);
    assert!(deployed.reason.unwrap().contains("the rollback failed"));
    // What can go back does.
    assert_eq!(world.traffic(), "0:1 1:1 2:2");
}

#[tokio::test(start_paused = true)]
async fn one_failed_gate_ends_the_waiting_of_its_batch() {
    let world = world_with(&[(1, 3, 1)]).await;
    world.target.gate_takes(Duration::from_secs(60));
    world.target.slot_never_healthy(1);
    let begun = tokio::time::Instant::now();
    let deployed = world.deploy(spec(2, 3, 3)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    // The cause is told, not what it ended.
    let reason = deployed.reason.unwrap();
    assert!(reason.starts_with("web-prod-1-") && reason.contains("is unhealthy"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(world.show(), "0:1 1:1 2:1");
}

#[tokio::test(start_paused = true)]
async fn what_was_only_said_to_be_done_is_no_success() {
    // Fetch, create, start, gate; the admission of the only slot is not real.
    let world = world_with(&[(1, 1, 1)]).await;
    let mut wanted = spec(1, 2, 1);
    wanted.strategy.bake = pipeline::Duration::from_secs(0);
    world.target.fault_in(4, FaultKind::Pretend);
    let deployed = world.deploy(wanted).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.reason.as_deref(), Some("slot 1: no unit serves"));
    assert_eq!(world.show(), "0:1");
}

#[tokio::test(start_paused = true)]
async fn a_step_back_that_fails_is_tried_again() {
    let world = world_with(&[(1, 1, 1)]).await;
    world.target.never_healthy(release(2));
    // Fetch, create, start, gate; then the removal of the bad unit.
    world.target.fault_in(4, FaultKind::FailBefore);
    world.target.fault_in(5, FaultKind::FailAfter);
    let deployed = world.deploy(spec(2, 1, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
    assert_eq!(world.show(), "0:1");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_while_it_waits_for_the_lock_has_changed_nothing() {
    let world = world_with(&[(1, 1, 1)]).await;
    let other = deployment(DeploymentKind::Deploy, spec(9, 1, 1)).id;
    let ttl = Duration::from_secs(30);
    crate::Ledger::acquire(&*world.ledger, &super::world::key(), other, "bob", ttl).await.unwrap();
    // What it wants runs already; still it has not deployed it.
    let waiting = world.deploy(spec(1, 1, 1));
    assert!(tokio::time::timeout(Duration::from_secs(3), waiting).await.is_err());
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::Failed);
    assert_eq!(ended[0].reason.as_deref(), Some("interrupted before it held the lock"));
    assert_eq!(world.target.take_mutations(), []);
}

#[tokio::test(start_paused = true)]
async fn a_warm_rollback_that_dies_is_carried_on() {
    let world = world_with(&[(1, 2, 1), (2, 2, 1)]).await;
    world.target.fault_in(5, FaultKind::HangBefore);
    let back = deployment(DeploymentKind::Rollback, spec(1, 2, 1));
    let cancel = CancellationToken::new();
    tokio::select! {
        biased;
        () = world.target.hanging() => {}
        deployed = world.deploy_as(back, &cancel) => panic!("{deployed:?}"),
    }
    assert_eq!(world.traffic(), "0:1 [0:2] [1:1] 1:2");
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::Succeeded, "{:?}", ended[0].reason);
    assert_eq!(world.traffic(), "0:1 1:1");
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_before_does_not_come_back_by_a_recovery() {
    // Slot 2 gets a unit again, beside one that could not be removed when it was given up.
    for call in 0.. {
        let world = world_with(&[(1, 3, 1)]).await;
        world.target.fault_in(2, FaultKind::FailBefore);
        world.deploy(spec(1, 2, 1)).await.unwrap();
        assert_eq!(world.show(), "0:1 1:1 (2:1)");
        world.target.fault_in(call, FaultKind::HangBefore);
        if world.deploy_and_die(spec(2, 4, 3)).await.is_some() {
            assert!(call > 3, "it never died");
            break;
        }
        let state = world.recover().await[0].state;
        let expected = match state {
            DeploymentState::Succeeded => "0:2 1:2 2:2 3:2",
            _ => "0:1 1:1",
        };
        assert_eq!(world.traffic(), expected, "{call}: {state}");
    }
}

#[tokio::test(start_paused = true)]
async fn undone_ops_are_told_and_written_down() {
    let world = world_with(&[(1, 1, 1)]).await;
    let mut bad = spec(2, 1, 1);
    bad.strategy.bake = pipeline::Duration::from_secs(1);
    world.target.healthy_then_bad(release(2));
    let deployed = world.deploy(bad).await.unwrap();
    let told = world.told.lock().unwrap();
    let undone: Vec<_> = told.iter().filter_map(|told| told.undone.clone()).collect();
    let undone: Vec<_> = undone.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(undone, ["stop", "admit", "create"]);
    let events = world.ledger.events(deployed.deployment);
    let written: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::OpFinished { action, state: OpState::Undone, .. } => Some(action.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(written, ["start", "gate", "admit", "drain", "create"]);
    let intents = events.iter().filter(|event| matches!(event, EventKind::OpIntended { .. }));
    let results = events.iter().filter(|event| matches!(event, EventKind::OpFinished { .. }));
    assert_eq!(intents.count(), results.count());
}
