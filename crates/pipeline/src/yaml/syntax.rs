//! What the YAML parser refuses, in our words.

use granit_parser::{ErrorKind, Marker, ScanError};

use super::DEPTH_LIMIT;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Place, SourceFile};
use crate::suggest::quoted_text;

/// `open` is the innermost collection that had begun: whether it is a map, and where.
pub(super) fn explain(
    source: &SourceFile,
    error: &ScanError,
    open: Option<(bool, usize)>,
) -> Diagnostic {
    let start = offset(source, error.marker());
    if let Some(at) = tab_in_indentation(source, start) {
        return Diagnostic::error(Code::E001, "a tab (`→`) cannot indent YAML")
            .at(Place::new(source.clone(), at, at + 1))
            .label("replace it with spaces");
    }
    let place = Place::new(source.clone(), start, end_of_word(source.text(), start));
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        // Brackets in brackets, which the parser looks through before it tells any.
        let message = format!("lists and maps lie more than 200 deep, the limit is {DEPTH_LIMIT}");
        return Diagnostic::error(Code::E003, message).at(place).without_excerpt();
    }
    let (message, help) = words(error.kind());
    let mut diagnostic =
        Diagnostic::error(Code::E001, format!("this is not YAML: {message}")).at(place);
    if let Some(help) = help {
        diagnostic = diagnostic.help(match quoted_line(source, start, error.kind()) {
            Some(line) => format!("{help}\n{line}"),
            None => help.to_owned(),
        });
    } else if let Some(help) = below_a_block(source, start) {
        diagnostic = diagnostic.help(help);
    }
    let quote = open_quote(source.text(), start).filter(|at| !closes(source.text(), *at, start));
    let quote = quote.map(|at| (at, "this quote is not closed"));
    let began = quote.or_else(|| {
        open.map(|(is_map, at)| {
            (
                at,
                if is_map { "in the map that begins here" } else { "in the list that begins here" },
            )
        })
    });
    match began {
        Some((at, what)) if at != start => {
            let end = end_of_word(source.text(), at);
            diagnostic.related(what, Place::new(source.clone(), at, end))
        }
        _ => diagnostic,
    }
}

/// What the parser met, in words for people who do not write parsers, and what helps.
fn words(kind: &ErrorKind) -> (String, Option<&'static str>) {
    let colon = Some("a text with `: ` in it stands in quotes");
    let (message, help) = match kind {
        ErrorKind::MappingValueNotAllowed => ("a second `: ` on one line", colon),
        ErrorKind::InvalidColonPlacement => ("`:` cannot stand here", colon),
        ErrorKind::InvalidMappingValueWhitespace => ("a blank is missing after `:`", None),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("this line is no `key: value`, or stands too far to the left", None)
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::MappingKeyNotAllowed => {
            ("this line does not stand in line with the keys above it", Some(INDENTATION))
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            ("this line does not stand in line with the items above it", Some(INDENTATION))
        }
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => {
            ("an item `- ` cannot begin here", None)
        }
        ErrorKind::InvalidIndentation | ErrorKind::InvalidFlowScalarIndent => {
            ("this line is indented too little", Some(INDENTATION))
        }
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::UnexpectedEofFlowSequence => {
            ("`,` or `]` is missing", None)
        }
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => ("`,` or `}` is missing", None),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (format!("`{open}` is never closed"), None);
        }
        ErrorKind::MisplacedFlowCollectionEnd => ("nothing is open that this could close", None),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{close}` cannot close `{open}`"), None);
        }
        ErrorKind::UnclosedQuotedScalar => ("a quote is never closed", None),
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidUnicodeEscape => (
            "`\\` begins an escape that does not exist",
            Some("write `\\\\` for a backslash, or use single quotes, in which it has no meaning"),
        ),
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            ("there is text behind the closing quote", Some("put all of the text into the quotes"))
        }
        ErrorKind::UnexpectedCharacter { character } => {
            let message = format!("`{}` cannot begin a text", character.escape_debug());
            return (message, Some("put the text into quotes"));
        }
        ErrorKind::PlainScalarStartsWithDashFlowIndicator => {
            ("a text cannot begin like this", Some("put the text into quotes"))
        }
        ErrorKind::CommentNotSeparated => ("a blank is missing before `#`", None),
        ErrorKind::MissingAnchorOrAliasName => {
            ("`&` or `*` without a name", Some("put a text that begins so into quotes"))
        }
        ErrorKind::InvalidBlockScalarHeader => ("behind `|` or `>` stands only a comment", None),
        ErrorKind::InvalidDocumentEnd => ("there is text behind `...`", None),
        ErrorKind::ExpectedDocumentStart => {
            ("the file goes on where it should end", Some(INDENTATION))
        }
        other => return (other.to_string(), None),
    };
    (message.to_owned(), help)
}

/// The line with its value in quotes, where a second `: ` is what is wrong.
fn quoted_line(source: &SourceFile, at: usize, kind: &ErrorKind) -> Option<String> {
    if !matches!(kind, ErrorKind::MappingValueNotAllowed) {
        return None;
    }
    let (line, _) = source.line_column(at);
    let text = source.line(line).trim();
    let (key, value) = text.split_once(": ")?;
    let first = source.line_start(line) + source.line(line).find(": ")?;
    let plain = !value.trim_start().starts_with(['"', '\'', '{', '[']) && !value.contains(" #");
    (first < at && plain).then(|| format!("{key}: {}", quoted_text(value.trim())))
}

/// A line that is indented no further than the key whose text it was meant for.
fn below_a_block(source: &SourceFile, at: usize) -> Option<&'static str> {
    let (line, _) = source.line_column(at);
    let above = source.line(line.checked_sub(1).filter(|line| *line > 0)?).trim_end();
    let is_block = [": |", ": >", ": |-", ": >-"].iter().any(|end| above.ends_with(end));
    is_block.then_some("the lines of a text after `|` or `>` are indented further than its key")
}

/// Whether the quote at `open` is closed behind `at` on the same line: then it stands
/// inside a text and is none of YAML's.
fn closes(text: &str, open: usize, at: usize) -> bool {
    let quote = &text[open..=open];
    let line = text.get(at..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    !text[open..at].contains('\n') && line.contains(quote)
}

const INDENTATION: &str = "lines of one map or list begin at the same column";

pub(super) fn offset(source: &SourceFile, marker: &Marker) -> usize {
    let by_line = || source.offset(marker.line(), marker.col() + 1);
    let offset = marker.byte_offset().unwrap_or_else(by_line).min(source.text().len());
    (0..=offset).rev().find(|at| source.text().is_char_boundary(*at)).unwrap_or(0)
}

fn tab_in_indentation(source: &SourceFile, offset: usize) -> Option<usize> {
    let (line, _) = source.line_column(offset);
    // The parser may notice one line late.
    [line, line.saturating_sub(1)].into_iter().filter(|line| *line > 0).find_map(|line| {
        let text = source.line(line);
        let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
        let blank = indent == text.len();
        let at = text[..indent].find('\t')?;
        (!blank).then(|| source.line_start(line) + at)
    })
}

/// The quote that opened before `offset` and has not been closed.
fn open_quote(text: &str, offset: usize) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    let mut comment = false;
    let mut previous = '\n';
    for (at, character) in text.char_indices().take_while(|(at, _)| *at < offset.max(1)) {
        match (open, character) {
            (_, '\n') => comment = false,
            _ if comment => {}
            (Some((_, quote)), _) if character == quote && previous != '\\' => open = None,
            (Some(_), _) => {}
            (None, '#') if previous.is_whitespace() => comment = true,
            (None, '"' | '\'') if matches!(previous, ' ' | '\n' | '[' | '{' | ',' | ':') => {
                open = Some((at, character));
            }
            _ => {}
        }
        previous = character;
    }
    open.map(|(at, _)| at)
}

fn end_of_word(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let one = rest.chars().next().map_or(0, char::len_utf8);
    start + length.max(one)
}
