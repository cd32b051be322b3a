//! Colours of a terminal, and how wide a text is on it.

use crate::name::visible;
use crate::render::Style;

/// How a text is meant; without colours the words alone say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Of less weight.
    Quiet,
    Strong,
    Good,
    Attention,
    Bad,
}

/// A text in one tone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Part {
    /// Hidden characters are written out: a branch name must not move the cursor.
    pub(super) fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { text: one_line(text.as_ref()), tone }
    }

    pub(super) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(Tone::Plain, text)
    }

    pub(super) fn quiet(text: impl AsRef<str>) -> Self {
        Self::new(Tone::Quiet, text)
    }
}

pub(super) fn painted(style: Style, tone: Tone, text: &str) -> String {
    let code = match tone {
        _ if style == Style::Plain || text.is_empty() => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Quiet => "2",
        Tone::Strong => "1",
        Tone::Good => "32",
        Tone::Attention => "33",
        Tone::Bad => "31",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// The text with hidden characters and line ends written out.
pub(super) fn one_line(text: &str) -> String {
    visible(text).replace('\n', "⏎")
}

/// Columns on a terminal: most scripts of East Asia take two for a character.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|character| if is_wide(character) { 2 } else { 1 }).sum()
}

const fn is_wide(character: char) -> bool {
    matches!(
        character,
        '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}'
    )
}

/// The first characters that fit, with `…` where something is left out.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let mut width = 0;
    let fits = |character: &char| {
        width += columns(character.encode_utf8(&mut [0; 4]));
        width < limit
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}
