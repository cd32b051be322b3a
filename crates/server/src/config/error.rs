//! What is wrong with the configuration file: what, where, and what now.

use std::fmt;
use std::ops::Range;
use std::path::Path;

/// One mistake, with the place it stands at. Shown as diagnostics of pipelines are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub message: String,
    pub file: String,
    /// From 1, in characters; `None` when the whole file is meant.
    pub place: Option<Place>,
    pub help: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// The whole line, for the excerpt.
    pub excerpt: String,
    /// How many characters of it are meant; at least one.
    pub width: usize,
}

impl ConfigError {
    pub(super) fn at(
        text: &str,
        file: &Path,
        span: Range<usize>,
        message: String,
        help: Option<String>,
    ) -> Self {
        let place = Some(Place::of(text, span));
        Self { message, file: file.display().to_string(), place, help }
    }

    pub(super) fn from_toml(text: &str, file: &Path, error: &toml::de::Error) -> Self {
        let (message, help) = explain(error.message());
        let place = error.span().map(|span| Place::of(text, span));
        Self { message, file: file.display().to_string(), place, help }
    }
}

impl Place {
    fn of(text: &str, span: Range<usize>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let excerpt = text[line_start..line_end].trim_end();
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            excerpt: excerpt.replace('\t', " "),
            width: text[start..end.min(line_end).max(start)].chars().count().max(1),
        }
    }
}

/// The next character boundary at or below `index`.
fn floor(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Turns serde's sentence about a key into ours, with a suggestion.
fn explain(message: &str) -> (String, Option<String>) {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return (message.to_owned(), None);
    };
    let mut words = rest.split('`');
    let Some(found) = words.next() else {
        return (message.to_owned(), None);
    };
    // After the found word, every second piece is a word in backticks.
    let allowed: Vec<&str> = words.skip(1).step_by(2).collect();
    let help = suggest(found, allowed.iter().copied())
        .unwrap_or_else(|| format!("allowed here: {}", allowed.join(", ")));
    (format!("unknown key `{found}`"), Some(help))
}

/// Returns a question naming the closest of `known`, when one is close.
pub(super) fn suggest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let close =
        |word: &&str| strsim::osa_distance(found, word) <= (found.chars().count() / 3).max(1);
    known
        .filter(close)
        .min_by_key(|word| strsim::osa_distance(found, word))
        .map(|word| format!("did you mean `{word}`?"))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        let Some(place) = &self.place else {
            write!(f, "\n  --> {}", self.file)?;
            return self.help.as_ref().map_or(Ok(()), |help| write!(f, "\n   = help: {help}"));
        };
        let line = place.line.to_string();
        let margin = " ".repeat(line.len());
        write!(f, "\n{margin} --> {}:{}:{}", self.file, place.line, place.column)?;
        write!(f, "\n{margin} |\n{line} | {}", place.excerpt)?;
        let indent = " ".repeat(place.column - 1);
        write!(f, "\n{margin} | {indent}{}", "^".repeat(place.width))?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " {help}"))
    }
}

impl std::error::Error for ConfigError {}
