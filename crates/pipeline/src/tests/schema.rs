//! The key table, lowering and the schema say the same.
//!
//! The table is walked: for every key of every map a smallest pipeline with it is
//! made, and shown to lowering and to the schema. So a key that nobody reads, a
//! word that is missing in a list, or a form that is too narrow is found here.

use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::*;
use crate::expression::available;
use crate::keys::{self, Default, Form, Key, Keys};
use crate::source::{FileId, Sources};
use crate::{schema, template_schema};

/// Puts a map at its place in a pipeline.
pub(super) type Around = Rc<dyn Fn(Value) -> Value>;

/// Every kind of map, with the way to a pipeline that has it.
fn places() -> Vec<(&'static Keys, Around)> {
    let whole: Around = Rc::new(|value| value);
    places_from(&keys::TOP, &whole)
}

/// The same of the maps inside a stage; a map that stands elsewhere, too, is here as
/// a stage has it.
pub(super) fn places_of_stages() -> Vec<(&'static Keys, Around)> {
    let around: Around = Rc::new(|value| with(&keys::TOP, "stages", json!({ "target": value })));
    places_from(&keys::STAGE, &around)
}

/// A map of this kind, and every kind of map inside it.
fn places_from(keys: &'static Keys, around: &Around) -> Vec<(&'static Keys, Around)> {
    fn walk(keys: &'static Keys, around: &Around, places: &mut Vec<(&'static Keys, Around)>) {
        if places.iter().any(|(known, _)| known.name == keys.name) {
            return;
        }
        places.push((keys, Rc::clone(around)));
        for key in keys.all {
            let outer = Rc::clone(around);
            let around: Around = Rc::new(move |value| outer(with(keys, key.name, value)));
            inside(&key.form, &around, places);
        }
    }
    fn inside(form: &'static Form, around: &Around, places: &mut Vec<(&'static Keys, Around)>) {
        let outer = Rc::clone(around);
        match form {
            Form::Map(keys) => walk(keys, around, places),
            Form::MapOf(_, form) => {
                let around: Around = Rc::new(move |value| outer(json!({ "target": value })));
                inside(form, &around, places);
            }
            Form::ListOf(form) => {
                let around: Around = Rc::new(move |value| outer(json!([value])));
                inside(form, &around, places);
            }
            Form::OneOrMany(form) => inside(form, around, places),
            Form::OneOf(forms) => forms.iter().for_each(|form| inside(form, around, places)),
            _ => {}
        }
    }
    let mut places = Vec::new();
    walk(keys, around, &mut places);
    places
}

/// A map with this key and what must or should stand beside it.
fn with(keys: &Keys, key: &str, value: Value) -> Value {
    let mut map = beside(keys, key, &value);
    for other in keys.all.iter().filter(|other| other.default == Default::Required) {
        map.entry(other.name).or_insert_with(|| smallest(other));
    }
    match (map.get_mut(key), value) {
        // Other stages, and the one that is looked at.
        (Some(Value::Object(others)), Value::Object(value)) => others.extend(value),
        (_, value) => {
            map.insert(key.to_owned(), value);
        }
    }
    Value::Object(map)
}

fn smallest(key: &Key) -> Value {
    match (&key.form, key.examples) {
        (_, [example, ..]) => yaml(example),
        (Form::Words([word, ..]), _) => json!(word),
        _ => panic!("`{}` is required and shown by no example", key.name),
    }
}

/// What a key cannot do without.
fn beside(keys: &Keys, key: &str, value: &Value) -> Map<String, Value> {
    let target = json!({ "target": "docker-dev" });
    let demo = json!({ "demo": target, "test": target, "prod": target });
    let parameter = json!({ "params": { "target": { "type": "string" } } });
    let value = match (keys.name, key) {
        ("top level", "with" | "template") => json!({
            "template": "docker-service@1",
            "with": { "image": "harbor.corp.example/team/orders", "registry": "harbor", "environment": "demo" },
            "environments": demo,
        }),
        ("top level", _) => json!({
            "environments": demo,
            "suites": { "smoke": { "http": "/health" } },
            "on": { "manual": parameter },
            "stages": {
                "compile": { "image": "debian:12", "run": "make" },
                "image": { "build": {} },
                "publish": { "push": { "image": "image", "registry": "harbor", "tags": ["harbor.corp.example/orders:1"] } },
            },
        }),
        ("on", _) => json!({ "manual": parameter }),
        ("stage", "build" | "push" | "deploy" | "approve" | "trigger") => json!({}),
        ("stage", key) => match keys::actions_of(key).and_then(|actions| actions.first()) {
            Some(&"build") => json!({ "build": {} }),
            _ => json!({ "image": "debian:12", "run": "make" }),
        },
        ("matrix", _) => json!({ "os": ["linux", "windows"], "node": [18, 22] }),
        ("ready", "port" | "timeout") => json!({ "http": "/health", "port": 8080 }),
        ("ready", "http") => json!({ "port": 8080 }),
        ("deploy.health", "tcp" | "cmd") => json!({}),
        ("deploy.health", _) => json!({ "http": "/health", "port": 8080 }),
        ("deploy", "ports") => json!({ "image": "publish", "strategy": { "order": "stop-first" } }),
        ("deploy", _) => json!({ "image": "publish" }),
        ("environments.NAME.requires", "max-age") => json!({ "passed": "test" }),
        ("environments.NAME.requires", "of") => json!({ "approvals": 2 }),
        ("deploy.canary", "by") if value == "label" => {
            json!({ "steps": [{ "label": "region=north" }, { "label": "region=south" }] })
        }
        ("deploy.canary", "steps") if value[0]["label"].is_string() => json!({ "by": "label" }),
        ("deploy.canary.steps", "label") => json!({}),
        ("deploy.canary.steps", _) => json!({ "weight": 5 }),
        ("metrics", "query") => json!({ "max": 400 }),
        ("target.switch.hook", "ssh" | "timeout") => json!({ "command": "balancer" }),
        ("verify", "run" | "image" | "per") => json!({ "run": "smoke-test", "image": "debian:12" }),
        ("verify", "timeout" | "status" | "body" | "json" | "latency") => {
            json!({ "http": "https://orders.corp.example/health" })
        }
        ("params.NAME", "of") if value == "enum" => json!({ "type": "list", "values": ["a"] }),
        ("params.NAME", "of") => json!({ "type": "list" }),
        ("params.NAME", "values") => json!({ "type": "enum" }),
        ("params.NAME", "min" | "max") => json!({ "type": "int" }),
        ("params.NAME", "type") if value == "enum" => json!({ "values": ["a", "b"] }),
        ("params.NAME", "type") => json!({}),
        ("params.NAME", "default") if value.is_number() => json!({ "type": "int" }),
        ("params.NAME", _) => json!({ "type": "string" }),
        _ => json!({}),
    };
    value.as_object().cloned().unwrap_or_default()
}

/// A pipeline in which `key` of one kind of map has this value.
pub(super) fn pipeline(keys: &Keys, around: &Around, key: &str, value: Value) -> Value {
    let stage = match key {
        "after" | "before" => "target",
        "run-after" | "run-before" => "compile",
        _ => return around(with(keys, key, value)),
    };
    let mut own = json!({ key: value });
    if stage == "target" {
        own["run"] = json!("make");
        own["image"] = json!("debian:12");
    }
    json!({
        "template": "c-service@1",
        "with": { "image": "harbor.corp.example/team/orders", "registry": "harbor", "environment": "demo" },
        "environments": { "demo": { "target": "docker-dev" } },
        "stages": { stage: own },
    })
}

/// What a reader of YAML that knows nothing of Shipline sees.
pub(super) fn yaml(text: &str) -> Value {
    let sources = Sources::one(SourceFile::new(".shipline.yml", text));
    let mut found = Vec::new();
    let root = crate::yaml::read(&sources, FileId::PIPELINE, &mut found);
    assert!(found.is_empty(), "{text}\n{}", Diagnostics::from(found));
    root.as_ref().map_or(Value::Null, json_of)
}

fn json_of(node: &crate::yaml::Node) -> Value {
    use crate::yaml::Value as Yaml;

    match &node.value {
        Yaml::Null | Yaml::Mixed(_) => Value::Null,
        Yaml::Bool(value) => json!(value),
        Yaml::Int(value, _) => json!(value),
        Yaml::Float(value, _) => json!(value),
        Yaml::Text(text) => json!(text),
        Yaml::List(list) => list.iter().map(json_of).collect(),
        Yaml::Map(map) => {
            map.0.iter().map(|entry| (entry.key.name.clone(), json_of(&entry.value))).collect()
        }
    }
}

/// What lowering says, and what the schema says.
fn both(pipeline: &Value) -> (Diagnostics, Option<String>) {
    let (document, mut found) = parse(&SourceFile::new(".shipline.yml", pipeline.to_string()));
    found.extend(check(&document, &Bundled).1);
    (found, refusal(&PIPELINE, pipeline))
}

static PIPELINE: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());

/// Why a schema refuses a value.
fn refusal(validator: &Validator, value: &Value) -> Option<String> {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    (!errors.is_empty()).then(|| errors.join("\n"))
}

/// What the schema says against a pipeline, if anything.
pub(super) fn refused(text: &str) -> Option<String> {
    refusal(&PIPELINE, &yaml(text))
}

/// The words that a value can be, each as the whole value.
pub(super) fn words(form: &Form) -> Vec<(String, Value)> {
    let wrapped = |form: &Form, wrap: &dyn Fn(Value) -> Value| {
        words(form).into_iter().map(|(word, value)| (word, wrap(value))).collect()
    };
    match form {
        Form::Word(word) => vec![((*word).to_owned(), json!(word))],
        Form::Words(all) => all.iter().map(|word| ((*word).to_owned(), json!(word))).collect(),
        Form::OneOrMany(form) => words(form),
        Form::ListOf(form) => wrapped(form, &|value| json!([value])),
        Form::MapOf(_, form) => wrapped(form, &|value| json!({ "target": value })),
        Form::OneOf(forms) => forms.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_example_of_the_table_is_accepted_by_lowering_and_by_the_schema() {
    let mut wrong = Vec::new();
    for (keys, around) in places() {
        for key in keys.all {
            let defaults = match key.default {
                Default::Value(value) => Some(value),
                _ => None,
            };
            for example in key.examples.iter().copied().chain(defaults) {
                let pipeline = pipeline(keys, &around, key.name, yaml(example));
                let (found, refusal) = both(&pipeline);
                let place = format!("{}.{}: {example}", keys.name, key.name);
                if found.has_errors() {
                    wrong.push(format!("lowering refuses {place}\n{pipeline}\n{}", lines(&found)));
                }
                if let Some(refusal) = refusal {
                    wrong.push(format!("the schema refuses {place}\n{pipeline}\n{refusal}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_word_of_the_table_is_accepted_and_an_invented_one_is_not() {
    let mut wrong = Vec::new();
    for (keys, around) in places() {
        for key in keys.all {
            for (word, value) in words(&key.form) {
                let place = format!("{}.{}: {value}", keys.name, key.name);
                let invented =
                    serde_json::from_str(&value.to_string().replace(&word, "zzz-zzz")).unwrap();
                let (found, refusal) = both(&pipeline(keys, &around, key.name, value));
                if found.has_errors() || refusal.is_some() {
                    wrong.push(format!("{place}\n{}\n{refusal:?}", lines(&found)));
                }
                // Beside a name of the file's own, every word is a name.
                let free = words(&key.form).len() == 1 && matches!(key.form, Form::OneOf(_));
                let (found, refusal) = both(&pipeline(keys, &around, key.name, invented));
                let accepted = !found.has_errors();
                if !free && (accepted || refusal.is_none()) {
                    wrong.push(format!("{place}, as `zzz-zzz`\n{}\n{refusal:?}", lines(&found)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_key_is_read_and_a_value_of_another_shape_is_refused() {
    fn takes_map(form: &Form) -> bool {
        match form {
            Form::Map(_) | Form::MapOf(..) => true,
            Form::OneOrMany(form) => takes_map(form),
            Form::OneOf(forms) => forms.iter().any(takes_map),
            _ => false,
        }
    }
    let mut wrong = Vec::new();
    for (keys, around) in places() {
        for key in keys.all.iter().filter(|key| !matches!(key.form, Form::Value)) {
            let value = if takes_map(&key.form) { json!([[[]]]) } else { json!({ "zzz": 1 }) };
            let (found, refusal) = both(&pipeline(keys, &around, key.name, value.clone()));
            let place = format!("{}.{}: {value}", keys.name, key.name);
            if !found.has_errors() {
                wrong.push(format!("lowering accepts {place}"));
            }
            if refusal.is_none() {
                wrong.push(format!("the schema accepts {place}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A text with an expression, where the form has room for one.
fn expression(form: &Form, text: &str) -> Option<Value> {
    match form {
        Form::Text | Form::AnyText | Form::Bool | Form::Int { .. } | Form::Number => {
            Some(json!(text))
        }
        Form::Like(_) | Form::Words(_) => Some(json!(text)),
        Form::OneOrMany(form) => expression(form, text),
        Form::ListOf(form) => Some(json!([expression(form, text)?])),
        Form::MapOf(_, form) => Some(json!({ "target": expression(form, text)? })),
        Form::OneOf(forms) => forms.iter().find_map(|form| expression(form, text)),
        Form::Word(_) | Form::Value | Form::Map(_) => None,
    }
}

#[test]
fn a_key_takes_the_expressions_that_the_table_says() {
    let mut wrong = Vec::new();
    for (keys, around) in places() {
        for key in keys.all {
            // A condition is an expression, and its text is not one with `${{ }}`.
            if key.name == "if" {
                continue;
            }
            for (name, root) in [("git.sha_short", "git"), ("stages.compile.result", "stages")] {
                let Some(value) = expression(&key.form, &format!("${{{{ {name} }}}}")) else {
                    continue;
                };
                let may = key.site.is_some_and(|site| available(site, root));
                let (found, _) = both(&pipeline(keys, &around, key.name, value));
                // What kind of value it gives is another question.
                let unfit = found.iter().any(|diagnostic| diagnostic.code.name() == "E045");
                let refused = if may { unfit } else { found.has_errors() };
                // Of the file these two know no stages; of a stage they do.
                let shared = ["concurrency", "deploy.strategy"].contains(&keys.name);
                if may == refused && !(shared && root == "stages") {
                    let place = format!("{}.{} and `{name}`", keys.name, key.name);
                    wrong.push(format!("{place}: the table says {may}\n{}", lines(&found)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_key_that_does_not_exist_is_refused_in_every_map() {
    for (keys, around) in places() {
        if keys.others.is_some() {
            continue;
        }
        let (found, refusal) = both(&around(with(keys, "neds", json!("zzz"))));
        let unknown = found.iter().any(|diagnostic| diagnostic.code.name() == "E010");
        assert!(unknown && refusal.is_some(), "{}\n{}", keys.name, lines(&found));
    }
}

/// The files of a folder of the repository, and of the folders in it.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in super::cases::folders(folder) {
        if path.is_dir() {
            found.extend(files(&path.display().to_string()));
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn example_pipelines_and_the_examples_of_the_documentation_fit_the_schema() {
    let mut texts = files("pipelines");
    for document in super::cases::documents() {
        for block in super::cases::pipelines_in(&std::fs::read_to_string(&document).unwrap()) {
            texts.push((document.display().to_string(), block));
        }
    }
    assert!(texts.len() >= 8, "the examples are not where they were");
    for (name, text) in texts {
        assert_eq!(refusal(&PIPELINE, &yaml(&text)), None, "{name}\n{text}");
    }
}

#[test]
fn the_bundled_templates_fit_the_schema_of_templates() {
    let validator = jsonschema::validator_for(&template_schema()).unwrap();
    let templates = files("templates/pipelines");
    assert!(templates.len() >= 2, "the templates are not where they were");
    for (name, text) in templates {
        assert_eq!(refusal(&validator, &yaml(&text)), None, "{name}");
    }
}

/// Cases under `tests/cases` that are wrong in a way no schema can say.
const BEYOND_A_SCHEMA: &[(&str, &str)] = &[
    ("anchors", "a key given twice"),
    ("expression-error", "names that an expression does not know"),
    ("circle", "needs that go round"),
    ("tab", "no YAML"),
    ("template-error", "values that the template forbids"),
];

#[test]
fn a_case_fits_the_schema_exactly_when_it_has_a_plan() {
    let mut wrong = Vec::new();
    for (path, text) in files("tests/cases") {
        let folder = Path::new(&path).parent().unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if path.ends_with("pipeline.yml") && !BEYOND_A_SCHEMA.iter().any(|case| case.0 == name) {
            let refusal = refusal(&PIPELINE, &yaml(&text));
            // A case with several events has a folder with a plan for each.
            let mut folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let planned = folder.join("plan.json").exists()
                || folders.any(|inner| inner.join("plan.json").exists());
            if planned != refusal.is_none() {
                wrong.push(format!("{name}: {refusal:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Codes of which the schema refuses the example of the catalogue: what a key is,
/// where it stands, what shape its value has.
const OF_FORM: &[&str] = &["E004", "E006", "E010", "E011", "E012", "E013", "E015", "E016", "E045"];
/// Codes that need to know the rest of the file, and more than the file.
const OF_MEANING: &[&str] = &["E020", "E021", "E030", "E041", "E062", "W070", "W073"];

#[test]
fn the_schema_refuses_what_is_wrong_in_form_and_accepts_what_is_wrong_in_meaning() {
    let refused = |code: &&str| {
        let example = crate::explain(code).unwrap().example;
        refusal(&PIPELINE, &yaml(example)).is_some()
    };
    assert_eq!(OF_FORM.iter().filter(|code| !refused(code)).collect::<Vec<_>>(), [&""; 0]);
    assert_eq!(OF_MEANING.iter().filter(|code| refused(code)).collect::<Vec<_>>(), [&""; 0]);
}

#[test]
fn the_schema_names_its_dialect_and_is_the_same_every_time() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["$id"], "urn:shipline:schema:pipeline:1");
    assert_eq!(schema.to_string(), crate::schema().to_string());
    assert!(jsonschema::meta::is_valid(&schema));
    assert!(jsonschema::meta::is_valid(&template_schema()));
}

#[test]
fn the_template_of_the_documentation_can_be_used_and_fits_the_schema() {
    let guide = std::fs::read_to_string(super::cases::root().join("docs/templates.md")).unwrap();
    let (_, rest) = guide.split_once("```yaml java-service/template.yml\n").unwrap();
    let (template, _) = rest.split_once("```").unwrap();
    let validator = jsonschema::validator_for(&template_schema()).unwrap();
    assert_eq!(refusal(&validator, &yaml(template)), None);
    let files = TestFiles(&[("java", "1", template)]);
    let found =
        found_in("template: java@1\nwith: { jdk: 17, image: r.example/a }", &files, &on_main());
    assert!(!found.has_errors(), "{found}");
}

#[test]
fn over_a_template_a_file_says_only_what_changes() {
    let change =
        yaml("template: java@1\nstages: { push: { push: { tags: [\"a:1\"] } }, scan: off }");
    assert_eq!(refusal(&PIPELINE, &change), None);
    let alone = yaml("stages: { push: { push: { tags: [\"a:1\"] } } }");
    assert!(refusal(&PIPELINE, &alone).is_some());
    let nothing = yaml("stages: { build: { env: { A: b } } }");
    assert!(refusal(&PIPELINE, &nothing).is_some());
    let both = yaml("stages: { build: { run: make, image: \"debian:12\", build: {} } }");
    assert!(refusal(&PIPELINE, &both).is_some());
}
