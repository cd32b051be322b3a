//! What a deploy stage wants to run, and how it is rolled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ImageSource, Resources, Strategy};
use crate::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeployWork {
    pub environment: String,
    /// `None` where the target takes no image: hosts, or manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
    pub replicas: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    /// `host:container`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Of the deployed service.
    #[serde(default, skip_serializing_if = "Resources::is_empty", rename = "service-resources")]
    pub resources: Resources,
    /// `name:/path`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// From TERM to KILL of an old unit.
    #[serde(default = "default_stop_timeout", skip_serializing_if = "is_default_stop_timeout")]
    pub stop_timeout: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verify>,
    /// How long the old units wait, stopped from traffic.
    #[serde(default = "default_keep_warm", skip_serializing_if = "is_default_keep_warm")]
    pub keep_warm: Duration,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_mutable_tag: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesDeploy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostsDeploy>,
    /// Of the deployed service.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `env` of the stage itself: for the commands of `verify`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verify_env: BTreeMap<String, String>,
}

impl Default for DeployWork {
    fn default() -> Self {
        Self {
            environment: String::new(),
            image: None,
            replicas: 1,
            expose: None,
            ports: Vec::new(),
            command: Vec::new(),
            resources: Resources::default(),
            volumes: Vec::new(),
            networks: Vec::new(),
            stop_timeout: default_stop_timeout(),
            health: None,
            strategy: Strategy::default(),
            canary: None,
            verify: Vec::new(),
            keep_warm: default_keep_warm(),
            allow_mutable_tag: false,
            kubernetes: None,
            hosts: None,
            env: BTreeMap::new(),
            verify_env: BTreeMap::new(),
        }
    }
}

pub(crate) const fn default_stop_timeout() -> Duration {
    Duration::from_secs(30)
}

fn is_default_stop_timeout(value: &Duration) -> bool {
    *value == default_stop_timeout()
}

pub(crate) const fn default_keep_warm() -> Duration {
    Duration::from_secs(600)
}

fn is_default_keep_warm(value: &Duration) -> bool {
    *value == default_keep_warm()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expose {
    pub port: u16,
    /// `*` matches every host.
    pub host: String,
    /// A path prefix; `/` matches every path.
    pub path: String,
}

/// When a unit counts as healthy: `successes` answers in a row before `deadline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    #[serde(flatten)]
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    pub successes: u32,
    pub failures: u32,
    pub start_period: Duration,
    pub deadline: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A GET answered with 2xx or 3xx.
    Http { path: String, port: u16 },
    /// A connection that is accepted.
    Tcp(u16),
    /// A program in the unit, with its arguments, that ends with 0.
    Cmd(Vec<String>),
}

/// Traffic that moves in steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Canary {
    /// What decides who sees the new release.
    #[serde(default)]
    pub by: CanaryBy,
    pub steps: Vec<CanaryStep>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u32>,
    #[serde(default)]
    pub on_inconclusive: Inconclusive,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryBy {
    /// A share of the traffic.
    #[default]
    Weight,
    /// Only requests with a header.
    Header,
    /// The provider tag of Dubbo.
    Tag,
    /// Hosts or clusters with a label.
    Label,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Share of the traffic in percent, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// `region=north`, with `by: label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Duration>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verify>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
}

/// A measured value and the threshold it must keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    pub query: String,
    /// A number as it is written, `1%` or `400`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inconclusive {
    Extend,
    Pass,
    #[default]
    Fail,
}

/// A check of what was rolled out, after each batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    #[serde(flatten)]
    pub check: VerifyCheck,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VerifyCheck {
    /// A suite by name.
    Suite {
        suite: String,
    },
    Http(HttpCheck),
    Run(RunCheck),
}

/// A GET, and what its answer must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// An address, or the path that each unit is asked for.
    pub http: String,
    /// Good statuses; none means 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// Text that the body holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Values of the body by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
    /// What the whole answer may take to be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
}

/// Commands in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCheck {
    pub image: String,
    pub run: Vec<String>,
    #[serde(default, skip_serializing_if = "Per::is_batch")]
    pub per: Per,
}

/// What a check is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Once, for all units of a batch.
    #[default]
    Batch,
    /// For each new unit by itself.
    Unit,
}

impl Per {
    const fn is_batch(&self) -> bool {
        matches!(self, Self::Batch)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KubernetesDeploy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// The container whose image is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_image: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostsDeploy {
    /// Folder of the releases on every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Globs of the workspace that make the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifact: Vec<String>,
    /// How the service takes over the new release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}
