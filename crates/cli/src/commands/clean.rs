//! `shipline clean`: by label, and nothing else.

use std::path::Path;

use runner::Registries;
use runner::backend::Backend as _;
use serde_json::json;
use server::DataDirectory;
use store::Store;

use crate::arguments::CleanArguments;
use crate::error::{CommandError, Context as _, Kind};
use crate::home::Home;

/// Where an engine is when nobody says.
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";

pub(super) async fn clean(arguments: &CleanArguments) -> Result<u8, CommandError> {
    let (store, _lock) = store(arguments.data.as_deref()).await?;
    let instance = store.instance();
    let alive = match arguments.data {
        // The server is stopped: none of its runs is alive.
        Some(_) => Vec::new(),
        None => {
            let home = Home::from_environment()?;
            let unfinished = store.unfinished_runs().await.environment("cannot read the runs")?;
            unfinished.into_iter().map(|row| row.id).filter(|run| home.is_alive(*run)).collect()
        }
    };
    let backend = super::run::connect(arguments.docker_host.as_deref()).await?;
    let left = backend.sweep(instance, &alive).await.environment("cannot remove what runs left")?;
    let kept = backend.remove_kept(instance, &alive, arguments.caches).await;
    let kept = kept.environment("cannot remove kept volumes")?;
    let units = if arguments.deployed { remove_deployed(arguments, instance).await? } else { 0 };
    // A run under way may have built what it has not pushed yet.
    let images = match alive.as_slice() {
        [] => backend.remove_images(instance).await.environment("cannot remove images")?,
        _ => 0,
    };
    let removed = json!({ "left": left, "kept": kept, "units": units, "images": images });
    super::show(arguments.format, &removed, |_| {
        format!(
            "removed {left} objects that runs left, {kept} kept volumes, {units} deployed units, \
             {images} images without a name\n"
        )
    })?;
    Ok(0)
}

/// The store of local runs, or of a stopped server, whose directory stays locked meanwhile.
async fn store(data: Option<&Path>) -> Result<(Store, Option<DataDirectory>), CommandError> {
    let Some(data) = data else { return Ok((Home::from_environment()?.store().await?, None)) };
    if !data.join("state.db").is_file() {
        return Err(CommandError::usage(format_args!(
            "{} is no data directory of a server",
            data.display()
        )));
    }
    let directory = DataDirectory::open(data).map_err(|error| {
        CommandError::caused(Kind::Environment, "cannot clean up", &error)
            .hint("stop the server first")
    })?;
    let store =
        Store::open(&directory.database()).await.environment("cannot open the server's store")?;
    Ok((store, Some(directory)))
}

async fn remove_deployed(
    arguments: &CleanArguments,
    instance: &str,
) -> Result<usize, CommandError> {
    let host = arguments.docker_host.as_deref().unwrap_or(DEFAULT_ENGINE);
    let target = server::docker_target(host, None, instance, &Registries::default())
        .await
        .environment("cannot reach the engine")?;
    let mut units = 0;
    for key in target.environments().await.environment("cannot list what is deployed")? {
        units +=
            target.remove_environment(&key).await.environment("cannot remove what is deployed")?;
    }
    // Also when the only deployment failed, and nothing of it is there any more.
    target.remove_network_if_unused().await.environment("cannot remove the network of units")?;
    Ok(units)
}
