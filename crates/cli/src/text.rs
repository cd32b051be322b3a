//! Words for people: durations, ages, tables.

use chrono::{DateTime, Utc};

/// `0.4s`, `12s`, `3m 12s`, `2h 05m`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `5s ago`, `3m ago`, `2d ago`.
pub(crate) fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A text that somebody else wrote, on one line: what would move the cursor, or turn the
/// line around, is shown escaped.
pub(crate) fn plain(text: &str) -> String {
    pipeline::visible(&text.trim_end().replace(['\n', '\r', '\t'], " "))
}

/// Lays rows out in columns, two spaces apart; the last column is not padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let padding = width - cell.chars().count();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        let words: Vec<String> =
            [0, 412, 9_990, 12_000, 192_000, 7_500_000].into_iter().map(duration).collect();
        assert_eq!(words, ["0.0s", "0.4s", "9.9s", "12s", "3m 12s", "2h 05m"]);
    }

    #[test]
    fn a_text_of_others_does_nothing_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\u{202e}b\nc\n"), "a\\u{1b}[2J\\u{202e}b c");
        assert_eq!(plain("Bäckerei ✓"), "Bäckerei ✓");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["1".to_owned(), "passed".to_owned()],
            vec!["214".to_owned(), "failed".to_owned()],
        ];
        assert_eq!(table(&["RUN", "RESULT"], &rows), "RUN  RESULT\n1    passed\n214  failed\n");
    }
}
