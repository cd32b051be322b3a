//! Limits of a file (language.md §3), each told with the number found.

use super::{ALIAS_LIMIT, BYTE_LIMIT, DEPTH_LIMIT, NODE_LIMIT};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{FILE_LIMIT_BYTES, Place, SourceFile};

/// What is refused before a parser sees it.
pub(super) fn refuse(source: &SourceFile) -> Option<Diagnostic> {
    let text = source.text();
    if text.len() > FILE_LIMIT_BYTES {
        let message =
            format!("the file is too large: {} bytes, the limit is {FILE_LIMIT_BYTES}", text.len());
        let diagnostic = Diagnostic::error(Code::E003, message).without_excerpt();
        return Some(diagnostic.at(Place::new(source.clone(), 0, 0)));
    }
    let bad = |character: char| {
        character.is_control() && !matches!(character, '\n' | '\r' | '\t' | '\u{85}')
    };
    let (at, character) = text.char_indices().find(|(_, character)| bad(*character))?;
    let name = if character == '\0' { "a NUL byte" } else { "a control character" };
    Some(
        Diagnostic::error(
            Code::E003,
            format!(
                "the file holds {name} (U+{:04X}), which YAML does not allow",
                character as u32
            ),
        )
        .at(Place::new(source.clone(), at, at + character.len_utf8()))
        .help("remove it, or write it as an escape in double quotes, for example \"\\x1b\""),
    )
}

/// What a file that passed a limit holds.
pub(super) struct Found {
    pub(super) documents: usize,
    /// Levels of lists and maps.
    pub(super) depth: usize,
    pub(super) aliases: usize,
    /// Values, with what aliases bring.
    pub(super) nodes: usize,
    /// Of all texts together.
    pub(super) bytes: usize,
}

impl Found {
    pub(super) fn diagnostic(&self, place: &Place) -> Diagnostic {
        let Self { documents, depth, aliases, nodes, bytes } = self;
        let error = |message: String| Diagnostic::error(Code::E003, message).at(place.clone());
        if *documents > 1 {
            error(format!("the file holds {documents} documents, the limit is 1"))
                .help("write each pipeline as a file of its own: .shipline/NAME.yml")
        } else if *depth > DEPTH_LIMIT {
            error(format!("the file is nested {depth} levels deep, the limit is {DEPTH_LIMIT}"))
        } else if *aliases > ALIAS_LIMIT {
            error(format!("the file has {aliases} aliases, the limit is {ALIAS_LIMIT}"))
        } else if *nodes > NODE_LIMIT {
            error(format!(
                "the file has {nodes} values after aliases are expanded, the limit is {NODE_LIMIT}"
            ))
        } else {
            error(format!(
                "the texts have {bytes} bytes after aliases are expanded, the limit is {BYTE_LIMIT}"
            ))
        }
    }
}

pub(super) fn empty(source: &SourceFile) -> Diagnostic {
    Diagnostic::error(Code::E003, "the file is empty: 0 stages, at least 1 is needed")
        .at(Place::new(source.clone(), 0, 0))
        .without_excerpt()
        .help("a smallest pipeline is\nimage: debian:12\nstages:\n  build: make")
}
