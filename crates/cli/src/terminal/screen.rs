//! The lines that stay on a terminal, and below them the rows that are drawn again.
//!
//! The cursor rests at the beginning of the first row that changes, hidden. So whatever a
//! terminal does with its lines when its width changes, everything from the cursor down is
//! ours, and everything above stays as it is.

use std::io::Write;

const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";
/// To the beginning of the line, and nothing from there down.
const ERASE_BELOW: &str = "\r\x1b[J";
const ERASE_LINE: &str = "\x1b[2K";

/// Of a terminal, in letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// That of the terminal that stdout is.
    pub(crate) fn of_stdout() -> Self {
        let size = terminal_size::terminal_size_of(std::io::stdout());
        let size = size.map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        // Some terminals do not know: as ever, they have 80 columns and 24 rows.
        let (columns, rows) = size.unwrap_or_default();
        let known = |size, default| if size == 0 { default } else { size };
        Self { columns: known(columns, 80), rows: known(rows, 24) }
    }
}

pub(crate) struct Screen<W: Write> {
    out: W,
    rows: Vec<String>,
    open: bool,
    /// The terminal may have moved what is drawn.
    stale: bool,
}

impl<W: Write> Screen<W> {
    pub(crate) const fn new(out: W) -> Self {
        Self { out, rows: Vec::new(), open: false, stale: false }
    }

    /// From now on nothing of the old drawing can be relied on.
    pub(crate) const fn resized(&mut self) {
        self.stale = true;
    }

    /// Adds lines that stay, and draws `rows` below them. None may be wider than the
    /// terminal, and there may not be more of them than it has.
    pub(crate) fn show(&mut self, lines: &[String], rows: Vec<String>) -> std::io::Result<()> {
        if lines.is_empty() && rows == self.rows && !self.stale {
            return Ok(());
        }
        let mut text = String::new();
        if !self.open && !rows.is_empty() {
            text.push_str(HIDE);
        }
        let anew = !lines.is_empty() || self.stale || rows.len() != self.rows.len();
        if anew && self.open {
            text.push_str(ERASE_BELOW);
        }
        for line in lines {
            text.push_str(line);
            text.push_str("\r\n");
        }
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            if !anew {
                text.push_str(ERASE_LINE);
            }
            text.push_str(row);
        }
        if rows.len() > 1 {
            text.push_str(&format!("\x1b[{}A", rows.len() - 1));
        }
        text.push('\r');
        self.open |= !rows.is_empty();
        self.stale = false;
        self.rows = rows;
        self.write(&text)
    }

    /// Leaves only what stays, and gives the cursor back.
    pub(crate) fn close(&mut self) -> std::io::Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        self.rows.clear();
        self.write(&format!("{ERASE_BELOW}{SHOW}"))
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_does_not_change_is_not_written() {
        let mut screen = Screen::new(Vec::new());
        screen.show(&[], lines(&["a", "b"])).expect("a vector takes all");
        assert_eq!(String::from_utf8_lossy(&screen.out), "\x1b[?25la\r\nb\x1b[1A\r");
        let before = screen.out.len();
        screen.show(&[], lines(&["a", "b"])).expect("a vector takes all");
        assert_eq!(screen.out.len(), before);
        screen.close().expect("a vector takes all");
        assert!(screen.out.ends_with(b"\r\x1b[J\x1b[?25h"));
    }

    #[test]
    fn lines_that_stay_are_written_above() {
        let mut screen = Screen::new(Vec::new());
        screen.show(&[], lines(&["a", "b"])).expect("a vector takes all");
        screen.out.clear();
        screen.show(&lines(&["done"]), lines(&["b"])).expect("a vector takes all");
        assert_eq!(String::from_utf8_lossy(&screen.out), "\r\x1b[Jdone\r\nb\r");
    }
}
