//! The top level of a file: everything around the stages.

use std::collections::{BTreeMap, HashMap};

use super::Lowering;
use super::draft::{Defaults, Draft};
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::{Checkout, FileEnvironment, Mail, Triggers};
use crate::name;
use crate::source::Span;
use crate::yaml::{Entry, Map, Node, Value};

/// After expansion (language.md §3).
const STAGE_LIMIT: usize = 10_000;
/// The version of the language.
const VERSION: i64 = 1;

/// What a file says, without its graph.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) name: Option<String>,
    pub(crate) on: Triggers,
    pub(crate) checkout: Option<Checkout>,
    pub(crate) stages: Vec<Draft>,
    pub(crate) environments: BTreeMap<String, FileEnvironment>,
    pub(crate) notify: Vec<Mail>,
}

/// Lowers a whole file. With errors reported, the result is not to be used.
pub(crate) fn pipeline(lowering: &mut Lowering<'_>, root: &Node) -> Option<Lowered> {
    let Some(map) = root.as_map() else {
        let message = format!("a pipeline is a map, and this is {}", root.value.kind());
        let error = lowering.error(Code::E004, message, root.span);
        lowering
            .report(error.help("a smallest pipeline is\nimage: debian:12\nstages:\n  build: make"));
        return None;
    };
    for entry in &map.0 {
        // Room for anchors and for other tools.
        if !entry.key.name.starts_with("x-") {
            lowering.key(&entry.key, &keys::TOP, "the file");
        }
    }
    if let Some(node) = map.get("version") {
        version(lowering, node);
    }
    if let Some(node) = map.get("description") {
        lowering.plain::<String>("description", node);
    }
    let name = map.get("name").and_then(|node| pipeline_name(lowering, node));
    let on = map.get("on").map(|node| lowering.triggers(node)).unwrap_or_default();
    let checkout = checkout(lowering, map.get("checkout"));
    let defaults = defaults(lowering, map);
    let environments = map.get("environments").map(|node| lowering.environments(node));
    let notify = map.get("notify").map(|node| lowering.notify(node));
    let stages = match map.entry("stages") {
        Some(entry) => stages(lowering, entry, &defaults),
        None => {
            let error = lowering.error(Code::E014, "there are no `stages`", first_key(map, root));
            lowering.report(error.help("add `stages`, for example\nstages:\n  build: make"));
            Vec::new()
        }
    };
    Some(Lowered {
        name,
        on,
        checkout,
        stages,
        environments: environments.unwrap_or_default(),
        notify: notify.unwrap_or_default(),
    })
}

fn first_key(map: &Map, root: &Node) -> Span {
    map.0.first().map_or(root.span, |entry| entry.key.span)
}

fn version(lowering: &mut Lowering<'_>, node: &Node) {
    match &node.value {
        Value::Int(VERSION, _) => {}
        Value::Int(newer, _) if *newer > VERSION => {
            let message = format!("this file is written in version {newer} of the language");
            let error = lowering.error_at(Code::E006, message, node);
            lowering.report(
                error
                    .label("this Shipline reads version 1")
                    .help(format!("use Shipline {newer}.0 or later")),
            );
        }
        Value::Int(..) => {
            let error =
                lowering.error_at(Code::E015, "the first version of the language is 1", node);
            lowering.report(error.label("write `1`"));
        }
        other => {
            let message = format!("`version` takes a whole number, not {}", other.kind());
            let error = lowering.error_at(Code::E012, message, node);
            lowering.report(error.label("write `1`"));
        }
    }
}

fn pipeline_name(lowering: &mut Lowering<'_>, node: &Node) -> Option<String> {
    let text: String = lowering.plain("name", node)?;
    if name::is_label(&text) {
        return Some(text);
    }
    let error = lowering.error_at(Code::E016, format!("a pipeline cannot be named `{text}`"), node);
    lowering.report(
        error
            .label(format!("write for example `{}`", name::corrected(&text)))
            .note(name::LABEL_RULE),
    );
    None
}

fn checkout(lowering: &mut Lowering<'_>, node: Option<&Node>) -> Option<Checkout> {
    let Some(node) = node else { return Some(Checkout { depth: Some(1), span: None }) };
    if node.is_text("off") {
        lowering.checkout_off = Some(node.span);
        return None;
    }
    let map = lowering.fields(node, &keys::CHECKOUT, "`checkout`")?;
    let mut depth = Some(1);
    if let Some(node) = map.get("depth") {
        match &node.value {
            Value::Text(text) if text == "full" => depth = None,
            Value::Int(value @ 1..=1_000_000, _) => depth = u32::try_from(*value).ok(),
            _ => {
                let message = "`depth` takes a number of commits, at least 1, or `full`";
                let error = lowering.error_at(Code::E012, message, node);
                lowering.report(error.label(format!("this is {}", node.value.kind())));
            }
        }
    }
    Some(Checkout { depth, span: Some(node.span) })
}

/// `defaults`, and the short forms `image`, `env` and `timeout` beside it.
fn defaults(lowering: &mut Lowering<'_>, top: &Map) -> Defaults {
    let inner =
        top.get("defaults").and_then(|node| lowering.fields(node, &keys::DEFAULTS, "`defaults`"));
    let mut chosen = |key: &str| {
        let short = top.entry(key);
        let long = inner.and_then(|map| map.entry(key));
        if let (Some(short), Some(long)) = (short, long) {
            let message = format!("`{key}` is given at the top level and in `defaults`");
            let error = lowering.error(Code::E013, message, long.key.span);
            let place = lowering.sources.place(short.key.span);
            lowering.report(error.label("they are the same; keep one").related("also here", place));
        }
        long.or(short).map(|entry| &entry.value)
    };
    let (image, env, timeout) = (chosen("image"), chosen("env"), chosen("timeout"));
    lowering.in_defaults = true;
    let defaults = Defaults {
        has_image: image.is_some(),
        image: image.and_then(|node| lowering.setting("image", node, Site::Plan)),
        env: env.map(|node| lowering.texts("env", node, Site::Value)).unwrap_or_default(),
        timeout: timeout.map(|node| lowering.setting("timeout", node, Site::Plan)),
    };
    lowering.in_defaults = false;
    defaults
}

fn stages(lowering: &mut Lowering<'_>, entry: &Entry, defaults: &Defaults) -> Vec<Draft> {
    let node = &entry.value;
    let Some(map) = node.as_map() else {
        let message = format!("`stages` is a map from names to stages, not {}", node.value.kind());
        let error = lowering.error(Code::E004, message, entry.key.span);
        let help = node.as_list().and_then(<[Node]>::first).map_or_else(
            || "write\nstages:\n  build: make".to_owned(),
            |first| format!("write\nstages:\n{}", as_mapping(lowering, first)),
        );
        lowering.report(error.help(help));
        return Vec::new();
    };
    if map.0.is_empty() {
        let error = lowering.error(Code::E014, "`stages` has no stage", entry.key.span);
        lowering.report(error.help("add one, for example\nstages:\n  build: make"));
    }
    if map.0.len() > STAGE_LIMIT {
        let message =
            format!("the pipeline has {} stages, the limit is {STAGE_LIMIT}", map.0.len());
        let error = lowering.error(Code::E061, message, entry.key.span);
        lowering.report(error);
        return Vec::new();
    }
    let names: HashMap<String, usize> =
        map.0.iter().enumerate().map(|(at, entry)| (entry.key.name.clone(), at)).collect();
    lowering.stages = names;
    lowering.stage_names = map.0.iter().map(|entry| entry.key.name.clone()).collect();
    let mut stages: Vec<Draft> =
        map.0.iter().map(|entry| lowering.stage(entry, defaults)).collect();
    lowering.place_before(map, &mut stages);
    lowering.images_are_made(&stages);
    stages
}

/// Their own first element, in the form a stage has.
fn as_mapping(lowering: &Lowering<'_>, first: &Node) -> String {
    let written = |node: &Node| lowering.sources.text(node.span).to_owned();
    let text = |node: &Node| match &node.value {
        Value::List(items) if items.iter().all(|item| item.scalar_text().is_some()) => {
            format!("[{}]", crate::suggest::listed(items.iter().map(written)))
        }
        Value::List(_) | Value::Map(_) => "…".to_owned(),
        _ => written(node).lines().next().unwrap_or_default().to_owned(),
    };
    match &first.value {
        Value::Map(map) => {
            let named = map.get("name").or_else(|| map.get("stage")).map(text);
            let (name, rest) = match (named, map.0.as_slice()) {
                (Some(name), _) => (name, &map.0[..]),
                (None, [only]) => {
                    return format!("  {}: {}", only.key.name, text(&only.value));
                }
                (None, all) => ("build".to_owned(), all),
            };
            let mut lines = vec![format!("  {}:", name::corrected(name.trim_matches(['"', '\''])))];
            for entry in
                rest.iter().filter(|entry| !matches!(entry.key.name.as_str(), "name" | "stage"))
            {
                let key = crate::suggest::translated(&entry.key.name, keys::STAGE.all);
                lines.push(format!(
                    "    {}: {}",
                    key.unwrap_or(&entry.key.name),
                    text(&entry.value)
                ));
            }
            lines.join("\n")
        }
        _ => format!(
            "  {}: make",
            name::corrected(first.scalar_text().as_deref().unwrap_or("build"))
        ),
    }
}
