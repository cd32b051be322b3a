//! Keys that stages of several actions share, and those of the whole run.

use serde::{Deserialize, Serialize};

use crate::Duration;

/// With which results of its needs a stage runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOn {
    #[default]
    Success,
    Failure,
    Always,
}

impl RunOn {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Always => "always",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) const fn is_success(&self) -> bool {
        matches!(self, Self::Success)
    }
}

/// Which failures become a `warning`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllowFailure {
    /// Every failure of the stage's own: `failed`, `timed-out`, `resource-limit`.
    Any,
    /// A command that ended with one of these.
    ExitCodes(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Extra attempts.
    pub max: u32,
    pub on: Vec<RetryOn>,
    /// Before the first extra attempt; doubles up to one minute.
    pub backoff: Duration,
}

impl Retry {
    /// Without a `retry` in the file: infrastructure, once.
    pub fn builtin() -> Self {
        Self { max: 1, on: vec![RetryOn::Infrastructure], backoff: Duration::from_secs(5) }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::builtin()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::builtin()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    Infrastructure,
    Timeout,
    ResourceLimit,
    Exit(Vec<u8>),
}

/// Runs or stages of one group, `limit` at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Concurrency {
    pub group: String,
    pub limit: u32,
    pub on_new: OnNew,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNew {
    #[default]
    Queue,
    CancelRunning,
}

/// A secret a stage names. Its value is never in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    pub name: String,
    pub present: bool,
    /// The environment variable, when it is not the secret's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Only as the file `/run/secrets/NAME`, not as a variable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub file: bool,
}

/// Limits of one container; what is absent is the server's, or built in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl Resources {
    pub const fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none() && self.pids.is_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    pub key: String,
    #[serde(default)]
    pub restore: Vec<String>,
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    pub paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub expire: Duration,
    pub on: ArtifactsOn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactsOn {
    #[default]
    Success,
    Failure,
    Always,
}

/// Whose file counts where parallel needs wrote the same path: the later one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// `last`: for every path.
    Last,
    Paths(Vec<String>),
}

/// `notify.mail` of the file: who hears of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailRule {
    /// Addresses, or the word `committer`.
    pub to: Vec<String>,
    pub on: Vec<MailEvent>,
}

/// A message to something that is no mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub channel: Channel,
    /// Name of the secret that holds the address.
    pub url: String,
    pub on: Vec<MailEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    Webhook,
    Dingtalk,
    Wecom,
    Feishu,
    Slack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailEvent {
    Failed,
    Broken,
    Fixed,
    Always,
    Deployed,
    RolledBack,
    Approval,
    /// Of what was deployed something has died, or is not well.
    Unhealthy,
    /// What runs is no longer what was deployed.
    Drift,
}
