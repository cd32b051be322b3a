//! What a plan is made for: one event on one commit, in one place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything outside the pipeline file that a plan may depend on.
///
/// The same pipeline and the same context give the same plan, byte for byte.
#[derive(Clone, Debug)]
pub struct Context {
    pub event: TriggerEvent,
    pub git: Git,
    /// The project's name, slugged.
    pub project: String,
    /// Decided by the server, never by a file; a local run is trusted.
    pub trusted: bool,
    /// Paths changed by the event; `None` when that is unknown.
    pub changed: Option<Vec<String>>,
    pub place: Place,
}

/// Where the plan will run, and hence who defines its environments.
#[derive(Clone, Debug)]
pub enum Place {
    /// Environments and their targets are those of the file.
    Local,
    /// Environments are those of the server; the file's are not used.
    Server { environments: BTreeMap<String, Environment> },
}

/// The commit of the event. Texts are untrusted: whoever pushes chooses them.
#[derive(Clone, Debug, Default)]
pub struct Git {
    /// Full commit id; empty when there is no commit yet (a local directory without Git).
    pub sha: String,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub message: String,
    pub author: String,
    pub default_branch: String,
    pub url: String,
}

impl Git {
    /// The first eight digits, as `git.sha_short` reads.
    pub fn sha_short(&self) -> &str {
        self.sha.get(..8).unwrap_or(&self.sha)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerEvent {
    Push,
    Tag,
    PullRequest,
    Schedule,
    Manual,
    Gerrit,
    Svn,
    Trigger,
}

impl TriggerEvent {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Tag => "tag",
            Self::PullRequest => "pull-request",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Gerrit => "gerrit",
            Self::Svn => "svn",
            Self::Trigger => "trigger",
        }
    }
}

/// A named place to deploy to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Environment {
    pub target: TargetSpec,
    #[serde(default)]
    pub tier: Tier,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Given to the deployed service, below the stage's own `env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// The name of a target of the server, or a target written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetSpec {
    Named(String),
    Inline(InlineTarget),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InlineTarget {
    Docker {
        /// Address of the engine, as in `DOCKER_HOST`.
        host: String,
        /// Path of the proxy's control socket; needed as soon as something has `expose`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proxy: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    #[default]
    Dev,
    Test,
    Preprod,
    Prod,
}
