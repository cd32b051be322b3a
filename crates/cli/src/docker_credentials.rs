//! Registry credentials of a laptop: `~/.config/shipline/config.toml`, and for
//! names unknown there what `docker login` left in Docker's own configuration.

use pipeline::{Decision, Plan, Work};
use runner::{Registries, SideEffects};
use server::config::Config;

use crate::docker_login::DockerConfiguration;
use crate::error::{CommandError, Context};
use crate::home;

/// Returns the credentials that the plan's `push` and `deploy` stages may use. Docker's
/// are looked for where a stage will push: a helper may have to ask its user.
pub(crate) async fn registries(
    plan: &Plan,
    config: &Config,
    side_effects: SideEffects,
) -> Result<Registries, CommandError> {
    let mut registries =
        server::registries(config).environment("cannot read a registry's password")?;
    if side_effects == SideEffects::Withheld {
        return Ok(registries);
    }
    let mut docker = None;
    for stage in plan.stages.iter().filter(|stage| stage.state == Decision::Run) {
        let Work::Push(push) = &stage.work else { continue };
        if registries.named.contains_key(&push.registry) {
            continue;
        }
        let Some(tag) = push.tags.first() else { continue };
        let docker = match &docker {
            Some(docker) => docker,
            None => docker.insert(DockerConfiguration::read()?),
        };
        if let Some(registry) = docker.login(host(tag)).await? {
            registries.named.insert(push.registry.clone(), registry);
        }
    }
    Ok(registries)
}

/// The registry that a reference is in.
fn host(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// The only registry that this machine has a credential for, as name and host; `None`
/// when there are several or none, or they cannot be read.
pub(crate) fn only_registry() -> Option<(Option<String>, String)> {
    let mut named = configuration().ok()?.registries.into_iter();
    if let Some((name, registry)) = named.next() {
        return named.next().is_none().then_some((Some(name), registry.host));
    }
    let docker = DockerConfiguration::read().ok()?;
    let mut logins = docker.hosts().filter(|host| !host.contains("docker.io"));
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
