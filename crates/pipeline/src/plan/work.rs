//! What a stage does: exactly one action, with the keys of that action.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DeployWork, Resources};
use crate::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Work {
    /// The engine's own first stage.
    Checkout {
        /// `None` is the full history.
        depth: Option<u32>,
        #[serde(default, skip_serializing_if = "Submodules::is_no")]
        submodules: Submodules,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lfs: bool,
        /// Globs of a sparse checkout; empty is everything.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
    },
    Run(Box<RunWork>),
    Build(BuildWork),
    Push(PushWork),
    Deploy(Box<DeployWork>),
    Approve(ApproveWork),
    Trigger(TriggerWork),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Submodules {
    #[default]
    No,
    Yes,
    Recursive,
}

impl Submodules {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}

impl Work {
    pub const fn action(&self) -> ActionKind {
        match self {
            Self::Checkout { .. } => ActionKind::Checkout,
            Self::Run(_) => ActionKind::Run,
            Self::Build(_) => ActionKind::Build,
            Self::Push(_) => ActionKind::Push,
            Self::Deploy(_) => ActionKind::Deploy,
            Self::Approve(_) => ActionKind::Approve,
            Self::Trigger(_) => ActionKind::Trigger,
        }
    }

    /// The image it takes from a stage or a registry.
    pub const fn image(&self) -> Option<&ImageSource> {
        match self {
            Self::Push(push) => Some(&push.image),
            Self::Deploy(deploy) => deploy.image.as_ref(),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    Checkout,
    Run,
    Build,
    Push,
    Deploy,
    Approve,
    Trigger,
}

impl ActionKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Run => "run",
            Self::Build => "build",
            Self::Push => "push",
            Self::Deploy => "deploy",
            Self::Approve => "approve",
            Self::Trigger => "trigger",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunWork {
    pub image: String,
    /// Run line by line in one shell, each echoed first.
    pub run: Vec<String>,
    /// The stage's own variables; those of §9 are added by the runner.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `pull: always`; else the image is pulled when it is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    #[serde(default, skip_serializing_if = "Shell::is_sh")]
    pub shell: Shell,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<Reports>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shell {
    /// `sh -e`.
    #[default]
    Sh,
    /// `bash -eo pipefail`.
    Bash,
    /// A program and its arguments; the script comes last.
    Command(Vec<String>),
}

impl Shell {
    const fn is_sh(&self) -> bool {
        matches!(self, Self::Sh)
    }
}

/// A container beside a stage, reachable by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub image: String,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    pub ready: Ready,
}

/// When a service counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `None`: the image's health check, else its first exposed port, else started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ReadyProbe>,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyProbe {
    Command(Vec<String>),
    /// `None` is `auto`: the first exposed port.
    Tcp(Option<u16>),
    Http {
        path: String,
        port: u16,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputType {
    #[default]
    String,
    Int,
    Bool,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    pub junit: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildWork {
    pub context: String,
    pub file: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// Variables of pipeline and stage: arguments of the build below `args`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushWork {
    pub image: ImageSource,
    /// Name of a credential, not a host.
    pub registry: String,
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scan>,
}

/// The registry's verdict on an image, as a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scan {
    pub max_severity: Severity,
    pub timeout: Duration,
    pub on_unscannable: Unscannable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    None,
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unscannable {
    #[default]
    Fail,
    Pass,
}

/// The image of a `push` or `deploy`: what a stage made, or a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// The name of the stage; with a matrix, of the cell.
    Stage(String),
    Reference(String),
}

/// A decision by people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApproveWork {
    /// Users, or `group:NAME`.
    pub by: Vec<String>,
    pub count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Param>,
}

/// Starts another pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerWork {
    /// `pipeline` or `project/pipeline`.
    pub pipeline: String,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, serde_json::Value>,
    pub wait: bool,
}

/// A typed value that a person gives: to a manual run, to an approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    #[serde(rename = "type")]
    pub kind: ParamType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// A number, or the text of a duration or size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<serde_json::Value>,
    /// Type of the items of a list, or of the values of a map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<ParamType>,
}

impl Param {
    /// Reads a value as somebody types it, or says which rule it breaks: "it is at least 1".
    pub fn read(&self, text: &str) -> Result<serde_json::Value, String> {
        crate::lower::param::given(self, &text.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParamType {
    String,
    Int,
    Bool,
    Enum,
    List,
    Map,
    Duration,
    Size,
}

impl ParamType {
    /// As a declaration writes them.
    pub const NAMES: &[&str] =
        &["string", "int", "bool", "enum", "list", "map", "duration", "size"];

    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Enum => "enum",
            Self::List => "list",
            Self::Map => "map",
            Self::Duration => "duration",
            Self::Size => "size",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "int" => Self::Int,
            "bool" => Self::Bool,
            "enum" => Self::Enum,
            "list" => Self::List,
            "map" => Self::Map,
            "duration" => Self::Duration,
            "size" => Self::Size,
            _ => return None,
        })
    }

    /// Whether `min` and `max` mean something.
    pub(crate) const fn has_range(self) -> bool {
        matches!(self, Self::Int | Self::Duration | Self::Size)
    }
}
