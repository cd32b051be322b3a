//! Whole deployments on hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{DeploymentId, DeploymentKind, DeploymentState};
use futures_util::StreamExt;
use pipeline::BatchSize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::world::{World, ended};
use crate::plan::plan;
use crate::{ExecOptions, KeepSet, OpAction, OpOutcome, Spec, Target, TargetError, UnitState};

/// Host after host.
fn in_turn(spec: Spec) -> Spec {
    let mut spec = spec;
    spec.strategy.batch = BatchSize::Units(1);
    spec
}

#[tokio::test]
async fn hosts_are_rolled_in_their_order_and_rolled_back_in_the_other() {
    let world = World::new(3).await;
    let (first, _) = world.deploy(in_turn(world.spec(1))).await;
    ended(&first, DeploymentState::Succeeded);
    for host in 1..=3 {
        assert_eq!(world.answer(host).await, "release 1");
    }
    let (second, said) = world.deploy(in_turn(world.spec(2))).await;
    ended(&second, DeploymentState::Succeeded);
    assert!(said.contains("to 3 hosts, 6 of 9 files linked"), "{said}");
    for host in 1..=3 {
        assert_eq!(world.answer(host).await, "release 2");
        let shared = std::fs::metadata(world.root(host.into()).join("shared")).unwrap();
        assert!(shared.is_dir());
    }
    world.proxy.take_asked();

    // It fails on the first host, and the others never see it.
    let (third, said) = world.deploy(in_turn(world.sick(3))).await;
    ended(&third, DeploymentState::RolledBack);
    let reason = third.reason.unwrap();
    assert!(reason.contains("host web-1: GET http://127.0.1.1:"), "{reason}");
    assert!(!said.contains("start   web-prod-1"), "{said}");
    for host in 1..=3 {
        assert_eq!(world.answer(host).await, "release 2");
    }
    let seen = world.seen().await;
    assert_eq!(seen.units.iter().filter(|unit| unit.admitted).count(), 3);

    // The same again changes nothing.
    let disk = world.disk();
    let (again, said) = world.deploy(in_turn(world.spec(2))).await;
    ended(&again, DeploymentState::Succeeded);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(world.disk(), disk);
}

#[tokio::test]
async fn a_host_that_fails_later_takes_those_before_it_back() {
    let world = World::new(3).await;
    ended(&world.deploy(in_turn(world.spec(1))).await.0, DeploymentState::Succeeded);
    // On the second host alone the health check, a command, fails.
    let mut spec = in_turn(world.spec(2));
    if let Some(health) = &mut spec.health {
        let second = world.root(2).display().to_string();
        let script = format!("case $PWD in {second}*) echo \"$WORD\"; exit 20;; esac");
        health.probe = pipeline::Probe::Cmd(vec!["sh".to_owned(), "-c".to_owned(), script]);
        health.deadline = pipeline::Duration::from_secs(10);
        health.timeout = pipeline::Duration::from_secs(20);
    }
    let (deployed, said) = world.deploy(spec).await;
    ended(&deployed, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    assert!(
        reason.contains("host web-2: ") && reason.contains("ended with 20: it's me"),
        "{reason}"
    );
    assert!(said.contains("gate    web-prod-0-"), "{said}");
    for host in 1..=3 {
        assert_eq!(world.answer(host).await, "release 1");
    }
    let third = std::fs::read_to_string(world.root(3).join(".shipline/previous")).unwrap();
    assert_eq!(third, "\n", "the third host was never switched away from the first release");
}

#[tokio::test]
async fn groups_are_rolled_in_turn_and_a_host_without_traffic_goes_first() {
    let mut world = World::new(4).await;
    world.groups = &["north", "preprod", "south", "north"];
    world.target = Arc::new(world.engine());
    let grouped = |spec: Spec| {
        let mut spec = spec;
        spec.strategy.batch = BatchSize::Percent(100);
        spec.strategy.groups = vec!["preprod".to_owned(), "south".to_owned()];
        spec
    };
    let (first, said) = world.deploy(grouped(world.spec(1))).await;
    ended(&first, DeploymentState::Succeeded);
    let batches: Vec<_> = said.lines().filter(|line| line.starts_with("batch ")).collect();
    assert_eq!(batches, ["batch 1 of 3: preprod", "batch 2 of 3: south", "batch 3 of 3: north"]);
    let started = said.lines().filter(|line| line.starts_with("start "));
    let slots: Vec<_> = started.filter_map(|line| line.split('-').nth(2)).collect();
    assert_eq!(slots, ["1", "2", "0", "3"], "{said}");
    // Nobody visits the host of `preprod`, which serves all the same.
    let routed = |world: &World| {
        let mut units = world.proxy.targets("web-prod").unwrap();
        units.sort();
        units.into_iter().map(|(unit, _)| unit.chars().nth(9).unwrap()).collect::<String>()
    };
    assert_eq!(routed(&world), "023");
    assert_eq!(world.answer(2).await, "release 1");

    // What fails there is seen by nobody, and touches nobody else.
    let mut sick = grouped(world.sick(2));
    sick.strategy.order = pipeline::RolloutOrder::StopFirst;
    let (failed, said) = world.deploy(sick).await;
    ended(&failed, DeploymentState::RolledBack);
    assert!(failed.reason.unwrap().contains("host web-2: GET http://127.0.1.2:"));
    assert!(!said.contains("batch 2 of 3"), "{said}");
    for host in 1..=4 {
        assert_eq!(world.answer(host).await, "release 1");
    }
    assert_eq!(routed(&world), "023");

    // A group that is not there is said before anything is changed.
    let mut unknown = grouped(world.spec(3));
    unknown.strategy.groups.push("east".to_owned());
    let (refused, _) = world.deploy(unknown).await;
    ended(&refused, DeploymentState::Failed);
    let reason = refused.reason.unwrap();
    assert!(reason.contains("no host of the target is in the group `east`"), "{reason}");
    assert!(reason.contains("there are: north, preprod, south"), "{reason}");
}

#[tokio::test]
async fn a_host_may_have_variables_of_its_own() {
    let mut world = World::new(2).await;
    let role = |role: &str| BTreeMap::from([("WORD".to_owned(), role.to_owned())]);
    world.env = BTreeMap::from([(2, role("job"))]);
    world.target = Arc::new(world.engine());
    ended(&world.deploy(world.spec(1)).await.0, DeploymentState::Succeeded);
    let of = |world: &World, host: usize| {
        std::fs::read_to_string(world.root(host).join(".shipline/env")).unwrap()
    };
    assert!(of(&world, 1).contains("WORD='it'\\''s me'\n"), "{}", of(&world, 1));
    assert!(of(&world, 1).contains("SHIPLINE_HOST='web-1'\n"), "{}", of(&world, 1));
    assert!(of(&world, 2).contains("WORD='job'\n"), "{}", of(&world, 2));

    // Another one is another configuration of the same release.
    world.env = BTreeMap::from([(2, role("night job"))]);
    world.target = Arc::new(world.engine());
    ended(&world.deploy(world.spec(1)).await.0, DeploymentState::Succeeded);
    assert!(of(&world, 2).contains("WORD='night job'\n"), "{}", of(&world, 2));
}

#[tokio::test]
async fn a_host_that_is_away_is_left_out_as_far_as_it_is_tolerated() {
    let mut world = World::new(3).await;
    ended(&world.deploy(in_turn(world.spec(1))).await.0, DeploymentState::Succeeded);
    world.sshds[1].die().await;
    // Not the connection that is open, but another engine.
    world.target = Arc::new(world.engine());
    let disk = world.disk();
    let (refused, _) = world.deploy(in_turn(world.spec(2))).await;
    ended(&refused, DeploymentState::Failed);
    let reason = refused.reason.unwrap();
    assert!(reason.contains("host web-2: it cannot be reached: "), "{reason}");
    assert_eq!(world.disk(), disk);

    let mut spec = in_turn(world.spec(2));
    spec.strategy.tolerate = 1;
    let (deployed, said) = world.deploy(spec).await;
    ended(&deployed, DeploymentState::Succeeded);
    assert!(said.contains("; away: web-2"), "{said}");
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("given up, as tolerated: slot 1: "), "{reason}");
    assert_eq!(world.answer(1).await, "release 2");
    assert_eq!(world.answer(3).await, "release 2");
    // It is out of traffic, whatever it still serves.
    let targets = world.proxy.targets("web-prod").unwrap();
    assert!(targets.iter().all(|(unit, _)| !unit.starts_with("web-prod-1-")), "{targets:?}");
}

#[tokio::test]
async fn what_is_sent_is_what_differs() {
    let world = World::new(1).await;
    // Text that does not pack: the same number of bytes is sent as it has.
    let noise = |seed: u64| -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..1_250).flat_map(|_| next()).collect()
    };
    let mut files: BTreeMap<_, _> =
        (0..200).map(|number| (format!("assets/{number}.bin"), noise(number))).collect();
    files.insert("body".to_owned(), b"release 1".to_vec());
    files.insert("status".to_owned(), b"200".to_vec());
    let sent = |said: &str| -> u64 {
        let line = said.lines().find(|line| line.starts_with("fetch")).unwrap();
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let at = words.iter().position(|word| *word == "bytes").unwrap();
        words[at - 1].parse().unwrap()
    };
    let (_, said) = world.deploy(world.of(1, &files)).await;
    let whole = sent(&said);
    assert!(whole > 2_000_000, "{said}");
    for number in [3, 150] {
        files.insert(format!("assets/{number}.bin"), noise(number + 1_000));
    }
    let (deployed, said) = world.deploy(world.of(2, &files)).await;
    ended(&deployed, DeploymentState::Succeeded);
    let part = sent(&said);
    assert!(part * 20 <= whole, "{part} of {whole} bytes were sent for 1 % of them");
    assert!(said.contains("200 of 202 files linked"), "{said}");
    for (name, bytes) in &files {
        let there = std::fs::read(world.root(1).join("current").join(name)).unwrap();
        assert_eq!(&there, bytes, "{name}");
    }

    // A file that somebody has changed on the host is not taken over.
    let changed = world.root(1).join("current/assets/7.bin");
    std::fs::remove_file(&changed).unwrap();
    std::fs::write(&changed, "changed on the host").unwrap();
    let (deployed, said) = world.deploy(world.of(3, &files)).await;
    ended(&deployed, DeploymentState::Succeeded);
    assert!(said.contains("0 of 202 files linked"), "{said}");
    let there = std::fs::read(world.root(1).join("current/assets/7.bin")).unwrap();
    assert_eq!(there, files["assets/7.bin"]);
}

#[tokio::test]
async fn another_engine_goes_on_between_any_two_ops() {
    let world = World::new(2).await;
    ended(&world.deploy(in_turn(world.spec(1))).await.0, DeploymentState::Succeeded);
    let (spec, id) = (in_turn(world.spec(2)), DeploymentId::new(Uuid::now_v7()));
    let ops: Vec<_> =
        plan(DeploymentKind::Deploy, &spec, &world.seen().await, id).ops().cloned().collect();
    for (fence, op) in (10..).zip(&ops) {
        // Nothing is known but what the hosts say.
        let outcome = world.engine().apply(op, &spec, fence, &CancellationToken::new()).await;
        let outcome = outcome.unwrap();
        let well = matches!(outcome, OpOutcome::Done { .. } | OpOutcome::Drained { .. });
        assert!(well, "{op:?}: {outcome:?}");
    }
    for host in 1..=2 {
        assert_eq!(world.answer(host).await, "release 2");
    }
}

#[tokio::test]
async fn of_two_engines_the_later_one_is_obeyed() {
    let world = World::new(2).await;
    let (early, late) = (world.engine(), world.engine());
    let spec = world.spec(1);
    let never = CancellationToken::new();
    let ops = |spec: &Spec| {
        let id = DeploymentId::new(Uuid::now_v7());
        let plan = plan(DeploymentKind::Deploy, spec, &crate::Observed::default(), id);
        plan.ops().cloned().collect::<Vec<_>>()
    };
    let of_early = ops(&spec);
    let switch = of_early.iter().position(|op| op.action == OpAction::Start).unwrap();
    for op in &of_early[..switch] {
        early.apply(op, &spec, 1, &never).await.unwrap();
    }
    let other = world.spec(2);
    for op in ops(&other).iter().filter(|op| op.action.is_of_environment() || op.slot == 0) {
        late.apply(op, &other, 2, &never).await.unwrap();
    }
    for op in of_early[switch..].iter().filter(|op| op.slot == 0) {
        let refused = early.apply(op, &spec, 1, &never).await;
        assert!(matches!(refused, Err(TargetError::Fenced(_))), "{op:?}: {refused:?}");
    }
    assert_eq!(world.answer(1).await, "release 2");
}

#[tokio::test]
async fn hosts_that_are_admitted_at_once_are_looked_at_once() {
    let world = World::new(4).await;
    let (mut spec, id) = (world.spec(1), DeploymentId::new(Uuid::now_v7()));
    spec.strategy.batch = BatchSize::Percent(100);
    spec.strategy.max_unavailable = Some(BatchSize::Percent(100));
    let plan = plan(DeploymentKind::Deploy, &spec, &crate::Observed::default(), id);
    let ops: Vec<_> = plan.ops().collect();
    let never = CancellationToken::new();
    let (admits, others): (Vec<_>, Vec<_>) =
        ops.into_iter().partition(|op| op.action == OpAction::Admit);
    for op in others {
        world.target.apply(op, &spec, 1, &never).await.unwrap();
    }
    assert_eq!(admits.len(), 4);
    // Every call under a fence takes the lock of its folder.
    let calls = world.root(1).join("../calls");
    let count = format!("echo call >>{}; exec /usr/bin/flock \"$@\"", calls.display());
    world.tool("flock", &count);
    let admitting = admits.iter().map(|op| world.target.apply(op, &spec, 1, &never));
    for admitted in futures_util::future::join_all(admitting).await {
        admitted.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 4);
    assert_eq!(world.proxy.targets("web-prod").unwrap().len(), 4);
    assert_eq!(world.seen().await.units.iter().filter(|unit| unit.admitted).count(), 4);
}

#[tokio::test]
async fn what_nobody_needs_is_cleared_away() {
    let world = World::new(1).await;
    for number in 1..=3 {
        ended(&world.deploy(world.spec(number)).await.0, DeploymentState::Succeeded);
    }
    let strange = world.root(1).join("releases/20200101120000");
    std::fs::create_dir(&strange).unwrap();
    // The third serves, the second waits to be gone back to.
    let states: Vec<_> = world.seen().await.units.iter().map(|unit| unit.state).collect();
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states.contains(&UnitState::Running) && states.contains(&UnitState::Exited));
    let pruned = world.target.prune("web", &KeepSet::default()).await.unwrap();
    assert_eq!(pruned.removed, [format!("web-1: {}", world.spec(1).release)]);
    assert!(strange.is_dir());
    assert_eq!(world.answer(1).await, "release 3");
}

#[tokio::test]
async fn a_command_beside_a_unit_gets_a_terminal() {
    let world = World::new(1).await;
    ended(&world.deploy(world.spec(1)).await.0, DeploymentState::Succeeded);
    let unit = world.seen().await.units[0].unit.clone();
    let script = "stty size; cat body; echo; echo \"$WORD\"; exit 7".to_owned();
    let command = vec!["sh".to_owned(), "-c".to_owned(), script];
    let options = ExecOptions { command, terminal: Some((101, 37)) };
    let mut running = world.target.exec(&unit, options).await.unwrap();
    let mut said = Vec::new();
    while let Some(piece) = running.output.next().await {
        said.extend(piece.unwrap().bytes);
    }
    let said = String::from_utf8_lossy(&said).replace('\r', "");
    assert!(said.contains("37 101\nrelease 1\nit's me\n"), "{said}");
    assert_eq!(running.end.await.unwrap().code, 7);
}
