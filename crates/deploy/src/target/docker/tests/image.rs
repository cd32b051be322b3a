//! Images that come from a registry.

use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use event::{DeploymentState, EventKind};
use tokio_util::sync::CancellationToken;

use super::environment::{Environment, connect};
use super::registry::Registry;
use crate::{Artifact, DockerTarget, Ledger, OpOutcome, RegistryLogin, Spec, TargetError};

struct Pulling {
    environment: Environment,
    registry: Registry,
}

impl Pulling {
    async fn new() -> Self {
        let environment = Environment::new(None).await;
        let registry = Registry::start(environment.instance()).await;
        Self { environment, registry }
    }

    fn spec(&self, reference: String) -> Spec {
        let artifact = Artifact::Digest { reference, credential: Some("main".to_owned()) };
        Spec { artifact, ..self.environment.spec(1) }
    }

    async fn target(&self, logins: Vec<RegistryLogin>) -> DockerTarget {
        connect(None, self.environment.instance(), logins).await.unwrap()
    }

    /// What preflight finds, and what a fetch then comes to.
    async fn try_to_fetch(
        &self,
        logins: Vec<RegistryLogin>,
        spec: &Spec,
    ) -> (Result<Option<crate::Finding>, TargetError>, Result<OpOutcome, TargetError>) {
        let target = self.target(logins).await;
        let found = target.check_image(spec).await;
        (found, target.fetch(spec, &CancellationToken::new()).await)
    }
}

#[tokio::test]
async fn an_image_is_pulled_by_its_digest_with_the_named_login_and_pinned() {
    let pulling = Pulling::new().await;
    let spec = pulling.spec(pulling.registry.reference());
    let (found, fetched) =
        pulling.try_to_fetch(vec![pulling.registry.login("secret")], &spec).await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(fetched.unwrap(), OpOutcome::Done { detail: "pulled".to_owned() });
    let pin = pulling.environment.pin(&spec);
    assert!(pulling.environment.docker.inspect_image(&pin).await.is_ok());

    // Once it is there no registry is asked.
    pulling.registry.break_down();
    let (found, fetched) = pulling.try_to_fetch(Vec::new(), &spec).await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(fetched.unwrap(), OpOutcome::Done { detail: "is here already".to_owned() });
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_digest_are_the_users_and_a_broken_registry_is_not() {
    let pulling = Pulling::new().await;
    let spec = pulling.spec(pulling.registry.reference());
    for login in [vec![pulling.registry.login("wrong")], Vec::new()] {
        let (found, fetched) = pulling.try_to_fetch(login, &spec).await;
        assert!(found.as_ref().is_ok_and(Option::is_some), "{found:?}");
        assert!(matches!(fetched, Err(TargetError::Refused { .. })), "{fetched:?}");
    }
    let unknown = format!("{}/web@sha256:{}", pulling.registry.host(), "0".repeat(64));
    let unknown = pulling.spec(unknown);
    let good = || vec![pulling.registry.login("secret")];
    let (found, fetched) = pulling.try_to_fetch(good(), &unknown).await;
    assert!(found.as_ref().is_ok_and(Option::is_some), "{found:?}");
    assert!(matches!(fetched, Err(TargetError::Refused { .. })), "{fetched:?}");

    pulling.registry.break_down();
    let (found, fetched) = pulling.try_to_fetch(good(), &spec).await;
    let is_infrastructure = |error: &TargetError| matches!(error, TargetError::Infrastructure { part, .. } if part == "registry");
    assert!(found.as_ref().is_err_and(is_infrastructure), "{found:?}");
    assert!(fetched.as_ref().is_err_and(is_infrastructure), "{fetched:?}");
}

#[tokio::test]
async fn pins_of_releases_nobody_goes_back_to_are_pruned_by_the_deployment_that_follows() {
    let environment = Environment::new(None).await;
    let spec = |number| Spec { replicas: 1, ..environment.spec(number) };
    let pin = |number| environment.pin(&spec(number));
    let repository = |instance: &str| format!("shipline-keep/{instance}/{}", spec(1).project);
    // A release we know nothing of, and another instance with a project of this name.
    let Artifact::ImageId(image) = spec(1).artifact else { panic!("an image of this engine") };
    for (instance, number) in [(environment.instance(), 99), ("another", 1)] {
        let options = TagImageOptionsBuilder::new()
            .repo(&repository(instance))
            .tag(&spec(number).release.to_string())
            .build();
        environment.docker.tag_image(&image, Some(options)).await.unwrap();
    }
    for number in 1..=7 {
        environment.ledger.know(crate::Release {
            id: spec(number).release,
            project: spec(number).project,
            version: format!("v{number}"),
            branch: None,
            sha: String::new(),
            committer: "ann".to_owned(),
            artifact: spec(number).artifact,
            built_at: chrono::DateTime::UNIX_EPOCH,
        });
        let deployed = environment.deploy(spec(number)).await;
        assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    }
    let mut there = Vec::new();
    for number in [1, 2, 6, 7, 99] {
        if environment.docker.inspect_image(&pin(number)).await.is_ok() {
            there.push(number);
        }
    }
    assert_eq!(there, [2, 6, 7, 99]);
    let history = environment.ledger.history(&environment.key(), 1).await.unwrap();
    let events = environment.ledger.events(history[0].deployment.id);
    let removed = vec![pin(1)];
    assert!(events.contains(&EventKind::DeploymentPruned { removed, error: None }), "{events:?}");

    // All of the environment goes, and nothing of the other instance.
    environment.target.remove_environment(&environment.key()).await.unwrap();
    assert!(environment.docker.inspect_image(&pin(7)).await.is_err());
    let theirs = format!("{}:{}", repository("another"), spec(1).release);
    let options = RemoveImageOptionsBuilder::new().build();
    environment.docker.remove_image(&theirs, Some(options), None).await.unwrap();
}
