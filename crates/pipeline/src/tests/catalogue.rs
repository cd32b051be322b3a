//! The catalogue explains what happens.

use super::*;
use crate::{CATALOGUE, explain};

#[test]
fn every_example_of_the_catalogue_gets_its_code() {
    let files = TestFiles(&[
        ("locked", "1", "policy: { scan: locked }\nimage: debian:12\nstages: { scan: ./scan }"),
        ("circle", "1", "template: circle@1"),
    ]);
    for explanation in CATALOGUE {
        let code = explanation.code;
        // Those two are about the absence of a file, and about a file too long to print.
        if matches!(code, "E005" | "E061") {
            continue;
        }
        let mut context = on_main();
        if code == "E063" {
            context.place = Place::Server { environments: BTreeMap::new() };
        }
        let found = found_in(explanation.example, &files, &context);
        eprintln!("{found}");
        let codes: Vec<&str> = found.iter().map(|diagnostic| diagnostic.code.name()).collect();
        assert_eq!(codes, [code], "{found}");
    }
}

#[test]
fn codes_are_explained_in_any_case_and_unknown_ones_are_not() {
    let text = explain("e010").unwrap().to_string();
    assert!(text.starts_with("E010: unknown key\n\n"), "{text}");
    assert!(text.contains("Example:\n\n    image: debian:12\n"), "{text}");
    assert!(explain("E999").is_none());
}
