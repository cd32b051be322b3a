//! What a plan is made for: one event on one commit, in one place.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Only, Strategy, SwitchSpec, TargetHost};

/// Everything outside the pipeline file that a plan may depend on.
///
/// The same pipeline and the same context give the same plan, byte for byte.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub event: TriggerEvent,
    pub git: Git,
    /// Of a pull request, a Gerrit change included.
    pub pull_request: Option<PullRequest>,
    /// What somebody gave a manual run, or a schedule gives.
    pub params: BTreeMap<String, serde_json::Value>,
    /// The project's name, slugged.
    pub project: String,
    /// Decided by the server, never by a file; a local run is trusted.
    pub trusted: bool,
    /// Paths changed by the event; `None` when that is unknown.
    pub changed: Option<Vec<String>>,
    pub place: Place,
    pub offers: Offers,
    /// Stages that somebody at a terminal named: their `when` may not skip them.
    pub forced: BTreeSet<String>,
}

/// The request that asks to merge a branch. Its texts are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PullRequest {
    pub number: u64,
    pub title: String,
    /// The branch it is to be merged into.
    pub target_branch: String,
    /// What happened to it: `opened`, `updated`, `labeled`, `closed`.
    pub action: String,
}

/// What the place has of things a file only names. `None` is not known, and then
/// not checked.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    pub secrets: Option<BTreeMap<String, SecretScope>>,
    /// Names of registry credentials.
    pub registries: Option<BTreeSet<String>>,
    /// Labels of each runner.
    pub runners: Option<Vec<BTreeSet<String>>>,
    pub policy: Option<StagePolicy>,
}

/// For which runs and environments a secret is; an empty list is no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretScope {
    /// Globs.
    pub branches: Vec<String>,
    pub events: Vec<TriggerEvent>,
    pub environments: Vec<String>,
    /// Also runs of people who may not push.
    pub untrusted: bool,
    /// Where it is defined, in words: "project `orders`".
    pub defined_in: String,
    /// The rule its value breaks, in words, when it is too short or of many lines.
    pub masks_badly: Option<String>,
}

/// What an administrator allows stages to ask for (E060).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StagePolicy {
    /// Who set it, in words: "the server's configuration".
    pub set_by: String,
    pub max_cpu: Option<f64>,
    /// Bytes.
    pub max_memory: Option<u64>,
    pub max_pids: Option<u32>,
    /// Users stages may run as; `None` is any.
    pub users: Option<Vec<String>>,
    /// Registries images may come from; `None` is any.
    pub registries: Option<Vec<String>>,
    /// Images and Git templates must be named by digest (W074).
    pub digests: bool,
    /// Every pipeline uses one of these templates: `java-service`, or with the
    /// beginning of a version `java-service@2`; empty is no rule.
    pub templates: Vec<String>,
}

/// Where the plan will run, and hence who defines its environments.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// Environments and their targets are those of the file.
    #[default]
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerEvent {
    Push,
    Tag,
    PullRequest,
    Schedule,
    #[default]
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
    /// Whether whoever watches brings back units that died.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ensure: bool,
    /// Given to the deployed service, below the stage's own `env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// In place of the built-in strategy, for stages that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Globs of branches and tags that may deploy here; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Tier `prod` and `preprod` are protected in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// The hosts of the target that it is; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// Gates of promotion, as they are written; the server evaluates them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gates: BTreeMap<String, serde_json::Value>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            target: TargetSpec::Named(String::new()),
            tier: Tier::default(),
            replicas: None,
            url: None,
            ensure: false,
            env: BTreeMap::new(),
            strategy: None,
            allow: Vec::new(),
            protected: false,
            only: None,
            gates: BTreeMap::new(),
        }
    }
}

impl Environment {
    /// Only a server can define it, so that no branch can loosen it.
    pub const fn is_protected(&self) -> bool {
        self.protected || matches!(self.tier, Tier::Preprod | Tier::Prod)
    }
}

/// The name of a target of the server, or a target written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one for each environment, no more")]
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
        /// The balancer that requests come through, in place of the proxy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<SwitchSpec>,
        /// Folder with `ca.pem`, `cert.pem` and `key.pem`: TCP is TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificates: Option<String>,
        /// Private key for an engine behind SSH.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<String>,
        /// Hosts whose keys are known.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "known-hosts")]
        known_hosts: Option<String>,
    },
    Swarm {
        host: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proxy: Option<String>,
    },
    Kubernetes {
        /// Of the kubeconfig; `None` is its current one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    Hosts {
        hosts: Vec<TargetHost>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Path of the proxy's control socket; needed as soon as something has `expose`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proxy: Option<String>,
        /// The balancer that requests come through, in place of the proxy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<SwitchSpec>,
        /// Private key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<String>,
        /// Hosts whose keys are known.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "known-hosts")]
        known_hosts: Option<String>,
    },
    Process {
        /// Folder of the units.
        root: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proxy: Option<String>,
        /// The balancer that requests come through, in place of the proxy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<SwitchSpec>,
    },
}

impl InlineTarget {
    /// Returns the part of it that an environment is. Other targets than hosts have none.
    #[must_use]
    pub fn only(mut self, part: Option<&Only>) -> Self {
        if let (Self::Hosts { hosts, .. }, Some(part)) = (&mut self, part) {
            hosts.retain(|host| part.has(host));
        }
        self
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Docker { .. } => "docker",
            Self::Swarm { .. } => "swarm",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Hosts { .. } => "hosts",
            Self::Process { .. } => "process",
        }
    }
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

impl Tier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Preprod => "preprod",
            Self::Prod => "prod",
        }
    }
}
