//! Text that goes on below, indented, where the terminal ends.

use crate::drawing::paint::{Part, Tone, columns, painted};
use crate::render::Style;

/// A line that is being written, and how those after it begin.
pub(super) struct Line {
    pub(super) style: Style,
    pub(super) width: usize,
    pub(super) below: String,
    pub(super) below_columns: usize,
    pub(super) text: String,
    pub(super) used: usize,
    /// Nothing was written yet since the beginning of the line.
    pub(super) fresh: bool,
}

impl Line {
    pub(super) fn new(style: Style, width: usize, text: &str) -> Self {
        Self {
            style,
            width,
            below: "  ".to_owned(),
            below_columns: 2,
            used: columns(text),
            text: painted(style, Tone::Strong, text),
            fresh: true,
        }
    }

    /// Adds parts with ` · ` between them, and goes on below where they do not fit.
    pub(super) fn parts(&mut self, text: &mut String, parts: &[Part]) {
        for part in parts {
            let wide = columns(&part.text) + if self.fresh { 0 } else { 3 };
            if self.used + wide > self.width && self.used > self.below_columns {
                self.next(text);
            }
            if !self.fresh {
                self.push(" · ", Tone::Quiet);
            }
            self.words(text, part);
            self.fresh = false;
        }
    }

    /// Adds a part word by word: it alone may be wider than the terminal.
    pub(super) fn words(&mut self, text: &mut String, part: &Part) {
        if self.used + columns(&part.text) <= self.width {
            return self.push(&part.text, part.tone);
        }
        let mut piece = String::new();
        for word in part.text.split_inclusive(' ') {
            let filled = self.used + columns(&piece);
            if filled + columns(word.trim_end()) > self.width && filled > self.below_columns {
                self.push(piece.trim_end(), part.tone);
                piece.clear();
                self.next(text);
            }
            piece.push_str(word);
        }
        self.push(&piece, part.tone);
    }

    pub(super) fn push(&mut self, piece: &str, tone: Tone) {
        self.used += columns(piece);
        self.text.push_str(&painted(self.style, tone, piece));
    }

    pub(super) fn next(&mut self, text: &mut String) {
        text.push_str(self.text.trim_end());
        text.push('\n');
        self.text = self.below.clone();
        self.used = self.below_columns;
        self.fresh = true;
    }
}
