//! What a deploy stage wants to run, and how it is rolled.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ImageSource, Resources};
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

/// How the units of an environment are rolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Strategy {
    #[serde(default, skip_serializing_if = "StrategyKind::is_rolling")]
    pub kind: StrategyKind,
    #[serde(default, skip_serializing_if = "RolloutOrder::is_start_first")]
    pub order: RolloutOrder,
    /// Units changed together before the next verification.
    pub batch: BatchSize,
    /// In place of equal batches: units beyond those already done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchSize>,
    /// Groups of hosts, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Units at once within a batch; `None` is the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// `None`: 0 for start-first, 1 for stop-first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<BatchSize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<BatchSize>,
    /// Distinct failed units over the whole deployment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tolerate: u32,
    /// How long a batch is watched before it is called good.
    pub bake: Duration,
    /// How long requests in flight may take before they are cut.
    pub drain: Duration,
    #[serde(
        default = "default_drain_websockets",
        skip_serializing_if = "is_default_drain_websockets"
    )]
    pub drain_websockets: Duration,
    #[serde(default, skip_serializing_if = "OnFailure::is_rollback")]
    pub on_failure: OnFailure,
    #[serde(
        default = "default_rollback_deadline",
        skip_serializing_if = "is_default_rollback_deadline"
    )]
    pub rollback_deadline: Duration,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

const fn default_drain_websockets() -> Duration {
    Duration::from_secs(300)
}

fn is_default_drain_websockets(value: &Duration) -> bool {
    *value == default_drain_websockets()
}

const fn default_rollback_deadline() -> Duration {
    Duration::from_secs(300)
}

fn is_default_rollback_deadline(value: &Duration) -> bool {
    *value == default_rollback_deadline()
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            kind: StrategyKind::Rolling,
            order: RolloutOrder::StartFirst,
            batch: BatchSize::Units(1),
            batches: Vec::new(),
            groups: Vec::new(),
            parallel: None,
            max_unavailable: None,
            max_surge: None,
            tolerate: 0,
            bake: Duration::from_secs(0),
            drain: Duration::from_secs(30),
            drain_websockets: default_drain_websockets(),
            on_failure: OnFailure::Rollback,
            rollback_deadline: default_rollback_deadline(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyKind {
    #[default]
    Rolling,
    /// All down, then all up.
    Recreate,
}

impl StrategyKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_rolling(&self) -> bool {
        matches!(self, Self::Rolling)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    #[default]
    StartFirst,
    StopFirst,
}

impl RolloutOrder {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_start_first(&self) -> bool {
        matches!(self, Self::StartFirst)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    #[default]
    Rollback,
    Stop,
    Hold,
}

impl OnFailure {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_rollback(&self) -> bool {
        matches!(self, Self::Rollback)
    }
}

/// A number of units, or a share of all of them: `2`, `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WrittenSize", try_from = "WrittenSize")]
pub enum BatchSize {
    Units(u32),
    Percent(u32),
}

impl BatchSize {
    /// Returns how many of `all` units it is; a share is rounded up, so that a
    /// batch of some units is never one of none.
    pub const fn of(self, all: u32) -> u32 {
        match self {
            Self::Units(units) => units,
            Self::Percent(percent) => {
                // At most 10,000 units of at most 100 percent.
                (all as u64 * percent as u64).div_ceil(100) as u32
            }
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => write!(f, "{units}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A size as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenSize {
    Units(u32),
    Share(String),
}

impl From<BatchSize> for WrittenSize {
    fn from(size: BatchSize) -> Self {
        match size {
            BatchSize::Units(units) => Self::Units(units),
            BatchSize::Percent(_) => Self::Share(size.to_string()),
        }
    }
}

impl TryFrom<WrittenSize> for BatchSize {
    type Error = String;

    fn try_from(written: WrittenSize) -> Result<Self, String> {
        match written {
            WrittenSize::Units(units) => Ok(Self::Units(units)),
            WrittenSize::Share(text) => text
                .strip_suffix('%')
                .and_then(|percent| percent.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| format!("`{text}` is no number of units and no share in percent")),
        }
    }
}

/// Traffic that moves in steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    #[serde(flatten)]
    pub check: VerifyCheck,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VerifyCheck {
    /// A suite by name.
    Suite { suite: String },
    /// A GET of this address that is answered with 2xx.
    Http { http: String },
    /// Commands in a container.
    Run { image: String, run: Vec<String> },
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
