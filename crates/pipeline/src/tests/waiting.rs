//! Every key whose value may wait for the run, walked through the key table: once the
//! value is there, the stage is what it would be had the value been written.

use serde_json::{Value, json};

use super::schema::{pipeline, places_of_stages, words, yaml};
use super::*;
use crate::expression::Site;
use crate::keys::Default;
use crate::{RunFacts, resolve};

/// An expression that gives a value, but not before the run has a number.
fn waiting(value: &Value) -> Value {
    let expression =
        |literal: String| json!(format!("${{{{ run.number == 7 ? {literal} : {literal} }}}}"));
    match value {
        Value::Array(items) => items.iter().map(waiting).collect(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), waiting(value))).collect()
        }
        // JSON's strings are CEL's, as far as they are used here.
        scalar => expression(scalar.to_string()),
    }
}

/// Values that are not tried: those with an expression already, the word alone in
/// `merge: last`, names of stages in `image`, and a word that needs other keys beside it.
fn is_only_written(place: &str) -> bool {
    const WRITTEN: [&str; 4] = [
        "stage.merge: last",
        "deploy.image: publish",
        "push.image: image",
        "deploy.canary.by: label",
    ];
    place.contains("${{") || WRITTEN.contains(&place)
}

/// Every value that the table shows of a key that takes expressions in a stage.
fn values() -> Vec<(String, String, String)> {
    let mut values = Vec::new();
    for (keys, around) in places_of_stages() {
        for key in keys.all {
            if !matches!(key.site, Some(Site::Value | Site::Cache | Site::Plan | Site::Run)) {
                continue;
            }
            let default = match key.default {
                Default::Value(value) => Some(value),
                _ => None,
            };
            let examples = key.examples.iter().copied().chain(default).map(yaml);
            for value in examples.chain(words(&key.form).into_iter().map(|(_, value)| value)) {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let place = format!("{}.{}: {shown}", keys.name, key.name);
                if !is_only_written(&place) {
                    let later = pipeline(keys, &around, key.name, waiting(&value)).to_string();
                    let now = pipeline(keys, &around, key.name, value).to_string();
                    values.push((place, now, later));
                }
            }
        }
    }
    values
}

#[test]
fn a_value_of_any_key_is_the_same_whether_it_was_written_or_waited_for() {
    let run = RunFacts { number: 7, ..RunFacts::default() };
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (place, now, later) in values() {
        let expected = planned(&now, &on_main());
        let found = found_in(&later, &Bundled, &on_main());
        if found.has_errors() {
            wrong.push(format!("{place}\n{later}\n{}", lines(&found)));
            continue;
        }
        let plan = planned(&later, &on_main());
        let plan: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        for (stage, expected) in plan.stages.iter().zip(&expected.stages) {
            if stage.pending.is_empty() {
                continue;
            }
            tried += 1;
            match resolve(&plan, stage, &BTreeMap::new(), &run, &|_| Err(String::new())) {
                Err(error) => wrong.push(format!("{place}\n{later}\n{error}")),
                Ok(mut resolved) => {
                    resolved.origins.clone_from(&expected.origins);
                    if &resolved != expected {
                        wrong.push(format!("{place}\n{resolved:?}\n{expected:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(tried > 100, "{tried}");
}

/// What is said of `image` of a push, when the plan is made or when the stage starts.
fn pushed(expression: &str) -> String {
    let text = format!(
        "stages:\n  image: {{ build: {{}} }}\n  push: {{ push: {{ image: \"${{{{ {expression} }}}}\", registry: r, tags: ['a.example/a:1'] }} }}\n"
    );
    let found = found_in(&text, &Bundled, &on_main());
    if found.has_errors() {
        return lines(&found);
    }
    let plan = planned(&text, &on_main());
    let stage = plan.stage("push").unwrap();
    let run = RunFacts { number: 7, ..RunFacts::default() };
    match resolve(&plan, stage, &BTreeMap::new(), &run, &|_| Err(String::new())) {
        Ok(stage) => format!("{:?}", stage.work.image()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_expression_names_no_stage_whose_image_it_means() {
    assert_eq!(pushed("'debian:12'"), "Some(Reference(\"debian:12\"))");
    assert_eq!(pushed("'debian:' + string(run.number)"), "Some(Reference(\"debian:7\"))");
    let said = "`image` is given by an expression, which can name no stage, and an image of a registry has a tag or a path: `image`";
    assert_eq!(
        pushed("git.branch == 'main' ? 'image' : 'a:1'"),
        format!("E015 3:26 {said} | write the name of the stage itself, or give the image a tag")
    );
    assert_eq!(
        pushed("run.number == 7 ? 'image' : 'a:1'"),
        format!("error[E015]: {said}\n  --> .shipline.yml:3:26")
    );
}
