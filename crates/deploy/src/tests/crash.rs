//! I7: whenever the engine dies, traffic flows on, and whoever takes the deployment up
//! ends it as wanted or as it was before.
//!
//! Plans are deterministic and ops are numbered, so the instants at which an engine
//! can die are finite: before and after each intent is written, each op acts, and each
//! result is written.

use std::collections::BTreeSet;

use event::{DeploymentKind, DeploymentState};
use pipeline::{RolloutOrder, StrategyKind};

use super::world::{World, deployment, release, spec, world_with};
use crate::testing::{FaultKind, Hang};
use crate::{Change, Deployment, Ledger, Limits, ObservedUnit, Spec, UnitState, plan};

/// Makes the request of a change.
type Make = fn() -> Deployment;

/// A change whose engine is killed at every instant.
struct Scenario {
    /// What was deployed before: releases of three units.
    releases: &'static [u128],
    /// What was changed after that.
    first: Option<Change>,
    change: Make,
    /// Whether release 2 is bad: never healthy, or only while it is watched.
    bad: Option<Bad>,
    /// Units that serve at every instant, at least.
    floor: usize,
    /// The traffic before, and when it succeeds.
    before: &'static str,
    after: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    Never,
    Later,
}

/// An instant at which the engine dies.
#[derive(Clone, Copy, Debug)]
enum Instant {
    Op(usize, FaultKind),
    Write(usize, Hang),
}

fn rolling(number: u128, replicas: u32) -> Spec {
    let mut spec = spec(number, replicas, 1);
    spec.strategy.bake = pipeline::Duration::from_secs(1);
    spec
}

fn of(kind: DeploymentKind, spec: Spec) -> Deployment {
    deployment(kind, spec)
}

impl Scenario {
    async fn world(&self) -> World {
        let releases: Vec<_> = self.releases.iter().map(|number| (*number, 3, 1)).collect();
        let world = world_with(&releases).await;
        if let Some(change) = self.first {
            world.change(change).await;
        }
        match self.bad {
            Some(Bad::Never) => world.target.never_healthy(release(2)),
            Some(Bad::Later) => world.target.healthy_then_bad(release(2)),
            None => {}
        }
        assert_eq!(world.traffic(), self.before);
        world.target.take_samples();
        world
    }

    /// All instants of a run that nothing interrupts.
    async fn instants(&self) -> Vec<Instant> {
        let world = self.world().await;
        let (calls, writes) = (world.target.calls(), world.ledger.writes());
        let change = (self.change)();
        let standing = world.ledger.history(&super::world::key(), 10).await.unwrap();
        let settled = crate::settle(change.kind, &change.spec, crate::standing(&standing)).unwrap();
        let planned = plan(change.kind, &settled.spec, &world.target.seen(), change.id);
        let ops = planned.ops().count();
        let ended = world.die(change).await.unwrap().unwrap().state;
        let calls = world.target.calls() - calls;
        if ended == DeploymentState::Succeeded {
            assert_eq!(calls, ops, "the plan tells every op");
        }
        let writes = world.ledger.writes() - writes;
        let at = |call| {
            [FaultKind::HangBefore, FaultKind::HangAfter].map(|kind| Instant::Op(call, kind))
        };
        let on = |write| [Hang::Before, Hang::After].map(|hang| Instant::Write(write, hang));
        (0..calls).flat_map(at).chain((0..writes).flat_map(on)).collect()
    }

    /// Kills the engine at every instant, and returns how all of it ended.
    async fn killed_everywhere(&self) -> BTreeSet<&'static str> {
        let mut ends = BTreeSet::new();
        for instant in self.instants().await {
            let world = self.world().await;
            match instant {
                Instant::Op(call, kind) => world.target.fault_in(call, kind),
                Instant::Write(write, hang) => world.ledger.hang_in(write, hang),
            }
            let died = world.die((self.change)()).await.is_none();
            // The very last write may be the end itself.
            assert!(died, "{instant:?}");
            // While the engine is dead, what serves goes on to serve.
            let left: Vec<_> = world.target.seen().units;
            let serving = left.iter().filter(|unit| unit.admitted).count();
            assert!(serving >= self.floor, "{instant:?}: {}", world.traffic());

            let ended = world.recover().await;
            assert_eq!(ended.len(), 1, "{instant:?}");
            let state = ended[0].state;
            let expected = match state {
                DeploymentState::Succeeded => self.after,
                DeploymentState::RolledBack | DeploymentState::Failed => self.before,
                other => panic!("{instant:?}: {other} {:?}", ended[0].reason),
            };
            assert_eq!(world.traffic(), expected, "{instant:?}: {state} {:?}", ended[0].reason);
            assert_eq!(world.recover().await, [], "nothing stays without an end");
            for sample in world.target.take_samples() {
                assert!(
                    sample.serving >= self.floor && sample.broken == 0,
                    "{instant:?} {sample:?}"
                );
            }
            assert_eq!(world.target.take_violations(), Vec::<String>::new(), "{instant:?}");
            ends.insert(state.name());
        }
        ends
    }
}

fn ends(names: &[&'static str]) -> BTreeSet<&'static str> {
    names.iter().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn i7_a_deploy_killed_anywhere_ends_as_wanted_or_as_before() {
    let scenario = Scenario {
        releases: &[7, 1],
        first: None,
        change: || of(DeploymentKind::Deploy, rolling(2, 2)),
        bad: None,
        floor: 2,
        before: "0:1 1:1 2:1",
        after: "0:2 1:2",
    };
    assert_eq!(scenario.killed_everywhere().await, ends(&["failed", "rolled-back", "succeeded"]));
}

#[tokio::test(start_paused = true)]
async fn i7_a_bad_deploy_killed_anywhere_also_on_its_way_back_ends_as_before() {
    for bad in [Bad::Never, Bad::Later] {
        let scenario = Scenario {
            releases: &[1],
            first: None,
            change: || of(DeploymentKind::Deploy, rolling(2, 3)),
            bad: Some(bad),
            floor: 3,
            before: "0:1 1:1 2:1",
            after: "never",
        };
        assert_eq!(scenario.killed_everywhere().await, ends(&["failed", "rolled-back"]));
    }
}

#[tokio::test(start_paused = true)]
async fn i7_a_stop_first_deploy_and_a_recreation_killed_anywhere_end_so_too() {
    fn stop_first() -> Spec {
        let mut spec = rolling(2, 3);
        spec.strategy.order = RolloutOrder::StopFirst;
        spec
    }
    fn recreate() -> Spec {
        let mut spec = stop_first();
        spec.strategy.kind = StrategyKind::Recreate;
        spec
    }
    let changes: [(Make, usize); 2] = [
        (|| of(DeploymentKind::Deploy, stop_first()), 2),
        (|| of(DeploymentKind::Deploy, recreate()), 0),
    ];
    for (change, floor) in changes {
        for bad in [None, Some(Bad::Later)] {
            let scenario = Scenario {
                releases: &[1],
                first: None,
                change,
                bad,
                floor,
                before: "0:1 1:1 2:1",
                after: "0:2 1:2 2:2",
            };
            scenario.killed_everywhere().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i7_a_rollback_killed_anywhere_ends_as_wanted_or_as_before() {
    // A warm one, and one whose units must be made.
    for (releases, before) in [(&[1, 2][..], "0:2 1:2 2:2"), (&[1, 2, 3][..], "0:3 1:3 2:3")] {
        let scenario = Scenario {
            releases,
            first: None,
            change: || of(DeploymentKind::Rollback, rolling(1, 3)),
            bad: None,
            floor: 3,
            before,
            after: "0:1 1:1 2:1",
        };
        assert!(scenario.killed_everywhere().await.contains("succeeded"));
    }
}

#[tokio::test(start_paused = true)]
async fn i7_scaling_killed_anywhere_ends_as_wanted_or_as_before() {
    let changes: [(Make, &str, usize); 2] = [
        (|| of(DeploymentKind::Scale, rolling(1, 5)), "0:1 1:1 2:1 3:1 4:1", 3),
        (|| of(DeploymentKind::Scale, rolling(1, 1)), "0:1", 1),
    ];
    for (change, after, floor) in changes {
        let scenario = Scenario {
            releases: &[7, 1],
            first: None,
            change,
            bad: None,
            floor,
            before: "0:1 1:1 2:1",
            after,
        };
        assert!(scenario.killed_everywhere().await.contains("succeeded"));
    }
}

#[tokio::test(start_paused = true)]
async fn i7_a_restart_killed_anywhere_ends_as_wanted_or_as_before() {
    let scenario = Scenario {
        releases: &[7, 1],
        first: None,
        change: || of(DeploymentKind::Restart, rolling(1, 3)),
        bad: None,
        floor: 3,
        before: "0:1 1:1 2:1",
        after: "0:1 1:1 2:1",
    };
    assert_eq!(scenario.killed_everywhere().await, ends(&["failed", "rolled-back", "succeeded"]));
}

#[tokio::test(start_paused = true)]
async fn i7_stop_and_start_killed_anywhere_end_as_wanted_or_as_before() {
    let stop = Scenario {
        releases: &[7, 1],
        first: None,
        change: || of(DeploymentKind::Stop, rolling(1, 3)),
        bad: None,
        floor: 0,
        before: "0:1 1:1 2:1",
        after: "",
    };
    assert!(stop.killed_everywhere().await.contains("succeeded"));
    let start = Scenario {
        first: Some(Change::Stop),
        change: || of(DeploymentKind::Start, rolling(1, 3)),
        before: "",
        after: "0:1 1:1 2:1",
        ..stop
    };
    assert!(start.killed_everywhere().await.contains("succeeded"));
}

#[tokio::test(start_paused = true)]
async fn i7_a_repair_killed_anywhere_ends_as_wanted_or_as_before() {
    for call in 0.. {
        let world = world_with(&[(1, 3, 1)]).await;
        let dead = world.target.seen().units[1].clone();
        world.target.put(ObservedUnit { state: UnitState::Exited, ..dead });
        world.target.fault_in(call, FaultKind::HangBefore);
        let ended = world.die(of(DeploymentKind::Repair, rolling(1, 3))).await;
        world.target.clear_faults();
        let state = match &ended {
            Some(deployed) => deployed.as_ref().unwrap().state,
            None => world.recover().await[0].state,
        };
        let traffic = match state {
            DeploymentState::Succeeded => "0:1 1:1 2:1",
            DeploymentState::RolledBack | DeploymentState::Failed => "0:1 1:1! 2:1",
            other => panic!("{other}"),
        };
        assert_eq!(world.traffic(), traffic, "killed in call {call}");
        assert_eq!(world.target.take_violations(), Vec::<String>::new());
        if ended.is_some() {
            assert!(call > 5, "it has that many calls");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_stood_still_for_too_long_goes_back_though_it_is_healthy() {
    let mut world = world_with(&[(1, 2, 1)]).await;
    world.target.fault_in(7, FaultKind::HangBefore);
    assert!(world.deploy_and_die(spec(2, 2, 1)).await.is_none());
    assert_eq!(world.traffic(), "0:2 1:1");
    world.limits = Limits { resume_max: std::time::Duration::ZERO, ..world.limits };
    std::thread::sleep(std::time::Duration::from_millis(2));
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::RolledBack);
    assert_eq!(world.traffic(), "0:1 1:1");
}

#[tokio::test(start_paused = true)]
async fn what_serves_and_is_healthy_is_carried_on_by_planning_again() {
    let world = world_with(&[(1, 3, 1)]).await;
    // Slot 0 is done, and nothing of slot 1 is there.
    world.target.fault_in(7, FaultKind::HangBefore);
    assert!(world.deploy_and_die(spec(2, 3, 1)).await.is_none());
    assert_eq!(world.traffic(), "0:2 1:1 2:1");
    let ended = world.recover().await;
    assert_eq!(ended[0].state, DeploymentState::Succeeded, "{:?}", ended[0].reason);
    assert_eq!(world.traffic(), "0:2 1:2 2:2");
}
