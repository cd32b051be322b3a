//! What forges and editors get of a check.

use serde_json::{Value, json};

use super::*;

/// The part of the schema of SARIF 2.1.0 that a check uses, without any freedom.
fn shape() -> Value {
    let text = json!({
        "type": "object", "required": ["text"], "additionalProperties": false,
        "properties": { "text": { "type": "string", "minLength": 1 }, "markdown": { "type": "string" } },
    });
    let position = json!({ "type": "integer", "minimum": 1 });
    let physical = json!({
        "type": "object", "required": ["artifactLocation", "region"], "additionalProperties": false,
        "properties": {
            "artifactLocation": {
                "type": "object", "required": ["uri"], "additionalProperties": false,
                "properties": { "uri": { "type": "string", "pattern": "^[A-Za-z0-9._~@/%-]+$" } },
            },
            "region": {
                "type": "object", "additionalProperties": false,
                "required": ["startLine", "startColumn", "endLine", "endColumn"],
                "properties": {
                    "startLine": position, "startColumn": position,
                    "endLine": position, "endColumn": position,
                },
            },
        },
    });
    let level = json!({ "enum": ["none", "note", "warning", "error"] });
    let rule = json!({
        "type": "object", "additionalProperties": false,
        "required": ["id", "shortDescription", "fullDescription", "help", "defaultConfiguration"],
        "properties": {
            "id": { "type": "string", "pattern": "^[EW][0-9]{3}$" },
            "shortDescription": text, "fullDescription": text, "help": text,
            "defaultConfiguration": {
                "type": "object", "additionalProperties": false, "properties": { "level": level },
            },
        },
    });
    let driver = json!({
        "type": "object", "required": ["name", "semanticVersion", "rules"],
        "additionalProperties": false,
        "properties": {
            "name": { "const": "shipline" },
            "semanticVersion": { "type": "string" },
            "rules": { "type": "array", "uniqueItems": true, "items": rule },
        },
    });
    let location = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "physicalLocation": physical },
    });
    let related = json!({
        "type": "object", "additionalProperties": false,
        "required": ["id", "message", "physicalLocation"],
        "properties": {
            "id": { "type": "integer", "minimum": 0 }, "message": text, "physicalLocation": physical,
        },
    });
    let result = json!({
        "type": "object", "required": ["ruleId", "ruleIndex", "level", "message"],
        "additionalProperties": false,
        "properties": {
            "ruleId": { "type": "string" },
            "ruleIndex": { "type": "integer", "minimum": 0 },
            "level": level,
            "message": text,
            "locations": { "type": "array", "items": location },
            "relatedLocations": { "type": "array", "items": related },
        },
    });
    let run = json!({
        "type": "object", "required": ["tool", "columnKind", "results"],
        "additionalProperties": false,
        "properties": {
            "columnKind": { "const": "unicodeCodePoints" },
            "tool": {
                "type": "object", "required": ["driver"], "additionalProperties": false,
                "properties": { "driver": driver },
            },
            "results": { "type": "array", "items": result },
        },
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "required": ["$schema", "version", "runs"], "additionalProperties": false,
        "properties": {
            "$schema": { "const": "https://json.schemastore.org/sarif-2.1.0.json" },
            "version": { "const": "2.1.0" },
            "runs": { "type": "array", "minItems": 1, "maxItems": 1, "items": run },
        },
    })
}

#[track_caller]
fn sarif(text: &str) -> Value {
    let log = found_in(&flush(text), &Bundled, &on_main()).to_sarif();
    let problems: Vec<String> = jsonschema::validator_for(&shape())
        .unwrap()
        .iter_errors(&log)
        .map(|problem| format!("{}: {problem}", problem.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{}\n{log:#}", problems.join("\n"));
    for result in log["runs"][0]["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    }
    log
}

#[test]
fn a_finding_is_a_result_with_its_rule_and_its_place() {
    let log = sarif(
        "
        image: debian:12
        stages:
          build: make
          test: { neds: [build], run: make test }
        ",
    );
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "E010");
    assert_eq!(result["level"], "error");
    let message = result["message"]["text"].as_str().unwrap();
    let begin = "unknown key `neds` in stage `test`\ndid you mean `needs`?\nallowed here: ";
    assert!(message.starts_with(begin), "{message}");
    assert_eq!(
        result["locations"],
        json!([{ "physicalLocation": {
            "artifactLocation": { "uri": ".shipline.yml" },
            "region": { "startLine": 4, "startColumn": 11, "endLine": 4, "endColumn": 15 },
        }}])
    );
    let rule = &log["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(rule["shortDescription"]["text"], "unknown key");
    assert_eq!(rule["defaultConfiguration"]["level"], "error");
    assert!(rule["help"]["markdown"].as_str().unwrap().contains("```yaml\n"));
}

#[test]
fn columns_are_characters_and_further_places_are_related() {
    let log = sarif("stages: { é: make, é: make }");
    let twice = log["runs"][0]["results"].as_array().unwrap();
    let twice = twice.iter().find(|result| result["ruleId"] == "E002").unwrap();
    let column = |place: &Value| place["physicalLocation"]["region"]["startColumn"].clone();
    assert_eq!(column(&twice["locations"][0]), 20);
    assert_eq!(column(&twice["relatedLocations"][0]), 11);
    assert_eq!(twice["relatedLocations"][0]["id"], 0);
}

#[test]
fn warnings_have_their_level_and_nothing_found_is_an_empty_log() {
    let log = sarif("image: debian\nstages: { build: make }");
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "W070");
    assert_eq!(log["runs"][0]["results"][0]["level"], "warning");
    assert_eq!(
        log["runs"][0]["tool"]["driver"]["rules"][0]["defaultConfiguration"]["level"],
        "warning"
    );
    let none = sarif("image: debian:12\nstages: { build: make }");
    assert_eq!(none["runs"][0]["results"], json!([]));
    assert_eq!(none["runs"][0]["tool"]["driver"]["rules"], json!([]));
}

#[test]
fn what_is_about_no_file_has_no_place_and_no_text_becomes_a_link() {
    let log = crate::no_pipeline_file(&["[a](http://b)".to_owned()]).to_sarif();
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result.get("locations"), None);
    assert!(result["message"]["text"].as_str().unwrap().contains("[a\\](http://b)"), "{result}");
}

#[test]
fn the_array_of_a_check_holds_everything_and_the_text_the_first_twenty() {
    let stages: String = (0..25).map(|n| format!("  s{n}: {{ neds: [], run: make }}\n")).collect();
    let found = found_in(&format!("image: debian:12\nstages:\n{stages}"), &Bundled, &on_main());
    assert_eq!(found.to_json().len(), 25);
    let text = found.to_string();
    assert_eq!(text.matches("error[E010]").count(), 20);
    assert!(text.ends_with("\nand 5 more\n"), "{text}");
    assert_eq!(
        found.to_json()[0],
        json!({
            "code": "E010", "severity": "error", "message": "unknown key `neds` in stage `s0`",
            "file": ".shipline.yml", "line": 3, "column": 9, "end_line": 3, "end_column": 13,
            "help": "did you mean `needs`?",
        })
    );
    let twice = found_in("image: debian:12\nstages: { a: make, a: make }", &Bundled, &on_main());
    assert_eq!(
        twice.to_json()[0]["related"][0],
        json!({ "message": "first given here", "file": ".shipline.yml", "line": 2, "column": 11 })
    );
}
