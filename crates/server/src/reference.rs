//! Names that come from outside: refs as the server keeps them, commits, and
//! the addresses of repositories. The grammars are [`runner::git`]'s.

use std::fmt;
use std::path::Path;

use runner::git::{NameError, RefName, RemoteUrl};

const HEADS: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";

/// A full ref: `refs/heads/NAME` or `refs/tags/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference(RefName);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("`{0}` is neither a branch nor a tag")]
    Kind(String),
}

impl Reference {
    /// A name without `refs/` is a branch.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let name = RefName::parse(text)?;
        if !text.starts_with("refs/") {
            // Under the prefix a leading `-` would be no option any more, but it
            // is none of a branch that people can name either.
            return Ok(Self(RefName::parse(&format!("{HEADS}{text}"))?));
        }
        let reference = Self(name);
        if reference.branch().or_else(|| reference.tag()).is_some_and(|name| !name.starts_with('-'))
        {
            Ok(reference)
        } else {
            Err(ReferenceError::Kind(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn name(&self) -> &RefName {
        &self.0
    }

    pub(crate) fn branch(&self) -> Option<&str> {
        self.as_str().strip_prefix(HEADS)
    }

    pub(crate) fn tag(&self) -> Option<&str> {
        self.as_str().strip_prefix(TAGS)
    }
}

/// The name as people say it.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.branch().or_else(|| self.tag()).unwrap_or(self.as_str()))
    }
}

/// Where a project's repository is. Whoever makes a project is the
/// administrator, so an absolute path on this machine is allowed.
pub(crate) fn repository(text: &str) -> Result<RemoteUrl, NameError> {
    if text.starts_with('/') {
        RemoteUrl::local_path(Path::new(text))
    } else {
        RemoteUrl::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_branch_and_full_names_stay() {
        let full =
            |text: &str| Reference::parse(text).map(|reference| reference.as_str().to_owned());
        assert_eq!(full("main"), Ok("refs/heads/main".to_owned()));
        assert_eq!(full("release/1.2"), Ok("refs/heads/release/1.2".to_owned()));
        assert_eq!(full("refs/heads/main"), Ok("refs/heads/main".to_owned()));
        let tag = Reference::parse("refs/tags/v1").expect("valid");
        assert_eq!((tag.tag(), tag.branch(), tag.to_string()), (Some("v1"), None, "v1".to_owned()));
    }

    #[test]
    fn what_is_neither_branch_nor_tag_or_looks_like_an_option_is_refused() {
        for text in [
            "",
            "-h",
            "--upload-pack=touch",
            "a..b",
            "refs/notes/x",
            "refs/heads/",
            "refs/heads/-x",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn repositories_are_remote_or_at_an_absolute_path() {
        assert!(repository("https://git.example.net/team/orders.git").is_ok());
        assert!(repository("git@git.example.net:team/orders.git").is_ok());
        assert!(repository("/srv/git/orders.git").is_ok());
        for text in ["", "../orders.git", "file:///srv/git", "ext::sh -c x", "-u@host:x"] {
            assert!(repository(text).is_err(), "{text}");
        }
    }
}
