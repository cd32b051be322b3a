//! Images of stages: there, or pulled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, judge};
use super::engine::{Engine, fault, is_missing, status, text};
use super::reference::{split_host, split_tag};
use super::registry_client::RegistryClient;
use super::retry::{Failure, Tries};
use crate::Registry;
use crate::backend::BackendError;

/// A pull that says nothing for so long is tried again.
const IDLE: Duration = Duration::from_secs(60);

/// An image the engine has.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// `sha256:…` of its configuration.
    pub(super) id: String,
    /// The repository digest, else `id:sha256:…`.
    pub(super) digest: String,
    /// `HOME`, if it sets that.
    pub(super) home: Option<String>,
    /// For which it was made, as `amd64`; empty where nobody says it.
    pub(super) architecture: String,
    /// Those of TCP it exposes, lowest first.
    pub(super) ports: Vec<u16>,
    /// The command of its health check, as a process is started with it.
    pub(super) health: Option<Vec<String>>,
}

/// One pull at a time for each reference: parallel stages often want the same.
#[derive(Default)]
pub(super) struct Pulls {
    running: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Pulls {
    fn lock_of(&self, reference: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut running = self.running.lock().expect("nobody panics with this lock");
        Arc::clone(running.entry(reference.to_owned()).or_default())
    }
}

/// Returns the image, pulled if the engine does not have it, or `always`.
pub(super) async fn ensure(
    engine: &Engine,
    pulls: &Pulls,
    reference: &str,
    registry: Option<&Registry>,
    always: bool,
    cancel: &CancellationToken,
) -> Result<Image, BackendError> {
    if !always && let Some(image) = find(engine, reference).await? {
        return Ok(image);
    }
    let lock = pulls.lock_of(reference);
    let _pulling = tokio::select! {
        pulling = lock.lock() => pulling,
        () = cancel.cancelled() => return Err(BackendError::Cancelled),
    };
    // Somebody may have pulled it meanwhile.
    if !always && let Some(image) = find(engine, reference).await? {
        return Ok(image);
    }
    let mut tries = Tries::default();
    loop {
        let pulled = tokio::select! {
            pulled = pull(engine, reference, registry) => pulled,
            () = cancel.cancelled() => return Err(BackendError::Cancelled),
        };
        match pulled {
            Ok(()) => break,
            Err(failure) => {
                let tried = tries.after(failure, "registry", cancel).await;
                tried.map_err(|error| with_way_out(error, reference))?;
            }
        }
    }
    find(engine, reference).await?.ok_or_else(|| BackendError::Infrastructure {
        part: "docker",
        message: format!("image `{reference}` was pulled, but the engine does not have it"),
    })
}

/// What helps while no registry gives the image.
fn with_way_out(error: BackendError, reference: &str) -> BackendError {
    match error {
        BackendError::Infrastructure { part, message } => {
            let message = format!(
                "{message}\n  `docker pull {reference}`, `docker load` or `docker build` brings it to \
                 this engine again"
            );
            BackendError::Infrastructure { part, message }
        }
        error => error,
    }
}

pub(super) async fn find(engine: &Engine, reference: &str) -> Result<Option<Image>, BackendError> {
    match engine.docker.inspect_image(reference).await {
        Ok(found) => Ok(Some(image(reference, found))),
        Err(error) if is_missing(&error) => Ok(None),
        // `invalid reference format` and the like.
        Err(error) if status(&error) == Some(400) => Err(refused(reference, &text(&error), None)),
        Err(error) => Err(fault(format!("image `{reference}` cannot be looked up"), &error)),
    }
}

fn image(reference: &str, found: ImageInspect) -> Image {
    let id = found.id.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let health = config.healthcheck.as_ref().and_then(|check| check.test.clone());
    let health = health.and_then(|test| health_command(test, config.shell.as_deref()));
    let ports = config.exposed_ports.unwrap_or_default();
    let mut ports: Vec<u16> = ports.iter().filter_map(|port| tcp_port(port)).collect();
    ports.sort_unstable();
    let variables = config.env.unwrap_or_default();
    let home = variables.iter().find_map(|line| line.strip_prefix("HOME=")).map(str::to_owned);
    let digests = found.repo_digests.unwrap_or_default();
    let (repository, _) = split_tag(reference);
    let repository = repository.split('@').next().unwrap_or(repository);
    let of_repository = |digest: &&String| digest.split('@').next() == Some(repository);
    let digest = digests.iter().find(of_repository).or(digests.first()).cloned();
    Image {
        digest: digest.unwrap_or_else(|| format!("id:{id}")),
        id,
        home,
        architecture: found.architecture.unwrap_or_default(),
        ports,
        health,
    }
}

/// The port of `5432/tcp`.
fn tcp_port(exposed: &str) -> Option<u16> {
    let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
    (protocol == "tcp").then(|| port.parse().ok())?
}

/// What a HEALTHCHECK runs: `CMD` and words, or `CMD-SHELL` and a script.
fn health_command(test: Vec<String>, shell: Option<&[String]>) -> Option<Vec<String>> {
    let mut words = test.into_iter();
    match words.next()?.as_str() {
        "CMD" => Some(words.collect()).filter(|words: &Vec<String>| !words.is_empty()),
        "CMD-SHELL" => {
            let sh = ["/bin/sh", "-c"].map(str::to_owned);
            let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or(&sh);
            Some(shell.iter().cloned().chain(words.next()).collect())
        }
        // `NONE`.
        _ => None,
    }
}

/// E090, where the image is for another machine than the engine's. An engine may run
/// such an image all the same, so this is only a reason for what went wrong.
pub(super) fn foreign(engine: &Engine, reference: &str, image: &Image) -> Option<BackendError> {
    let (made_for, runs) = (&image.architecture, &engine.architecture);
    if made_for.is_empty() || runs.is_empty() || made_for == runs {
        return None;
    }
    let message =
        format!("image `{reference}` cannot be used: it is for {made_for}, the engine runs {runs}");
    Some(BackendError::User { code: Some("E090"), message })
}

async fn pull(
    engine: &Engine,
    reference: &str,
    registry: Option<&Registry>,
) -> Result<(), Failure> {
    // Without a tag the engine would pull all there are.
    let complete = match split_tag(reference) {
        (_, Some(_)) => reference.to_owned(),
        (_, None) if reference.contains('@') => reference.to_owned(),
        (repository, None) => format!("{repository}:latest"),
    };
    let options = CreateImageOptionsBuilder::default().from_image(&complete).build();
    let credentials = registry.map(credentials);
    let mut progress = engine.docker.create_image(Some(options), None, credentials);
    loop {
        match tokio::time::timeout(IDLE, progress.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => {
                let failure = failure(reference, &error, registry);
                return Err(match &failure {
                    Failure::Final(BackendError::User { .. }) => {
                        out_of_order(reference, registry).await.unwrap_or(failure)
                    }
                    _ => failure,
                });
            }
            Err(_) => {
                let message = format!("image `{reference}`: the registry stopped sending");
                return Err(Failure::Passing(message));
            }
        }
    }
}

/// Asks the registry itself whether it refuses, or is out of order.
async fn out_of_order(reference: &str, registry: Option<&Registry>) -> Option<Failure> {
    let anonymous = Registry {
        host: split_host(reference).0.to_owned(),
        username: String::new(),
        password: String::new(),
        ca_file: None,
    };
    RegistryClient::out_of_order(registry.unwrap_or(&anonymous)).await
}

fn failure(reference: &str, error: &Error, registry: Option<&Registry>) -> Failure {
    let said = text(error);
    match judge(&said, status(error)) {
        Answer::Refused => refused(reference, &said, registry).into(),
        Answer::Passing => Failure::Passing(format!(
            "image `{reference}` is not on this engine, and its registry cannot be used: {said}"
        )),
        Answer::Untrusted => {
            let message = format!("image `{reference}`: {said}");
            BackendError::Infrastructure { part: "registry", message }.into()
        }
    }
}

/// E090, with the registry's answer and who we were to it.
fn refused(reference: &str, said: &str, registry: Option<&Registry>) -> BackendError {
    let who = match registry {
        Some(registry) if !registry.username.is_empty() => {
            format!("as `{}` at {}", registry.login(), registry.host)
        }
        _ => "without a credential".to_owned(),
    };
    let message = format!("image `{reference}` cannot be used ({who}): {said}");
    BackendError::User { code: Some("E090"), message }
}

pub(super) fn credentials(registry: &Registry) -> DockerCredentials {
    if registry.username.is_empty() {
        return DockerCredentials::default();
    }
    if let Some(token) = registry.identity_token() {
        return DockerCredentials {
            identitytoken: Some(token.to_owned()),
            serveraddress: Some(registry.host.clone()),
            ..Default::default()
        };
    }
    DockerCredentials {
        username: Some(registry.username.clone()),
        password: Some(registry.password.clone()),
        serveraddress: Some(registry.host.clone()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_repository_asked_for() {
        let found = || ImageInspect {
            id: Some("sha256:c".to_owned()),
            repo_digests: Some(vec!["a@sha256:1".to_owned(), "h:5000/b@sha256:2".to_owned()]),
            ..Default::default()
        };
        assert_eq!(image("h:5000/b:1.0", found()).digest, "h:5000/b@sha256:2");
        assert_eq!(image("sha256:c", found()).digest, "a@sha256:1");
        let local = ImageInspect { repo_digests: None, ..found() };
        assert_eq!(image("b", local).digest, "id:sha256:c");
    }

    #[test]
    fn what_a_health_check_runs_is_read_from_the_image() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let command = |test: &[&str]| health_command(words(test), None);
        assert_eq!(command(&["CMD", "curl", "-f"]), Some(words(&["curl", "-f"])));
        assert_eq!(command(&["CMD-SHELL", "a | b"]), Some(words(&["/bin/sh", "-c", "a | b"])));
        assert_eq!(command(&["NONE"]), None);
        assert_eq!(command(&[]), None);
        let bash: Vec<String> = words(&["/bin/bash", "-c"]);
        let of_bash = health_command(words(&["CMD-SHELL", "a"]), Some(&bash));
        assert_eq!(of_bash, Some(words(&["/bin/bash", "-c", "a"])));
    }

    #[test]
    fn ports_of_tcp_are_the_first_to_be_asked() {
        let ports = Some(["8443/tcp", "53/udp", "8080/tcp"].map(str::to_owned).into());
        let config =
            Some(bollard::models::ImageConfig { exposed_ports: ports, ..Default::default() });
        assert_eq!(image("a", ImageInspect { config, ..Default::default() }).ports, [8080, 8443]);
    }

    #[test]
    fn a_refusal_names_reference_answer_and_user_but_not_the_password() {
        let registry = Registry {
            host: "harbor.example".to_owned(),
            username: "robot$ci".to_owned(),
            password: "s3cret".to_owned(),
            ca_file: None,
        };
        let error = refused("harbor.example/a:1", "denied", Some(&registry));
        assert_eq!(
            error.to_string(),
            "image `harbor.example/a:1` cannot be used (as `robot$ci` at harbor.example): denied"
        );
    }
}
