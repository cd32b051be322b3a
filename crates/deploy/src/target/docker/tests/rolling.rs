//! Units without a route: rolled by health alone.

use std::sync::Arc;

use bollard::models::RestartPolicyNameEnum as Policy;
use event::DeploymentState;

use super::environment::{Environment, succeeded};
use crate::{Artifact, Change, DockerTarget, Ledger, TargetError, rollback_spec};

#[tokio::test]
async fn a_release_is_deployed_again_replaced_and_gone_back_to() {
    let environment = Environment::new(None).await;
    let deployed = environment.deploy(environment.spec(1)).await;
    succeeded(&deployed);
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1"]);

    // The same again touches no container.
    let before = environment.containers().await;
    succeeded(&environment.deploy(environment.spec(1)).await);
    assert_eq!(environment.containers().await, before);

    let deployed = environment.deploy(environment.spec(2)).await;
    succeeded(&deployed);
    assert_eq!(deployed.previous, Some(environment.spec(1).release));
    let rolled = ["0: release 2", "0: warm", "1: release 2", "1: warm"];
    assert_eq!(environment.show().await, rolled);
    // A daemon restart would revive the new ones and only those.
    for unit in environment.seen().await.units {
        let container = environment.inspect(&unit.unit).await;
        let host = container.host_config.unwrap();
        let expected = if unit.admitted { Policy::UNLESS_STOPPED } else { Policy::NO };
        assert_eq!(host.restart_policy.unwrap().name, Some(expected), "{}", unit.unit);
    }

    let ledger = Arc::clone(&environment.ledger) as Arc<dyn Ledger>;
    let back = rollback_spec(&ledger, &environment.key(), None).await.unwrap();
    assert_eq!(back, environment.spec(1));
    succeeded(&environment.roll_back(back).await);
    let back = ["0: release 1", "0: warm", "1: release 1", "1: warm"];
    assert_eq!(environment.show().await, back);
}

#[tokio::test]
async fn replicas_are_added_and_removed() {
    let environment = Environment::new(None).await;
    let of = |replicas| crate::Spec { replicas, ..environment.spec(1) };
    succeeded(&environment.deploy(of(1)).await);
    succeeded(&environment.deploy(of(3)).await);
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1", "2: release 1"]);
    succeeded(&environment.deploy(of(2)).await);
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1"]);
}

#[tokio::test]
async fn a_release_that_does_not_get_healthy_changes_nothing() {
    let environment = Environment::new(None).await;
    succeeded(&environment.deploy(environment.spec(1)).await);
    let before = environment.containers().await;

    let deployed = environment.deploy(environment.broken(2, "deaf")).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
    assert_eq!(deployed.caught_before_admit, Some(true));
    assert!(deployed.reason.as_deref().unwrap().ends_with("still after 2 s"), "{deployed:?}");
    assert_eq!(environment.containers().await, before);

    // One that exits is not waited for.
    let begun = tokio::time::Instant::now();
    let mut crashing = environment.broken(3, "crash");
    crashing.health.as_mut().unwrap().deadline = pipeline::Duration::from_secs(60);
    let deployed = environment.deploy(crashing).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert!(deployed.reason.as_deref().unwrap().ends_with("it exited with 3"), "{deployed:?}");
    assert!(begun.elapsed().as_secs() < 40);
    assert_eq!(environment.containers().await, before);
}

#[tokio::test]
async fn a_release_that_turns_bad_in_its_bake_goes_back_to_the_same_containers() {
    let environment = Environment::new(None).await;
    succeeded(&environment.deploy(environment.spec(1)).await);
    let ids =
        |containers: Vec<(String, _)>| containers.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let before = ids(environment.containers().await);

    let mut bad = environment.spec(2);
    bad.strategy.bake = pipeline::Duration::from_secs(30);
    let killing = async {
        // As soon as the first new unit is admitted, it dies.
        loop {
            let seen = environment.seen().await;
            let new = seen.units.iter().find(|unit| unit.admitted && unit.release == bad.release);
            let old = seen.units.iter().find(|unit| unit.slot == 0 && unit.release != bad.release);
            if let (Some(new), Some(old)) = (new, old)
                && old.state == crate::UnitState::Exited
            {
                let options = None::<bollard::query_parameters::KillContainerOptions>;
                environment.docker.kill_container(&new.unit.0, options).await.unwrap();
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let (deployed, ()) = tokio::join!(environment.deploy(bad.clone()), killing);
    assert_eq!(deployed.state, DeploymentState::RolledBack, "{:?}", deployed.reason);
    assert_eq!(deployed.caught_before_admit, Some(false));
    assert_eq!(environment.show().await, ["0: release 1", "1: release 1"]);
    assert_eq!(ids(environment.containers().await), before);
}

#[tokio::test]
async fn a_first_release_that_fails_leaves_nothing() {
    let environment = Environment::new(None).await;
    let deployed = environment.deploy(environment.broken(1, "crash")).await;
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(environment.show().await, [""; 0]);
}

#[tokio::test]
async fn an_engine_that_dies_between_ops_is_recovered() {
    let environment = Environment::new(None).await;
    succeeded(&environment.deploy(environment.spec(1)).await);
    let old = ["0: release 1", "1: release 1"];

    for (action, count) in [("create", 1), ("gate", 1), ("admit", 1), ("stop", 1), ("gate", 2)] {
        environment.deploy_and_die(environment.spec(2), action, count).await;
        let ended = environment.recover_late().await;
        assert_eq!(
            ended.state,
            DeploymentState::RolledBack,
            "{action} {count}: {:?}",
            ended.reason
        );
        assert_eq!(environment.show().await, old, "{action} {count}");
    }
    // What serves is healthy, and the rest is done.
    environment.deploy_and_die(environment.spec(2), "admit", 1).await;
    let ended = environment.recover().await;
    succeeded(&ended);
    let new: Vec<_> =
        environment.show().await.into_iter().filter(|unit| !unit.ends_with("warm")).collect();
    assert_eq!(new, ["0: release 2", "1: release 2"]);
}

#[tokio::test]
async fn a_restart_makes_new_containers_of_the_same_release() {
    let environment = Environment::new(None).await;
    succeeded(&environment.deploy(environment.spec(1)).await);
    let before = environment.seen().await;
    succeeded(&environment.change(Change::Restart).await);
    let all = ["0: release 1", "0: warm", "1: release 1", "1: warm"];
    assert_eq!(environment.show().await, all);
    let now = environment.seen().await;
    assert!(before.units.iter().all(|old| !now.unit(&old.unit).unwrap().admitted));
}

#[tokio::test]
async fn a_unit_carries_its_labels_and_limits_and_a_fixed_address() {
    let environment = Environment::new(None).await;
    let spec = crate::Spec { replicas: 1, ..environment.spec(1) };
    let deployed = environment.deploy(spec.clone()).await;
    succeeded(&deployed);
    let unit = &deployed.units[0];
    assert_eq!(unit.unit, crate::unit_name(&spec, 0, deployed.deployment));
    assert_eq!((unit.spec.clone(), unit.fence), (spec.unit_hash(), 1));

    let container = environment.inspect(&unit.unit).await;
    let config = container.config.unwrap();
    let labels = config.labels.unwrap();
    let mut names: Vec<_> = labels.keys().filter(|name| name.starts_with("shipline.")).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "shipline.address",
            "shipline.deploy",
            "shipline.env",
            "shipline.fence",
            "shipline.instance",
            "shipline.keep-warm",
            "shipline.kind",
            "shipline.probe-port",
            "shipline.project",
            "shipline.release",
            "shipline.slot",
            "shipline.spec",
        ]
    );
    assert_eq!(labels["shipline.kind"], "unit");
    // Without a route, the probe knows where it answers.
    let address = format!("{}:8080", labels["shipline.address"]);
    assert_eq!(unit.address.map(|address| address.to_string()), Some(address));
    let env = config.env.unwrap();
    assert!(env.contains(&format!("SHIPLINE_RELEASE={}", spec.release)), "{env:?}");
    assert!(!env.iter().any(|variable| variable.starts_with("PORT=")), "{env:?}");
    let host = container.host_config.unwrap();
    assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
    assert!(host.memory > Some(0) && host.pids_limit > Some(0));
    let endpoints = container.network_settings.unwrap().networks.unwrap();
    let addresses: Vec<_> =
        endpoints.values().map(|endpoint| endpoint.ip_address.clone()).collect();
    assert_eq!(addresses, [Some(labels["shipline.address"].clone())]);
    assert!(labels["shipline.address"].starts_with("10.214."));

    // The image is pinned, so that a prune by somebody else leaves it.
    let pin = environment.pin(&spec);
    assert!(environment.docker.inspect_image(&pin).await.is_ok());
    assert_eq!(environment.target.remove_environment(&environment.key()).await.unwrap(), 1);
    assert!(environment.docker.inspect_image(&pin).await.is_err());
}

#[tokio::test]
async fn a_release_that_never_ran_leaves_no_pin_behind() {
    let environment = Environment::new(None).await;
    let broken = environment.broken(1, "crash");
    let pin = environment.pin(&broken);
    let deployed = environment.deploy(broken).await;
    assert_ne!(deployed.state, DeploymentState::Succeeded);
    assert!(environment.docker.inspect_image(&pin).await.is_ok());
    assert_eq!(environment.target.remove_environment(&environment.key()).await.unwrap(), 0);
    assert!(environment.docker.inspect_image(&pin).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_deployed_is_said_before_anything_is_changed() {
    let environment = Environment::new(None).await;
    let mut spec = environment.spec(1);
    spec.artifact = Artifact::ImageId(format!("sha256:{}", "0".repeat(64)));
    spec.expose = Some(pipeline::Expose { port: 8080, host: "*".to_owned(), path: "/".to_owned() });
    let deployed = environment.deploy(spec).await;
    assert_eq!(deployed.state, DeploymentState::Failed);
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("`expose` needs a proxy"), "{reason}");
    assert!(reason.contains("is not on the target's engine"), "{reason}");
    assert_eq!(environment.show().await, [""; 0]);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_infrastructure() {
    let connect =
        async |host| DockerTarget::connect(host, None, "test".to_owned(), Vec::new()).await;
    let gone = connect("unix:///nonexistent/docker.sock").await.err();
    assert!(
        matches!(&gone, Some(TargetError::Infrastructure { part, .. }) if part == "docker"),
        "{gone:?}"
    );
    let nonsense = connect("docker.example.com").await.err();
    assert!(matches!(&nonsense, Some(TargetError::Refused { .. })), "{nonsense:?}");
}
