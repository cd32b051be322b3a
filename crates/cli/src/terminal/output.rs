//! The output of a stage as far as it is shown again: its last lines, and the one under way.

use std::collections::VecDeque;

/// Lines of a failed stage that are shown.
pub(super) const LAST_LINES: usize = 30;
/// What has no end by then is a line all the same.
const LONGEST: usize = 64 * 1024;
/// Bytes of a line that is kept for later.
const KEPT: usize = 4 * 1024;

#[derive(Default)]
pub(super) struct Output {
    partial: String,
    last: VecDeque<String>,
    /// Lines so far.
    pub(super) count: u64,
}

impl Output {
    /// Takes the next piece, and gives the lines that are complete by now to `show`.
    pub(super) fn push<E>(
        &mut self,
        text: &str,
        mut show: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in text.split_inclusive('\n') {
            let ends = piece.ends_with('\n');
            // Most lines come whole, and are not copied to be shown.
            if ends && self.partial.is_empty() {
                let line = piece.trim_end_matches(['\n', '\r']);
                self.keep(line);
                show(line)?;
                continue;
            }
            self.partial.push_str(piece);
            if ends || self.partial.len() > LONGEST {
                let whole = std::mem::take(&mut self.partial);
                let line = if ends { whole.trim_end_matches(['\n', '\r']) } else { &whole };
                self.keep(line);
                show(line)?;
            }
        }
        Ok(())
    }

    /// Ends the line under way.
    pub(super) fn flush(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.partial);
        if rest.is_empty() {
            return None;
        }
        self.keep(&rest);
        Some(rest)
    }

    fn keep(&mut self, line: &str) {
        self.count += 1;
        let mut kept = if self.last.len() == LAST_LINES { self.last.pop_front() } else { None }
            .unwrap_or_default();
        kept.clear();
        kept.push_str(start(line, KEPT));
        self.last.push_back(kept);
    }

    pub(super) fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    /// The line that a person would look at now.
    pub(super) fn current(&self) -> &str {
        let partial = overwritten(&self.partial);
        if partial.trim().is_empty() {
            self.last.back().map_or("", |line| overwritten(line))
        } else {
            partial
        }
    }
}

/// What of a line stays to be seen where `\r` begins it anew, as progress bars do.
pub(super) fn overwritten(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("")
}

/// The beginning of a text, at most so many bytes.
fn start(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(output: &mut Output, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let show = |line: &str| {
            lines.push(line.to_owned());
            Ok::<_, std::convert::Infallible>(())
        };
        output.push(text, show).expect("it cannot fail");
        lines
    }

    #[test]
    fn lines_come_out_whole_and_the_last_ones_stay() {
        let mut output = Output::default();
        assert_eq!(lines(&mut output, "zero\none\r\ntw"), ["zero", "one"]);
        assert_eq!(output.current(), "tw");
        assert_eq!(lines(&mut output, "o\n\n"), ["two", ""]);
        for number in 0..40 {
            lines(&mut output, &format!("{number}\n"));
        }
        assert_eq!(
            (output.count, output.last().next(), output.last().count()),
            (44, Some("10"), 30)
        );
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_it_may() {
        let mut output = Output::default();
        let cut: usize = (0..100).map(|_| lines(&mut output, &"ä".repeat(8 * 1024)).len()).sum();
        assert!(cut >= 10 && output.partial.len() <= LONGEST, "{cut}");
        assert!(output.last().all(|line| line.len() <= KEPT));
    }

    #[test]
    fn of_a_progress_bar_its_last_state_is_seen() {
        let mut output = Output::default();
        lines(&mut output, "10%\r50%\r");
        assert_eq!(output.current(), "50%");
        assert_eq!(output.flush().as_deref(), Some("10%\r50%\r"));
        assert_eq!(overwritten("a\rb"), "b");
    }
}
