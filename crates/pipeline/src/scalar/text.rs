//! Texts that name something: one line, not endless.

use super::{Misfit, Scalar};
use crate::plan::ValueKind;
use crate::yaml::Node;

/// Of a key of a cache, a group.
const LINE_BYTES: usize = 512;
/// File systems allow 255 for a name; the rest is for what is put before it.
const NAME_BYTES: usize = 128;

/// A line of text that others are compared with: the key of a cache, a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) String);

impl Scalar for Line {
    const KIND: ValueKind = ValueKind::Line;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        if text.trim().is_empty() || text.len() > LINE_BYTES || text.chars().any(char::is_control) {
            let label = "write at least one character and at most 512";
            return Err(Misfit::bad("takes one line of text", label));
        }
        Ok(Self(text))
    }
}

/// What people download; it becomes the name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactName(pub(crate) String);

impl Scalar for ArtifactName {
    const KIND: ValueKind = ValueKind::ArtifactName;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || text.starts_with('.') || text.len() > NAME_BYTES {
            let label = "it has 1 to 128 characters and does not begin with `.`";
            return Err(Misfit::bad("is no name of an artifact", label));
        }
        match text.char_indices().find(|(_, c)| !fine(*c)) {
            Some((at, c)) => Err(Misfit::bad(
                "is no name of an artifact",
                "a name has letters, digits, `.`, `-` and `_`; `slug(…)` makes one of any text",
            )
            .part(at..at + c.len_utf8())),
            None => Ok(Self(text)),
        }
    }
}
