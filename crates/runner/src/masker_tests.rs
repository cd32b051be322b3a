//! Many secrets at once: every form of each is masked, wherever output is cut.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::{MaskedStream, Masker};

const SECRETS: usize = 500;
/// Longer than any line of the output, so that each form is cut at most once at a time.
const CHUNK: usize = 97;
/// What may be left of base64 text whose first and last characters depend on its neighbours.
const SHARED: usize = 14;

/// Secrets as tools make them and people invent them, the same each time.
fn secrets() -> Vec<String> {
    const ALPHABETS: [&str; 4] = [
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "ABCDEFGHJKLMNPQRSTUVWXYZ23456789-_",
        "ab01$`\"'\\!/ +=%&?~",
        "häßlich-ключ0123",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        // Knuth's multiplier; the upper bits are good enough.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let mut one = |number: usize| -> String {
        let letters: Vec<char> = ALPHABETS[number % ALPHABETS.len()].chars().collect();
        let length = 9 + random(6);
        // With an end that nobody trims, and a number that makes it another.
        (0..length)
            .map(|_| letters[random(letters.len())])
            .chain(format!("{number:x}z").chars())
            .collect()
    };
    (0..SECRETS).map(&mut one).collect()
}

/// A form of a secret as programs print it, and whether nothing of it may be left.
fn forms(secret: &str) -> Vec<(String, bool)> {
    let bytes = secret.bytes();
    let percent = |upper: bool, plain: &str| -> String {
        let encoded = bytes.clone().map(|byte| match char::from(byte) {
            letter if letter.is_ascii_alphanumeric() || plain.contains(letter) => {
                letter.to_string()
            }
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        });
        encoded.collect()
    };
    let escaped = |special: &str| -> String {
        let pairs = secret.chars().map(|letter| match special.contains(letter) {
            true => format!("\\{letter}"),
            false => letter.to_string(),
        });
        pairs.collect()
    };
    let json = serde_json::to_string(secret).expect("a text");
    let mut forms = vec![
        secret.to_owned(),
        percent(true, "-_.~"),
        percent(false, "-_.~"),
        percent(true, "-_.~!*'()"),
        percent(true, "-_.* ").replace(' ', "+"),
        hex::encode(secret),
        hex::encode_upper(secret),
        json[1..json.len() - 1].to_owned(),
        json[1..json.len() - 1].replace('/', "\\/"),
        secret.replace('\'', r"'\''"),
        secret.replace('\'', r#"'"'"'"#),
        escaped("$`\"\\!"),
    ];
    forms.dedup();
    let mut forms: Vec<(String, bool)> = forms.into_iter().map(|form| (form, true)).collect();
    for before in ["", "u", "u:"] {
        for alphabet in [&STANDARD, &URL_SAFE] {
            forms.push((alphabet.encode(format!("{before}{secret}..")), false));
        }
    }
    forms
}

/// Masks `text` as it comes in chunks, the first of them `phase` bytes long.
fn masked(masker: &Arc<Masker>, text: &str, phase: usize, chunk: usize) -> String {
    let (head, rest) = text.as_bytes().split_at(phase);
    let mut stream = MaskedStream::new(Arc::clone(masker));
    let mut all = Vec::with_capacity(text.len());
    for chunk in std::iter::once(head).chain(rest.chunks(chunk)) {
        all.extend_from_slice(stream.push(chunk).as_bytes());
    }
    all.extend_from_slice(stream.finish().as_bytes());
    String::from_utf8(all).expect("text stays text")
}

#[test]
fn every_form_of_500_secrets_is_masked_at_every_split_point() {
    let secrets = secrets();
    let masker = Arc::new(Masker::new(&secrets).expect("secrets of usual size"));
    let mut text = String::new();
    let mut whole = Vec::new();
    for (form, exact) in secrets.iter().flat_map(|secret| forms(secret)) {
        let line = format!("key={form};\n");
        assert!(line.len() < CHUNK, "{line}");
        text.push_str(&line);
        whole.push((form, exact));
    }
    let expected = masker.text(&text);
    let lines: Vec<&str> = expected.lines().collect();
    assert_eq!(lines.len(), whole.len());
    for (line, (form, exact)) in lines.iter().zip(&whole) {
        match exact {
            true => assert_eq!(*line, "key=***;", "{form}"),
            false => {
                assert!(line.contains("***") && !line.contains(form), "{form}: {line}");
                assert!(line.len() <= "key=***;".len() + SHARED, "{form}: {line}");
            }
        }
    }
    // Chunks that begin at each place in turn are cut at every place of the text.
    for phase in 0..CHUNK {
        assert!(masked(&masker, &text, phase, CHUNK) == expected, "cut from {phase} on");
    }
    assert!(masked(&masker, &text, 0, 1) == expected, "byte by byte");
}
