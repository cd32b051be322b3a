//! Whatever a template holds, and whatever is laid over it: what the first target says
//! of a pipeline holds for both together, and what a template locks stays as it was.
//!
//! An input is the text of a template, `with` of a file, what the file changes, and,
//! for some, a template below the first; a line that is `====` stands between them.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use pipeline::{
    Diagnostics, Files, NotFound, Pipeline, Plan, SourceFile, Style, Template, TemplateReference,
    TriggerEvent, check, check_template, parse,
};
use serde_json::Value;
use shipline_pipeline_fuzz::{planned, within_limits};

const BETWEEN: &str = "\n====\n";
const TEMPLATE: &str = "t";
const BASE: &str = "base";

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(4, BETWEEN);
    let template = parts.next().unwrap_or_default();
    let (with, changes) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut texts = Texts::default();
    match parts.next() {
        Some(base) => {
            texts.0.insert(BASE, base.to_owned());
            texts.0.insert(TEMPLATE, format!("template: {BASE}@1\n{template}"));
        }
        None => {
            texts.0.insert(TEMPLATE, template.to_owned());
        }
    }
    let plain = format!("template: {TEMPLATE}@1\n{with}\n");
    let full = format!("{plain}{changes}\n");
    let Some(pipeline) = looked_at(&full, &texts) else {
        locked(&texts);
        return;
    };
    let locked = locked(&texts);
    for event in [TriggerEvent::Push, TriggerEvent::Tag] {
        let Some(with_changes) = planned(&pipeline, event) else { continue };
        if locked.is_empty() || !only_changes(changes) {
            continue;
        }
        let without = looked_at(&plain, &texts).and_then(|plain| planned(&plain, event));
        let Some(without) = without else { continue };
        for stage in &locked {
            assert_eq!(cells(&without, stage), cells(&with_changes, stage), "{stage} is locked");
        }
    }
});

/// The templates of one input; there are no others.
#[derive(Default)]
struct Texts(BTreeMap<&'static str, String>);

impl Files for Texts {
    fn find(&self, reference: &TemplateReference) -> Result<Template, NotFound> {
        let text = match reference {
            TemplateReference::Named { name, .. } => self.0.get(name.as_str()),
            _ => None,
        };
        let Some(text) = text else {
            let names = self.0.keys().map(|name| (*name).to_owned()).collect();
            return Err(NotFound::Unknown { searched: vec!["the input".to_owned()], names });
        };
        let source = SourceFile::new(format!("{}/template.yml", reference.name()), text.as_str());
        Ok(Template { version: "1".to_owned(), source })
    }
}

/// Checks a file, within the limits; there is a pipeline exactly when there is no error.
fn looked_at(text: &str, texts: &Texts) -> Option<Pipeline> {
    let source = SourceFile::from_bytes(".shipline.yml", text.as_bytes().to_vec()).ok()?;
    let ((_, found), (pipeline, more)) = within_limits("parse and check", || {
        let parsed = parse(&source);
        let checked = check(&parsed.0, texts);
        (parsed, checked)
    });
    assert_eq!(pipeline.is_none(), found.has_errors() || more.has_errors());
    shown(found, more);
    pipeline
}

/// The stages of which the template, or the one below it, lets nothing change.
fn locked(texts: &Texts) -> BTreeSet<String> {
    let Some(text) = texts.0.get(TEMPLATE) else { return BTreeSet::new() };
    let Ok(source) = SourceFile::from_bytes("template.yml", text.as_bytes().to_vec()) else {
        return BTreeSet::new();
    };
    let (document, found) = parse(&source);
    let (about, more) = check_template(&document, texts);
    shown(found, more);
    let stages = about.map(|about| about.stages).unwrap_or_default();
    let locked = stages.into_iter().filter(|stage| stage.may_change.as_deref() == Some("nothing"));
    locked.map(|stage| stage.name).collect()
}

fn shown(mut found: Diagnostics, more: Diagnostics) {
    found.extend(more);
    let _ = found.render(Style::Coloured);
    let _ = found.to_json();
}

/// Whether what a file changes stands apart from its `with`, by which a template lets
/// everything be changed, and from the environments that a laptop deploys to.
fn only_changes(changes: &str) -> bool {
    let other = ["with", "environments", "<<", "\\"];
    changes.starts_with(|c: char| c.is_ascii_lowercase())
        && !other.iter().any(|text| changes.contains(text))
}

/// The cells of a stage without what other stages may do to it: they may come before
/// it, go away, or be skipped.
fn cells(plan: &Plan, stage: &str) -> Vec<Value> {
    let cells = plan.stages.iter().filter(|cell| cell.stage == stage);
    let own = |cell| {
        let mut value = serde_json::to_value(cell).expect("a stage is JSON");
        let keys = value.as_object_mut().expect("a stage is a map");
        for of_others in ["needs", "state", "reason", "deferred"] {
            keys.remove(of_others);
        }
        if let Some(Value::Object(origins)) = keys.get_mut("origins") {
            origins.retain(|path, _| !path.starts_with("needs"));
        }
        value
    };
    cells.map(own).collect()
}
