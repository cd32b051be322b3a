//! Diagnostics as text: code, place, excerpt with caret, cause, help.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::failure::Failure;
use crate::source::{Place, SourceFile};

/// More than this nobody reads at once.
const SHOWN: usize = 20;

/// Characters of a note in one line.
const NOTE_WIDTH: usize = 92;

/// Whether the text may carry colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Coloured,
}

impl Diagnostics {
    /// Renders at most 20 findings and says how many more there are.
    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        let mut told: Vec<&str> = Vec::new();
        for (index, diagnostic) in self.iter().take(SHOWN).enumerate() {
            if index > 0 {
                text.push('\n');
            }
            text.push_str(&render(diagnostic, style, &told));
            text.push('\n');
            told.extend(diagnostic.notes.iter().map(String::as_str));
        }
        if self.len() > SHOWN {
            text.push_str(&format!("\nand {} more\n", self.len() - SHOWN));
        }
        text
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// `told` are the notes of earlier findings: a long list is not said again.
fn render(diagnostic: &Diagnostic, style: Style, told: &[&str]) -> String {
    let renderer = renderer(style);
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.clone()).id(diagnostic.code.name());
    let mut group = Group::with_title(title);
    if let Some(place) = &diagnostic.place {
        group = if diagnostic.excerpt {
            add_excerpts(group, diagnostic, place)
        } else {
            group.element(only_place(place.file(), place.start()))
        };
    }
    for note in &diagnostic.notes {
        let repeated = told.contains(&note.as_str()) && note.chars().count() > NOTE_WIDTH;
        let text = match note.split_once(": ") {
            Some((what, _)) if repeated => format!("{what}: the same as above"),
            _ => wrapped(note),
        };
        group = group.element(Level::NOTE.no_name().message(text));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.clone()));
    }
    renderer.render(&[group])
}

/// As the findings of `check` look, for what a run found.
pub(crate) fn failure(
    failure: &Failure<'_>,
    place: Option<&Place>,
    style: Style,
    columns: Option<usize>,
) -> String {
    let title = Level::ERROR.primary_title(failure.message).id(failure.code);
    let mut group = Group::with_title(title);
    if let Some(place) = place {
        let window = Window::around(place.source(), [place.bytes()]);
        let annotation = AnnotationKind::Primary.span(window.range(place));
        group = group.element(window.snippet().annotation(annotation));
    } else if let Some(origin) = failure.origin {
        group = group.element(only_place(&origin.file, (origin.line, origin.column)));
    }
    for note in failure.notes {
        group = group.element(Level::NOTE.no_name().message(note.as_str()));
    }
    group = group.element(Level::HELP.message(failure.help));
    let renderer = renderer(style);
    let renderer =
        columns.map_or_else(|| renderer.clone(), |width| renderer.clone().term_width(width));
    renderer.render(&[group])
}

const fn renderer(style: Style) -> Renderer {
    match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    }
}

fn only_place(file: &str, (line, column): (usize, usize)) -> Origin<'static> {
    Origin::path(file.to_owned()).line(line).char_column(column)
}

/// One excerpt for the place itself and what is related to it in the same file,
/// one more for each further place.
fn add_excerpts<'a>(mut group: Group<'a>, diagnostic: &Diagnostic, place: &Place) -> Group<'a> {
    let same_file = |other: &Place| {
        other.file() == place.file() && other.source().text() == place.source().text()
    };
    let near: Vec<_> =
        diagnostic.related.iter().filter(|related| same_file(&related.place)).collect();
    let ranges = near.iter().map(|related| related.place.bytes()).chain([place.bytes()]);
    let window = Window::around(place.source(), ranges);
    let mut snippet = window.snippet().annotation(
        AnnotationKind::Primary.span(window.range(place)).label(diagnostic.label.clone()),
    );
    for related in near {
        snippet = snippet.annotation(
            AnnotationKind::Context
                .span(window.range(&related.place))
                .label(related.message.clone()),
        );
    }
    group = group.element(snippet);
    for related in diagnostic.related.iter().filter(|related| !same_file(&related.place)) {
        let window = Window::around(related.place.source(), [related.place.bytes()]);
        let annotation = AnnotationKind::Context.span(window.range(&related.place));
        group =
            group.element(window.snippet().annotation(annotation.label(related.message.clone())));
    }
    group
}

/// The lines an excerpt needs, with tabs made visible.
///
/// The renderer gets these instead of the whole file: it would look at every
/// line of a large file again for every finding.
struct Window {
    name: String,
    first_line: usize,
    start: usize,
    raw: String,
}

impl Window {
    fn around(source: &SourceFile, ranges: impl IntoIterator<Item = Range<usize>>) -> Self {
        let (mut first, mut last) = (usize::MAX, 1);
        for range in ranges {
            first = first.min(source.line_column(range.start).0);
            last = last.max(source.line_column(range.end).0);
        }
        let first = first.min(last);
        let start = source.line_start(first);
        let end = source.line_start(last) + source.line(last).len();
        Self {
            name: source.name().to_owned(),
            first_line: first,
            start,
            raw: source.text()[start..end].to_owned(),
        }
    }

    fn snippet<'a>(&self) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.raw.replace('\t', "→"))
            .path(self.name.clone())
            .line_start(self.first_line)
    }

    /// Offsets of a place within the excerpt, where each tab has become an arrow.
    fn range(&self, place: &Place) -> Range<usize> {
        let Range { start, end } = place.bytes();
        // A caret under the first line says enough of a value of many lines.
        let first_line_end = self.raw[self.clamp(start)..]
            .find('\n')
            .map_or(self.raw.len(), |length| self.clamp(start) + length);
        self.shifted(self.clamp(start))..self.shifted(self.clamp(end).min(first_line_end))
    }

    fn clamp(&self, offset: usize) -> usize {
        let mut inside = offset.saturating_sub(self.start).min(self.raw.len());
        while !self.raw.is_char_boundary(inside) {
            inside -= 1;
        }
        inside
    }

    fn shifted(&self, inside: usize) -> usize {
        let tabs = self.raw[..inside].matches('\t').count();
        inside + tabs * ('→'.len_utf8() - '\t'.len_utf8())
    }
}

/// Breaks a long list, such as the keys there are, into lines.
fn wrapped(text: &str) -> String {
    if text.chars().count() <= NOTE_WIDTH {
        return text.to_owned();
    }
    let mut wrapped = String::new();
    let mut width = 0;
    for word in text.split_inclusive(' ') {
        let length = word.chars().count();
        if width > 0 && width + length > NOTE_WIDTH {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            width = 0;
        }
        wrapped.push_str(word);
        width += length;
    }
    wrapped
}
