//! Pipeline text (rows A of the table of bad input).

use shipline_pipeline::{Bundled, SourceFile, check, parse, plan};

use super::{look_at, on_main, said};

/// A file whose stage `a` has these further keys.
fn stage(keys: &str) -> String {
    format!("image: debian:12\nstages:\n  a: {{ run: make, {keys} }}\n")
}

#[test]
fn a_1_aliases_do_not_multiply_without_end() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        let nine = vec![before; 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{nine}]\n"));
    }
    let said = said(format!("{bomb}image: debian:12\nstages: {{ a: make }}\n"));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("E003 "), "{said:#?}");
    assert!(said[0].contains("the limit is 100000"), "{said:#?}");

    let said = self::said("stages: &a { a: *a }\n");
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("E003 1:17 "), "{said:#?}");
}

#[test]
fn a_2_depth_and_size_are_bounded_before_anything_is_built() {
    let deep = format!("x-a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let said = said(deep);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("E003 ") && said[0].contains("the limit is 64"), "{said:#?}");

    let large = "# nothing\n".repeat(1 << 20);
    let said = self::said(large);
    let expected = "E003 1:1 the file is too large: 10485760 bytes, the limit is 1048576";
    assert_eq!(said, [expected]);
}

#[test]
fn a_3_keys_given_twice_and_keys_that_do_not_exist() {
    let said = said(stage("neds: [b], run: make test"));
    assert_eq!(
        said,
        ["E010 3:19 unknown key `neds` in stage `a`", "E002 3:30 key `run` is given twice"]
    );
}

#[test]
fn a_4_words_and_numbers_stay_what_is_written_or_are_refused() {
    let text = stage("env: { A: no, B: on, C: 1e3, D: 012, E: 3.10, F: ~ }");
    assert_eq!(said(text), ["E012 3:68 `env.F` takes text, not nothing"]);

    let source = SourceFile::new("a.yml", stage("env: { A: no, B: on, C: 1e3, D: 012, E: 3.10 }"));
    let (pipeline, _) = check(&parse(&source).0, &Bundled);
    let plan = plan(&pipeline.unwrap(), &on_main()).unwrap();
    let json = serde_json::to_value(&plan.stages[1]).unwrap();
    let expected = serde_json::json!({"A": "no", "B": "on", "C": "1e3", "D": "012", "E": "3.10"});
    assert_eq!(json["env"], expected);

    assert_eq!(said("image: debian:12\nname: 1e3\nstages: { a: make }\n").len(), 1);
    assert_eq!(said("image: debian:12\nauto: no\nstages: { a: make }\n").len(), 1);
}

#[test]
fn a_5_bytes_that_are_no_text_and_marks_that_turn_it() {
    let utf_16: Vec<u8> = "image: x".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let starts = |bytes: Vec<u8>, code: &str| {
        let said = said(bytes);
        assert!(said.len() == 1 && said[0].starts_with(code), "{said:#?}");
    };
    starts([vec![0xff, 0xfe], utf_16].concat(), "E003 ");
    starts(b"image: \xff\xfe\n".to_vec(), "E003 1:8 ");
    starts(b"image: a\0b\n".to_vec(), "E003 1:9 ");
    let bidi = "image: debian:12\nstages: { \"a\u{202e}b\": make }\n";
    assert!(said(bidi)[0].starts_with("E003 2:11 "));
    // A byte order mark is accepted, and other text may hold anything.
    let said = said("\u{feff}image: debian:12\nstages: { a: \"echo \u{202e}x\" }\n");
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn a_5_hidden_marks_are_shown_escaped() {
    let text = "image: \"debian\u{202e}:12\"\nstages: { a: make }\n";
    let found = look_at(text.as_bytes().to_vec(), &Bundled);
    let shown = found.to_string();
    assert!(!shown.contains('\u{202e}'), "{shown}");
    assert!(shown.contains("\\u{202e}"), "{shown}");
}

#[test]
fn a_6_tags_are_refused() {
    assert_eq!(
        said("image: !!python/object:os.system debian:12\nstages: { a: !include x.yml }\n")
            .iter()
            .map(|said| said[..4].to_owned())
            .collect::<Vec<_>>(),
        ["E007", "E007"]
    );
}

#[test]
fn a_7_circles_and_needs_that_are_not_there() {
    let said = said(
        "image: debian:12\nstages:\n  a: { run: make, needs: [b] }\n  b: { run: make, needs: [a] }\n  \
         c: { run: make, needs: [c] }\n  d: { run: make, needs: [x] }\n",
    );
    let codes: Vec<&str> = said.iter().map(|said| &said[..4]).collect();
    assert_eq!(codes, ["E021", "E021", "E020"], "{said:#?}");
}

#[test]
fn a_8_a_matrix_is_counted_before_it_is_made() {
    let axis = (0..1000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let said = said(stage(&format!("matrix: {{ x: [{axis}], y: [{axis}] }}")));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("E061 "), "{said:#?}");
    assert!(said[0].contains("1000000"), "{said:#?}");
}

#[test]
fn a_9_an_image_is_a_reference_and_nothing_else() {
    let long = format!("\"{}\"", "a".repeat(5 << 10));
    for image in ["\"\"", "-v/:/host", "\"img --privileged\"", "Debian:12", "a//b", "a:b:c", &long]
    {
        let text = format!("image: {image}\nstages: {{ a: make }}\n");
        let said = said(text);
        assert_eq!(said.len(), 1, "{image} {said:#?}");
        assert!(said[0].starts_with("E015 "), "{image} {said:#?}");
    }
}

#[test]
fn a_10_a_timeout_is_a_length_of_time() {
    for (timeout, code) in [
        ("-1", "E01"),
        ("0", "E01"),
        ("1e99", "E01"),
        ("0s", "E015"),
        ("99999999d", "E015"),
        ("\"\"", "E015"),
    ] {
        let said = said(stage(&format!("timeout: {timeout}")));
        assert_eq!(said.len(), 1, "{timeout} {said:#?}");
        assert!(said[0].starts_with(code), "{timeout} {said:#?}");
    }
}

#[test]
fn a_11_variables_of_the_user_are_the_users() {
    let text = stage("env: { LD_PRELOAD: /x.so, PATH: /x, BASH_ENV: /x, GIT_SSH_COMMAND: x }");
    assert_eq!(said(text), Vec::<String>::new());
}

#[test]
fn a_12_what_would_open_the_host_is_not_in_the_language() {
    for key in
        ["privileged: true", "network: host", "cap-add: [ALL]", "devices: [/dev/kvm]", "pid: host"]
    {
        let said = said(stage(key));
        assert_eq!(said.len(), 1, "{key} {said:#?}");
        assert!(said[0].starts_with("E010 3:19 "), "{key} {said:#?}");
    }
    let volumes = "image: debian:12\nstages:\n  a: { run: make, volumes: [\"/:/host\"] }\n";
    let said = said(volumes);
    assert!(said.len() == 1 && matches!(&said[0][..4], "E010" | "E011"), "{said:#?}");
}
