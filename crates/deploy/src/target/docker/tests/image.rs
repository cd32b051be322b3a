//! Images that come from a registry.

use tokio_util::sync::CancellationToken;

use super::environment::{Environment, connect};
use super::registry::Registry;
use crate::{Artifact, DockerTarget, OpOutcome, RegistryLogin, Spec, TargetError};

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
    ) -> (Result<Option<String>, TargetError>, Result<OpOutcome, TargetError>) {
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
    let pin = format!("shipline-keep/{}:{}", spec.project, spec.release.short());
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
