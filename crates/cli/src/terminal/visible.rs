//! Output of stages, made harmless for a terminal.

use std::borrow::Cow;

use base64::Engine as _;
use event::FrameBody;

/// The text of a frame. Bytes that are not UTF-8 are replaced one by one, so that
/// a compiler that speaks Latin-1 can still be read.
pub(crate) fn readable(body: &FrameBody) -> Cow<'_, str> {
    match body {
        FrameBody::Text(text) => text.into(),
        FrameBody::Base64(encoded) => {
            match base64::engine::general_purpose::STANDARD.decode(encoded) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
                Err(_) => encoded.into(),
            }
        }
    }
}

/// Output may colour itself and nothing else: cursor movements, titles and
/// clipboard writes of a build must not reach the terminal.
pub(crate) fn visible(line: &str) -> String {
    of_output(line).into_owned()
}

/// As [`visible`], for the many lines of output that need no change.
pub(super) fn of_output(line: &str) -> Cow<'_, str> {
    // What is not ASCII may hide a control character, too.
    let plain = line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if plain { line.into() } else { shown(line, true).into() }
}

/// As [`visible`], without its colours.
pub(super) fn colourless(line: &str) -> String {
    shown(line, false)
}

fn shown(line: &str, coloured: bool) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = colour_sequence(rest) {
            if coloured {
                shown.push_str(&rest[..length]);
            }
            rest = &rest[length..];
        } else {
            let mut characters = rest.chars();
            if let Some(control) = characters.next()
                && control != '\r'
            {
                shown.extend(control.escape_default());
            }
            rest = characters.as_str();
        }
    }
    shown.push_str(rest);
    shown
}

/// Length of `ESC [ digits ; … m` at the beginning of `text`.
pub(super) fn colour_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    body[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_may_colour_itself_and_nothing_else() {
        assert_eq!(visible("\x1b[31mred\x1b[0m"), "\x1b[31mred\x1b[0m");
        assert_eq!(visible("\x1b]0;title\x07x"), "\\u{1b}]0;title\\u{7}x");
        assert_eq!(visible("\x1b[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(visible("50%\r100%\tdone"), "50%100%\tdone");
        assert_eq!(colourless("\x1b[31mred\x1b[0m\x1b[2J"), "red\\u{1b}[2J");
    }

    #[test]
    fn a_line_that_is_not_utf8_is_shown_as_far_as_it_is_text() {
        let latin = base64::engine::general_purpose::STANDARD.encode(b"l\xf6schen\n");
        assert_eq!(readable(&FrameBody::Base64(latin)), "l\u{fffd}schen\n");
    }
}
