//! Plans of arbitrary worlds.

use std::collections::{BTreeMap, BTreeSet};

use event::{DeploymentId, DeploymentKind, ReleaseId};
use pipeline::{BatchSize, Duration, RolloutOrder, Strategy as Rolling, StrategyKind};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{Artifact, ObservedUnit, UnitState};

fn release(number: u128) -> ReleaseId {
    ReleaseId::new(Uuid::from_u128(0x0100 + number))
}

fn deployment(number: u128) -> DeploymentId {
    DeploymentId::new(Uuid::from_u128(0xd000 + number))
}

fn spec(number: u128, replicas: u32, batch: u32) -> Spec {
    Spec {
        project: "web".to_owned(),
        environment: "prod".to_owned(),
        release: release(number),
        artifact: Artifact::ImageId(format!("sha256:{number}")),
        replicas,
        expose: None,
        health: None,
        verify: Vec::new(),
        checks: crate::CheckSettings::default(),
        hosts: Vec::new(),
        strategy: Rolling { batch: BatchSize::Units(batch), ..Rolling::default() },
        env: BTreeMap::new(),
        unit: crate::UnitSettings::default(),
    }
}

fn unit(of: &Spec, slot: u32, made_by: u128, state: UnitState, admitted: bool) -> ObservedUnit {
    ObservedUnit {
        unit: unit_name(of, slot, deployment(made_by)),
        slot,
        release: of.release,
        deployment: deployment(made_by),
        spec: of.unit_hash(),
        state,
        admitted,
        address: None,
        image: String::new(),
        fence: made_by as u64,
    }
}

fn seen(mut units: Vec<ObservedUnit>) -> Observed {
    units.sort_by(|a, b| (a.slot, &a.unit).cmp(&(b.slot, &b.unit)));
    Observed { units, ..Observed::default() }
}

/// Shows a plan as people would write it, units by slot and release.
fn show(plan: &DeployPlan) -> String {
    let name = |unit: &UnitId| {
        let parts: Vec<_> = unit.0.split('-').collect();
        match parts.as_slice() {
            [.., slot, release, _] => format!(
                "{slot}r{}",
                release.trim_start_matches("00000100").trim_start_matches("0000010")
            ),
            _ => unit.0.clone(),
        }
    };
    let op = |op: &Op| {
        let replaces = op.replaces.as_ref().filter(|_| op.action == OpAction::Admit);
        let replaces = replaces.map(|unit| format!(" for {}", name(unit))).unwrap_or_default();
        format!("{} {}{replaces}", op.action.name(), name(&op.unit))
    };
    let ops = |ops: &[Op]| ops.iter().map(op).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if !plan.prepare.is_empty() {
        lines.push(format!("prepare: {}", ops(&plan.prepare)));
    }
    for batch in &plan.batches {
        let phases: Vec<_> = batch.phases.iter().map(|phase| ops(phase)).collect();
        lines.push(format!("batch: {}", phases.join(" → ")));
    }
    if !plan.finalise.is_empty() {
        lines.push(format!("finalise: {}", ops(&plan.finalise)));
    }
    lines.join("\n")
}

fn check(spec: &Spec, units: Vec<ObservedUnit>, expected: &str) {
    check_as(DEPLOY, spec, units, expected);
}

fn check_as(kind: DeploymentKind, spec: &Spec, units: Vec<ObservedUnit>, expected: &str) {
    let plan = plan(kind, spec, &seen(units), deployment(9));
    let expected: Vec<_> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(show(&plan), expected.join("\n"));
}

const DEPLOY: DeploymentKind = DeploymentKind::Deploy;
const RUNNING: UnitState = UnitState::Running;
const EXITED: UnitState = UnitState::Exited;

#[test]
fn the_first_deployment_makes_units_batch_by_batch() {
    check(
        &spec(1, 3, 2),
        vec![],
        "prepare: fetch web-prod
         batch: create 0r1, create 1r1 → start 0r1, start 1r1 → gate 0r1, gate 1r1 → admit 0r1, admit 1r1
         batch: create 2r1 → start 2r1 → gate 2r1 → admit 2r1",
    );
}

#[test]
fn a_new_release_replaces_unit_by_unit_and_keeps_the_old_one_warm() {
    let old = spec(1, 1, 1);
    check(
        &spec(2, 1, 1),
        vec![unit(&old, 0, 1, RUNNING, true)],
        "prepare: fetch web-prod
         batch: create 0r2 → start 0r2 → gate 0r2 → admit 0r2 for 0r1 → drain 0r1 → stop 0r1",
    );
}

/// The slots of each batch, with the group it is of.
fn groups(plan: &DeployPlan) -> Vec<(Option<&str>, Vec<u32>)> {
    let batch = |batch: &'_ Batch| {
        let made = batch.ops().filter(|op| op.action == OpAction::Start);
        made.map(|op| op.slot).collect()
    };
    plan.batches.iter().map(|it| (it.group.as_deref(), batch(it))).collect()
}

#[test]
fn groups_are_rolled_one_after_another_and_no_batch_is_of_two() {
    let names = ["north", "south", "preprod", "south", "north", "south", "south"];
    let host = |(number, group): (usize, &str)| crate::HostPlace {
        name: format!("web-{number}"),
        group: Some(group.to_owned()),
        labels: Vec::new(),
        env: BTreeMap::new(),
    };
    let hosts: Vec<_> = names.into_iter().enumerate().map(host).collect();
    let mut spec = Spec { hosts, ..spec(2, 7, 1) };
    spec.strategy.batches = vec![BatchSize::Units(1), BatchSize::Percent(50)];
    spec.strategy.groups = vec!["preprod".to_owned(), "south".to_owned()];
    let fresh = plan(DEPLOY, &spec, &Observed::default(), deployment(9));
    let of = |group, slots: &[u32]| (Some(group), slots.to_vec());
    // The sizes begin anew with each group, and shares are of the group.
    let wanted = [
        of("preprod", &[2]),
        of("south", &[1]),
        of("south", &[3, 5]),
        of("south", &[6]),
        of("north", &[0]),
        of("north", &[4]),
    ];
    assert_eq!(groups(&fresh), wanted);

    // What is watched at the end of a batch is all that came before it, in that order.
    spec.strategy.bake = Duration::from_secs(5);
    let watched = plan(DEPLOY, &spec, &Observed::default(), deployment(9));
    let last = watched.batches[2].ops().filter(|op| op.action == OpAction::Bake);
    assert_eq!(last.map(|op| op.slot).collect::<Vec<_>>(), [2, 1, 3, 5]);

    // Units that wait were good once, and come back together.
    let warm = (0..7).map(|slot| unit(&spec, slot, 1, EXITED, false)).collect();
    let back = plan(DeploymentKind::Rollback, &spec, &seen(warm), deployment(9));
    assert_eq!(groups(&back), [(None, vec![2, 1, 3, 5, 6, 0, 4])]);
}

#[test]
fn a_bake_ends_a_batch() {
    let mut spec = spec(1, 1, 1);
    spec.strategy.bake = Duration::from_secs(5);
    check(
        &spec,
        vec![],
        "prepare: fetch web-prod
         batch: create 0r1 → start 0r1 → gate 0r1 → admit 0r1 → bake 0r1",
    );
}

#[test]
fn units_of_former_batches_are_watched_along() {
    let mut spec = spec(1, 2, 1);
    spec.strategy.bake = Duration::from_secs(5);
    check(
        &spec,
        vec![],
        "prepare: fetch web-prod
         batch: create 0r1 → start 0r1 → gate 0r1 → admit 0r1 → bake 0r1
         batch: create 1r1 → start 1r1 → gate 1r1 → admit 1r1 → bake 0r1, bake 1r1",
    );
}

#[test]
fn a_batch_is_verified_unit_by_unit_then_as_a_whole_and_then_watched() {
    let step = |http: &str| {
        crate::VerifyStep::Http(crate::HttpStep {
            http: http.to_owned(),
            status: vec![],
            body: None,
            json: BTreeMap::new(),
            latency: None,
            timeout: Duration::from_secs(1),
            suite: None,
            once: false,
        })
    };
    let mut spec = spec(1, 2, 2);
    spec.strategy.bake = Duration::from_secs(5);
    spec.verify = vec![step("https://shop.example/"), step("/healthz")];
    let up =
        "create 0r1, create 1r1 → start 0r1, start 1r1 → gate 0r1, gate 1r1 → admit 0r1, admit 1r1";
    check(
        &spec,
        vec![],
        &format!(
            "prepare: fetch web-prod
             batch: {up} → verify-unit 0r1, verify-unit 1r1 → verify web-prod → bake 0r1, bake 1r1"
        ),
    );
}

#[test]
fn units_that_wait_come_back_at_once_and_those_that_are_gone_in_batches() {
    let (mut good, bad) = (spec(1, 3, 1), spec(2, 3, 1));
    let former = good.clone();
    let units = || {
        let serving = (0..3).map(|slot| unit(&bad, slot, 2, RUNNING, true));
        let waiting = (0..2).map(|slot| unit(&former, slot, 1, EXITED, false));
        serving.chain(waiting).collect::<Vec<_>>()
    };
    check_as(
        DeploymentKind::Rollback,
        &good,
        units(),
        "prepare: fetch web-prod
         batch: start 0r1, start 1r1 → gate 0r1, gate 1r1 → admit 0r1 for 0r2, admit 1r1 for 1r2 → drain 0r2, drain 1r2 → stop 0r2, stop 1r2
         batch: create 2r1 → start 2r1 → gate 2r1 → admit 2r1 for 2r2 → drain 2r2 → stop 2r2",
    );
    good.strategy.max_surge = Some(BatchSize::Units(1));
    check_as(
        DeploymentKind::Rollback,
        &good,
        units(),
        "prepare: fetch web-prod
         batch: start 0r1 → gate 0r1 → admit 0r1 for 0r2 → drain 0r2 → stop 0r2 → start 1r1 → gate 1r1 → admit 1r1 for 1r2 → drain 1r2 → stop 1r2
         batch: create 2r1 → start 2r1 → gate 2r1 → admit 2r1 for 2r2 → drain 2r2 → stop 2r2",
    );
    // One batch has room for all.
    good.strategy.max_surge = None;
    good.strategy.batch = BatchSize::Percent(100);
    check_as(
        DeploymentKind::Rollback,
        &good,
        units(),
        "prepare: fetch web-prod
         batch: create 2r1 → start 0r1, start 1r1, start 2r1 → gate 0r1, gate 1r1, gate 2r1 → admit 0r1 for 0r2, admit 1r1 for 1r2, admit 2r1 for 2r2 → drain 0r2, drain 1r2, drain 2r2 → stop 0r2, stop 1r2, stop 2r2",
    );
}

#[test]
fn what_runs_already_is_a_plan_of_nothing() {
    let spec = spec(1, 2, 1);
    let older = super::tests::spec(0, 2, 1);
    let units = vec![
        unit(&spec, 0, 2, RUNNING, true),
        unit(&spec, 1, 2, RUNNING, true),
        unit(&older, 0, 1, EXITED, false),
        unit(&older, 1, 1, EXITED, false),
    ];
    check(&spec, units.clone(), "");
    // Strategy is no part of a unit.
    let mut baked = spec;
    baked.strategy.bake = Duration::from_secs(60);
    check(&baked, units, "");
}

#[test]
fn a_unit_that_does_not_run_is_replaced_though_its_release_is_right() {
    let spec = spec(1, 2, 2);
    check(
        &spec,
        vec![unit(&spec, 0, 1, UnitState::Unhealthy, true), unit(&spec, 1, 1, EXITED, true)],
        "prepare: fetch web-prod
         batch: create 0r1, create 1r1 → start 0r1, start 1r1 → gate 0r1, gate 1r1 \
         → admit 0r1 for 0r1, admit 1r1 for 1r1 → drain 0r1, drain 1r1 → stop 0r1, stop 1r1",
    );
}

#[test]
fn more_replicas_add_the_highest_slots() {
    let one = spec(1, 1, 1);
    check(
        &spec(1, 2, 1),
        vec![unit(&one, 0, 1, RUNNING, true)],
        "prepare: fetch web-prod
         batch: create 1r1 → start 1r1 → gate 1r1 → admit 1r1",
    );
}

#[test]
fn fewer_replicas_drain_the_highest_slots_and_remove_them_at_the_end() {
    let three = spec(1, 3, 1);
    let running = |slot| unit(&three, slot, 1, RUNNING, true);
    check(
        &spec(1, 1, 1),
        vec![running(0), running(1), running(2)],
        "batch: drain 2r1 → stop 2r1
         batch: drain 1r1 → stop 1r1
         finalise: remove 1r1, remove 2r1",
    );
}

#[test]
fn leftovers_of_interrupted_deployments_are_removed_and_warm_units_are_not() {
    let (now, older, oldest) = (spec(3, 1, 1), spec(2, 1, 1), spec(1, 1, 1));
    check(
        &now,
        vec![
            unit(&now, 0, 3, RUNNING, true),
            unit(&spec(4, 1, 1), 0, 4, RUNNING, false),
            unit(&spec(5, 1, 1), 0, 5, UnitState::Created, false),
            unit(&older, 0, 2, EXITED, false),
            unit(&oldest, 0, 1, EXITED, false),
        ],
        "prepare: remove 0r4, remove 0r5
         finalise: remove 0r1",
    );
}

#[test]
fn the_replaced_unit_stays_warm_and_older_ones_go() {
    check(
        &spec(3, 1, 1),
        vec![unit(&spec(2, 1, 1), 0, 2, RUNNING, true), unit(&spec(1, 1, 1), 0, 1, EXITED, false)],
        "prepare: fetch web-prod
         batch: create 0r3 → start 0r3 → gate 0r3 → admit 0r3 for 0r2 → drain 0r2 → stop 0r2
         finalise: remove 0r1",
    );
}

#[test]
fn a_replaced_unit_that_a_crash_left_running_is_drained_and_kept_warm() {
    let now = spec(3, 1, 1);
    check(
        &now,
        vec![
            unit(&now, 0, 3, RUNNING, true),
            unit(&spec(2, 1, 1), 0, 2, RUNNING, false),
            unit(&spec(1, 1, 1), 0, 1, EXITED, false),
        ],
        "prepare: drain 0r2, stop 0r2
         finalise: remove 0r1",
    );
}

#[test]
fn the_second_unit_of_a_slot_that_a_crash_left_in_traffic_is_taken_out() {
    let (old, new) = (spec(1, 1, 1), spec(2, 1, 1));
    check(
        &new,
        vec![unit(&old, 0, 1, RUNNING, true), unit(&new, 0, 2, RUNNING, true)],
        "batch: drain 0r1 → stop 0r1
         finalise: remove 0r1",
    );
}

#[test]
fn batches_that_are_written_out_grow_and_the_last_size_holds_on() {
    let mut spec = spec(1, 9, 1);
    spec.strategy.batches =
        vec![BatchSize::Units(1), BatchSize::Percent(25), BatchSize::Percent(40)];
    let sizes: Vec<_> = plan(DEPLOY, &spec, &seen(vec![]), deployment(9))
        .batches
        .iter()
        .map(|batch| batch.phases[0].len())
        .collect();
    // A quarter of nine is rounded up.
    assert_eq!(sizes, [1, 3, 4, 1]);
}

#[test]
fn a_batch_goes_in_steps_of_what_may_change_at_once_and_is_watched_as_a_whole() {
    let old = spec(1, 2, 2);
    let running = |slot| unit(&old, slot, 1, RUNNING, true);
    let bounds: [fn(&mut Rolling); 2] = [
        |strategy| strategy.parallel = Some(1),
        |strategy| strategy.max_surge = Some(BatchSize::Percent(50)),
    ];
    for bound in bounds {
        let mut new = spec(2, 2, 2);
        new.strategy.bake = Duration::from_secs(5);
        bound(&mut new.strategy);
        check(
            &new,
            vec![running(0), running(1)],
            "prepare: fetch web-prod
             batch: create 0r2 → start 0r2 → gate 0r2 → admit 0r2 for 0r1 → drain 0r1 → stop 0r1 \
             → create 1r2 → start 1r2 → gate 1r2 → admit 1r2 for 1r1 → drain 1r1 → stop 1r1 \
             → bake 0r2, bake 1r2",
        );
    }
}

#[test]
fn stop_first_takes_the_old_unit_away_before_the_new_one_starts() {
    let old = spec(1, 2, 2);
    let running = |slot| unit(&old, slot, 1, RUNNING, true);
    let mut new = spec(2, 2, 2);
    new.strategy.order = RolloutOrder::StopFirst;
    check(
        &new,
        vec![running(0), running(1)],
        "prepare: fetch web-prod
         batch: create 0r2 → drain 0r1 → stop 0r1 → start 0r2 → gate 0r2 → admit 0r2 for 0r1 \
         → create 1r2 → drain 1r1 → stop 1r1 → start 1r2 → gate 1r2 → admit 1r2 for 1r1",
    );
    new.strategy.max_unavailable = Some(BatchSize::Percent(100));
    check(
        &new,
        vec![running(0), running(1)],
        "prepare: fetch web-prod
         batch: create 0r2, create 1r2 → drain 0r1, drain 1r1 → stop 0r1, stop 1r1 \
         → start 0r2, start 1r2 → gate 0r2, gate 1r2 → admit 0r2 for 0r1, admit 1r2 for 1r1",
    );
}

#[test]
fn recreate_takes_everything_down_before_anything_comes_up() {
    let old = spec(1, 3, 1);
    let running = |slot| unit(&old, slot, 1, RUNNING, true);
    let mut new = spec(2, 2, 1);
    new.strategy.kind = StrategyKind::Recreate;
    check(
        &new,
        vec![running(0), running(1), running(2)],
        "prepare: fetch web-prod
         batch: create 0r2, create 1r2 → drain 0r1, drain 1r1, drain 2r1 \
         → stop 0r1, stop 1r1, stop 2r1 → start 0r2, start 1r2 → gate 0r2, gate 1r2 \
         → admit 0r2 for 0r1, admit 1r2 for 1r1
         finalise: remove 2r1",
    );
    // Nothing to recreate: what is too many is retired, and nothing goes down.
    let mut fewer = spec(1, 1, 1);
    fewer.strategy.kind = StrategyKind::Recreate;
    check(
        &fewer,
        vec![running(0), running(1)],
        "batch: drain 1r1 → stop 1r1
         finalise: remove 1r1",
    );
}

fn any_strategy() -> impl Strategy<Value = Rolling> {
    let order = prop_oneof![Just(RolloutOrder::StartFirst), Just(RolloutOrder::StopFirst)];
    let kind = prop_oneof![4 => Just(StrategyKind::Rolling), 1 => Just(StrategyKind::Recreate)];
    let size = || {
        prop_oneof![(0u32..5).prop_map(BatchSize::Units), (0u32..101).prop_map(BatchSize::Percent)]
    };
    let batches = prop::collection::vec(size(), 0..4);
    let bounds = (prop::option::of(1u32..4), prop::option::of(size()), prop::option::of(size()));
    (kind, order, size(), batches, bounds).prop_map(
        |(kind, order, batch, batches, (parallel, max_unavailable, max_surge))| Rolling {
            kind,
            order,
            batch,
            batches,
            parallel,
            max_unavailable,
            max_surge,
            ..Rolling::default()
        },
    )
}

fn any_state() -> impl Strategy<Value = UnitState> {
    prop_oneof![
        1 => Just(UnitState::Created),
        3 => Just(UnitState::Running),
        1 => Just(UnitState::Unhealthy),
        2 => Just(UnitState::Exited),
    ]
}

/// Any units at all, also such as no history of ours leaves behind.
fn any_world() -> impl Strategy<Value = Observed> {
    let units =
        prop::collection::vec((0u32..5, 0u128..4, 1u128..6, any_state(), any::<bool>()), 0..12);
    units.prop_map(|units| {
        let mut names = BTreeSet::new();
        let units = units
            .into_iter()
            .map(|(slot, number, made_by, state, admitted)| {
                unit(&spec(number, 1, 1), slot, made_by, state, admitted)
            })
            .filter(|unit| names.insert(unit.unit.clone()))
            .collect();
        seen(units)
    })
}

/// What the world looks like when every op has done its work.
fn after(plan: &DeployPlan, spec: &Spec, seen: &Observed) -> Observed {
    let mut units: BTreeMap<UnitId, ObservedUnit> =
        seen.units.iter().map(|unit| (unit.unit.clone(), unit.clone())).collect();
    for op in plan.ops() {
        match op.action {
            OpAction::Create => {
                let new = unit(spec, op.slot, 9, UnitState::Created, false);
                assert!(units.insert(op.unit.clone(), new).is_none(), "{} existed", op.unit);
            }
            OpAction::Start => units.get_mut(&op.unit).unwrap().state = UnitState::Running,
            OpAction::Admit => {
                if let Some(old) = op.replaces.as_ref() {
                    units.get_mut(old).unwrap().admitted = false;
                }
                units.get_mut(&op.unit).unwrap().admitted = true;
            }
            OpAction::Drain => units.get_mut(&op.unit).unwrap().admitted = false,
            OpAction::Stop => units.get_mut(&op.unit).unwrap().state = UnitState::Exited,
            OpAction::Remove => {
                let removed = units.remove(&op.unit).unwrap();
                assert!(!removed.admitted, "{} was in traffic", op.unit);
            }
            OpAction::Close => units.values_mut().for_each(|unit| unit.admitted = false),
            OpAction::Fetch
            | OpAction::Gate
            | OpAction::VerifyUnit
            | OpAction::Verify
            | OpAction::Bake => {}
        }
    }
    super::tests::seen(units.into_values().collect())
}

fn missing(kind: DeploymentKind, spec: &Spec, seen: &Observed) -> Vec<String> {
    let deployment = crate::Deployment {
        id: deployment(9),
        kind,
        spec: spec.clone(),
        by: "ann".to_owned(),
        reason: None,
        name: String::new(),
        run: None,
        stage: None,
        scope: crate::Scope::default(),
    };
    crate::verify::missing(&deployment, seen, &BTreeSet::new())
}

proptest! {
    #[test]
    fn any_world_becomes_the_wanted_one_and_then_nothing_is_left_to_do(
        world in any_world(), number in 0u128..4, replicas in 1u32..5, strategy in any_strategy(),
    ) {
        let spec = Spec { strategy, ..spec(number, replicas, 1) };
        let first = plan(DEPLOY, &spec, &world, deployment(9));
        prop_assert_eq!(&first, &plan(DEPLOY, &spec, &world, deployment(9)));
        let world = after(&first, &spec, &world);
        prop_assert_eq!(missing(DEPLOY, &spec, &world), Vec::<String>::new());
        let again = plan(DEPLOY, &spec, &world, deployment(10));
        prop_assert!(again.is_empty(), "{}", show(&again));
    }

    #[test]
    fn no_batch_changes_more_slots_than_it_may_and_none_loses_capacity(
        world in any_world(), number in 0u128..4, replicas in 1u32..5, batch in 1u32..4,
    ) {
        let spec = spec(number, replicas, batch);
        for batch in plan(DEPLOY, &spec, &world, deployment(9)).batches {
            let changed = batch.ops().filter(|op| op.action != OpAction::Bake);
            let slots: BTreeSet<_> = changed.map(|op| op.slot).collect();
            prop_assert!(slots.len() <= spec.strategy.batch.of(replicas) as usize);
            // A unit leaves a wanted slot only where another has been admitted.
            let mut admitted = BTreeSet::new();
            let mut gated = BTreeSet::new();
            for phase in &batch.phases {
                let units: BTreeSet<_> = phase.iter().map(|op| &op.unit).collect();
                prop_assert_eq!(units.len(), phase.len(), "one unit twice in a phase");
                for op in phase {
                    match op.action {
                        OpAction::Gate => drop(gated.insert(op.unit.clone())),
                        OpAction::Admit => {
                            prop_assert!(gated.contains(&op.unit), "admitted before its gate");
                            admitted.insert(op.slot);
                        }
                        OpAction::Drain | OpAction::Stop => {
                            let beyond = op.slot >= spec.replicas;
                            let second = world.current(op.slot).is_some_and(|current| current.unit != op.unit);
                            prop_assert!(admitted.contains(&op.slot) || beyond || second);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// I1 for what is planned: at no time are more slots between two units than may be.
    #[test]
    fn no_plan_takes_more_out_of_traffic_than_it_may(
        number in 0u128..4, old in 1u32..7, replicas in 1u32..7, strategy in any_strategy(),
    ) {
        let before = spec(5, old, 1);
        let units = (0..old).map(|slot| unit(&before, slot, 1, RUNNING, true)).collect();
        let spec = Spec { strategy, ..spec(number, replicas, 1) };
        let unavailable = match (spec.strategy.kind, spec.strategy.order) {
            (StrategyKind::Recreate, _) => u32::MAX,
            (_, RolloutOrder::StartFirst) => 0,
            (_, RolloutOrder::StopFirst) => {
                spec.strategy.max_unavailable.map_or(1, |size| size.of(replicas)).max(1)
            }
        };
        let floor = old.min(replicas).saturating_sub(unavailable);
        let mut admitted: BTreeSet<_> = (0..old).map(|slot| (slot, false)).collect();
        for op in plan(DEPLOY, &spec, &seen(units), deployment(9)).ops() {
            let new = op.unit == unit_name(&spec, op.slot, deployment(9));
            match op.action {
                OpAction::Admit => {
                    admitted.remove(&(op.slot, false));
                    admitted.insert((op.slot, true));
                }
                OpAction::Drain => drop(admitted.remove(&(op.slot, new))),
                _ => {}
            }
            prop_assert!(admitted.len() >= floor as usize, "{:?} of {floor}", admitted);
        }
        prop_assert_eq!(admitted.len(), replicas as usize);
    }

    #[test]
    fn the_way_back_of_an_untouched_world_is_empty(world in any_world()) {
        let before = Before::of(&world, 1);
        // Units that do not run though they get traffic were broken before, and stay so.
        prop_assert_eq!(restore(&before, &world, deployment(9), false), vec![]);
        prop_assert_eq!(before.differences(&world, deployment(9)), Vec::<String>::new());
    }
}
