//! Secrets out of text: the only place masked text comes from.
//!
//! A secret is masked as it is, each of its lines, and in the forms programs
//! print it in: base64 (three alignments, both alphabets), percent-encoded,
//! hex, JSON and shell-quoted. Output is masked as it streams by: what may be
//! the beginning of a secret is held back until more comes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

const MASK: &[u8] = b"***";
/// Masking anything shorter would tear holes into innocent words (W052).
const SHORTEST: usize = 8;

/// Bytes without secrets; made by a [`Masker`] and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked(Vec<u8>);

impl Masked {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Knows the secrets of a run.
#[derive(Debug)]
pub struct Masker {
    /// `None` when there is nothing to mask.
    automaton: Option<AhoCorasick>,
    /// Sorted.
    patterns: Vec<Vec<u8>>,
    longest: usize,
    /// Whether a pattern begins with this byte.
    first: [bool; 256],
}

impl Masker {
    /// Whether a secret is long enough to be masked.
    pub fn masks(secret: &str) -> bool {
        secret.lines().any(|line| line.len() >= SHORTEST)
    }

    /// Returns a masker of `secrets`; those shorter than eight bytes are not masked, nor
    /// are such lines alone.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, BuildError> {
        let mut patterns = BTreeSet::new();
        for secret in secrets {
            let secret = secret.as_ref();
            forms(secret, &mut patterns);
            for line in secret.lines() {
                forms(line, &mut patterns);
            }
        }
        let patterns: Vec<Vec<u8>> = patterns.into_iter().collect();
        let mut first = [false; 256];
        for pattern in &patterns {
            first[usize::from(pattern[0])] = true;
        }
        let automaton = if patterns.is_empty() {
            None
        } else {
            Some(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns)?)
        };
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Self { automaton, patterns, longest, first })
    }

    /// Returns `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        let Some(automaton) = &self.automaton else { return text.to_owned() };
        let mut masked = Vec::with_capacity(text.len());
        automaton.replace_all_with_bytes(text.as_bytes(), &mut masked, |_, _, masked| {
            masked.extend_from_slice(MASK);
            true
        });
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// Returns where the first possible beginning of a secret that `bytes` cuts
    /// off stands, at or after `from`; the length of `bytes` if there is none.
    fn cut_off(&self, bytes: &[u8], from: usize) -> usize {
        let earliest = from.max(bytes.len().saturating_sub(self.longest.saturating_sub(1)));
        (earliest..bytes.len())
            .find(|start| self.first[usize::from(bytes[*start])] && self.begins(&bytes[*start..]))
            .unwrap_or(bytes.len())
    }

    /// Whether a pattern begins with `head` and is longer.
    fn begins(&self, head: &[u8]) -> bool {
        let next = self.patterns.partition_point(|pattern| pattern.as_slice() <= head);
        self.patterns.get(next).is_some_and(|pattern| pattern.starts_with(head))
    }
}

/// The masking of one stream of bytes, however it is cut into chunks.
#[derive(Debug)]
pub struct MaskedStream {
    masker: Arc<Masker>,
    held: Vec<u8>,
}

impl MaskedStream {
    pub fn new(masker: Arc<Masker>) -> Self {
        Self { masker, held: Vec::new() }
    }

    /// Returns what can be shown after `chunk` has come.
    pub fn push(&mut self, chunk: &[u8]) -> Masked {
        let Some(automaton) = &self.masker.automaton else { return Masked(chunk.to_vec()) };
        self.held.extend_from_slice(chunk);
        let bytes = std::mem::take(&mut self.held);
        let mut masked = Vec::with_capacity(bytes.len());
        let mut position = 0;
        let mut cut = self.masker.cut_off(&bytes, 0);
        let mut matches = automaton.find_iter(&bytes).peekable();
        // A match that begins before `cut` cannot grow any more with what comes.
        while let Some(found) = matches.next_if(|found| found.start() < cut) {
            masked.extend_from_slice(&bytes[position..found.start()]);
            masked.extend_from_slice(MASK);
            position = found.end();
            if position > cut {
                cut = self.masker.cut_off(&bytes, position);
            }
        }
        masked.extend_from_slice(&bytes[position..cut]);
        self.held = bytes[cut..].to_vec();
        Masked(masked)
    }

    /// Returns what was held back; nothing more comes.
    pub fn finish(&mut self) -> Masked {
        let held = std::mem::take(&mut self.held);
        let Some(automaton) = &self.masker.automaton else { return Masked(held) };
        let mut masked = Vec::with_capacity(held.len());
        automaton.replace_all_with_bytes(&held, &mut masked, |_, _, masked| {
            masked.extend_from_slice(MASK);
            true
        });
        Masked(masked)
    }
}

/// Adds the forms that `secret` is printed in.
fn forms(secret: &str, patterns: &mut BTreeSet<Vec<u8>>) {
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.len() < SHORTEST {
        return;
    }
    let mut add = |form: &[u8]| {
        if form.len() >= SHORTEST {
            patterns.insert(form.to_vec());
        }
    };
    add(secret.as_bytes());
    for alignment in 0..3 {
        for alphabet in [&STANDARD, &URL_SAFE] {
            add(base64_inside(secret, alignment, alphabet).as_bytes());
        }
    }
    for upper in [false, true] {
        add(percent_encoded(secret, upper, |byte| {
            byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
        })
        .as_bytes());
        // As browsers and `encodeURIComponent` do it.
        add(percent_encoded(secret, upper, |byte| {
            byte.is_ascii_alphanumeric() || b"-_.~!*'()".contains(&byte)
        })
        .as_bytes());
        // Forms put `+` for a space.
        add(percent_encoded(secret, upper, |byte| {
            byte.is_ascii_alphanumeric() || b"-_.* ".contains(&byte)
        })
        .replace(' ', "+")
        .as_bytes());
    }
    add(hex::encode(secret).as_bytes());
    add(hex::encode_upper(secret).as_bytes());
    let json = serde_json::Value::from(secret).to_string();
    let json = &json[1..json.len() - 1];
    add(json.as_bytes());
    add(json.replace('/', "\\/").as_bytes());
    add(secret.replace('\'', r"'\''").as_bytes());
    add(secret.replace('\'', r#"'"'"'"#).as_bytes());
    add(escaped(secret, |c| "$`\"\\!".contains(c)).as_bytes());
    // As `printf %q` does it.
    add(escaped(secret, |c| {
        c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_./:=@%+,".contains(c)
    })
    .as_bytes());
}

/// Returns the characters of the base64 text of `before` bytes and `secret` that
/// depend on the secret alone, whatever stands around it.
fn base64_inside(secret: &str, before: usize, alphabet: &base64::engine::GeneralPurpose) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret.as_bytes());
    let bits = bytes.len() * 8;
    let text = alphabet.encode(bytes);
    text[(before * 8).div_ceil(6)..bits / 6].to_owned()
}

fn percent_encoded(secret: &str, upper: bool, plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(secret.len() * 3);
    for byte in secret.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else if upper {
            write!(text, "%{byte:02X}").expect("writing to a string does not fail");
        } else {
            write!(text, "%{byte:02x}").expect("writing to a string does not fail");
        }
    }
    text
}

fn escaped(secret: &str, special: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(secret.len() * 2);
    for c in secret.chars() {
        if special(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
#[path = "masker_tests.rs"]
mod many;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "pa$$ w/'rd\"+é\\";

    fn masker(secrets: &[&str]) -> Arc<Masker> {
        Arc::new(Masker::new(secrets).unwrap())
    }

    /// Masks `text` cut at each of `cuts`, as one string.
    fn masked(masker: &Arc<Masker>, chunks: &[&[u8]]) -> String {
        let mut stream = MaskedStream::new(masker.clone());
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend_from_slice(stream.push(chunk).as_bytes());
        }
        all.extend_from_slice(stream.finish().as_bytes());
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_secret_is_masked_in_every_form_at_every_split_point() {
        let masker = masker(&[SECRET]);
        let base64 = |before: &str| STANDARD.encode(format!("{before}{SECRET}..."));
        let forms = [
            SECRET.to_owned(),
            base64("user"),
            base64("user:"),
            base64("user::"),
            URL_SAFE.encode(SECRET),
            "pa%24%24%20w%2F%27rd%22%2B%C3%A9%5C".to_owned(),
            "pa%24%24%20w%2f%27rd%22%2b%c3%a9%5c".to_owned(),
            "pa%24%24+w%2F%27rd%22%2B%C3%A9%5C".to_owned(),
            hex::encode(SECRET),
            hex::encode_upper(SECRET),
            serde_json::to_string(SECRET).unwrap(),
            format!("'{}'", SECRET.replace('\'', r"'\''")),
        ];
        for form in forms {
            let text = format!("before {form} after");
            for cut in 0..=text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                let out = masked(&masker, &[head, tail]);
                assert!(out.starts_with("before "), "{out}");
                assert!(out.ends_with(" after"), "{out}");
                assert!(out.contains("***"), "{form} is not masked when cut at {cut}: {out}");
                // At most the characters that the secret shares with its neighbours are left.
                assert!(out.len() <= "before *** after".len() + 14, "{form} at {cut}: {out}");
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert!(masked(&masker, &bytes).contains("***"), "{form} byte by byte");
        }
    }

    #[test]
    fn the_longer_secret_wins_wherever_it_is_cut() {
        let masker = masker(&["hunter22", "hunter22-extended"]);
        let text = b"x hunter22-extended hunter22-extra hunter22";
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(masked(&masker, &[head, tail]), "x *** ***-extra ***");
        }
    }

    #[test]
    fn only_what_may_become_a_secret_is_held_back() {
        let mut stream = MaskedStream::new(masker(&["swordfish"]));
        assert_eq!(stream.push(b"the password is swo").as_bytes(), b"the password is ");
        assert_eq!(stream.push(b"llen").as_bytes(), b"swollen");
        assert_eq!(stream.push(b"\n").as_bytes(), b"\n");
    }

    #[test]
    fn every_line_of_a_secret_is_a_secret() {
        let masker = masker(&["-----BEGIN-----\nabcdefgh\n"]);
        assert_eq!(masked(&masker, &[b"  abcdefgh\n"]), "  ***\n");
        assert_eq!(masker.text("key -----BEGIN-----\nabcdefgh"), "key ***");
    }

    #[test]
    fn without_secrets_every_byte_passes_at_once() {
        let mut stream = MaskedStream::new(masker(&["", "abc"]));
        assert_eq!(stream.push(&[0xff, b'a']).as_bytes(), [0xff, b'a']);
    }

    proptest::proptest! {
        #[test]
        fn cutting_changes_nothing(
            secrets in proptest::collection::vec("[ab]{8,10}", 1..4),
            text in "[abc]{0,60}|[ab]{20,60}",
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let masker = Arc::new(Masker::new(&secrets).unwrap());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            proptest::prop_assert_eq!(masked(&masker, &chunks), masker.text(&text));
        }
    }
}
