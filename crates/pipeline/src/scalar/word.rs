//! Words: what a key takes when it takes one of a few.

use super::{Misfit, Scalar};
use crate::TriggerEvent;
use crate::plan::{ArtifactsOn, OnNew, OutputType, RunOn, Shell, ValueKind};
use crate::yaml::{Node, Value};

/// A word of a list: what a key takes when it takes one of a few words.
macro_rules! words {
    ($($type:ty: $what:literal, $listed:literal, $builtin:expr, { $($word:literal => $value:expr),+ $(,)? };)+) => {
        $(impl $crate::scalar::Scalar for $type {
            const KIND: $crate::plan::ValueKind = $crate::plan::ValueKind::Word;
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn unknown(_: &str) -> Self {
                $builtin
            }

            fn read(node: &$crate::yaml::Node) -> Result<Self, $crate::scalar::Misfit> {
                let text = <String as $crate::scalar::Scalar>::read(node)?;
                match text.as_str() {
                    $($word => Ok($value),)+
                    _ => Err($crate::scalar::Misfit::bad(
                        concat!("is no ", $what),
                        $crate::scalar::one_of($listed, &text, Self::WORDS),
                    )),
                }
            }
        })+
    };
}
pub(crate) use words;

/// What to write instead of a word that is none of the list.
pub(crate) fn one_of(listed: &str, wrong: &str, words: &[&'static str]) -> String {
    let all = crate::suggest::quoted(words.iter().copied());
    let meant = crate::suggest::word(wrong, words)
        .or_else(|| crate::suggest::closest(wrong, words.iter().copied()));
    match meant {
        Some(close) => format!("did you mean `{close}`? {listed} are {all}"),
        None => format!("{listed} are {all}"),
    }
}

words! {
    RunOn: "outcome to run after", "outcomes", Self::Success, {
        "success" => Self::Success,
        "failure" => Self::Failure,
        "always" => Self::Always,
    };
    TriggerEvent: "event", "events", Self::Manual, {
        "push" => Self::Push,
        "tag" => Self::Tag,
        "pull-request" => Self::PullRequest,
        "schedule" => Self::Schedule,
        "manual" => Self::Manual,
        "gerrit" => Self::Gerrit,
        "svn" => Self::Svn,
        "trigger" => Self::Trigger,
    };
    ArtifactsOn: "result after which artifacts are stored", "results", Self::Success, {
        "success" => Self::Success,
        "failure" => Self::Failure,
        "always" => Self::Always,
    };
    OutputType: "type of an output", "types", Self::String, {
        "string" => Self::String,
        "int" => Self::Int,
        "bool" => Self::Bool,
        "json" => Self::Json,
    };
    OnNew: "answer to a new run", "answers", Self::Queue, {
        "queue" => Self::Queue,
        "cancel-running" => Self::CancelRunning,
    };
}

/// `sh` or `bash`; another shell is a list.
impl Scalar for Shell {
    const KIND: ValueKind = ValueKind::Word;
    const WORDS: &'static [&'static str] = &["sh", "bash"];

    fn unknown(_: &str) -> Self {
        Self::Sh
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        match text.as_str() {
            "sh" => Ok(Self::Sh),
            "bash" => Ok(Self::Bash),
            _ => {
                let words: Vec<_> = text.split_whitespace().collect();
                let label = format!(
                    "shells are `sh` and `bash`; another program is a list: `[{}]`",
                    if words.is_empty() { "python3, -c".to_owned() } else { words.join(", ") }
                );
                Err(Misfit::bad("is no shell", label))
            }
        }
    }
}

/// `always`, the only word of `pull`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PullAlways;

impl Scalar for PullAlways {
    const KIND: ValueKind = ValueKind::Word;
    const WORDS: &'static [&'static str] = &["always"];

    fn unknown(_: &str) -> Self {
        Self
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) if text == "always" => Ok(Self),
            Value::Bool(true) => Err(Misfit::wrong_type("`always`", node).label("write `always`")),
            Value::Text(_) | Value::Bool(false) => Err(Misfit::bad(
                "takes `always`",
                "remove the line: an image is pulled when it is absent",
            )),
            _ => Err(Misfit::wrong_type("`always`", node)),
        }
    }
}
