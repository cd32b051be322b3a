//! `shipline-init` on an engine: delivered once per engine and version.
//!
//! A volume holds the binary, mounted read-only into every stage; an image of
//! nothing but the binary is what our own helpers run on, so that no registry
//! is needed. Both are named after the hash of the binary.

use std::sync::LazyLock;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListImagesOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::archive;
use super::clean::{has_all, remove_container, remove_volume};
use super::container::mount;
use super::engine::{Engine, fault, is_missing};
use super::labels::{self, Kind, Labels, filter};
use crate::backend::BackendError;

static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shipline-init"));

/// Where stages see it.
pub(super) const DIRECTORY: &str = "/.shipline";
pub(super) const IN_STAGE: &str = "/.shipline/shipline-init";
pub(super) const IN_HELPER: &str = "/shipline-init";

const REPOSITORY: &str = "shipline-init";
/// Of this machine, and not of the default registry: Podman looks for a name without
/// a host there, and makes one here when it imports.
const IMAGES: &str = "localhost/shipline-init";

static HASH: LazyLock<String> = LazyLock::new(|| hash(BINARY));

fn hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..6])
}

pub(super) fn image() -> String {
    format!("{IMAGES}:{}", *HASH)
}

pub(super) fn volume() -> String {
    format!("{REPOSITORY}-{}", *HASH)
}

/// Whether this process has seen it on the engine.
#[derive(Default)]
pub(super) struct Delivery {
    done: tokio::sync::Mutex<bool>,
}

impl Delivery {
    pub(super) async fn ensure(&self, engine: &Engine, instance: &str) -> Result<(), BackendError> {
        let mut done = self.done.lock().await;
        if !*done {
            deliver(engine, instance).await?;
            *done = true;
        }
        Ok(())
    }

    /// Somebody took it away: `docker volume prune` does.
    pub(super) async fn forget(&self) {
        *self.done.lock().await = false;
    }
}

/// The image carries a second tag once the volume is full, named after the
/// time of the volume: a volume made anew is not taken for a full one.
async fn deliver(engine: &Engine, instance: &str) -> Result<(), BackendError> {
    if let Err(error) = engine.docker.inspect_image(&image()).await {
        if !is_missing(&error) {
            return Err(fault("the engine's images cannot be read", &error));
        }
        import(engine, instance).await?;
    }
    match engine.volumes.inspect_volume(&volume()).await {
        // The engine makes a volume of the name when a container wants it: an empty one.
        Ok(found) if !found.labels.contains_key(labels::KIND) => {
            drop(remove_volume(engine, &volume()).await);
            create_volume(engine, instance).await?;
        }
        Ok(found) => {
            let ready = engine.docker.inspect_image(&ready_tag(&found)).await;
            if ready.is_ok() {
                return Ok(());
            }
        }
        Err(error) if is_missing(&error) => create_volume(engine, instance).await?,
        Err(error) => return Err(fault("the engine's volumes cannot be read", &error)),
    }
    fill(engine, instance).await?;
    let filled = engine.volumes.inspect_volume(&volume()).await;
    let filled = filled.map_err(|error| fault("the volume of shipline-init is gone", &error))?;
    let ready = ready_tag(&filled);
    let (repository, tag) = ready.split_once(':').expect("the tag was put together with a colon");
    let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
    let tagged = engine.docker.tag_image(&image(), Some(options)).await;
    tagged.map_err(|error| fault("shipline-init cannot be marked as delivered", &error))?;
    forget_former(engine, &ready).await;
    Ok(())
}

async fn create_volume(engine: &Engine, instance: &str) -> Result<(), BackendError> {
    let request = VolumeCreateRequest {
        name: Some(volume()),
        labels: Some(labels(instance).map()),
        ..Default::default()
    };
    let created = engine.create_volume(request).await;
    created.map(drop).map_err(|error| fault("the volume of shipline-init cannot be made", &error))
}

/// Says whether the volume of that name is one of these, of any version.
pub(super) fn is_delivered(volume: &str) -> bool {
    volume.strip_prefix(REPOSITORY).is_some_and(|rest| rest.starts_with('-'))
}

/// Says it of the tag of an image; former versions had no host in it.
fn is_delivered_image(tag: &str) -> bool {
    let name = tag.strip_prefix("localhost/").unwrap_or(tag);
    name.strip_prefix(REPOSITORY).is_some_and(|rest| rest.starts_with(':'))
}

/// Takes what an instance delivered, of any version, off the engine; what somebody
/// uses stays. Others that want it bring it again.
pub(super) async fn take_away(engine: &Engine, instance: &str) -> Result<(), BackendError> {
    let delivered = [(labels::INSTANCE, instance), (labels::KIND, Kind::Helper.text())];
    let volumes = ListVolumesOptionsBuilder::default().filters(&filter(&delivered)).build();
    let images = filter(&[(labels::INSTANCE, instance)]);
    let images = ListImagesOptionsBuilder::default().filters(&images).build();
    let (volumes, images) = tokio::try_join!(
        engine.volumes.list_volumes(Some(volumes)),
        engine.docker.list_images(Some(images)),
    )
    .map_err(|error| fault("what was delivered cannot be listed", &error))?;
    for volume in volumes.volumes.unwrap_or_default() {
        if is_delivered(&volume.name) && has_all(&volume.labels, &delivered) {
            drop(remove_volume(engine, &volume.name).await);
        }
    }
    for tag in images.into_iter().flat_map(|image| image.repo_tags) {
        if is_delivered_image(&tag) {
            drop(engine.docker.remove_image(&tag, None::<RemoveImageOptions>, None).await);
        }
    }
    Ok(())
}

/// Takes away the marks of volumes that are gone; one that stays does no harm.
async fn forget_former(engine: &Engine, ready: &str) {
    let Ok(found) = engine.docker.inspect_image(&image()).await else { return };
    let marks = found.repo_tags.unwrap_or_default();
    let former = |tag: &&String| tag.starts_with(&format!("{}-", image())) && *tag != ready;
    for mark in marks.iter().filter(former) {
        drop(engine.docker.remove_image(mark, None::<RemoveImageOptions>, None).await);
    }
}

fn labels(instance: &str) -> Labels {
    // It belongs to the engine: other instances use it too, so no clean-up of runs takes it.
    Labels::new(instance, Kind::Helper).with(labels::KEEP, "cache")
}

fn ready_tag(volume: &bollard::models::Volume) -> String {
    let time = volume.created_at.map(|time| time.to_rfc3339()).unwrap_or_default();
    format!("{}-{}", image(), hash(time.as_bytes()))
}

/// Makes an image of the binary alone.
pub(super) async fn import(engine: &Engine, instance: &str) -> Result<(), BackendError> {
    // Podman overlooks a tag that comes apart from the name, and takes all changes for
    // one: there is but one label, whose it is.
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(&image())
        .changes(vec![format!("LABEL {}={instance}", labels::INSTANCE)])
        .build();
    let (body, writing) =
        archive::write(|builder| archive::append(builder, "shipline-init", 0o755, BINARY));
    let body = bollard::body_try_stream(body);
    let importing = engine.patient.create_image(Some(options), Some(body), None);
    let (imported, _) = tokio::join!(importing.try_collect::<Vec<_>>(), writing);
    imported.map(drop).map_err(|error| fault("shipline-init cannot be imported", &error))
}

/// Puts the binary into the volume, through a container that never starts.
async fn fill(engine: &Engine, instance: &str) -> Result<(), BackendError> {
    let name = format!("{REPOSITORY}-fill-{}", uuid::Uuid::now_v7().simple());
    let container = ContainerCreateBody {
        image: Some(image()),
        cmd: Some(vec![IN_HELPER.to_owned()]),
        labels: Some(Labels::new(instance, Kind::Helper).with(labels::OWNER, &engine.owner).map()),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount(volume(), DIRECTORY, false)]),
            network_mode: Some("none".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let created = engine.create_container(Some(options), container).await;
    created.map_err(|error| fault("a helper cannot be made", &error))?;
    let (body, writing) =
        archive::write(|builder| archive::append(builder, "shipline-init", 0o755, BINARY));
    let options = UploadToContainerOptionsBuilder::default().path(DIRECTORY).build();
    let body = bollard::body_try_stream(body);
    let uploading = engine.patient.upload_to_container(&name, Some(options), body);
    let (uploaded, _) = tokio::join!(uploading, writing);
    // In any case, and not only as long as somebody waits for the delivery.
    let removed = tokio::time::timeout(Duration::from_secs(30), remove_container(engine, &name));
    drop(removed.await);
    uploaded.map_err(|error| fault("shipline-init cannot be delivered", &error))
}
