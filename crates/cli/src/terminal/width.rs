//! Columns of a text on a terminal: a letter may have none, one or two.

use unicode_width::UnicodeWidthChar as _;

use super::visible::colour_sequence;

/// Makes the character before it a picture, two columns wide.
const PICTURE: char = '\u{fe0f}';
const CUT: char = '…';

/// Returns the columns of a text; its colours have none.
pub(super) fn columns(text: &str) -> usize {
    pieces(text).map(|piece| piece.columns).sum()
}

/// Returns what of `text` fits into so many columns, with `…` where it was cut.
pub(super) fn fit(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let (mut shown, mut used, mut coloured) = (String::new(), 0, false);
    for piece in pieces(text) {
        // One is for the `…`.
        if used + piece.columns >= limit {
            break;
        }
        used += piece.columns;
        coloured |= piece.colours;
        shown.push_str(piece.text);
    }
    if limit > 0 {
        shown.push(CUT);
    }
    if coloured {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// Returns a text in exactly so many columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    let mut shown = fit(text, width);
    let missing = width.saturating_sub(columns(&shown));
    shown.extend(std::iter::repeat_n(' ', missing));
    shown
}

struct Piece<'a> {
    text: &'a str,
    columns: usize,
    colours: bool,
}

/// Letters with what combines with them, and colour sequences.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if let Some(length) = colour_sequence(rest) {
            let (text, behind) = rest.split_at(length);
            rest = behind;
            return Some(Piece { text, columns: 0, colours: true });
        }
        let first = rest.chars().next()?;
        let mut columns = first.width().unwrap_or(0);
        let mut length = first.len_utf8();
        for next in rest[length..].chars().take_while(|next| next.width() == Some(0)) {
            length += next.len_utf8();
            if next == PICTURE {
                columns = 2;
            }
        }
        let (text, behind) = rest.split_at(length);
        rest = behind;
        Some(Piece { text, columns, colours: false })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_have_two_columns_and_accents_none() {
        let texts = ["abc", "测试", "e\u{301}", "❤\u{fe0f}", "\x1b[31mred\x1b[0m", "a\u{200b}b"];
        assert_eq!(texts.map(columns), [3, 4, 1, 2, 3, 2]);
    }

    #[test]
    fn a_text_is_cut_between_letters_and_ends_its_colours() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("测试测试", 4), "测…");
        assert_eq!(fit("测试测试", 5), "测试…");
        assert_eq!(fit("\x1b[31mredder\x1b[0m", 3), "\x1b[31mre…\x1b[0m");
        assert_eq!(fit("ae\u{301}bc", 3), "ae\u{301}…");
        assert_eq!([fit("abc", 1), fit("abc", 0)], ["…", ""]);
        assert_eq!(pad("测", 4), "测  ");
    }
}
