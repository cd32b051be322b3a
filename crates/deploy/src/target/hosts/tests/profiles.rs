//! How services of hosts take over a release.

use std::path::Path;
use std::time::Duration;

use event::DeploymentState;

use super::world::{World, ended};
use crate::{HostSettings, Profile, Spec};

fn with(mut spec: Spec, reload: Profile) -> Spec {
    spec.unit.hosts = Some(HostSettings { reload, service: None });
    spec
}

/// What the service manager was told, after the release that `current` led to then.
fn told(world: &World) -> Vec<String> {
    let path = world.root(1).join("../told");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    text.lines().map(str::to_owned).collect()
}

fn listening(world: &World) {
    let root = world.root(1).display().to_string();
    world.tool(
        "systemctl",
        &format!("echo \"$(cat {root}/current/body 2>/dev/null): $*\" >>{root}/../told"),
    );
}

#[tokio::test]
async fn a_service_is_stopped_before_the_link_is_switched_and_started_after() {
    let world = World::new(1).await;
    listening(&world);
    ended(&world.deploy(with(world.spec(1), Profile::Systemd)).await.0, DeploymentState::Succeeded);
    assert_eq!(told(&world), ["release 1: restart -- web"]);
    ended(&world.deploy(with(world.spec(2), Profile::Systemd)).await.0, DeploymentState::Succeeded);
    assert_eq!(told(&world), ["release 1: stop -- web", "release 2: restart -- web"]);
    let (failed, _) = world.deploy(with(world.sick(3), Profile::Systemd)).await;
    ended(&failed, DeploymentState::RolledBack);
    let back = [
        "release 2: stop -- web",
        "release 3: restart -- web",
        "release 3: stop -- web",
        "release 2: restart -- web",
    ];
    assert_eq!(told(&world), back);
}

#[tokio::test]
async fn tomcat_starts_without_what_was_compiled_from_the_former_release() {
    let world = World::new(1).await;
    listening(&world);
    let base = world.root(1).join("../tomcat");
    for folder in ["work/Catalina/.hidden", "temp", "logs"] {
        std::fs::create_dir_all(base.join(folder)).unwrap();
    }
    std::fs::write(base.join("temp/upload"), "x").unwrap();
    let mut spec = with(world.spec(1), Profile::Tomcat);
    spec.env.insert("CATALINA_BASE".to_owned(), base.display().to_string());
    ended(&world.deploy(spec).await.0, DeploymentState::Succeeded);
    assert_eq!(told(&world), ["release 1: start -- tomcat"]);
    let left = |folder: &str| std::fs::read_dir(base.join(folder)).unwrap().count();
    assert_eq!((left("work"), left("temp")), (0, 0));
    assert!(base.join("logs").is_dir());
}

#[tokio::test]
async fn without_a_service_manager_a_command_of_the_release_tells_the_service() {
    let world = World::new(1).await;
    let mut spec = world.spec(1);
    let out = world.root(1).join("../hook");
    let script = format!("echo \"$(cat body) $SHIPLINE_RELEASE $WORD\" >>{}", out.display());
    spec.unit.command = vec!["sh".to_owned(), "-c".to_owned(), script];
    let release = spec.release;
    ended(&world.deploy(spec).await.0, DeploymentState::Succeeded);
    let said = std::fs::read_to_string(&out).unwrap();
    assert_eq!(said, format!("release 1 {release} it's me\n"));

    // One that fails is the release's fault, and what it said is told.
    let mut spec = world.spec(2);
    let script = "echo cannot bind; exit 7".to_owned();
    spec.unit.command = vec!["sh".to_owned(), "-c".to_owned(), script];
    let (failed, said) = world.deploy(spec).await;
    ended(&failed, DeploymentState::RolledBack);
    assert!(failed.reason.unwrap().contains("host web-1: "));
    assert!(said.contains("  | cannot bind"), "{said}");
    assert_eq!(world.answer(1).await, "release 1");
}

#[tokio::test]
async fn php_workers_are_replaced_and_its_service_is_never_stopped() {
    let world = World::new(1).await;
    listening(&world);
    // Its master where there is no service manager: a reload is a signal.
    let reloads = world.root(1).join("../reloads");
    let script =
        format!("trap 'echo USR2 >>{}' USR2; while :; do sleep 0.05; done", reloads.display());
    let mut master = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let pid = master.id();
    world.tool(
        "cat",
        &format!("case $* in */run/php*) echo {pid};; *) exec /bin/cat \"$@\";; esac"),
    );
    for number in 1..=2 {
        let spec = with(world.spec(number), Profile::PhpFpm);
        ended(&world.deploy(spec).await.0, DeploymentState::Succeeded);
    }
    let told = told(&world);
    let by_manager = ["release 1: reload -- php-fpm", "release 2: reload -- php-fpm"];
    if Path::new("/run/systemd/system").is_dir() {
        assert_eq!(told, by_manager);
    } else {
        assert_eq!(told, [""; 0]);
        let said = async {
            while std::fs::read_to_string(&reloads).unwrap_or_default() != "USR2\nUSR2\n" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), said).await.unwrap();
    }
    let _ = master.kill();
    let _ = master.wait();
}
