//! Images: fetched by digest, pinned so that nobody's prune takes them.

use std::collections::{BTreeSet, HashMap};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use event::ReleaseId;
use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::call::{CallError, call, failed};
use super::{CALL, DockerTarget, done};
use crate::{Artifact, EnvironmentKey, OpOutcome, Spec, TargetError};

impl DockerTarget {
    /// Finds what would make [`DockerTarget::fetch`] fail.
    pub(super) async fn check_image(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        if self.is_here(&spec.artifact).await? {
            return Ok(None);
        }
        let Artifact::Digest { reference, .. } = &spec.artifact else {
            let image = super::create::image_of(&spec.artifact);
            return Ok(Some(format!(
                "image `{image}` is not on the target's engine, and without a push it can be nowhere else"
            )));
        };
        let credentials = self.credentials(&spec.artifact);
        let asking = self.docker.inspect_registry_image(reference, credentials);
        match call(CALL, "ask the registry", asking).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_refusal_of_registry() => {
                Ok(Some(format!("image `{reference}` cannot be pulled: {}", error.message)))
            }
            Err(error) => Err(registry_trouble(reference, &error)),
        }
    }

    /// Gets the image onto the engine and pins it.
    pub(super) async fn fetch(
        &self,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let mut detail = "is here already";
        if !self.is_here(&spec.artifact).await? {
            tokio::select! {
                pulled = self.pull(&spec.artifact) => pulled?,
                // The engine forgets a pull nobody listens to.
                () = cancel.cancelled() => return Ok(done("cancelled")),
            }
            detail = "pulled";
        }
        let options = TagImageOptionsBuilder::new()
            .repo(&pin_repository(&spec.project))
            .tag(&spec.release.short())
            .build();
        let image = super::create::image_of(&spec.artifact);
        call(CALL, "pin", self.docker.tag_image(image, Some(options))).await?;
        Ok(done(detail))
    }

    async fn pull(&self, artifact: &Artifact) -> Result<(), TargetError> {
        let Artifact::Digest { reference, .. } = artifact else {
            let message =
                format!("image `{}` is not on the engine", super::create::image_of(artifact));
            return Err(TargetError::Refused { message });
        };
        let options = CreateImageOptionsBuilder::new().from_image(reference).build();
        let pulling = self.docker.create_image(Some(options), None, self.credentials(artifact));
        // Bounded by the deadline of the op: an image may be large.
        let pulled = pulling.try_for_each(|_| async { Ok(()) }).await;
        if let Err(error) = pulled {
            let error = failed("pull", error);
            if error.is_refusal_of_registry() {
                let message = format!("image `{reference}` cannot be pulled: {}", error.message);
                return Err(TargetError::Refused { message });
            }
            return Err(registry_trouble(reference, &error));
        }
        if !self.is_here(artifact).await? {
            let message =
                format!("image `{reference}` was pulled, but the engine does not show its digest");
            return Err(TargetError::Infrastructure { part: "registry".to_owned(), message });
        }
        Ok(())
    }

    /// Whether the engine has the image, under the very digest that is wanted.
    async fn is_here(&self, artifact: &Artifact) -> Result<bool, TargetError> {
        let image = super::create::image_of(artifact);
        match call(CALL, "inspect image", self.docker.inspect_image(image)).await {
            Ok(found) => Ok(match artifact {
                Artifact::ImageId(id) => found.id.as_deref() == Some(id),
                Artifact::Digest { reference, .. } => {
                    let digest = reference.rsplit_once('@').map(|(_, digest)| digest);
                    let digests = found.repo_digests.unwrap_or_default();
                    digests
                        .iter()
                        .any(|known| known.rsplit_once('@').map(|(_, known)| known) == digest)
                }
            }),
            Err(error) if error.status == Some(404) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn credentials(&self, artifact: &Artifact) -> Option<DockerCredentials> {
        let Artifact::Digest { reference, credential } = artifact else { return None };
        let named = self.registries.iter().find(|login| Some(&login.name) == credential.as_ref());
        let host = reference.split('/').next();
        let login = named
            .or_else(|| self.registries.iter().find(|login| Some(login.host.as_str()) == host))?;
        Some(DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.clone()),
            serveraddress: Some(login.host.clone()),
            ..Default::default()
        })
    }

    /// Takes away the pins of a project's releases that no unit is made of any more,
    /// those of deployments that failed among them.
    pub(super) async fn unpin_unused(&self, key: &EnvironmentKey) -> Result<(), TargetError> {
        let used = self.releases_of(&key.project).await?;
        let repository = pin_repository(&key.project);
        let used: BTreeSet<String> = used
            .iter()
            .filter_map(|release| release.parse::<ReleaseId>().ok())
            .map(|release| format!("{repository}:{}", release.short()))
            .collect();
        let filters = HashMap::from([("reference", vec![repository.clone()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = call(CALL, "list pins", self.docker.list_images(Some(options))).await?;
        let pins = images.into_iter().flat_map(|image| image.repo_tags);
        // The same image may have names of other people and other projects.
        let of_project =
            |pin: &String| pin.strip_prefix(&repository).is_some_and(|tag| tag.starts_with(':'));
        for pin in pins.filter(|pin| of_project(pin) && !used.contains(pin)) {
            let options = RemoveImageOptionsBuilder::new().build();
            match call(CALL, "unpin", self.docker.remove_image(&pin, Some(options), None)).await {
                Ok(_) => {}
                // 409: a container still runs it, so it is not unused after all.
                Err(error) if matches!(error.status, Some(404 | 409)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

pub(super) fn pin_repository(project: &str) -> String {
    format!("shipline-keep/{project}")
}

fn registry_trouble(reference: &str, error: &CallError) -> TargetError {
    TargetError::Infrastructure {
        part: "registry".to_owned(),
        message: format!("image `{reference}` cannot be pulled: {}", error.message),
    }
}
