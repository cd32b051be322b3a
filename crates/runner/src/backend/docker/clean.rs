//! Removing what we made: by label, again and again until it is gone.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptions, RemoveVolumeOptions, WaitContainerOptionsBuilder,
};
use event::RunId;
use futures_util::{StreamExt, stream};

use super::engine::{Engine, Owner, fault, is_missing, status, text};
use super::labels::{self, Kind, filter};
use crate::backend::{BackendError, RunContext};

/// Removals at a time; more only wait in the daemon.
const AT_ONCE: usize = 4;
/// How long a removal by somebody else is waited for before it is asked for again.
const REMOVAL: Duration = Duration::from_secs(3);
/// Rounds until what is busy is called left behind: about half a minute.
const ROUNDS: u32 = 16;

/// Something of ours on the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) what: What,
    /// What it is removed by.
    pub(super) id: String,
    pub(super) labels: HashMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Container,
    Volume,
    Network,
}

/// Removes a container with its anonymous volumes, running or not; returns when it is gone.
pub(super) async fn remove_container(engine: &Engine, id: &str) -> Result<(), BackendError> {
    for round in 0..ROUNDS {
        match try_remove_container(engine, id).await {
            Ok(()) => return Ok(()),
            // Somebody else of us is at it.
            Err(error) if status(&error) == Some(409) => pause(round).await,
            Err(error) => return Err(fault(format!("container `{id}` cannot be removed"), &error)),
        }
    }
    let message = format!("container `{id}` is still being removed");
    Err(BackendError::Infrastructure { part: "docker", message })
}

async fn try_remove_container(engine: &Engine, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match engine.docker.remove_container(id, Some(options)).await {
        Err(error) if is_missing(&error) => Ok(()),
        // Somebody else of us is at it, and most likely done in a moment.
        Err(error) if status(&error) == Some(409) && is_removed(engine, id).await => Ok(()),
        result => result,
    }
}

/// Waits a little for a container that is being removed.
async fn is_removed(engine: &Engine, id: &str) -> bool {
    let options = WaitContainerOptionsBuilder::default().condition("removed").build();
    let mut waiting = std::pin::pin!(engine.docker.wait_container(id, Some(options)));
    match tokio::time::timeout(REMOVAL, waiting.next()).await {
        Ok(Some(Ok(_) | Err(Error::DockerContainerWaitError { .. }))) => true,
        Ok(Some(Err(error))) => is_missing(&error),
        Ok(None) | Err(_) => false,
    }
}

pub(super) async fn remove_volume(engine: &Engine, name: &str) -> Result<(), BackendError> {
    match engine.docker.remove_volume(name, None::<RemoveVolumeOptions>).await {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(fault(format!("volume `{name}` cannot be removed"), &error)),
    }
}

/// Says whether the container of that name belongs to `instance`; a missing one does.
pub(super) async fn is_ours(
    engine: &Engine,
    name: &str,
    instance: &str,
) -> Result<bool, BackendError> {
    match engine.docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => {
            let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
            Ok(labels.get(labels::INSTANCE).map(String::as_str) == Some(instance))
        }
        Err(error) if is_missing(&error) => Ok(true),
        Err(error) => Err(fault(format!("container `{name}` cannot be read"), &error)),
    }
}

/// Removes all of a run but what it keeps.
pub(super) async fn clean(engine: &Engine, run: &RunContext) -> Result<(), BackendError> {
    let id = run.run.to_string();
    let of_run = [(labels::INSTANCE, run.instance.as_str()), (labels::RUN, id.as_str())];
    engine.settled().await;
    let goes = |object: &Object| !(run.keep_layers && object.labels.contains_key(labels::KEEP));
    remove_all(engine, &of_run, goes).await.map(drop)
}

/// Removes what ended runs of an instance left; returns how many objects that were.
pub(super) async fn sweep(
    engine: &Engine,
    instance: &str,
    alive: &[RunId],
) -> Result<usize, BackendError> {
    let goes = |object: &Object| {
        let run = object.labels.get(labels::RUN).and_then(|run| run.parse::<RunId>().ok());
        let owner = object.labels.get(labels::OWNER).map(|owner| Owner::parse(owner));
        let over = match run {
            Some(run) if !alive.contains(&run) => owner != Some(Owner::Living),
            // Whoever goes on with a run begins what our helpers did anew.
            Some(_) => {
                let kind = object.labels.get(labels::KIND).map(String::as_str);
                owner == Some(Owner::Dead)
                    && object.what == What::Container
                    && kind == Some(Kind::Helper.text())
            }
            // Helpers that deliver are of no run; units and caches have no owner.
            None => owner == Some(Owner::Dead),
        };
        over && !object.labels.contains_key(labels::KEEP)
    };
    remove_all(engine, &[(labels::INSTANCE, instance)], goes).await
}

/// Removes the images that an instance built and nobody has named; returns how many.
pub(super) async fn remove_images(engine: &Engine, instance: &str) -> Result<usize, BackendError> {
    let of = [(labels::INSTANCE, instance), (labels::KIND, Kind::Image.text())];
    let mut filters = filter(&of);
    filters.insert("dangling".into(), vec!["true".to_owned()]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let listed = engine.docker.list_images(Some(options)).await;
    let mut removed = 0;
    for image in listed.map_err(|error| fault("images cannot be listed".to_owned(), &error))? {
        if !has_all(&image.labels, &of) {
            continue;
        }
        let options = None::<RemoveImageOptions>;
        match engine.docker.remove_image(&image.id, options, None).await {
            Ok(_) => removed += 1,
            // Gone meanwhile, or a container or another image needs it.
            Err(error) if matches!(status(&error), Some(404 | 409)) => {}
            Err(error) => {
                return Err(fault(format!("image `{}` cannot be removed", image.id), &error));
            }
        }
    }
    Ok(removed)
}

/// Removes what `goes` of the objects with these labels, containers first: they
/// hold the volumes and networks.
pub(super) async fn remove_all(
    engine: &Engine,
    of: &[(&str, &str)],
    goes: impl Fn(&Object) -> bool,
) -> Result<usize, BackendError> {
    let mut removed = 0;
    let mut troubles = Vec::new();
    for round in 0..ROUNDS {
        let mut objects = list(engine, of).await?;
        objects.retain(|object| goes(object));
        if objects.is_empty() {
            return Ok(removed);
        }
        troubles.clear();
        for what in [What::Container, What::Volume, What::Network] {
            let removals = objects.extract_if(.., |object| object.what == what).map(|object| {
                let engine = engine.clone();
                async move { remove(&engine, &object).await.map_err(|error| (object.id, error)) }
            });
            let removals: Vec<_> = removals.collect();
            let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
            while let Some(result) = removals.next().await {
                match result {
                    Ok(()) => removed += 1,
                    Err((id, error)) => troubles.push(format!("{id}: {}", text(&error))),
                }
            }
        }
        if troubles.is_empty() {
            return Ok(removed);
        }
        pause(round).await;
    }
    let message = format!("left behind: {}", troubles.join("; "));
    Err(BackendError::Infrastructure { part: "docker", message })
}

/// 50 ms at first, at most 3 s.
async fn pause(round: u32) {
    let time = Duration::from_millis(50 << round.min(6));
    tokio::time::sleep(time.min(Duration::from_secs(3))).await;
}

async fn remove(engine: &Engine, object: &Object) -> Result<(), Error> {
    let result = match object.what {
        What::Container => return try_remove_container(engine, &object.id).await,
        What::Volume => engine.docker.remove_volume(&object.id, None::<RemoveVolumeOptions>).await,
        What::Network => engine.docker.remove_network(&object.id).await,
    };
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        result => result,
    }
}

/// Says whether something has all of these labels. Asked here also of what an engine has
/// filtered: for volumes, Podman takes one of several labels for enough, and what it
/// listed besides would be removed with the rest.
pub(super) fn has_all(labels: &HashMap<String, String>, of: &[(&str, &str)]) -> bool {
    of.iter().all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
}

/// Lists containers, volumes and networks with all of these labels.
pub(super) async fn list(
    engine: &Engine,
    of: &[(&str, &str)],
) -> Result<Vec<Object>, BackendError> {
    let filters = filter(of);
    let docker = &engine.docker;
    let containers = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let (containers, volumes, networks) = tokio::try_join!(
        docker.list_containers(Some(containers)),
        engine.volumes.list_volumes(Some(volumes)),
        docker.list_networks(Some(networks)),
    )
    .map_err(|error| fault("the objects of this instance cannot be listed", &error))?;
    let containers = containers.into_iter().map(|found| Object {
        what: What::Container,
        id: found.id.unwrap_or_default(),
        labels: found.labels.unwrap_or_default(),
    });
    let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|found| Object {
        what: What::Volume,
        id: found.name,
        labels: found.labels,
    });
    let networks = networks.into_iter().map(|found| Object {
        what: What::Network,
        id: found.id.unwrap_or_default(),
        labels: found.labels.unwrap_or_default(),
    });
    let objects = containers.chain(volumes).chain(networks);
    Ok(objects.filter(|object| has_all(&object.labels, of)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_of_two_is_not_enough() {
        let of = [(labels::INSTANCE, "a"), (labels::RUN, "1")];
        let with = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            has_all(&pairs.collect(), &of)
        };
        assert!(with(&[(labels::INSTANCE, "a"), (labels::RUN, "1"), (labels::KEEP, "layer")]));
        assert!(!with(&[(labels::INSTANCE, "a")]));
        assert!(!with(&[(labels::INSTANCE, "b"), (labels::RUN, "1")]));
        assert!(!with(&[]));
    }
}
