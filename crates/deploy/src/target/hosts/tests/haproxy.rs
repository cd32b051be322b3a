//! Hosts behind HAProxy, whose services answer nobody while their release is changed.

use std::time::Duration;

use event::{DeploymentId, DeploymentKind, DeploymentState};
use pipeline::BatchSize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::world::{World, ended};
use crate::plan::plan;
use crate::switch::tests::haproxy::Haproxy;
use crate::switch::tests::origin::Visitor;
use crate::switch::tests::until;
use crate::target::contract::{Subject, contract};
use crate::{HostSettings, OpAction, Profile, Spec, Target};

/// Hosts that serve something before there is a Shipline.
struct Behind {
    world: World,
    haproxy: Haproxy,
}

impl Behind {
    async fn new(hosts: u8) -> Self {
        let mut world = World::new(hosts).await;
        let mut servers = String::new();
        for number in 1..=hosts {
            let root = world.root(number.into());
            std::fs::create_dir_all(root.join("old")).unwrap();
            std::fs::write(root.join("old/body"), "by hand").unwrap();
            std::fs::write(root.join("old/status"), "200").unwrap();
            std::os::unix::fs::symlink("old", root.join("current")).unwrap();
            let port = world.port;
            servers += &format!("  server web-{number} 127.0.1.{number}:{port} check inter 50ms\n");
        }
        // Where a release is, its service is two folders above.
        world.tool(
            "systemctl",
            "case $1 in stop) touch \"$PWD/../../down\" ;; restart) touch \"$PWD/../../down\"; \
             sleep 0.2; rm -f \"$PWD/../../down\" ;; esac",
        );
        let haproxy = Haproxy::start(&servers).await;
        world.switch = Some(haproxy.access());
        world.target = std::sync::Arc::new(world.engine());
        for number in 1..=hosts {
            let name = format!("web-{number}");
            until("it is up", async || {
                let said = haproxy.ask("show stat -1 4 -1").await;
                said.lines()
                    .any(|line| line.contains(&format!(",{name},")) && line.contains(",UP,"))
            })
            .await;
        }
        Self { world, haproxy }
    }

    fn spec(&self, number: u128) -> Spec {
        managed(self.world.spec(number))
    }

    /// The administrative states of all servers.
    async fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        for number in 1..=self.world.sshds.len() {
            states.push(self.haproxy.state(&format!("web-{number}")).await);
        }
        states
    }
}

fn managed(mut spec: Spec) -> Spec {
    spec.strategy.batch = BatchSize::Units(1);
    spec.unit.hosts = Some(HostSettings { reload: Profile::Systemd, service: None });
    spec
}

#[tokio::test]
async fn hosts_behind_haproxy_are_rolled_and_rolled_back_without_losing_a_request() {
    let behind = Behind::new(3).await;
    let world = &behind.world;
    let visitor = Visitor::of(behind.haproxy.address, 6);
    // They were in traffic before, and are drained for their first release.
    let (first, said) = world.deploy(behind.spec(1)).await;
    ended(&first, DeploymentState::Succeeded);
    assert_eq!(said.matches("current, after it was drained").count(), 3, "{said}");
    assert!(said.contains("haproxy says up"), "{said}");
    assert_eq!(behind.states().await, ["0"; 3]);
    let (second, said) = world.deploy(behind.spec(2)).await;
    ended(&second, DeploymentState::Succeeded);
    assert_eq!(second.cut, 0);
    assert_eq!(said.matches("cut 0 in").count(), 3, "{said}");
    let (third, said) = world.deploy(managed(world.sick(3))).await;
    ended(&third, DeploymentState::RolledBack);
    assert!(said.contains("rolling back") || said.contains("remove"), "{said}");
    for host in 1..=3 {
        assert_eq!(world.answer(host).await, "release 2");
    }
    let seen = world.seen().await;
    assert_eq!(seen.units.iter().filter(|unit| unit.admitted).count(), 3);
    assert_eq!(behind.states().await, ["0"; 3]);
    let (sent, failed) = visitor.go_home().await;
    assert!(sent > 300, "{sent}");
    assert_eq!(failed, 0, "of {sent}");
}

#[tokio::test]
async fn a_first_release_that_fails_gives_the_host_back_as_it_was() {
    let behind = Behind::new(2).await;
    let visitor = Visitor::of(behind.haproxy.address, 4);
    let mut sick = behind.world.sick(1);
    sick.strategy.batch = BatchSize::Units(1);
    let (failed, _) = behind.world.deploy(sick).await;
    assert_ne!(failed.state, DeploymentState::Succeeded);
    assert_eq!(behind.states().await, ["0"; 2]);
    assert_eq!(behind.world.answer(1).await, "by hand");
    let (sent, lost) = visitor.go_home().await;
    assert!(sent > 50, "{sent}");
    assert_eq!(lost, 0, "of {sent}");
}

#[tokio::test]
async fn a_reload_brings_no_host_back_whose_release_is_being_changed() {
    let behind = Behind::new(2).await;
    let world = &behind.world;
    ended(&world.deploy(behind.spec(1)).await.0, DeploymentState::Succeeded);
    let visitor = Visitor::of(behind.haproxy.address, 4);
    let (spec, id) = (behind.spec(2), DeploymentId::new(Uuid::now_v7()));
    let plan = plan(DeploymentKind::Deploy, &spec, &world.seen().await, id);
    let never = CancellationToken::new();
    for op in plan.ops() {
        if op.action == OpAction::Start && op.slot == 0 {
            // It takes a while, in which HAProxy begins anew.
            let (started, ()) = tokio::join!(world.target.apply(op, &spec, 10, &never), async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                behind.haproxy.reload().await;
            });
            started.unwrap();
            continue;
        }
        world.target.apply(op, &spec, 10, &never).await.unwrap();
    }
    for host in 1..=2 {
        assert_eq!(world.answer(host).await, "release 2");
    }
    assert_eq!(behind.states().await, ["0"; 2]);
    let (sent, _) = visitor.go_home().await;
    assert!(sent > 50, "{sent}");
}

#[tokio::test]
async fn preflight_tells_what_haproxy_lacks() {
    let behind = Behind::new(1).await;
    let mut spec = behind.spec(1);
    spec.expose.as_mut().unwrap().host = "shop.example".to_owned();
    behind.haproxy.ask("set server web/web-1 state maint").await;
    let found = behind.world.target.preflight(&spec, &crate::Observed::default()).await.unwrap();
    let found: Vec<_> = found.iter().filter(|it| it.id == "switch").map(|it| &*it.cause).collect();
    assert!(found.iter().any(|cause| cause.contains("into maintenance")), "{found:?}");
    assert!(found.iter().any(|cause| cause.contains("host `shop.example`")), "{found:?}");
    let promises = behind.world.target.switch().unwrap().promises();
    assert!(promises.contains("counts what it cuts"), "{promises}");
}

impl Subject for Behind {
    fn target(&self) -> &dyn Target {
        &*self.world.target
    }

    fn healthy(&self, number: u128) -> Spec {
        self.spec(number)
    }

    fn sick(&self, number: u128) -> Spec {
        managed(self.world.sick(number + 100))
    }

    async fn world(&self) -> String {
        format!("{:?}\n{}", self.states().await, self.world.disk())
    }

    fn cuts(&self) -> &'static [usize] {
        &[1, 6]
    }

    async fn stranger(&self) -> String {
        Subject::stranger(&self.world).await
    }
}

contract!(Behind::new(1).await);
