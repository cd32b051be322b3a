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
use crate::{Artifact, Check, EnvironmentKey, Finding, KeepSet, OpOutcome, Spec, TargetError};

/// The user name under which Docker keeps a token in place of a password.
const TOKEN_USER: &str = "<token>";

impl DockerTarget {
    /// Finds what would make [`DockerTarget::fetch`] fail.
    pub(in crate::target) async fn check_image(
        &self,
        spec: &Spec,
    ) -> Result<Option<Finding>, TargetError> {
        if let Artifact::File { .. } | Artifact::Nothing = &spec.artifact {
            return Ok(Some(Check::Artifact.finding(
                "a `docker` target deploys images, and this is none",
                "name a `build` or `push` stage, or a reference, in `image`",
            )));
        }
        if self.is_here(&spec.artifact).await? {
            return Ok(None);
        }
        let Artifact::Digest { reference, .. } = &spec.artifact else {
            let image = super::create::image_of(&spec.artifact);
            return Ok(Some(Check::Artifact.finding(
                format!("image `{image}` is not on the target's engine, and without a push it can be nowhere else"),
                "build it there, or push it in a stage and deploy that one",
            )));
        };
        self.check_registry(reference, &spec.artifact).await
    }

    /// Finds what keeps an image from being pulled from its registry.
    pub(in crate::target) async fn check_registry(
        &self,
        reference: &str,
        artifact: &Artifact,
    ) -> Result<Option<Finding>, TargetError> {
        let asking = self.docker.inspect_registry_image(reference, self.credentials(artifact));
        match call(CALL, "ask the registry", asking).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_refusal_of_registry() => Ok(Some(Check::Artifact.finding(
                format!("image `{reference}` cannot be pulled: {}", error.message),
                "look whether it was pushed, and whether the registry's password still holds",
            ))),
            Err(error) => Err(registry_trouble(reference, &error)),
        }
    }

    /// Asks the registry what a reference means now. One that only this engine knows,
    /// since it was built there, means the image it has.
    pub(in crate::target) async fn resolve_image(
        &self,
        reference: &str,
    ) -> Result<Artifact, TargetError> {
        if reference.contains('@') {
            let reference = reference.to_owned();
            return Ok(Artifact::Digest { reference, credential: None });
        }
        let host = reference.split('/').next();
        let login = self.registries.iter().find(|login| Some(login.host.as_str()) == host);
        let credential = login.map(|login| login.name.clone());
        let named =
            Artifact::Digest { reference: reference.to_owned(), credential: credential.clone() };
        let asking = self.docker.inspect_registry_image(reference, self.credentials(&named));
        let refusal = match call(CALL, "ask the registry", asking).await {
            Ok(found) => {
                let digest = found.descriptor.digest.unwrap_or_default();
                let reference = format!("{}@{digest}", repository_of(reference));
                return Ok(Artifact::Digest { reference, credential });
            }
            Err(error) if error.is_refusal_of_registry() => error,
            Err(error) => return Err(registry_trouble(reference, &error)),
        };
        match call(CALL, "inspect image", self.docker.inspect_image(reference)).await {
            Ok(found) => Ok(Artifact::ImageId(found.id.unwrap_or_default())),
            Err(error) if error.status == Some(404) => Err(TargetError::Refused {
                message: format!("image `{reference}` cannot be resolved: {}", refusal.message),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Gets the image onto the engine, where it is not there yet.
    pub(super) async fn bring(&self, artifact: &Artifact) -> Result<(), TargetError> {
        if self.is_here(artifact).await? {
            return Ok(());
        }
        self.pull(artifact).await
    }

    /// Gets the image onto the engine and pins it.
    pub(in crate::target) async fn fetch(
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
            .repo(&pin_repository(&self.instance, &spec.project))
            .tag(&spec.release.to_string())
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

    pub(super) async fn has_image(&self, artifact: &Artifact) -> Result<bool, TargetError> {
        match artifact {
            Artifact::File { .. } | Artifact::Nothing => Ok(true),
            _ => self.is_here(artifact).await,
        }
    }

    /// Whether the engine has the image, under the very digest that is wanted.
    pub(in crate::target) async fn is_here(
        &self,
        artifact: &Artifact,
    ) -> Result<bool, TargetError> {
        let image = super::create::image_of(artifact);
        match call(CALL, "inspect image", self.docker.inspect_image(image)).await {
            Ok(found) => Ok(match artifact {
                Artifact::ImageId(id) => found.id.as_deref() == Some(id),
                Artifact::File { .. } | Artifact::Nothing => false,
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

    pub(in crate::target) fn credentials(&self, artifact: &Artifact) -> Option<DockerCredentials> {
        let Artifact::Digest { reference, credential } = artifact else { return None };
        let named = self.registries.iter().find(|login| Some(&login.name) == credential.as_ref());
        let host = reference.split('/').next();
        let login = named
            .or_else(|| self.registries.iter().find(|login| Some(login.host.as_str()) == host))?;
        if login.username == TOKEN_USER {
            return Some(DockerCredentials {
                identitytoken: Some(login.password.clone()),
                serveraddress: Some(login.host.clone()),
                ..Default::default()
            });
        }
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
        self.unpin_but(&key.project, &KeepSet::default()).await.map(drop)
    }

    /// Takes away the pins of a project's releases, but for what `keep` has and what
    /// units are made of. Returns their names.
    pub(super) async fn unpin_but(
        &self,
        project: &str,
        keep: &KeepSet,
    ) -> Result<Vec<String>, TargetError> {
        let used = self.releases_of(project).await?;
        self.unpin(project, keep, &used).await
    }

    /// As [`DockerTarget::unpin_but`], for a target whose units are no containers of ours:
    /// it says itself which releases they are made of.
    pub(in crate::target) async fn unpin(
        &self,
        project: &str,
        keep: &KeepSet,
        used: &[String],
    ) -> Result<Vec<String>, TargetError> {
        let repository = pin_repository(&self.instance, project);
        let used: BTreeSet<ReleaseId> =
            used.iter().filter_map(|release| release.parse().ok()).collect();
        let mut removed = Vec::new();
        let filters = HashMap::from([("reference", vec![repository.clone()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = call(CALL, "list pins", self.docker.list_images(Some(options))).await?;
        let pins = images.into_iter().flat_map(|image| image.repo_tags);
        // The same image may have names of other people and other projects.
        let may_go = |pin: &String| {
            let tag = pin.strip_prefix(&repository).and_then(|tag| tag.strip_prefix(':'));
            let release = tag.and_then(|tag| tag.parse::<ReleaseId>().ok());
            release.is_some_and(|release| !used.contains(&release) && !keep.keeps(release))
        };
        for pin in pins.filter(may_go) {
            let options = RemoveImageOptionsBuilder::new().build();
            match call(CALL, "unpin", self.docker.remove_image(&pin, Some(options), None)).await {
                Ok(_) => removed.push(pin),
                // 409: a container still runs it, so it is not unused after all.
                Err(error) if matches!(error.status, Some(404 | 409)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }
}

/// Takes the tag off a reference; a port of the registry's host is no tag.
fn repository_of(reference: &str) -> &str {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => reference,
    }
}

/// Two instances may have a project of the same name on one engine, and know nothing of
/// the releases the other one goes back to: each has pins of its own.
pub(super) fn pin_repository(instance: &str, project: &str) -> String {
    format!("shipline-keep/{}/{project}", instance.to_ascii_lowercase())
}

fn registry_trouble(reference: &str, error: &CallError) -> TargetError {
    TargetError::Infrastructure {
        part: "registry".to_owned(),
        message: format!("image `{reference}` cannot be pulled: {}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_reference_without_its_tag() {
        assert_eq!(repository_of("localhost:5000/orders:1.2"), "localhost:5000/orders");
        assert_eq!(repository_of("localhost:5000/orders"), "localhost:5000/orders");
        assert_eq!(repository_of("nginx:1"), "nginx");
    }
}
