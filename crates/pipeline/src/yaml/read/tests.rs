use super::*;
use crate::source::{FILE_LIMIT_BYTES, Place, SourceFile};

/// The tree in one line, or the codes of what is wrong.
fn tree(text: &str) -> String {
    let sources = Sources::one(SourceFile::new("a.yml", text));
    let mut found = Vec::new();
    let root = read(&sources, FileId::PIPELINE, &mut found);
    match root {
        Some(root) if found.is_empty() => shape(&root, &sources),
        _ => found
            .iter()
            .map(|diagnostic| {
                let place = diagnostic.place.as_ref().map(Place::start).unwrap_or_default();
                let related = diagnostic.related.iter().map(|related| {
                    let (line, column) = related.place.start();
                    format!(" ({} {line}:{column})", related.message)
                });
                format!(
                    "{} {}:{} {}{}",
                    diagnostic.code.name(),
                    place.0,
                    place.1,
                    diagnostic.message,
                    related.collect::<String>()
                )
            })
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn shape(node: &Node, sources: &Sources) -> String {
    let place = sources.short(node.span);
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Int(value, text) => format!("{value}<{text}>@{place}"),
        Value::Float(_, text) => format!("float<{text}>"),
        Value::Text(text) => format!("{text:?}@{place}"),
        Value::Mixed(_) => "mixed".to_owned(),
        Value::List(list) => {
            let items: Vec<_> = list.iter().map(|item| shape(item, sources)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries = map.0.iter().map(|entry| {
                format!(
                    "{}@{}: {}",
                    entry.key.name,
                    sources.short(entry.key.span),
                    shape(&entry.value, sources)
                )
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn keys_and_values_know_their_places() {
    assert_eq!(
        tree("a: 1\nb:\n  c: [x, 'y z']\n  \"d e\": on\n"),
        r#"{a@1:1: 1<1>@1:4, b@2:1: {c@3:3: ["x"@3:7, "y z"@3:10], d e@4:3: "on"@4:10}}"#
    );
    assert_eq!(tree("é: ü"), r#"{é@1:1: "ü"@1:4}"#);
    assert_eq!(
        tree("a: |\n  x\n  y\nb: >-\n  p\n  q\n"),
        r#"{a@1:1: "x\ny\n"@2:3, b@4:1: "p q"@5:3}"#
    );
}

#[test]
fn numbers_keep_their_text_and_words_stay_words() {
    assert_eq!(
        tree("[012, 1.10, 1e3, 0x1F, no, yes, off, ~, true, '7', 1_000]"),
        r#"[12<012>@1:2, float<1.10>, float<1e3>, 31<0x1F>@1:18, "no"@1:24, "yes"@1:28, "off"@1:33, null, true, "7"@1:47, "1_000"@1:52]"#
    );
}

#[test]
fn aliases_and_merges_are_resolved_and_own_keys_win() {
    assert_eq!(
        tree("x-a: &a { k: 1, l: 2 }\nb:\n  <<: *a\n  l: 3\nc: *a\n"),
        "{x-a@1:1: {k@1:11: 1<1>@1:14, l@1:17: 2<2>@1:20}, \
         b@2:1: {l@4:3: 3<3>@4:6, k@1:11: 1<1>@1:14}, \
         c@5:1: {k@1:11: 1<1>@1:14, l@1:17: 2<2>@1:20}}"
    );
    assert_eq!(
        tree("a: &a {k: 1}\nb: &b {k: 2, m: 3}\nc: {<<: [*a, *b]}"),
        "{a@1:1: {k@1:8: 1<1>@1:11}, b@2:1: {k@2:8: 2<2>@2:11, m@2:14: 3<3>@2:17}, \
         c@3:1: {k@1:8: 1<1>@1:11, m@2:14: 3<3>@2:17}}"
    );
}

#[test]
fn a_key_given_twice_is_told_with_both_places_every_time() {
    assert_eq!(
        tree("a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}\n\"b\": 4\n"),
        "E002 3:1 key `a` is given twice (first given here 1:1)\n\
         E002 4:11 key `d` is given twice (first given here 4:5)\n\
         E002 5:1 key `b` is given twice (first given here 2:1)"
    );
}

#[test]
fn a_tag_is_refused_with_its_name() {
    assert_eq!(
        tree("a: 1\nb: !secret x\n"),
        "E007 2:4 `!secret` is a YAML tag, and tags are not used"
    );
    assert_eq!(tree("a: !!binary aGk=\n").get(..8), Some("E007 1:4"));
}

#[test]
fn syntax_errors_have_a_place_and_tell_where_the_construct_began() {
    for (text, expected) in [
        ("a: [1, 2\nb: 3\n", "in the list that begins here 1:4"),
        ("a: {b: 1\nc: 2\n", "in the map that begins here 1:4"),
        ("a: \"x\nb: 2\n", "this quote is not closed 1:4"),
        ("a:\n\tb: 1\n", "E001 2:1 a tab (`→`) cannot indent YAML"),
        ("a: *b\n", "E001 1:4 the alias `*b` names an anchor that is not above it"),
    ] {
        let said = tree(text);
        assert!(said.starts_with("E001") && said.contains(expected), "{text:?}\n{said}");
    }
}

#[test]
fn limits_are_told_with_the_number_found() {
    let deep = format!("a: {}1{}", "[".repeat(70), "]".repeat(70));
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(0..8)
            .map(|level| {
                let (above, own) = (char::from(b'a' + level), char::from(b'b' + level));
                format!("{own}: &{own} [{}]\n", vec![format!("*{above}"); 10].join(", "))
            })
            .collect::<String>();
    let nested = "a0: &a0 [[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]\n".to_owned()
        + &(1..10)
            .map(|level| format!("a{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1))
            .collect::<String>();
    for (text, expected) in [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("a: 1\n---\nb: 2\n", "the file holds 2 documents, the limit is 1"),
        (deep.as_str(), "levels deep, the limit is 64"),
        (nested.as_str(), "deep"),
        (bomb.as_str(), "the limit is"),
        ("a: &a [*a]\n", "1 cyclic alias"),
        ("a: b\0\n", "the file holds a NUL byte (U+0000)"),
        ("a: \x1b[31m\n", "the file holds a control character (U+001B)"),
    ] {
        let said = tree(text);
        assert!(said.starts_with("E003") && said.contains(expected), "{text:.40}\n{said}");
    }
    for piece in ["[", "{a: ", "- ", "? ", "a: [", "&a [*a, "] {
        let said = tree(&piece.repeat(20_000));
        assert!(said.starts_with("E00"), "{piece:?}\n{said:.200}");
    }
    let large = format!("a: {}", "x".repeat(FILE_LIMIT_BYTES));
    assert_eq!(tree(&large), "E003 1:1 the file is too large: 1048579 bytes, the limit is 1048576");
}
