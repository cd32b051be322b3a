//! What goes wrong with hosts, and in which words that is said.

use event::DeploymentState;

use super::world::{World, ended};
use crate::{Finding, HostsTarget, Severity, Spec, Target, TargetError};

/// What is found before any change, as `id: cause`.
async fn found(target: &HostsTarget, spec: &Spec) -> Vec<String> {
    let findings = target.preflight(spec, &crate::Observed::default()).await.unwrap();
    let text = |finding: &Finding| {
        assert!(!finding.fix.is_empty());
        assert_eq!(finding.severity, Severity::Error);
        format!("{}: {}", finding.id, finding.cause)
    };
    findings.iter().map(text).collect()
}

#[tokio::test]
async fn a_host_is_known_by_its_key_and_we_by_ours() {
    let mut world = World::new(1).await;
    let spec = world.spec(1);
    assert_eq!(found(&world.engine(), &spec).await, [""; 0]);
    world.keys.known("changed", "other", &world.sshds);
    world.keys.known("unknown", "host", []);
    let key = world.engine_with("client", "changed");
    let changed = "host: host web-1: its key has changed: it is another machine, was installed \
                   anew, or somebody is in between";
    assert_eq!(found(&key, &spec).await, [changed]);
    let unknown = world.engine_with("client", "unknown");
    assert_eq!(found(&unknown, &spec).await, ["host: host web-1: its key is not known"]);
    let denied = world.engine_with("other", "known");
    let refused = "host: host web-1: it does not take our key: permission denied";
    assert_eq!(found(&denied, &spec).await, [refused]);
    let none = world.engine_with("none", "known");
    let missing = found(&none, &spec).await.remove(0);
    assert!(missing.starts_with("host: host web-1: the key /"), "{missing}");
    assert!(missing.contains("/none cannot be read: "), "{missing}");

    // The same, of a call.
    let error = key.observe(&World::key()).await.unwrap_err();
    let TargetError::Infrastructure { part, message } = error else { panic!("{error}") };
    assert_eq!(part, "host web-1");
    assert!(
        message.ends_with("remove the old key from the list of known hosts and add the new one"),
        "{message}"
    );

    world.sshds[0].die().await;
    let dead = world.engine().observe(&World::key()).await.unwrap_err().to_string();
    assert!(dead.starts_with("host web-1: it cannot be reached: "), "{dead}");
    assert!(dead.ends_with("; look whether it runs, and whether its address is right"), "{dead}");
    assert!(dead.contains("Connection refused"), "{dead}");
}

#[tokio::test]
async fn a_connection_that_was_lost_is_made_again() {
    let mut world = World::new(1).await;
    world.seen().await;
    world.sshds[0].cut();
    assert_eq!(world.seen().await.units.len(), 0);
}

#[tokio::test]
async fn what_a_host_lacks_is_found_before_any_change() {
    let world = World::new(1).await;
    let mut spec = world.spec(1);
    spec.replicas = 2;
    spec.strategy.order = pipeline::RolloutOrder::StartFirst;
    spec.unit.volumes = vec!["uploads:/srv/uploads".to_owned()];
    let causes = [
        "setting: a `hosts` target takes no `volumes`: what stays is in the folder `shared`",
        "setting: 2 units are wanted, and the target has 1 host",
        "setting: a host serves one release at a time, so a new one cannot start beside the old",
    ];
    assert_eq!(found(&world.target, &spec).await, causes);

    let spec = world.spec(1);
    world.tool("date", "echo 1000");
    let behind = found(&world.target, &spec).await.remove(0);
    assert!(behind.starts_with("clock: the clock of host web-1 is "), "{behind}");
    assert!(behind.ends_with(" s behind this machine's"), "{behind}");
    world.tool("date", "echo 99999999999");
    let ahead = found(&world.target, &spec).await.remove(0);
    assert!(ahead.ends_with(" s ahead of this machine's"), "{ahead}");
    world.tool("date", "exec /bin/date \"$@\"");
    world.tool("df", "echo head; echo '/dev/sda 100 99 1 99% /'");
    let full = found(&world.target, &spec).await;
    let wants = "disk: host web-1 has 0 MB free, and the release wants twice its 0 MB";
    assert_eq!(full, [wants]);
    world.tool("df", "exec /bin/df \"$@\"");
    assert_eq!(found(&world.target, &spec).await, [""; 0]);
}

#[tokio::test]
async fn a_disk_that_fills_up_changes_nothing() {
    let world = World::new(2).await;
    ended(&world.deploy(world.spec(1)).await.0, DeploymentState::Succeeded);
    let disk = world.disk();
    world.tool(
        "tar",
        "cat >/dev/null; echo 'tar: ./body: Cannot write: No space left on device' >&2; exit 2",
    );
    // It is the place that failed, not the release.
    let (failed, _) = world.try_deploy(world.spec(2)).await;
    let reason = failed.unwrap_err().to_string();
    let why = "host web-1: no space is left there: tar: ./body: Cannot write: No space left on \
               device; make room there";
    assert!(reason.ends_with(why), "{reason}");
    assert_eq!(world.disk(), disk);
    assert_eq!(world.answer(1).await, "release 1");
}

#[tokio::test]
async fn what_others_made_of_the_link_is_found() {
    let world = World::new(1).await;
    let root = world.root(1);
    std::fs::create_dir_all(root.join("current")).unwrap();
    let spec = world.spec(1);
    let occupied = format!("current: {}/current on host web-1 is no symbolic link", root.display());
    assert_eq!(found(&world.target, &spec).await, [occupied]);
    std::fs::remove_dir(root.join("current")).unwrap();
    ended(&world.deploy(spec).await.0, DeploymentState::Succeeded);
    std::fs::create_dir(root.join("releases/by-hand")).unwrap();
    std::fs::remove_file(root.join("current")).unwrap();
    std::os::unix::fs::symlink("releases/by-hand", root.join("current")).unwrap();
    let next = world.spec(2);
    let moved = format!(
        "current: {}/current on host web-1 leads to releases/by-hand, and releases/{} was deployed",
        root.display(),
        world.spec(1).release
    );
    assert_eq!(found(&world.target, &next).await, [moved]);
    let (refused, _) = world.deploy(next.clone()).await;
    ended(&refused, DeploymentState::Failed);
    assert_eq!(
        std::fs::read_link(root.join("current")).unwrap().to_str(),
        Some("releases/by-hand")
    );
    std::fs::remove_file(root.join("current")).unwrap();
    let back = format!("releases/{}", world.spec(1).release);
    std::os::unix::fs::symlink(back, root.join("current")).unwrap();
    ended(&world.deploy(next).await.0, DeploymentState::Succeeded);

    // A folder is of one environment.
    let mut other = world.spec(3);
    other.environment = "test".to_owned();
    let mine = format!(
        "current: {} on host web-1 is of environment `prod` of project `web`",
        root.display()
    );
    assert!(found(&world.target, &other).await.contains(&mine));
}

#[tokio::test]
async fn a_link_that_was_there_before_is_gone_back_to() {
    let world = World::new(1).await;
    let root = world.root(1);
    std::fs::create_dir_all(root.join("releases/by-hand")).unwrap();
    std::fs::write(root.join("releases/by-hand/body"), "by hand").unwrap();
    std::fs::write(root.join("releases/by-hand/status"), "200").unwrap();
    std::os::unix::fs::symlink("releases/by-hand", root.join("current")).unwrap();
    let (failed, _) = world.deploy(world.sick(1)).await;
    ended(&failed, DeploymentState::RolledBack);
    assert_eq!(world.answer(1).await, "by hand");
}
