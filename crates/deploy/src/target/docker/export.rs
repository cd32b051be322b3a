//! The files of an image, for units that are not containers.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, ImageConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use bytes::Bytes;
use event::DeploymentId;
use futures_util::{Stream, StreamExt};

use super::call::call;
use super::create::image_of;
use super::unit::{INSTANCE, KIND};
use super::{CALL, DockerTarget};
use crate::{Artifact, TargetError, UnitId};

/// A container that never runs: an engine gives out the files of containers only.
fn container(deployment: DeploymentId) -> UnitId {
    UnitId(format!("shipline-place-{deployment}"))
}

impl DockerTarget {
    /// Pulls the image if need be, and returns its configuration and its files as an
    /// archive. [`DockerTarget::end_export`] takes away what that needed.
    pub(in crate::target) async fn export(
        &self,
        artifact: &Artifact,
        deployment: DeploymentId,
    ) -> Result<
        (ImageConfig, impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Send + use<>),
        TargetError,
    > {
        self.bring(artifact).await?;
        let image = image_of(artifact);
        let found = call(CALL, "inspect image", self.docker.inspect_image(image)).await?;
        let name = container(deployment);
        // One of a former try.
        self.remove_container(&name).await?;
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // An image without a command is no container without one.
            cmd: Some(vec!["none".to_owned()]),
            labels: Some(HashMap::from([
                (INSTANCE.to_owned(), self.instance.clone()),
                (KIND.to_owned(), "place".to_owned()),
            ])),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name.0).build();
        call(CALL, "create", self.docker.create_container(Some(options), body)).await?;
        let files = files_of(self.docker.clone(), name.0);
        Ok((found.config.unwrap_or_default(), files))
    }

    pub(in crate::target) async fn end_export(
        &self,
        deployment: DeploymentId,
    ) -> Result<(), TargetError> {
        self.remove_container(&container(deployment)).await
    }
}

/// Ends when its reader is dropped.
fn files_of(
    docker: bollard::Docker,
    name: String,
) -> impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Send + use<> {
    let (pieces, told) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let mut files = docker.export_container(&name);
        while let Some(piece) = files.next().await {
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    futures_util::stream::unfold(told, |mut told| async move {
        told.recv().await.map(|piece| (piece, told))
    })
}
