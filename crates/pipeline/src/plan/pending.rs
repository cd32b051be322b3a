//! Values of a plan that are known only when a stage starts: they read what other
//! stages put out, the workspace (`hash`), or the run itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::expression::Piece;

/// One value that is evaluated when its stage starts. Until then the planned
/// stage holds the text as it is written, or a zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Dotted path, as in `origins`: `env.REF`, `deploy.replicas`, `push.tags.0`.
    pub path: String,
    /// What the value is read as.
    pub kind: ValueKind,
    pub parts: Vec<PendingPart>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingPart {
    Text(String),
    Expression {
        source: String,
        /// Number of the file whose `params` it reads, a key of [`Scopes::params`].
        file: u16,
    },
}

impl From<&Piece> for PendingPart {
    fn from(piece: &Piece) -> Self {
        match piece {
            Piece::Text(text) => Self::Text(text.clone()),
            Piece::Expression(expression) => {
                Self::Expression { source: expression.source.clone(), file: expression.span.file.0 }
            }
        }
    }
}

/// Names and values that pending expressions read besides `stages` and `run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scopes {
    /// `git`, `event`, `pipeline`, `project`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, serde_json::Value>,
    /// Values of `params` by file: 0 is the pipeline file, the others its templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<u16, serde_json::Value>,
    /// Variables of `env` that are read, as they are written: some wait for the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Vec<PendingPart>>,
    /// Changed paths, when an expression asks for them; `None` is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<String>>,
}

impl Scopes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a scalar is read as, by the name of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    Text,
    /// Any scalar, as the text it was written with.
    AnyText,
    /// One of a few words.
    Word,
    Bool,
    Int,
    Count,
    Processes,
    Retries,
    Tolerance,
    Requests,
    Weight,
    BatchSize,
    Allowance,
    Threshold,
    Cores,
    Port,
    TcpPort,
    PortPair,
    Duration,
    Timeout,
    ApprovalTimeout,
    Interval,
    Size,
    Memory,
    Image,
    /// Of a `push` or `deploy`, where a bare name would be a stage's.
    RegistryImage,
    Host,
    UrlPath,
    WorkspacePath,
    WorkingDirectory,
    CachePath,
    AbsolutePath,
    WebAddress,
    CheckAddress,
    Label,
    RunnerLabel,
    Selector,
    KubernetesName,
    Network,
    Volume,
    User,
    Line,
    ArtifactName,
    Recipient,
    Approver,
    BranchName,
    Credential,
    GitReference,
    PipelineName,
    Platform,
    Glob,
    WorkspaceGlob,
    /// A value of any type.
    Json,
}
