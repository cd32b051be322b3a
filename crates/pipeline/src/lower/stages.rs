//! `stages`: the map of all of them.

use super::Lowering;
use super::draft::Draft;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::name;
use crate::suggest::{listed, quoted, translated};
use crate::yaml::{Entry, Node, Value};

/// After expansion (language.md §3).
pub(crate) const STAGE_LIMIT: usize = 10_000;

pub(super) fn stages(lowering: &mut Lowering<'_>, entry: &Entry) -> Vec<Draft> {
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
    let mut stages: Vec<Draft> = map
        .0
        .iter()
        .map(|entry| {
            lowering.enter(Some(&entry.key.name));
            lowering.stage(entry)
        })
        .collect();
    lowering.enter(None);
    join_missing_images(lowering);
    lowering.place_before(map, &mut stages);
    lowering.images_are_made(&stages);
    lowering.cells_are_few(&stages, entry.key.span);
    stages
}

/// Stages without an image lack one line at the top level: told once, for all.
fn join_missing_images(lowering: &mut Lowering<'_>) {
    let mut stages: Vec<String> = Vec::new();
    for finding in lowering.found.iter() {
        stages.extend(lacks_image(finding).map(str::to_owned));
    }
    if stages.len() < 2 {
        return;
    }
    let mut first = true;
    lowering
        .found
        .retain(|finding| lacks_image(finding).is_none() || std::mem::replace(&mut first, false));
    let Some(told) = lowering.found.iter_mut().find(|finding| lacks_image(finding).is_some())
    else {
        return;
    };
    told.message = format!(
        "{} stages have a `run`, but no `image` to run it in: {}",
        stages.len(),
        quoted(stages.iter().map(String::as_str))
    );
    told.help = Some(
        "set it in one of these places\n`image` at the top level, or `defaults.image`, for every \
         stage\n`image` of each of these stages"
            .to_owned(),
    );
}

/// The stage that a finding says to have no image.
fn lacks_image(finding: &Diagnostic) -> Option<&str> {
    let name = finding.message.strip_prefix("stage `")?;
    name.strip_suffix("` has a `run`, but no `image` to run it in")
}

/// Their own first element, in the form a stage has.
fn as_mapping(lowering: &Lowering<'_>, first: &Node) -> String {
    let written = |node: &Node| lowering.sources.text(node.span).to_owned();
    let text = |node: &Node| match &node.value {
        Value::List(items) if items.iter().all(|item| item.scalar_text().is_some()) => {
            format!("[{}]", listed(items.iter().map(written)))
        }
        Value::List(_) | Value::Map(_) => "make".to_owned(),
        _ => written(node).lines().next().unwrap_or_default().to_owned(),
    };
    match &first.value {
        Value::Map(map) => {
            let named = map.get("name").or_else(|| map.get("stage")).map(text);
            let (name, rest) = match (named, map.0.as_slice()) {
                (Some(name), _) => (name, &map.0[..]),
                (None, [only]) => {
                    let name = name::corrected(&only.key.name);
                    return format!("  {name}: {}", text(&only.value));
                }
                (None, all) => ("build".to_owned(), all),
            };
            let mut lines = vec![format!("  {}:", name::corrected(name.trim_matches(['"', '\''])))];
            for entry in
                rest.iter().filter(|entry| !matches!(entry.key.name.as_str(), "name" | "stage"))
            {
                let key = translated(&entry.key.name, keys::STAGE.names());
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
