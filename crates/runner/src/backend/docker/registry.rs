//! What a registry itself says about an image.

use reqwest::Method;
use reqwest::header::ACCEPT;
use sha2::{Digest, Sha256};

use super::registry_client::{Header, RegistryClient, read, said};
use super::retry::Failure;
use crate::backend::BackendError;

const MANIFESTS: Header = (
    ACCEPT,
    "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
);

/// Asks the registry itself which manifest a tag points to. `refusal` says who asks for what.
pub(super) async fn manifest_digest(
    client: &RegistryClient<'_>,
    repository: &str,
    tag: &str,
    refusal: impl Fn(&str) -> BackendError,
) -> Result<String, Failure> {
    let path = format!("v2/{repository}/manifests/{tag}");
    let head = client.ask(Method::HEAD, &path, &[MANIFESTS]).await?;
    if head.status().is_success() {
        let digest = head.headers().get("docker-content-digest");
        if let Some(digest) = digest.and_then(|value| value.to_str().ok()) {
            return Ok(digest.to_owned());
        }
    }
    // Old registries say no digest: it is the hash of what they return. And those that
    // refuse say why only to this.
    let manifest = client.ask(Method::GET, &path, &[MANIFESTS]).await?;
    if !manifest.status().is_success() {
        return Err(refusal(&said(manifest).await).into());
    }
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(read(manifest).await?))))
}
