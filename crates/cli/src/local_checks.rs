//! Checks that run commands, for deployments without a server.

use std::sync::Arc;

use deploy::{CheckRunner, Spec, VerifyStep};
use pipeline::Plan;
use runner::{ContainerChecks, Registries, SideEffects};
use store::Store;

use crate::error::{CommandError, Context as _};
use crate::{docker_credentials, local_run};

/// Returns what runs the commands of `spec`; `None` where it has none, so that nobody
/// needs an engine for it.
pub(crate) async fn runner(
    spec: &Spec,
    store: &Store,
    plan: &Plan,
) -> Result<Option<Arc<dyn CheckRunner>>, CommandError> {
    if !needs_engine(spec) {
        return Ok(None);
    }
    let configuration = docker_credentials::configuration()?;
    let allowed = SideEffects::Allowed;
    let registries = docker_credentials::registries(plan, &configuration, allowed).await?;
    on_engine(store, registries).await.map(Some)
}

/// The same for a deployment that a dead process left. Without an engine it goes back.
pub(crate) async fn of_former(spec: &Spec, store: &Store) -> Option<Arc<dyn CheckRunner>> {
    if !needs_engine(spec) {
        return None;
    }
    match on_engine(store, Registries::default()).await {
        Ok(runner) => Some(runner),
        Err(error) => {
            error.warn();
            None
        }
    }
}

fn needs_engine(spec: &Spec) -> bool {
    spec.verify.iter().any(|step| VerifyStep::image(step).is_some())
}

async fn on_engine(
    store: &Store,
    registries: Registries,
) -> Result<Arc<dyn CheckRunner>, CommandError> {
    let subnets = docker_credentials::configuration()?.runner.subnets;
    let address = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    let backend = local_run::connect(address.as_deref()).await?.with_subnets(subnets);
    let checks = ContainerChecks::new(Arc::new(backend), store.instance().to_owned(), registries);
    Ok(Arc::new(checks.environment("cannot run the checks of `verify`")?))
}
