//! What the YAML parser refuses, in our words.

use granit_parser::{ErrorKind, Marker, ScanError};

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Place, SourceFile};

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
    let message = format!("this is not YAML: {}", error.kind());
    let mut diagnostic = Diagnostic::error(Code::E001, message).at(place);
    if matches!(error.kind(), ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement)
    {
        diagnostic = diagnostic.help("a text with `: ` in it stands in quotes");
    }
    let quote = open_quote(source.text(), start).map(|at| (at, "this quote is not closed"));
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
