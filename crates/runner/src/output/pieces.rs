//! One stream of masked bytes in pieces: whole lines, as many as came together, or parts of
//! lines that are too long.

use memchr::{memchr, memrchr};

/// The longest piece; a longer line becomes several.
pub(super) const LONGEST: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// The beginning of a line that has not ended.
    partial: Vec<u8>,
}

impl Pieces {
    /// Gives the lines that `bytes` completes to `take`, with their line feeds. Lines come
    /// together where they are text; one that is not comes alone, since it is kept otherwise.
    pub(super) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.partial.is_empty()
                && let Some(end) = memrchr(b'\n', &rest[..rest.len().min(LONGEST)])
            {
                let (lines, after) = rest.split_at(end + 1);
                rest = after;
                if std::str::from_utf8(lines).is_ok() {
                    take(lines);
                } else {
                    lines.split_inclusive(|byte| *byte == b'\n').for_each(&mut take);
                }
                continue;
            }
            let (line, after) =
                rest.split_at(memchr(b'\n', rest).map_or(rest.len(), |end| end + 1));
            rest = after;
            self.partial.extend_from_slice(line);
            while self.partial.len() > LONGEST {
                let cut = boundary(&self.partial[..LONGEST]);
                take(&self.partial[..cut]);
                self.partial.drain(..cut);
            }
            if self.partial.ends_with(b"\n") {
                take(&self.partial);
                self.partial.clear();
            }
        }
    }

    /// Gives what there is of an unfinished line to `take`; the rest comes as
    /// another piece. A character that has not come whole stays.
    pub(super) fn flush(&mut self, mut take: impl FnMut(&[u8])) {
        let cut = boundary(&self.partial);
        if cut > 0 {
            take(&self.partial[..cut]);
            self.partial.drain(..cut);
        }
    }

    /// Gives everything that is left to `take`.
    pub(super) fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            take(&self.partial);
            self.partial.clear();
        }
    }

    pub(super) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }
}

/// Returns how much of `bytes` can be cut off without cutting a character in two.
fn boundary(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        // `None` means that the end is missing; anything else is not UTF-8 at all.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut pieces = Pieces::default();
        for chunk in chunks {
            pieces.push(chunk, |piece| all.push(piece.to_vec()));
        }
        pieces.finish(|piece| all.push(piece.to_vec()));
        all
    }

    #[test]
    fn lines_are_put_together_from_chunks() {
        assert_eq!(pieces(&[b"a\nb", b"c\n\nd"]), [&b"a\n"[..], b"bc\n", b"\n", b"d"]);
    }

    #[test]
    fn lines_that_come_together_are_one_piece_as_long_as_they_are_text() {
        assert_eq!(pieces(&[b"a\nb\nc"]), [&b"a\nb\n"[..], b"c"]);
        assert_eq!(pieces(&[b"a\n\xff\nb\n"]), [&b"a\n"[..], b"\xff\n", b"b\n"]);
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let all = pieces(&[&line.repeat(40)]);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST, LONGEST, 8 * 1024]);
    }

    #[test]
    fn a_long_line_becomes_pieces_that_cut_no_character() {
        let line = "é".repeat(LONGEST);
        let all = pieces(&[b"x", line.as_bytes(), b"\n"]);
        assert!(all.len() >= 3);
        assert!(
            all.iter().all(|piece| piece.len() <= LONGEST && std::str::from_utf8(piece).is_ok())
        );
        assert_eq!(all.concat(), format!("x{line}\n").into_bytes());
    }

    #[test]
    fn a_flush_keeps_a_character_that_has_not_come_whole() {
        let mut shown = Vec::new();
        let mut pieces = Pieces::default();
        pieces.push(&"prompt é".as_bytes()[..8], |_| panic!("no line has ended"));
        pieces.flush(|piece| shown.push(piece.to_vec()));
        pieces.push(b"\xa9\n", |piece| shown.push(piece.to_vec()));
        assert_eq!(shown, ["prompt ".as_bytes(), "é\n".as_bytes()]);
    }

    #[test]
    fn bytes_that_are_no_text_are_not_held_back() {
        let mut shown = Vec::new();
        let mut pieces = Pieces::default();
        pieces.push(b"\xff\xfe", |_| panic!("no line has ended"));
        pieces.flush(|piece| shown.push(piece.to_vec()));
        assert_eq!(shown, [b"\xff\xfe"]);
    }
}
