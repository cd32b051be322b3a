//! The JSON Schema of pipeline files, for editors and for other tools.
//!
//! Printed from the key table ([`keys`]): what lowering knows about a key is what
//! an editor proposes and underlines. The schema is the looser of the two. It
//! knows one file and no names in it, so what it refuses is wrong, and what it
//! accepts can still be.
//!
//! Over a template a file says only what changes. Keys that a map must have are
//! therefore not part of the map's own schema; [`demands`] lays them over it
//! where a file stands alone.

use serde_json::{Map, Value, json};

use crate::keys::{self, ACTIONS, Default, Form, Key, Keys, Make};
use crate::source::{SourceFile, Sources};
use crate::yaml;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keys of a stage that only mean something over a template.
const OF_TEMPLATES: [&str; 4] = ["after", "before", "run-after", "run-before"];

/// Returns the schema of a pipeline file.
pub fn schema() -> Value {
    let mut schema = root("pipeline", keys::TOP.all.iter().map(|key| (key, Place::Pipeline)));
    schema.insert("$defs".to_owned(), definitions(Place::Pipeline));
    Value::Object(schema)
}

/// Returns the schema of a template file.
pub fn template_schema() -> Value {
    let of_pipeline = keys::TOP.all.iter().filter(|key| key.name != "name");
    // What a template says about itself has no parameters yet.
    let own = keys::TEMPLATE_FILE.all.iter().map(|key| (key, Place::Pipeline));
    let mut schema = root("template", of_pipeline.map(|key| (key, Place::Template)).chain(own));
    let mut definitions = definitions(Place::Template);
    definitions[keys::PARAM.name] = map(&keys::PARAM, Place::Pipeline);
    schema.insert("$defs".to_owned(), definitions);
    Value::Object(schema)
}

/// The kind of file a value stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Pipeline,
    /// A parameter can stand for every value.
    Template,
}

fn root<'k>(what: &str, all: impl Iterator<Item = (&'k Key, Place)>) -> Map<String, Value> {
    let mut properties: Map<String, Value> =
        all.map(|(key, place)| (key.name.to_owned(), property(key, place))).collect();
    // Which form a stage has is said below: it depends on `template`.
    properties["stages"] =
        json!({ "description": described(keys::TOP.get("stages")), "type": "object" });
    let stages = |stage: &str, least: u32| {
        json!({
            "type": "object",
            "minProperties": least,
            "patternProperties": { STAGE_NAME: { "$ref": reference(stage) } },
            "additionalProperties": false,
        })
    };
    let schema = json!({
        "$schema": DIALECT,
        "$id": format!("urn:shipline:schema:{what}:1"),
        "title": format!("Shipline {what}"),
        "type": "object",
        "properties": properties,
        "patternProperties": { "^x-": { "description": "Ignored: room for anchors and for other tools" } },
        "additionalProperties": false,
        "if": { "required": ["template"] },
        "then": { "properties": { "stages": stages(CHANGE, 0) } },
        "else": alone(stages(WHOLE, 1)),
    });
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// What only a file without a template must have.
fn alone(stages: Value) -> Value {
    let mut schema = demands(&keys::TOP).unwrap_or_else(|| json!({ "properties": {} }));
    schema["required"] = json!(["stages"]);
    schema["properties"]["stages"] = stages;
    schema["properties"]["with"] = json!(false);
    schema
}

const STAGE_NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,63}$";
/// A stage that stands alone.
const WHOLE: &str = "whole stage";
/// A stage over one of a template.
const CHANGE: &str = "changed stage";

fn reference(name: &str) -> String {
    format!("#/$defs/{}", name.replace(' ', "%20"))
}

fn definitions(place: Place) -> Value {
    let mut all: Map<String, Value> = keys::every()
        .into_iter()
        .filter(|keys| keys.name != keys::TOP.name && keys.name != keys::TEMPLATE_FILE.name)
        .map(|keys| (keys.name.to_owned(), map(keys, place)))
        .collect();
    all.insert(
        "expression".to_owned(),
        json!({
            "description": "A text with `${{ … }}` in it",
            "type": "string",
            "pattern": "\\$\\{\\{",
        }),
    );
    let one_action: Vec<Value> =
        ACTIONS.iter().map(|action| json!({ "required": [action] })).collect();
    let commands = json!({ "description": "Short for `run`", "type": ["string", "array"], "items": { "type": "string" } });
    let unfit: Map<String, Value> =
        OF_TEMPLATES.iter().map(|key| ((*key).to_owned(), Value::Bool(false))).collect();
    let whole = json!({
        "anyOf": [
            { "$ref": reference("commands") },
            {
                "$ref": reference(keys::STAGE.name),
                "oneOf": one_action,
                "properties": unfit,
                "allOf": [demands(&keys::STAGE)],
            },
        ],
    });
    let change = json!({ "anyOf": [{ "$ref": reference("commands") }, { "$ref": reference(keys::STAGE.name) }] });
    all.insert("commands".to_owned(), commands);
    all.insert(WHOLE.to_owned(), whole);
    all.insert(CHANGE.to_owned(), change);
    Value::Object(all)
}

/// The schema of one kind of map.
fn map(keys: &Keys, place: Place) -> Value {
    let properties: Map<String, Value> =
        keys.all.iter().map(|key| (key.name.to_owned(), property(key, place))).collect();
    let others = keys.others.map_or(Value::Bool(false), |form| value(form, true, place));
    let mut schema = json!({
        "description": keys.about,
        "type": "object",
        "properties": properties,
        "additionalProperties": others,
    });
    if keys.name == keys::STAGE.name {
        schema["allOf"] = ACTIONS.iter().map(|action| of_action(keys, action)).collect();
    }
    schema
}

/// The keys that a map and the maps in it must have; `None` when there are none.
fn demands(keys: &Keys) -> Option<Value> {
    let required: Vec<&str> = keys
        .all
        .iter()
        .filter(|key| key.default == Default::Required)
        .map(|key| key.name)
        .collect();
    let inside = |key: &Key| Some((key.name.to_owned(), demands_of(&key.form)?));
    let properties: Map<String, Value> = keys.all.iter().filter_map(inside).collect();
    if required.is_empty() && properties.is_empty() {
        return None;
    }
    Some(json!({ "required": required, "properties": properties }))
}

/// None of these words says anything about a value of another type.
fn demands_of(form: &Form) -> Option<Value> {
    match form {
        // `stages` is told apart: a stage may be a change.
        Form::Map(keys) if keys.name == keys::STAGE.name => None,
        Form::Map(keys) => demands(keys),
        Form::MapOf(_, form) => Some(json!({ "additionalProperties": demands_of(form)? })),
        Form::ListOf(form) => Some(json!({ "items": demands_of(form)? })),
        Form::OneOrMany(form) => {
            let one = demands_of(form)?;
            Some(json!({ "allOf": [one], "items": one }))
        }
        Form::OneOf(forms) => {
            let all: Vec<Value> = forms.iter().filter_map(demands_of).collect();
            (!all.is_empty()).then(|| json!({ "allOf": all }))
        }
        _ => None,
    }
}

/// Keys that belong to other actions than this one.
fn of_action(keys: &Keys, action: &str) -> Value {
    let foreign: Map<String, Value> = keys
        .all
        .iter()
        .filter(|key| key.actions.is_some_and(|actions| !actions.contains(&action)))
        .map(|key| (key.name.to_owned(), Value::Bool(false)))
        .collect();
    json!({ "if": { "required": [action] }, "then": { "properties": foreign } })
}

fn property(key: &Key, place: Place) -> Value {
    let mut schema = value(&key.form, key.site.is_some(), place);
    schema["description"] = json!(described(Some(key)));
    if let Default::Value(default) = key.default {
        schema["default"] = from_yaml(default);
    }
    if !key.examples.is_empty() {
        schema["examples"] = key.examples.iter().map(|example| from_yaml(example)).collect();
    }
    schema
}

fn described(key: Option<&Key>) -> String {
    let Some(key) = key else { return String::new() };
    let mut text = key.about.to_owned();
    match key.default {
        Default::Words(words) => text += &format!(". Default: {words}"),
        Default::Required => text += ". Required",
        Default::Value(_) | Default::None => {}
    }
    if !key.codes.is_empty() {
        text += &format!(". Codes: {}", key.codes.join(", "));
    }
    text
}

/// The schema of a value. With `expressions`, a text with `${{ }}` can stand for
/// each scalar in it.
fn value(form: &Form, expressions: bool, place: Place) -> Value {
    let expressions = expressions || place == Place::Template;
    let inner = |form: &Form| value(form, expressions, place);
    let schema = match form {
        Form::Text => json!({ "type": "string" }),
        Form::AnyText => json!({ "type": ["string", "number", "boolean"] }),
        Form::Bool => json!({ "type": "boolean" }),
        Form::Int { min, max } => {
            let mut schema = json!({ "type": "integer" });
            if *min > i64::MIN {
                schema["minimum"] = json!(min);
            }
            if *max < i64::MAX {
                schema["maximum"] = json!(max);
            }
            schema
        }
        Form::Number => json!({ "type": "number", "exclusiveMinimum": 0 }),
        Form::Like(Make { name, pattern }) => {
            json!({ "title": name, "type": "string", "pattern": pattern, "minLength": 1 })
        }
        Form::Word(word) => json!({ "const": word }),
        Form::Words(words) => json!({ "enum": words }),
        Form::Value => json!({}),
        Form::Map(keys) => json!({ "$ref": reference(keys.name) }),
        Form::MapOf(names, form) => json!({
            "type": "object",
            "propertyNames": { "pattern": names.pattern },
            "additionalProperties": inner(form),
        }),
        Form::ListOf(form) => json!({ "type": "array", "items": inner(form) }),
        Form::OneOrMany(form) => {
            json!({ "anyOf": [inner(form), { "type": "array", "items": inner(form) }] })
        }
        Form::OneOf(forms) => json!({ "anyOf": forms.iter().map(inner).collect::<Vec<_>>() }),
    };
    let scalar = match form {
        Form::Bool | Form::Int { .. } | Form::Number | Form::Like(_) => true,
        Form::Word(_) | Form::Words(_) => true,
        // A parameter can be a whole map or list.
        Form::Map(_) | Form::MapOf(..) | Form::ListOf(_) => place == Place::Template,
        Form::Text | Form::AnyText | Form::Value | Form::OneOrMany(_) | Form::OneOf(_) => false,
    };
    if expressions && scalar {
        return json!({ "anyOf": [schema, { "$ref": reference("expression") }] });
    }
    schema
}

/// A value of the key table.
fn from_yaml(text: &str) -> Value {
    let mut sources = Sources::default();
    let file = sources.add(SourceFile::new("key table", text));
    yaml::read(&sources, file, &mut Vec::new()).map_or(Value::Null, |node| plain(&node))
}

/// A tree without its places.
fn plain(node: &yaml::Node) -> Value {
    match &node.value {
        yaml::Value::Null | yaml::Value::Mixed(_) => Value::Null,
        yaml::Value::Bool(value) => json!(value),
        yaml::Value::Int(value, _) => json!(value),
        yaml::Value::Float(value, _) => json!(value),
        yaml::Value::Text(text) => json!(text),
        yaml::Value::List(list) => list.iter().map(plain).collect(),
        yaml::Value::Map(map) => {
            map.0.iter().map(|entry| (entry.key.name.clone(), plain(&entry.value))).collect()
        }
    }
}
