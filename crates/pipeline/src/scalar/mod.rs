//! Typed values of scalars, and what is said when a value does not fit.
//!
//! The same reading serves a value that stands in the file, when it is checked,
//! and one that an expression yields, when a plan is made.

mod account;
mod address;
mod checkout;
mod duration;
mod infrastructure;
mod json;
mod kind;
mod named;
mod number;
mod path;
mod regular;
mod rollout;
mod size;
mod text;
mod timetable;
mod window;
mod word;

use std::ops::Range;

pub(crate) use account::{RunnerLabel, User};
pub(crate) use address::{Host, Recipient, UrlPath, WorkspacePath};
pub(crate) use checkout::Depth;
pub(crate) use duration::{ApprovalTimeout, Timeout};
pub(crate) use infrastructure::{
    AbsolutePath, CheckAddress, ControlSocket, EngineAddress, KubernetesName, Label, Network,
    PortPair, Selector, SshAddress, Volume, WebAddress,
};
pub(crate) use json::{AnyValue, json, node};
pub(crate) use kind::read_as;
pub(crate) use named::{Approver, BranchName, Credential, GitReference, PipelineName, Platform};
pub(crate) use number::{Cores, Count, ExitCode, HttpStatus, Port, Processes, Retries, TcpPort};
pub(crate) use path::{CachePath, WorkingDirectory, WorkspacePattern};
pub(crate) use regular::RegularExpression;
pub(crate) use rollout::{
    Allowance, Interval, Promotion, Reload, Requests, Threshold, Tolerance, Weight,
};
pub use size::parse_size;
pub(crate) use size::{Memory, Size};
pub(crate) use text::{ArtifactName, Line};
pub(crate) use timetable::{CronLine, TimeZone};
pub(crate) use window::Window;
pub(crate) use word::{PullAlways, one_of, words};

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::name::is_stage_name;
use crate::pattern::Pattern;
use crate::plan::ValueKind;
use crate::reference::Reference;
use crate::source::Sources;
use crate::yaml::{Node, Value};

/// Characters of a bad value that its message repeats.
const SHOWN: usize = 80;

/// A value does not fit: the words, and the part of the scalar they are about.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) code: Code,
    /// Follows the name of the key: "takes a duration, not a list".
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    /// Bytes of the scalar's text.
    pub(crate) part: Option<Range<usize>>,
}

impl Misfit {
    fn bad(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { code: Code::E015, message: message.into(), label: Some(label.into()), part: None }
    }

    pub(crate) fn wrong_type(expected: &str, node: &Node) -> Self {
        Self {
            code: Code::E012,
            message: format!("takes {expected}, not {}", node.value.kind()),
            label: None,
            part: None,
        }
    }

    /// The error about the value of `key`.
    pub(crate) fn diagnostic(&self, key: &str, node: &Node, sources: &Sources) -> Diagnostic {
        let span = match (&self.part, &node.value) {
            (Some(part), Value::Text(text)) => node.inside(sources, text, part.clone()),
            _ => node.span,
        };
        let message = self.sentence(key, node);
        let diagnostic = Diagnostic::error(self.code, message).at(sources.place(span));
        match &self.label {
            Some(label) => diagnostic.label(label.clone()),
            None => diagnostic,
        }
    }

    /// What is wrong with the value of `key`, in words.
    pub(crate) fn sentence(&self, key: &str, node: &Node) -> String {
        match self.code {
            Code::E015 => {
                let text = node.scalar_text().unwrap_or_default();
                let shown: String = text.escape_debug().take(SHOWN).collect();
                let more = if text.escape_debug().nth(SHOWN).is_some() { "…" } else { "" };
                let joint = if self.states_a_rule() { ", not" } else { ":" };
                format!("`{key}` {}{joint} `{shown}{more}`", self.message)
            }
            _ => format!("`{key}` {}", self.message),
        }
    }

    /// "takes a duration" rather than "is no shell".
    fn states_a_rule(&self) -> bool {
        let rules = ["takes ", "is a ", "is at "];
        let verdicts = ["takes no ", "is a time that never comes"];
        let begins = |with: &[&str]| with.iter().any(|with| self.message.starts_with(with));
        begins(&rules) && !begins(&verdicts)
    }

    fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    fn part(mut self, part: Range<usize>) -> Self {
        self.part = Some(part);
        self
    }
}

/// A type that one scalar can be.
pub(crate) trait Scalar: Clone {
    /// What a pending value is read as later.
    const KIND: ValueKind;
    /// The words it may be, when it is one of a few.
    const WORDS: &'static [&'static str] = &[];

    fn read(node: &Node) -> Result<Self, Misfit>;

    /// Stands for a value that cannot be known, in the plan of a stage that is
    /// skipped and so never reads it. `written` is its text in the file.
    fn unknown(written: &str) -> Self;
}

impl Scalar for String {
    const KIND: ValueKind = ValueKind::Text;

    fn unknown(written: &str) -> Self {
        written.to_owned()
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Int(_, text) => {
                Err(Misfit::wrong_type("text", node).label(format!("write \"{text}\"")))
            }
            Value::Float(value, text) => Err(Misfit::wrong_type("text", node)
                .label(format!("is read as the number {value}; write \"{text}\""))),
            Value::Bool(value) => {
                Err(Misfit::wrong_type("text", node).label(format!("write \"{value}\"")))
            }
            _ => Err(Misfit::wrong_type("text", node)),
        }
    }
}

/// Any scalar, as the text it was written with: values of `env` and `args`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnyText(pub(crate) String);

impl Scalar for AnyText {
    const KIND: ValueKind = ValueKind::AnyText;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match node.scalar_text() {
            Some(text) => Ok(Self(text.into_owned())),
            None if matches!(node.value, Value::Null) => {
                Err(Misfit::wrong_type("text", node).label("write \"\" for an empty value"))
            }
            None => Err(Misfit::wrong_type("text, a number or true or false", node)),
        }
    }
}

/// A reference of an image that parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageReference(pub(crate) String);

impl Scalar for ImageReference {
    const KIND: ValueKind = ValueKind::Image;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node).map_err(|misfit| match node.value {
            Value::Map(_) | Value::List(_) => {
                misfit.label("write it alone, for example `debian:12`")
            }
            _ => misfit,
        })?;
        match Reference::parse(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(Misfit::bad("is no image reference", error.message).part(error.at)),
        }
    }
}

/// A reference that an expression gives where a stage could stand, too. Which stages
/// there are to wait for is read before there are values, so a value names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryImage(pub(crate) String);

impl Scalar for RegistryImage {
    const KIND: ValueKind = ValueKind::RegistryImage;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let ImageReference(text) = ImageReference::read(node)?;
        if is_stage_name(&text) {
            return Err(Misfit::bad(
                "is given by an expression, which can name no stage, and an image of a registry has a tag or a path",
                "write the name of the stage itself, or give the image a tag",
            ));
        }
        Ok(Self(text))
    }
}

impl Scalar for Pattern {
    const KIND: ValueKind = ValueKind::Glob;

    fn unknown(written: &str) -> Self {
        Self { text: written.to_owned() }
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        Self::parse(&text).map_err(|error| {
            Misfit::bad("is no pattern", format!("{}; for example `release/*`", error.0))
        })
    }
}

impl Scalar for bool {
    const KIND: ValueKind = ValueKind::Bool;

    fn unknown(_: &str) -> Self {
        false
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Bool(value) => Ok(*value),
            Value::Text(text) => {
                let meant = match text.as_str() {
                    "yes" | "on" | "Yes" | "On" => Some("true"),
                    "no" | "off" | "No" | "Off" => Some("false"),
                    _ => None,
                };
                let misfit = Misfit::wrong_type("true or false", node);
                Err(match meant {
                    Some(meant) => misfit.label(format!("`{text}` is text here; write `{meant}`")),
                    None => misfit,
                })
            }
            _ => Err(Misfit::wrong_type("true or false", node)),
        }
    }
}
