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
        // About the absence of a file, a file too long to print, and a key of a later day.
        if matches!(code, "E005" | "E061" | "E080" | "W071") {
            continue;
        }
        // About a template, and not about a file that uses one.
        if matches!(code, "W075" | "W076") {
            let (document, _) = parse(&SourceFile::new("template.yml", explanation.example));
            let found = crate::check_template(&document, &files).1;
            assert!(found.iter().all(|found| found.code.name() == code), "{found}");
            assert!(!found.is_empty(), "{code}");
            continue;
        }
        let context = place_of(code);
        let mut found = found_in(explanation.example, &files, &context);
        if let (Some(pipeline), false) =
            (checked(explanation.example, &files).0, found.has_errors())
        {
            // Warnings of a place stand in the plan.
            found = Diagnostics::default();
            let plan = plan(&pipeline, &context).unwrap();
            let codes: Vec<&str> =
                plan.diagnostics.iter().filter_map(|found| found["code"].as_str()).collect();
            assert_eq!(codes, [code], "{:?}", plan.diagnostics);
        } else {
            let codes: Vec<&str> = found.iter().map(|diagnostic| diagnostic.code.name()).collect();
            assert_eq!(codes, [code], "{found}");
        }
        eprintln!("{found}");
    }
}

/// Where the example is looked at: codes about a place need one.
fn place_of(code: &str) -> Context {
    let mut context = on_main();
    match code {
        "E050" | "E060" | "E062" | "E063" | "E064" | "E065" | "W052" | "W074" => {
            context.place = Place::Server { environments: BTreeMap::new() };
        }
        _ => return context,
    }
    let scope = crate::SecretScope {
        masks_badly: Some("shorter than 8 characters".to_owned()),
        ..crate::SecretScope::default()
    };
    context.offers = crate::Offers {
        secrets: Some(BTreeMap::from([("PIN".to_owned(), scope)])),
        registries: Some(["harbor".to_owned()].into()),
        runners: Some(vec![["amd64".to_owned()].into()]),
        policy: Some(crate::StagePolicy {
            set_by: "the server's configuration".to_owned(),
            max_memory: Some(16 << 30),
            digests: code == "W074",
            ..crate::StagePolicy::default()
        }),
    };
    context
}

#[test]
fn codes_are_explained_in_any_case_and_unknown_ones_are_not() {
    let text = explain("e010").unwrap().to_string();
    assert!(text.starts_with("E010: unknown key\n\n"), "{text}");
    assert!(text.contains("Example:\n\n    image: debian:12\n"), "{text}");
    assert!(explain("E999").is_none());
}
