//! Names of things that a file does not define: credentials, secrets, people,
//! pipelines, platforms.

use super::{Misfit, Scalar};
use crate::name;
use crate::plan::ValueKind;
use crate::yaml::Node;

/// Scalars that are a text with a rule.
macro_rules! named {
    ($($(#[$doc:meta])* $name:ident: $read:expr;)+) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);

        impl Scalar for $name {
            const KIND: ValueKind = ValueKind::$name;

            fn unknown(written: &str) -> Self {
                Self(written.to_owned())
            }

            fn read(node: &Node) -> Result<Self, Misfit> {
                let text = String::read(node)?;
                let read: fn(&str) -> Result<(), Misfit> = $read;
                read(&text).map(|()| Self(text))
            }
        })+
    };
}

named! {
    /// The name of a registry's credential, not its host.
    Credential: credential;
    /// One of `approve.by`: a user, or `group:NAME`.
    Approver: approver;
    /// `pipeline` or `project/pipeline`.
    PipelineName: pipeline;
    /// `linux/amd64`, `linux/arm/v7`.
    Platform: platform;
    /// The branch of a schedule: a name, no pattern.
    BranchName: branch;
    /// A branch, a tag or a commit.
    GitReference: reference;
}

fn credential(text: &str) -> Result<(), Misfit> {
    if name::is_label(text) {
        return Ok(());
    }
    let label = if text.contains(['/', ':']) {
        "this looks like an address; write the name of the entry `[registries.NAME]`"
    } else {
        "for example `harbor`, as in `[registries.harbor]`"
    };
    Err(Misfit::bad("is no name of a registry's credential", label))
}

fn approver(text: &str) -> Result<(), Misfit> {
    const EXAMPLE: &str = "for example `ada` or `group:release`";
    let name = text.strip_prefix("group:").unwrap_or(text);
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    match name.char_indices().find(|(_, c)| wrong(*c)) {
        _ if name.is_empty() => Err(Misfit::bad("names nobody", EXAMPLE)),
        Some((at, c)) => {
            let at = text.len() - name.len() + at;
            Err(Misfit::bad("is no user and no group", EXAMPLE).part(at..at + c.len_utf8()))
        }
        None => Ok(()),
    }
}

fn pipeline(text: &str) -> Result<(), Misfit> {
    let mut names = text.split('/');
    if names.clone().count() <= 2 && names.all(name::is_label) {
        return Ok(());
    }
    Err(Misfit::bad(
        "is no name of a pipeline",
        "for example `release`, or `orders/release` in project `orders`",
    ))
}

fn platform(text: &str) -> Result<(), Misfit> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let parts: Vec<&str> = text.split('/').collect();
    if matches!(parts.len(), 2 | 3) && parts.iter().all(|part| word(part)) {
        return Ok(());
    }
    let label = match text {
        "amd64" | "x86_64" => "write `linux/amd64`",
        "arm64" | "aarch64" => "write `linux/arm64`",
        _ if text.contains(',') => {
            "one platform, for example `linux/arm64`; a `matrix` builds several"
        }
        _ => "for example `linux/amd64` or `linux/arm64`",
    };
    Err(Misfit::bad("is no platform", label))
}

fn branch(text: &str) -> Result<(), Misfit> {
    if let Some(at) = text.find(['*', '?', '[']) {
        let label = "a schedule runs on one branch; write its name, or one schedule for each";
        return Err(Misfit::bad("is no name of a branch", label).part(at..at + 1));
    }
    reference(text)
}

/// The rules of Git that catch slips; what exists is known to the server.
fn reference(text: &str) -> Result<(), Misfit> {
    const WHAT: &str = "is no branch, tag or commit";
    const EXAMPLE: &str = "for example `main` or `v1.4.0`";
    let wrong = |c: char| c.is_whitespace() || c.is_control() || "~^:\\?*[".contains(c);
    match text.char_indices().find(|(_, c)| wrong(*c)) {
        Some((at, c)) => Err(Misfit::bad(WHAT, EXAMPLE).part(at..at + c.len_utf8())),
        None if text.is_empty() || text.starts_with(['-', '/']) || text.contains("..") => {
            Err(Misfit::bad(WHAT, EXAMPLE))
        }
        None => Ok(()),
    }
}
