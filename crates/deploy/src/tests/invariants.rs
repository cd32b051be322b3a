//! The invariants of deploying, over random worlds, changes and faults. Those that are
//! about one situation have their tests beside it; `docs/deployments.md` names one for
//! each.

use std::collections::BTreeSet;
use std::time::Duration;

use event::{DeploymentId, DeploymentKind, DeploymentState};
use pipeline::{BatchSize, RolloutOrder, StrategyKind};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::world::{World, deployment, key, release, spec, world_with};
use crate::testing::{FaultKind, Sample};
use crate::{Change, DeployError, Deployed, Ledger, Spec, UnitState, change_spec, standing};

/// What somebody asks for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Deploy { number: u128, replicas: u32 },
    Rollback,
    Change(Change),
}

#[derive(Clone, Copy, Debug)]
enum Luck {
    Good,
    Sick,
    SickLater,
    Fault(usize, FaultKind),
    /// Bad, and a fault on the way back.
    SickFault(usize, FaultKind),
}

#[derive(Clone, Copy, Debug)]
struct Way {
    kind: StrategyKind,
    order: RolloutOrder,
    batch: u32,
    parallel: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    ask: Ask,
    way: Way,
    luck: Luck,
}

/// What a step came to.
#[derive(Debug)]
struct Played {
    #[expect(dead_code, reason = "shown where a check fails")]
    step: Step,
    id: DeploymentId,
    kind: DeploymentKind,
    /// Units that served before, and that are wanted after.
    units: (u32, u32),
    was_stopped: bool,
    /// The traffic before and after.
    traffic: (String, String),
    state: DeploymentState,
    samples: Vec<Sample>,
    violations: Vec<String>,
    mutations: usize,
}

fn any_luck() -> impl Strategy<Value = Luck> {
    let kind = prop_oneof![
        Just(FaultKind::FailBefore),
        Just(FaultKind::FailAfter),
        Just(FaultKind::HangBefore),
        Just(FaultKind::HangAfter),
    ];
    prop_oneof![
        4 => Just(Luck::Good),
        1 => Just(Luck::Sick),
        1 => Just(Luck::SickLater),
        4 => (0usize..30, kind.clone()).prop_map(|(call, kind)| Luck::Fault(call, kind)),
        2 => (0usize..30, kind).prop_map(|(call, kind)| Luck::SickFault(call, kind)),
    ]
}

fn any_way() -> impl Strategy<Value = Way> {
    let kind = prop_oneof![
        3 => Just((StrategyKind::Rolling, RolloutOrder::StartFirst)),
        1 => Just((StrategyKind::Rolling, RolloutOrder::StopFirst)),
        1 => Just((StrategyKind::Recreate, RolloutOrder::StopFirst)),
    ];
    (kind, 1u32..4, prop::option::of(1u32..3)).prop_map(|((kind, order), batch, parallel)| Way {
        kind,
        order,
        batch,
        parallel,
    })
}

fn any_ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        5 => (1u128..5, 1u32..5).prop_map(|(number, replicas)| Ask::Deploy { number, replicas }),
        2 => Just(Ask::Rollback),
        1 => Just(Ask::Change(Change::Restart)),
        2 => (1u32..6).prop_map(|replicas| Ask::Change(Change::Scale(replicas))),
        1 => Just(Ask::Change(Change::Stop)),
        2 => Just(Ask::Change(Change::Start)),
        1 => Just(Ask::Change(Change::Repair)),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (any_ask(), any_way(), any_luck()).prop_map(|(ask, way, luck)| Step { ask, way, luck });
    prop::collection::vec(step, 1..7)
}

impl Way {
    fn on(self, mut spec: Spec) -> Spec {
        let strategy = &mut spec.strategy;
        (strategy.kind, strategy.order, strategy.parallel) = (self.kind, self.order, self.parallel);
        strategy.batch = BatchSize::Units(self.batch);
        strategy.bake = pipeline::Duration::from_secs(1);
        spec
    }
}

impl World {
    /// The kind and the specification of what is asked, where that is possible.
    async fn wish(&self, ask: Ask, way: Way) -> Option<(DeploymentKind, Spec)> {
        let ledger: std::sync::Arc<dyn Ledger> = self.ledger.clone();
        match ask {
            Ask::Deploy { number, replicas } => {
                Some((DeploymentKind::Deploy, way.on(spec(number, replicas, 1))))
            }
            Ask::Rollback => {
                let spec = crate::rollback_spec(&ledger, &key(), None).await.ok()?;
                Some((DeploymentKind::Rollback, way.on(spec)))
            }
            Ask::Change(change) => {
                let spec = change_spec(&ledger, &key(), change).await.ok()?;
                Some((change.kind(), spec))
            }
        }
    }

    async fn play(&self, step: Step) -> Option<Played> {
        let (kind, spec) = self.wish(step.ask, step.way).await?;
        let history = self.ledger.history(&key(), 100).await.unwrap();
        let now = standing(&history);
        let was_stopped = now.is_some_and(|now| now.is_stopped());
        let settled = crate::settle(kind, &spec, now).unwrap();
        let served = now.filter(|now| !now.is_stopped()).map_or(0, |now| now.spec().replicas);
        self.target.heal();
        self.target.clear_faults();
        // What runs now is not sick by itself: there would be nothing to go back to.
        let is_new = now.map(|now| now.spec().release) != Some(settled.spec.release);
        match step.luck {
            Luck::Sick if is_new => self.target.never_healthy(settled.spec.release),
            Luck::SickLater if is_new => self.target.healthy_then_bad(settled.spec.release),
            Luck::Fault(call, kind) => self.target.fault_in(call, kind),
            Luck::SickFault(call, kind) if is_new => {
                self.target.healthy_then_bad(settled.spec.release);
                self.target.fault_in(call, kind);
            }
            _ => {}
        }
        let before = self.traffic();
        self.target.take_samples();
        self.target.take_mutations();
        let deployment = deployment(kind, spec);
        let id = deployment.id;
        let ended = self.die(deployment).await;
        let state = match ended {
            Some(Ok(deployed)) => deployed.state,
            Some(Err(DeployError::Infrastructure { .. })) => DeploymentState::Failed,
            Some(Err(error)) => panic!("{error}"),
            None => {
                self.target.clear_faults();
                self.recover().await[0].state
            }
        };
        let wanted = if kind == DeploymentKind::Stop { 0 } else { settled.spec.replicas };
        Some(Played {
            step,
            id,
            kind,
            units: (served, wanted),
            was_stopped,
            traffic: (before, self.traffic()),
            state,
            samples: self.target.take_samples(),
            violations: self.target.take_violations(),
            mutations: self.target.take_mutations().len(),
        })
    }
}

/// Plays a history and checks every step of it.
fn over(steps: Vec<Step>, check: impl Fn(&World, &Played)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new();
        for step in steps {
            let Some(played) = world.play(step).await else { continue };
            check(&world, &played);
            // What could not be taken back is nothing to go on from.
            if played.state == DeploymentState::Stuck {
                break;
            }
        }
    });
}

impl Played {
    /// How few units may serve at any instant.
    fn floor(&self, standing: &Spec) -> usize {
        if matches!(self.kind, DeploymentKind::Stop | DeploymentKind::Start) {
            return 0;
        }
        let missing = match (standing.strategy.kind, standing.strategy.order) {
            (StrategyKind::Recreate, _) => u32::MAX,
            (_, RolloutOrder::StartFirst) => 0,
            (_, RolloutOrder::StopFirst) => 1,
        };
        self.units.0.min(self.units.1).saturating_sub(missing) as usize
    }
}

/// The specification a deployment settled on, if it came to that.
async fn settled(world: &World, id: DeploymentId) -> Option<Spec> {
    let history = world.ledger.history(&key(), 100).await.unwrap();
    let record = history.into_iter().find(|record| record.deployment.id == id)?;
    record.before.is_some().then_some(record.deployment.spec)
}

fn settled_now(world: &World, id: DeploymentId) -> Option<Spec> {
    futures_util::FutureExt::now_or_never(settled(world, id)).flatten()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn i1_capacity_never_falls_below_what_the_strategy_allows(steps in any_steps()) {
        over(steps, |world, played| {
            let Some(spec) = settled_now(world, played.id) else { return };
            let floor = played.floor(&spec);
            for sample in &played.samples {
                assert!(sample.serving >= floor, "{sample:?} of {floor}: {played:?}");
                assert_eq!(sample.broken, 0, "{played:?}");
            }
        });
    }

    #[test]
    fn i2_and_i3_no_unit_gets_traffic_before_its_gate_or_is_stopped_undrained(steps in any_steps()) {
        over(steps, |_, played| assert_eq!(played.violations, Vec::<String>::new(), "{played:?}"));
    }

    #[test]
    fn i7_and_i12_every_end_is_what_was_observed(steps in any_steps()) {
        over(steps, |world, played| {
            let seen = world.target.seen();
            let admitted = seen.units.iter().filter(|unit| unit.admitted).count();
            match played.state {
                DeploymentState::Succeeded => {
                    assert_eq!(admitted, played.units.1 as usize, "{played:?}");
                    let spec = settled_now(world, played.id).unwrap();
                    for unit in seen.units.iter().filter(|unit| unit.admitted) {
                        assert_eq!(unit.spec, spec.unit_hash(), "{played:?}");
                        assert_eq!(unit.state, UnitState::Running, "{played:?}");
                    }
                }
                DeploymentState::RolledBack | DeploymentState::Failed => {
                    assert_eq!(played.traffic.1, played.traffic.0, "{played:?}");
                }
                // A rollback is not rolled back.
                DeploymentState::Stuck => assert_eq!(played.kind, DeploymentKind::Rollback),
                other => panic!("{other}: {played:?}"),
            }
        });
    }

    #[test]
    fn i9_what_runs_already_is_deployed_without_a_change(steps in any_steps()) {
        over(steps, |world, played| {
            if played.state != DeploymentState::Succeeded || played.kind == DeploymentKind::Stop {
                return;
            }
            let spec = settled_now(world, played.id).unwrap();
            let again = deployment(DeploymentKind::Deploy, spec.clone());
            let seen = world.target.seen();
            let plan = crate::plan(again.kind, &spec, &seen, again.id);
            assert!(plan.batches.is_empty() && plan.prepare.is_empty(), "{plan:?} after {played:?}");
        });
    }

    #[test]
    fn i15_what_is_stopped_stays_so_until_a_start_and_what_is_scaled_too(steps in any_steps()) {
        over(steps, |world, played| {
            if played.was_stopped && played.kind != DeploymentKind::Start {
                assert_eq!(played.traffic.1, "", "{played:?}");
                assert_eq!(played.mutations, 0, "{played:?}");
            }
            let admitted = world.target.seen().units.iter().filter(|unit| unit.admitted).count();
            if played.state != DeploymentState::Stuck && played.state != DeploymentState::Succeeded {
                assert_eq!(admitted, played.units.0 as usize, "{played:?}");
            }
        });
    }

    /// The first batch is all that a release that never gets healthy touches.
    #[test]
    fn i4_a_bad_release_touches_the_first_batch_only(
        replicas in 1u32..6, way in any_way(), later in any::<bool>(),
    ) {
        block(async {
            let world = world_with(&[(1, replicas, 1)]).await;
            let before = world.target.seen();
            match later {
                true => world.target.healthy_then_bad(release(2)),
                false => world.target.never_healthy(release(2)),
            }
            let deployed = world.deploy(way.on(spec(2, replicas, 1))).await.unwrap();
            assert_eq!(deployed.state, DeploymentState::RolledBack);
            assert_eq!(world.target.seen(), before);
            let touched = world.target.take_mutations().into_iter().map(|(_, unit)| unit.0);
            let slots: BTreeSet<_> =
                touched.filter_map(|unit| unit.split('-').nth(2).map(str::to_owned)).collect();
            let batch = match way.kind {
                StrategyKind::Recreate => replicas,
                StrategyKind::Rolling => way.batch.min(replicas),
            };
            assert!(slots.len() <= batch as usize, "{slots:?}");
        });
    }

    /// No more units than a batch serve a release that was not yet watched.
    #[test]
    fn i5_a_release_that_turns_bad_was_never_served_by_more_than_a_batch(
        replicas in 1u32..6, way in any_way(),
    ) {
        block(async {
            let world = world_with(&[(1, replicas, 1)]).await;
            world.target.healthy_then_bad(release(2));
            let deployed = world.deploy(way.on(spec(2, replicas, 1))).await.unwrap();
            let batch = match way.kind {
                StrategyKind::Recreate => replicas,
                StrategyKind::Rolling => way.batch,
            };
            for sample in world.target.take_samples() {
                let new = sample.serving_by_deployment.get(&deployed.deployment);
                assert!(new.copied().unwrap_or(0) <= batch as usize, "{sample:?}");
            }
        });
    }

    /// Failed and missing units together are no more than may be.
    #[test]
    fn i11_failed_and_drained_units_stay_within_the_budget(
        replicas in 1u32..6, way in any_way(), tolerate in 0u32..3,
        sick in prop::collection::btree_set(0u32..6, 0..4),
    ) {
        prop_assume!(way.kind == StrategyKind::Rolling);
        block(async {
            let world = world_with(&[(1, replicas, 1)]).await;
            for slot in &sick {
                world.target.sick_slot_of(*slot, release(2));
            }
            let mut wanted = way.on(spec(2, replicas, 1));
            wanted.strategy.tolerate = tolerate;
            let failing = sick.iter().filter(|slot| **slot < replicas).count();
            let deployed = world.deploy(wanted).await.unwrap();
            let within = failing <= tolerate as usize;
            let expected =
                if within { DeploymentState::Succeeded } else { DeploymentState::RolledBack };
            assert_eq!(deployed.state, expected, "{:?}", deployed.reason);
            let missing = if way.order == RolloutOrder::StopFirst { 1 } else { 0 };
            for sample in world.target.take_samples() {
                let out = replicas as usize - sample.serving.min(replicas as usize);
                assert!(out <= missing + tolerate as usize, "{sample:?}");
            }
            let on_old = world.target.seen().units.iter()
                .filter(|unit| unit.admitted && unit.release == release(1)).count();
            assert_eq!(on_old, if within { failing } else { replicas as usize });
        });
    }

    /// An op that says it is done and did nothing makes no success.
    #[test]
    fn i12_whichever_op_lies_no_success_is_claimed_that_is_none(
        call in 0usize..24, replicas in 1u32..4, way in any_way(),
    ) {
        block(async {
            let world = world_with(&[(1, replicas, 1)]).await;
            world.target.fault_in(call, FaultKind::Pretend);
            let wanted = way.on(spec(2, replicas, 1));
            let deployed = world.deploy(wanted.clone()).await.unwrap();
            let seen = world.target.seen();
            let serves = |unit: &&crate::ObservedUnit| {
                unit.admitted && unit.state == UnitState::Running && unit.spec == wanted.unit_hash()
            };
            if deployed.state == DeploymentState::Succeeded {
                assert_eq!(seen.units.iter().filter(serves).count(), replicas as usize);
            }
        });
    }

    /// Whichever op never returns, a deployment ends in the time its deadlines allow.
    #[test]
    fn i14_every_deployment_ends_whatever_hangs(
        calls in prop::collection::btree_set(0usize..40, 1..4), replicas in 1u32..4, way in any_way(),
        bad in any::<bool>(),
    ) {
        block(async {
            let world = world_with(&[(1, replicas, 1)]).await;
            if bad {
                world.target.healthy_then_bad(release(2));
            }
            for call in &calls {
                world.target.fault_in(*call, FaultKind::HangBefore);
            }
            let begun = tokio::time::Instant::now();
            let deployed: Result<Deployed, _> = world.deploy(way.on(spec(2, replicas, 1))).await;
            assert!(deployed.is_ok() || matches!(deployed, Err(DeployError::Infrastructure { .. })));
            assert_eq!(world.ledger.unfinished().await.unwrap(), []);
            // The fetch alone may take a quarter of an hour.
            assert!(begun.elapsed() < Duration::from_secs(40 * 60), "{:?}", begun.elapsed());
        });
    }

    /// However many want to change it at once, one after the other does.
    #[test]
    fn i6_deployments_at_once_never_mix(
        waits in prop::collection::vec((0u64..90, 1u128..5, 1u32..4), 2..5), gate in 0u64..40,
    ) {
        block(async {
            let world = world_with(&[(9, 2, 1)]).await;
            world.target.gate_takes(Duration::from_secs(gate));
            world.target.take_writers();
            let deploying = waits.iter().map(async |(wait, number, replicas)| {
                tokio::time::sleep(Duration::from_secs(*wait)).await;
                world.deploy(spec(*number, *replicas, 1)).await.unwrap().state
            });
            futures_util::future::join_all(deploying).await;
            let mut writers = world.target.take_writers();
            writers.dedup();
            let distinct: BTreeSet<_> = writers.iter().collect();
            assert_eq!(distinct.len(), writers.len(), "{writers:?}");
            assert_eq!(world.target.take_violations(), Vec::<String>::new());
        });
    }

    /// A rollback that fails is not taken back, and as much serves as can.
    #[test]
    fn i13_a_failed_rollback_leaves_all_that_serves(
        replicas in 1u32..5, batch in 1u32..3, call in 0usize..20,
    ) {
        block(async {
            let world = world_with(&[(1, replicas, 1), (2, replicas, 1)]).await;
            world.target.fault_in(call, FaultKind::FailBefore);
            let mut back = spec(1, replicas, batch);
            back.strategy.bake = pipeline::Duration::from_secs(1);
            let back = deployment(DeploymentKind::Rollback, back);
            let ended = world.deploy_as(back, &CancellationToken::new()).await.unwrap();
            let state = ended.state;
            assert!(matches!(state, DeploymentState::Stuck | DeploymentState::Succeeded), "{state}");
            for sample in world.target.take_samples() {
                assert!(sample.serving >= replicas as usize && sample.broken == 0, "{sample:?}");
            }
        });
    }
}

fn block(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future);
}
