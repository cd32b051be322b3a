//! What is wanted: one release with its configuration, as units of one environment.

use std::collections::BTreeMap;

use event::ReleaseId;
use pipeline::{Expose, Health, Strategy};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The complete rendered specification of an environment. It is stored with the
/// deployment, so that a rollback restores release and configuration together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spec {
    pub project: String,
    pub environment: String,
    pub release: ReleaseId,
    pub artifact: Artifact,
    pub replicas: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// What the units run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Artifact {
    /// `repo@sha256:…`, pulled from a registry. `credential` names the registry entry.
    Digest { reference: String, credential: Option<String> },
    /// `sha256:…` of an image's configuration, built on the target's own engine.
    ImageId(String),
}

impl Spec {
    /// Returns the hash of what a unit is made from. Strategy and replica count
    /// are not part of it: changing them changes no unit.
    pub fn unit_hash(&self) -> String {
        let unit = serde_json::json!({
            "artifact": self.artifact, "release": self.release, "expose": self.expose,
            "health": self.health, "env": self.env,
        });
        hex::encode(&Sha256::digest(unit.to_string().as_bytes())[..16])
    }

    /// The name of the route on the proxy.
    pub fn route(&self) -> String {
        format!("{}-{}", self.project, self.environment)
    }
}
