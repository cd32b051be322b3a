//! Scalars that name a place or a word of a list: addresses, hosts, paths, tiers, events.

use super::{Misfit, Scalar};
use crate::model::{GerritEvent, PullRequestType};
use crate::plan::{ScanSeverity, Unscannable, ValueKind};
use crate::yaml::Node;
use crate::{MailEvent, Tier};

/// A mail address, or the word `committer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipient(pub(crate) String);

impl Scalar for Recipient {
    const KIND: ValueKind = ValueKind::Recipient;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        if text == "committer" {
            return Ok(Self(text));
        }
        let example = "for example `team@corp.example`, or the word `committer`";
        // A line break here would be a header of the mail.
        let allowed =
            |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[]\\,;:\"".contains(c);
        if let Some((at, wrong)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
            return Err(Misfit::bad(
                "is no mail address",
                format!("`{}` cannot be in an address; {example}", wrong.escape_debug()),
            )
            .part(at..at + wrong.len_utf8()));
        }
        match text.split_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && !domain.contains('@')
                    && domain.split('.').all(|label| !label.is_empty()) =>
            {
                Ok(Self(text))
            }
            _ => Err(Misfit::bad("is no mail address", example)),
        }
    }
}

super::words! {
    MailEvent: "event of a notification", "events", Self::Always, {
        "failed" => Self::Failed,
        "broken" => Self::Broken,
        "fixed" => Self::Fixed,
        "always" => Self::Always,
        "deployed" => Self::Deployed,
        "rolled-back" => Self::RolledBack,
        "approval" => Self::Approval,
        "unhealthy" => Self::Unhealthy,
        "drift" => Self::Drift,
    };
    PullRequestType: "type of a pull request event", "types", Self::Opened, {
        "opened" => Self::Opened,
        "updated" => Self::Updated,
        "labeled" => Self::Labeled,
        "closed" => Self::Closed,
    };
    GerritEvent: "event of Gerrit", "events", Self::PatchsetCreated, {
        "patchset-created" => Self::PatchsetCreated,
        "change-merged" => Self::ChangeMerged,
        "comment" => Self::Comment,
    };
    ScanSeverity: "severity", "severities", Self::None, {
        "none" => Self::None,
        "low" => Self::Low,
        "medium" => Self::Medium,
        "high" => Self::High,
        "critical" => Self::Critical,
    };
    Unscannable: "answer to an image that cannot be scanned", "answers", Self::Fail, {
        "fail" => Self::Fail,
        "pass" => Self::Pass,
    };
}

impl Scalar for Tier {
    const KIND: ValueKind = ValueKind::Word;
    const WORDS: &'static [&'static str] = &["dev", "test", "preprod", "prod"];

    fn unknown(_: &str) -> Self {
        Self::Dev
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        Ok(match String::read(node)?.as_str() {
            "dev" => Self::Dev,
            "test" => Self::Test,
            "preprod" => Self::Preprod,
            "prod" => Self::Prod,
            text => {
                let label = super::one_of("tiers", text, &["dev", "test", "preprod", "prod"]);
                return Err(Misfit::bad("is no tier", label));
            }
        })
    }
}

/// A path within the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspacePath(pub(crate) String);

impl Scalar for WorkspacePath {
    const KIND: ValueKind = ValueKind::WorkspacePath;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(Misfit::bad("is a path", "for example `services/orders`"));
        }
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            let label = "a path within the workspace does not begin with `/` and has no `..`";
            return Err(Misfit::bad("is a path within the workspace", label));
        }
        Ok(Self(text))
    }
}

/// An absolute path of a URL: `/health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UrlPath(pub(crate) String);

impl Scalar for UrlPath {
    const KIND: ValueKind = ValueKind::UrlPath;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        if !text.starts_with('/') {
            return Err(Misfit::bad("is a path", format!("write `/{text}`")));
        }
        // It becomes part of a request line.
        match text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
            Some((at, c)) => {
                Err(Misfit::bad("is a path", "cannot be in a path; write it as `%XX`")
                    .part(at..at + c.len_utf8()))
            }
            None => Ok(Self(text)),
        }
    }
}

/// A host name that the proxy routes, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) String);

impl Scalar for Host {
    const KIND: ValueKind = ValueKind::Host;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text == "*" || text.len() <= 253 && text.split('.').all(label) {
            return Ok(Self(text));
        }
        Err(Misfit::bad(
            "is no host name",
            "for example `orders.corp.example`, or `*` for every host",
        ))
    }
}
