//! `shipline clean`: by label, and nothing else.

use std::path::{Path, PathBuf};

use deploy::{
    DeploymentRecord, Ledger as _, ProcessTarget, SwitchAccess, UnitId, forget_switch, remove_route,
};
use event::RunId;
use pipeline::{InlineTarget, TargetSpec};
use runner::Registries;
use runner::backend::Backend as _;
use serde_json::json;
use server::DataDirectory;
use store::Store;

use crate::arguments::CleanArguments;
use crate::error::{CommandError, Context as _, Kind};
use crate::former;
use crate::home::{self, Home};
use crate::{local_run, recovery};

/// Deployments whose units a route may still lead to.
const HISTORY: u32 = 1_000;
/// Where an engine is when nobody says.
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";

pub(super) async fn clean(arguments: &CleanArguments) -> Result<u8, CommandError> {
    let (store, _lock) = store(arguments.data.as_deref()).await?;
    let instance = store.instance();
    let (alive, others) = match arguments.data {
        // The server is stopped: none of its runs is alive.
        Some(_) => (Vec::new(), Vec::new()),
        None => {
            let home = Home::from_environment()?;
            let unfinished = store.unfinished_runs().await.environment("cannot read the runs")?;
            let unfinished = unfinished.into_iter().map(|row| row.id);
            (unfinished.filter(|run| home.is_alive(*run)).collect(), others(arguments, &home)?)
        }
    };
    let backend = local_run::connect(arguments.docker_host.as_deref()).await?;
    let left = backend.sweep(instance, &alive).await.environment("cannot remove what runs left")?;
    // What a run under way stands on may be of runs that have ended.
    let mut needed = alive.clone();
    for run in &alive {
        let state = store.run_state(*run).await.environment("cannot read the runs")?;
        needed.extend(former::stands_on(&state).iter().map(|layer| layer.run));
    }
    needed.extend(&others);
    let kept = backend.remove_kept(instance, &needed, arguments.caches).await;
    let kept = kept.environment("cannot remove kept volumes")?;
    let (routes, units) = match arguments.deployed {
        true => {
            (remove_routes(arguments, &store).await?, remove_deployed(arguments, instance).await?)
        }
        false => (0, 0),
    };
    // A run under way may have built what it has not pushed yet, and nothing tells which
    // directory an image was built in.
    let images = match (alive.as_slice(), others.as_slice()) {
        ([], []) => backend.remove_images(instance).await.environment("cannot remove images")?,
        _ => 0,
    };
    let removed =
        json!({ "left": left, "kept": kept, "units": units, "routes": routes, "images": images });
    super::show(arguments.format, &removed, |_| {
        format!(
            "removed {left} objects that runs left, {kept} kept volumes, {units} deployed units, \
             {routes} routes, {images} images without a name\n"
        )
    })?;
    Ok(0)
}

/// The runs of other directories, whose files are theirs.
fn others(arguments: &CleanArguments, home: &Home) -> Result<Vec<RunId>, CommandError> {
    if arguments.all {
        return Ok(Vec::new());
    }
    let directory = std::fs::canonicalize(".").environment("cannot find the directory")?;
    Ok(home.runs_beside(&directory))
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

/// Removes the routes of what was deployed from here. A proxy that does not answer keeps
/// nobody from cleaning up, and is named.
async fn remove_routes(arguments: &CleanArguments, store: &Store) -> Result<usize, CommandError> {
    const WHAT: &str = "cannot read what was deployed";
    let mut removed = 0;
    for key in store.deployed_environments().await.environment(WHAT)? {
        let history = store.history(&key, HISTORY).await.environment(WHAT)?;
        let Some(last) = history.first() else { continue };
        if let Some(switch) = switch_of(store, last).await? {
            match forget_switch(&switch, &key).await {
                Ok(there) => removed += usize::from(there),
                Err(error) => super::note(&format!(
                    "what the switch of {}/{} was told stays: {error}",
                    key.project, key.environment
                )),
            }
            continue;
        }
        let proxy = match &arguments.proxy {
            Some(proxy) => Some(proxy.clone()),
            None => proxy_of(store, last).await?,
        };
        let Some(proxy) = proxy else { continue };
        let made: Vec<String> = history.iter().map(|it| it.deployment.id.short()).collect();
        // A unit's name ends with the deployment that made it.
        let ours = |unit: &UnitId| {
            let (_, of) = unit.0.rsplit_once('-').unwrap_or_default();
            made.iter().any(|made| made == of)
        };
        match remove_route(proxy, &key, ours).await {
            Ok(there) => removed += usize::from(there),
            Err(error) => super::note(&format!(
                "the route of {}/{} stays: {error}",
                key.project, key.environment
            )),
        }
    }
    Ok(removed)
}

/// The balancer of the target that an environment had when it was deployed to last.
async fn switch_of(
    store: &Store,
    last: &DeploymentRecord,
) -> Result<Option<SwitchAccess>, CommandError> {
    let environments = recovery::environments(store, last).await?;
    let target = environments.get(&last.deployment.spec.environment).map(|it| &it.target);
    Ok(match target {
        Some(TargetSpec::Inline(target)) => server::switch_access(target),
        _ => None,
    })
}

/// The proxy of the target that an environment had when it was deployed to last.
async fn proxy_of(store: &Store, last: &DeploymentRecord) -> Result<Option<PathBuf>, CommandError> {
    let environments = recovery::environments(store, last).await?;
    let target = environments.get(&last.deployment.spec.environment).map(|it| &it.target);
    let proxy = match target {
        Some(TargetSpec::Inline(
            InlineTarget::Docker { proxy, .. }
            | InlineTarget::Process { proxy, .. }
            | InlineTarget::Hosts { proxy, .. },
        )) => proxy.as_ref(),
        _ => None,
    };
    Ok(proxy.map(PathBuf::from))
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
    for root in &arguments.root {
        units += remove_processes(root, instance).await?;
    }
    Ok(units)
}

/// Ends and removes the units of a `process` target.
async fn remove_processes(root: &Path, instance: &str) -> Result<usize, CommandError> {
    // Opened, a folder that is not there would be made.
    if !root.join("units").is_dir() {
        return Err(CommandError::usage(format_args!(
            "{} is no folder of a `process` target",
            root.display()
        )));
    }
    let opened =
        ProcessTarget::open(root, None, instance.to_owned(), Vec::new(), home::machine()).await;
    let target = opened.environment("cannot open the folder of processes")?;
    let mut units = 0;
    for key in target.environments().await.environment("cannot list what is deployed")? {
        units +=
            target.remove_environment(&key).await.environment("cannot remove what is deployed")?;
    }
    Ok(units)
}
