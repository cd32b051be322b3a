//! Registry credentials of a laptop: `~/.config/shipline/config.toml`, and for
//! names unknown there what `docker login` left in Docker's own configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use pipeline::{Plan, Work};
use runner::{Registries, Registry};
use serde::Deserialize;
use server::config::Config;

use crate::error::{CommandError, Context};
use crate::home;

/// Returns the credentials that the plan's `push` and `deploy` stages may use.
pub(crate) fn registries(plan: &Plan, config: &Config) -> Result<Registries, CommandError> {
    let mut registries =
        server::registries(config).environment("cannot read a registry's password")?;
    let docker = docker_logins();
    for stage in &plan.stages {
        let Work::Push(push) = &stage.work else { continue };
        if registries.named.contains_key(&push.registry) {
            continue;
        }
        let Some(host) = push.tags.first().and_then(|tag| tag.split('/').next()) else { continue };
        if let Some(registry) = docker.get(host) {
            registries.named.insert(push.registry.clone(), registry.clone());
        }
    }
    Ok(registries)
}

/// The only registry that this machine has a credential for, as name and host; `None`
/// when there are several or none, or they cannot be read.
pub(crate) fn only_registry() -> Option<(Option<String>, String)> {
    let mut named = configuration().ok()?.registries.into_iter();
    if let Some((name, registry)) = named.next() {
        return named.next().is_none().then_some((Some(name), registry.host));
    }
    let mut logins = docker_logins().into_keys().filter(|host| !host.contains("docker.io"));
    let only = logins.next()?;
    logins.next().is_none().then_some((None, only))
}

/// Returns what this machine is told in its configuration file.
pub(crate) fn configuration() -> Result<Config, CommandError> {
    let Some(path) = home::configuration_file() else { return Ok(Config::default()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Config::default());
        }
        Err(error) => {
            return Err(CommandError::environment(format_args!(
                "cannot read {}: {error}",
                path.display()
            )));
        }
    };
    server::config::load(&text, &path).map_err(CommandError::usage)
}

#[derive(Deserialize)]
struct DockerConfiguration {
    #[serde(default)]
    auths: BTreeMap<String, DockerLogin>,
}

#[derive(Deserialize)]
struct DockerLogin {
    #[serde(default)]
    auth: String,
}

/// Entries with a stored password; those of credential helpers are not read yet.
fn docker_logins() -> BTreeMap<String, Registry> {
    let Some(path) = home::docker_configuration_file() else { return BTreeMap::new() };
    let Ok(text) = std::fs::read_to_string(path) else { return BTreeMap::new() };
    let Ok(configuration) = serde_json::from_str::<DockerConfiguration>(&text) else {
        return BTreeMap::new();
    };
    configuration
        .auths
        .into_iter()
        .filter_map(|(host, login)| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(login.auth).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            let (username, password) = text.split_once(':')?;
            let host = host.trim_start_matches("https://").trim_end_matches('/').to_owned();
            let registry = Registry {
                host: host.clone(),
                username: username.to_owned(),
                password: password.to_owned(),
                ca_file: None,
            };
            Some((host, registry))
        })
        .collect()
}
