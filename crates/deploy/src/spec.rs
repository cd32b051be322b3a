//! What is wanted: one release with its configuration, as units of one environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use event::ReleaseId;
use pipeline::{Duration, Expose, Health, Resources, RolloutOrder, Strategy, StrategyKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::suite::{CheckSettings, VerifyStep};
use crate::{EnvironmentKey, HostPlace, HostSettings};

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
    /// What is checked after each batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<VerifyStep>,
    #[serde(default, skip_serializing_if = "CheckSettings::is_default")]
    pub checks: CheckSettings,
    /// The hosts behind the slots, in their order, on a target that has some. They are the
    /// target's, as it was when the deployment began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPlace>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "UnitSettings::is_default")]
    pub unit: UnitSettings,
}

/// How a unit runs what it runs, beside its environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct UnitSettings {
    /// In place of the image's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Named ones: `name:/path`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Joined beside Shipline's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Ports of the host: `host:container`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// From TERM to KILL.
    pub stop_timeout: Duration,
    /// How long a unit that was replaced waits, stopped, for a way back.
    pub keep_warm: Duration,
    /// Of a release on hosts: how their service takes it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostSettings>,
}

impl Default for UnitSettings {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            resources: Resources::default(),
            volumes: Vec::new(),
            networks: Vec::new(),
            ports: Vec::new(),
            stop_timeout: Duration::from_secs(30),
            keep_warm: Duration::from_secs(600),
            hosts: None,
        }
    }
}

impl UnitSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the units run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Artifact {
    /// `repo@sha256:…`, pulled from a registry. `credential` names the registry entry.
    Digest { reference: String, credential: Option<String> },
    /// `sha256:…` of an image's configuration, built on the target's own engine.
    ImageId(String),
    /// A program, or a `.tar`, `.tar.gz` or `.tar.zst` of what a release is made
    /// of, in a file of the target's machine.
    File { path: PathBuf, sha256: String },
    /// Nothing is brought there: the units run what the machine has.
    Nothing,
}

impl Spec {
    /// Returns the hash of what a unit is made from. Strategy and replica count
    /// are not part of it: changing them changes no unit.
    pub fn unit_hash(&self) -> String {
        let mut unit = serde_json::json!({
            "artifact": self.artifact, "release": self.release, "expose": self.expose,
            "health": self.health, "env": self.env,
        });
        // How long a unit is kept after it served makes no other unit of it.
        let settings =
            UnitSettings { keep_warm: UnitSettings::default().keep_warm, ..self.unit.clone() };
        // Units that were made before there were settings keep their hash.
        if !settings.is_default() {
            unit["unit"] = serde_json::json!(settings);
        }
        let overlays = self.overlays();
        if !overlays.is_empty() {
            unit["overlays"] = serde_json::json!(overlays);
        }
        hex::encode(&Sha256::digest(unit.to_string().as_bytes())[..16])
    }

    /// Returns a short name of everything but what is run and how often: of two
    /// deployments with the same one, the configuration was the same.
    pub fn configuration(&self) -> String {
        let mut spec = serde_json::json!(self);
        for key in ["release", "artifact", "replicas", "hosts"] {
            spec[key] = serde_json::Value::Null;
        }
        hex::encode(&Sha256::digest(spec.to_string().as_bytes())[..4])
    }

    /// Returns it without the checks that were asked for with one deployment only.
    #[must_use]
    pub(crate) fn lasting(mut self) -> Self {
        self.verify.retain(|step| !step.is_once());
        self
    }

    /// Whether the old unit of a slot stops before its new one starts.
    pub fn stops_first(&self) -> bool {
        let Strategy { kind, order, .. } = &self.strategy;
        *kind == StrategyKind::Recreate || *order == RolloutOrder::StopFirst
    }

    /// The environment it is for.
    pub fn key(&self) -> EnvironmentKey {
        EnvironmentKey { project: self.project.clone(), environment: self.environment.clone() }
    }

    /// The name of the route on the proxy.
    pub fn route(&self) -> String {
        format!("{}-{}", self.project, self.environment)
    }
}
