//! Foreign text made fit for a mail: names people chose, lines programs wrote.

/// How much of a name a line shows.
const NAME_LENGTH: usize = 120;
const LINE_LENGTH: usize = 500;

/// A name as part of one line: no control characters, and not longer than fits.
pub(crate) fn name(text: &str) -> String {
    cut(&visible(text), NAME_LENGTH)
}

/// A sentence of the engine, which may quote foreign text.
pub(crate) fn sentence(text: &str) -> String {
    cut(&visible(text), LINE_LENGTH)
}

/// A line of output as a terminal would leave it: the colours gone, and of a
/// progress bar its last state.
pub(crate) fn output(line: &str) -> String {
    let plain = without_escapes(line.trim_end_matches(['\r', '\n']));
    let last = plain.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default();
    cut(&visible(last), LINE_LENGTH)
}

/// `340ms`, `41s`, `3m 12s`, `1h 2m`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Shows what would be invisible or reorder the text around it, and makes
/// everything that breaks a line a space.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' | '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => shown.push(' '),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                shown.push_str(&format!("<U+{:04X}>", u32::from(character)));
            }
            character if character.is_control() => shown.push('\u{fffd}'),
            character => shown.push(character),
        }
    }
    shown
}

/// Removes terminal control sequences with their arguments.
fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            // CSI: up to its final byte.
            Some('[') => {
                characters.find(|it| ('\u{40}'..='\u{7e}').contains(it));
            }
            // OSC and its kin: up to BEL or ESC \.
            Some(']' | 'P' | 'X' | '^' | '_') => {
                let mut escaped = false;
                characters.find(|it| {
                    let ends = *it == '\u{7}' || (escaped && *it == '\\');
                    escaped = *it == '\u{1b}';
                    ends
                });
            }
            Some(_) | None => {}
        }
    }
    plain
}

fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let told = [0, 999, 1_000, 41_000, 60_000, 192_000, 3_599_999, 3_720_000].map(duration);
        assert_eq!(told, ["0ms", "999ms", "1s", "41s", "1m 0s", "3m 12s", "59m 59s", "1h 2m"]);
    }

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(name("main\r\nBcc: x@y"), "main  Bcc: x@y");
        assert_eq!(name("a\u{2028}b\u{85}c\0d"), "a b c\u{fffd}d");
        assert_eq!(name("gpj.\u{202e}exe"), "gpj.<U+202E>exe");
        assert_eq!(name(&"x".repeat(100_000)), format!("{}…", "x".repeat(120)));
    }

    #[test]
    fn output_loses_its_colours_and_what_a_terminal_would_have_overwritten() {
        assert_eq!(output("\u{1b}[31merror\u{1b}[0m: no\r\n"), "error: no");
        assert_eq!(output(" 10%\r 50%\r100%\r"), "100%");
        assert_eq!(output("\u{1b}]8;;https://evil.example\u{1b}\\link\u{1b}]8;;\u{7}"), "link");
        assert_eq!(output("\u{1b}[2J\u{1b}(Bplain\u{1b}"), "Bplain");
        assert_eq!(output(""), "");
    }
}
