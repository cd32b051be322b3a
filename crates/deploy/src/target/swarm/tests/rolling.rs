//! Units without a route: rolled by health alone.

use event::{DeploymentKind, DeploymentState};

use super::environment::Environment;
use crate::{Artifact, Deployed};

fn succeeded(deployed: &Deployed) {
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
}

#[tokio::test]
async fn a_release_is_deployed_again_replaced_and_gone_back_to() {
    let swarm = Environment::new(None).await;
    succeeded(&swarm.deploy(DeploymentKind::Deploy, swarm.spec(1)).await);
    assert_eq!(swarm.show().await, ["0: release 1", "1: release 1"]);

    // The same again makes no task.
    let before = swarm.tasks().await;
    succeeded(&swarm.deploy(DeploymentKind::Deploy, swarm.spec(1)).await);
    assert_eq!(swarm.tasks().await, before);

    succeeded(&swarm.deploy(DeploymentKind::Deploy, swarm.spec(2)).await);
    let rolled = ["0: release 2", "0: warm", "1: release 2", "1: warm"];
    assert_eq!(swarm.show().await, rolled);

    succeeded(&swarm.deploy(DeploymentKind::Rollback, swarm.spec(1)).await);
    let back = ["0: release 1", "0: warm", "1: release 1", "1: warm"];
    assert_eq!(swarm.show().await, back);
}

#[tokio::test]
async fn a_release_that_does_not_get_healthy_replaces_no_task() {
    let swarm = Environment::new(None).await;
    succeeded(&swarm.deploy(DeploymentKind::Deploy, swarm.spec(1)).await);
    let before = swarm.tasks().await;

    let deaf = swarm.deploy(DeploymentKind::Deploy, swarm.broken(2, "deaf")).await;
    assert_eq!(deaf.state, DeploymentState::RolledBack, "{:?}", deaf.reason);
    assert!(deaf.reason.as_deref().unwrap().ends_with("still after 2 s"), "{deaf:?}");
    assert_eq!(swarm.tasks().await, before);

    let crash = swarm.deploy(DeploymentKind::Deploy, swarm.broken(3, "crash")).await;
    assert_eq!(crash.state, DeploymentState::RolledBack, "{:?}", crash.reason);
    assert!(crash.reason.as_deref().unwrap().ends_with("it exited with 3"), "{crash:?}");
    assert_eq!(swarm.tasks().await, before);
}

#[tokio::test]
async fn a_task_that_dies_is_brought_back_by_the_swarm_at_the_same_port() {
    let swarm = Environment::new(None).await;
    let spec = crate::Spec { replicas: 1, ..swarm.spec(1) };
    succeeded(&swarm.deploy(DeploymentKind::Deploy, spec.clone()).await);
    let before = swarm.seen().await.units.remove(0);
    let view = swarm.target.units(&swarm.key()).await.unwrap().remove(0);
    let container = view.tasks[0].status.clone().unwrap().container_status.unwrap().container_id;
    let options = None::<bollard::query_parameters::KillContainerOptions>;
    swarm.docker.kill_container(&container.unwrap(), options).await.unwrap();
    let mut looks = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let tasks = swarm.tasks().await;
        let again = tasks.len() == 2 && swarm.show().await == ["0: release 1"];
        if again {
            break;
        }
        looks += 1;
        assert!(looks < 100, "{tasks:?}");
    }
    let after = swarm.seen().await.units.remove(0);
    assert_eq!((after.unit, after.address), (before.unit, before.address));
}

#[tokio::test]
async fn what_cannot_be_deployed_is_said_before_anything_is_changed() {
    let swarm = Environment::new(None).await;
    let mut spec = swarm.spec(1);
    spec.artifact = Artifact::ImageId(format!("sha256:{}", "0".repeat(64)));
    spec.expose = Some(pipeline::Expose { port: 8080, host: "*".to_owned(), path: "/".to_owned() });
    spec.unit.networks = vec!["nowhere".to_owned(), "bridge".to_owned()];
    spec.environment = "an-environment-of-quite-a-length-for-names".to_owned();
    let deployed = swarm.deploy(DeploymentKind::Deploy, spec).await;
    assert_eq!(deployed.state, DeploymentState::Failed);
    let reason = deployed.reason.unwrap();
    for told in [
        "`expose` needs a proxy",
        "is not on the target's engine",
        "network `nowhere` is not in the swarm",
        "network `bridge` is of one engine",
        "names of services have 63 characters",
    ] {
        assert!(reason.contains(told), "{told}: {reason}");
    }
}
