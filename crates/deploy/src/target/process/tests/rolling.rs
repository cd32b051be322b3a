//! Deployments of processes.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::DeploymentState;
use futures_util::StreamExt;
use pipeline::Probe;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::world::{World, ask, open, succeeded};
use crate::plan::plan;
use crate::{
    Artifact, Ledger, LogOptions, Machine, Op, OpAction, OpOutcome, ProcessTarget, Target,
    TargetError, UnitState,
};

#[tokio::test]
async fn a_release_replaces_another_and_the_old_one_is_kept_warm() {
    let world = World::new().await;
    succeeded(&world.deploy(world.spec(1)).await);
    assert_eq!(world.answer().await.as_deref(), Some("release 1"));
    let first = world.seen().await.units[0].unit.clone();
    succeeded(&world.deploy(world.spec(1)).await);
    assert_eq!(world.seen().await.units.len(), 1, "the same again changes nothing");

    let deployed = world.deploy(world.spec(2)).await;
    succeeded(&deployed);
    assert_eq!(world.answer().await.as_deref(), Some("release 2"));
    let seen = world.seen().await;
    assert_eq!(seen.units.len(), 2);
    let warm = seen.unit(&first).unwrap();
    assert_eq!((warm.state, warm.admitted), (UnitState::Exited, false));
    let new = seen.current(0).unwrap();
    let targets = world.proxy.targets("web-prod").unwrap();
    assert_eq!(targets, [(new.unit.0.clone(), new.address.unwrap().to_string())]);
}

#[tokio::test]
async fn a_former_unit_is_removed_when_it_was_kept_as_long_as_it_was_to_be() {
    let world = World::new().await;
    let kept = |number, seconds| {
        let mut spec = world.spec(number);
        spec.unit.keep_warm = pipeline::Duration::from_secs(seconds);
        spec
    };
    succeeded(&world.deploy(kept(1, 600)).await);
    succeeded(&world.deploy(kept(2, 2)).await);
    let ledger = Arc::clone(&world.ledger) as Arc<dyn Ledger>;
    let sweep = async || {
        crate::sweep(&World::key(), "ann", world.target.clone(), Arc::clone(&ledger)).await.unwrap()
    };
    assert_eq!(sweep().await, []);
    assert_eq!(world.seen().await.units.len(), 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let removed = sweep().await;
    assert_eq!(removed.len(), 1);
    assert_eq!(world.seen().await.units.len(), 1);
    assert_eq!(world.answer().await.as_deref(), Some("release 2"));
    assert_eq!(sweep().await, []);

    // One that is kept for nothing goes at once.
    succeeded(&world.deploy(kept(3, 0)).await);
    assert_eq!(world.seen().await.units.len(), 1);
}

#[tokio::test]
async fn a_release_that_does_not_get_healthy_says_why_and_changes_nothing() {
    let world = World::new().await;
    succeeded(&world.deploy(world.spec(1)).await);
    let before = world.seen().await;
    world.proxy.take_asked();
    for (mode, why) in [
        ("sick", "→ 500, still after 3 s"),
        ("deaf", "nothing listens on"),
        ("crash", "it exited with 3"),
        ("liar", "release another answered, and"),
    ] {
        let begun = Instant::now();
        let deployed = world.deploy(world.in_mode(2, mode)).await;
        assert_eq!(deployed.state, DeploymentState::RolledBack, "{mode}");
        assert_eq!(deployed.caught_before_admit, Some(true), "{mode}");
        let reason = deployed.reason.unwrap();
        assert!(reason.contains(why), "{mode}: {reason}");
        // What it says of itself will not change: no deadline is waited for.
        assert!(mode != "liar" || reason.ends_with("is wanted"), "{reason}");
        assert_eq!(world.seen().await, before, "{mode}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{mode}");
    }
    assert_eq!(world.proxy.take_asked(), [""; 0]);
}

#[tokio::test]
async fn a_unit_outlives_its_engine_and_leaves_no_zombie_to_a_living_one() {
    let world = World::new().await;
    succeeded(&world.deploy(world.spec(1)).await);
    let unit = world.seen().await.units[0].unit.clone();
    let process = world.process(&unit);
    // A session of its own, which no signal to the engine's group reaches.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
    let words: Vec<_> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    assert_eq!(words[2], process.pid.to_string());
    assert_eq!(words[3], process.pid.to_string());

    // Another engine finds the same unit.
    let other = open(world.folder.path(), &world.proxy).await;
    assert_eq!(other.observe(&World::key()).await.unwrap(), world.seen().await);

    process.signal_group(rustix::process::Signal::KILL);
    let gone = async {
        while std::path::Path::new(&format!("/proc/{}", process.pid)).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    let seen = world.seen().await;
    assert_eq!((seen.units[0].state, seen.units[0].address), (UnitState::Exited, None));
}

#[tokio::test]
async fn the_number_of_a_process_is_not_enough() {
    let world = World::new().await;
    succeeded(&world.deploy(world.spec(1)).await);
    let unit = world.seen().await.units[0].unit.clone();
    // As if the machine had been started again and somebody had got the number.
    let record = world.unit_folder(&unit).join("process");
    let line = std::fs::read_to_string(&record).unwrap();
    let process = world.process(&unit);
    let other = line.replace(&process.started.to_string(), &(process.started - 1).to_string());
    std::fs::write(&record, &other).unwrap();
    assert_eq!(world.seen().await.units[0].state, UnitState::Exited);
    // It is not signalled either.
    world.target.remove_environment(&World::key()).await.unwrap();
    assert!(process.is_alive());
    process.signal_group(rustix::process::Signal::KILL);
}

#[tokio::test]
async fn whatever_a_unit_started_ends_with_it() {
    let world = World::new().await;
    succeeded(&world.deploy(world.in_mode(1, "parent")).await);
    let unit = world.seen().await.units[0].unit.clone();
    let process = world.process(&unit);
    assert!(process.session().len() >= 2, "its child is in a group of its own");
    world.target.remove_environment(&World::key()).await.unwrap();
    assert_eq!(process.session(), []);
    assert!(!world.unit_folder(&unit).exists());
}

#[tokio::test]
async fn a_unit_that_ignores_term_is_killed_after_its_stop_timeout() {
    let world = World::new().await;
    succeeded(&world.deploy(world.in_mode(1, "stubborn")).await);
    let old = world.process(&world.seen().await.units[0].unit);
    let begun = Instant::now();
    succeeded(&world.deploy(world.spec(2)).await);
    assert!(!old.is_alive());
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_unit_whose_port_is_taken_gets_the_next_one() {
    let world = World::new().await;
    let spec = world.spec(1);
    let deployment = event::DeploymentId::new(Uuid::now_v7());
    let ops: Vec<Op> = plan(event::DeploymentKind::Deploy, &spec, &world.seen().await, deployment)
        .ops()
        .cloned()
        .collect();
    let cancel = CancellationToken::new();
    let mut stranger = None;
    for op in &ops {
        let outcome = world.target.apply(op, &spec, 1, &cancel).await.unwrap();
        assert!(!matches!(outcome, OpOutcome::Unhealthy { .. }), "{op:?}: {outcome:?}");
        if op.action == OpAction::Create {
            // Somebody is quicker, and even answers well.
            let file = std::fs::read_to_string(world.unit_folder(&op.unit).join("unit.json"));
            let file: serde_json::Value = serde_json::from_str(&file.unwrap()).unwrap();
            let port = u16::try_from(file["port"].as_u64().unwrap()).unwrap();
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            stranger = Some((listener, port));
        }
    }
    let (_listener, taken) = stranger.unwrap();
    let address = world.seen().await.current(0).unwrap().address.unwrap();
    assert_ne!(address.port(), taken);
    assert_eq!(ask(address).await.as_deref(), Some("release 1"));
}

#[tokio::test]
async fn a_release_is_placed_whole_and_run_from_its_folder() {
    let world = World::new().await;
    let program = world.folder.path().join("service");
    let text = "#!/bin/sh\npwd; exec sleep 1000\n";
    std::fs::write(&program, text).unwrap();
    let mut spec = world.spec(1);
    spec.artifact =
        Artifact::File { path: program, sha256: hex::encode(Sha256::digest(text.as_bytes())) };
    spec.unit.command.clear();
    (spec.expose, spec.health) = (None, None);
    let deployed = world.deploy(spec.clone()).await;
    succeeded(&deployed);
    let home = world.folder.path().join("releases").join(spec.release.to_string());
    assert!(home.join("service").is_file());
    let unit = &deployed.units[0].unit;
    let mut told = world.target.logs(unit, LogOptions::default()).await.unwrap();
    let said = told.next().await.unwrap().unwrap().bytes;
    let home = home.canonicalize().unwrap();
    assert_eq!(String::from_utf8(said).unwrap().trim(), home.to_string_lossy());

    // One that is not what was released is refused before anything is changed.
    let mut other = spec.clone();
    other.release = world.spec(2).release;
    if let Artifact::File { sha256, .. } = &mut other.artifact {
        *sha256 = "0".repeat(64);
    }
    let deployed = world.deploy(other).await;
    assert_eq!(deployed.state, DeploymentState::Failed);
    let reason = deployed.reason.unwrap();
    assert!(reason.contains(&format!("and {} is wanted", "0".repeat(64))), "{reason}");
    world.target.remove_environment(&World::key()).await.unwrap();
    assert!(!home.exists());
}

#[tokio::test]
async fn a_command_is_a_health_check_too() {
    let world = World::new().await;
    let checked = |number, words: &[&str]| {
        let mut spec = world.spec(number);
        spec.unit.command = ["sleep", "1000"].map(str::to_owned).to_vec();
        spec.expose = None;
        let health = spec.health.as_mut().unwrap();
        health.probe = Probe::Cmd(words.iter().map(|word| (*word).to_owned()).collect());
        health.deadline = pipeline::Duration::from_secs(2);
        spec
    };
    succeeded(&world.deploy(checked(1, &["sh", "-c", "test -n \"$SHIPLINE_RELEASE\""])).await);
    let deployed = world.deploy(checked(2, &["sh", "-c", "echo no queue; exit 4"])).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("ended with 4: no queue, still after 2 s"), "{reason}");
}

#[tokio::test]
async fn what_a_process_cannot_have_is_said_before_anything_is_changed() {
    let world = World::new().await;
    let mut spec = world.spec(1);
    spec.unit.volumes = vec!["data:/data".to_owned()];
    spec.unit.ports = vec!["80:80".to_owned()];
    let deployed = world.deploy(spec).await;
    assert_eq!(deployed.state, DeploymentState::Failed);
    let reason = deployed.reason.unwrap();
    assert!(
        reason.contains("takes no `volumes`") && reason.contains("takes no `ports`"),
        "{reason}"
    );
    let (root, machine) = (world.folder.path(), Machine::default());
    let without = ProcessTarget::open(root, None, "x".to_owned(), Vec::new(), machine).await;
    let findings = without.unwrap().preflight(&world.spec(1), &world.seen().await).await.unwrap();
    assert!(findings[0].cause.contains("`expose` needs a proxy"), "{findings:?}");
    let bad = crate::UnitId("../x".to_owned());
    let refused = world.target.logs(&bad, LogOptions::default()).await.err();
    assert!(matches!(refused, Some(TargetError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn logs_are_followed_until_the_unit_ends() {
    let world = World::new().await;
    let mut spec = world.spec(1);
    (spec.expose, spec.health) = (None, None);
    let script = "echo one; echo two; sleep 2; echo three; echo oops >&2; exit 0";
    spec.unit.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let deployed = world.deploy(spec).await;
    succeeded(&deployed);
    let options = LogOptions { follow: true, tail: Some(1), since: None };
    let told = world.target.logs(&deployed.units[0].unit, options).await.unwrap();
    let told: Vec<_> = tokio::time::timeout(Duration::from_secs(10), told.collect()).await.unwrap();
    let text: Vec<_> = told.into_iter().flat_map(|piece| piece.unwrap().bytes).collect();
    assert_eq!(String::from_utf8(text).unwrap(), "two\nthree\noops\n");
}

#[tokio::test]
async fn an_environment_is_found_and_removed_with_what_was_placed_for_it() {
    let world = World::new().await;
    succeeded(&world.deploy(world.spec(1)).await);
    let keys = world.target.environments().await.unwrap();
    let names = |key: &crate::EnvironmentKey| format!("{}/{}", key.project, key.environment);
    assert_eq!(keys.iter().map(names).collect::<Vec<_>>(), ["web/prod"]);
    let process = world.process(&world.seen().await.current(0).unwrap().unit);
    assert_eq!(world.target.remove_environment(&keys[0]).await.unwrap(), 1);
    assert!(!process.is_alive());
    assert_eq!(world.target.environments().await.unwrap(), []);
}

#[tokio::test]
async fn folders_of_releases_nobody_goes_back_to_are_pruned_by_the_deployment_that_follows() {
    let world = World::new().await;
    let home =
        |number| world.folder.path().join("releases").join(world.spec(number).release.to_string());
    for number in 1..=7 {
        let program = world.folder.path().join("service");
        let text = format!("#!/bin/sh\n# {number}\nexec sleep 1000\n");
        std::fs::write(&program, &text).unwrap();
        let sha256 = hex::encode(Sha256::digest(text.as_bytes()));
        let mut spec = world.spec(number);
        spec.artifact = Artifact::File { path: program, sha256 };
        spec.unit.command.clear();
        (spec.expose, spec.health) = (None, None);
        world.ledger.know(crate::Release {
            id: spec.release,
            project: spec.project.clone(),
            version: format!("v{number}"),
            branch: None,
            sha: String::new(),
            committer: "ann".to_owned(),
            artifact: spec.artifact.clone(),
            built_at: chrono::DateTime::UNIX_EPOCH,
        });
        succeeded(&world.deploy(spec).await);
    }
    let there: Vec<_> = (1..=7).filter(|number| home(*number).exists()).collect();
    assert_eq!(there, [2, 3, 4, 5, 6, 7]);
}
