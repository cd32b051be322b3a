//! What the tree says of one node.

use std::collections::BTreeMap;

use serde::Serialize;

use super::TreeOptions;
use super::line::Line;
use crate::drawing::chart::{Chart, Link, State};
use crate::drawing::paint::{Part, Tone, columns, painted, shortened};
use crate::drawing::{details, words};
use crate::plan::{Origin, OriginKind, value_text};
use crate::render::Style;

/// A line of the tree, with those below it that belong to the same stage.
pub(super) struct Row {
    /// The lines of the tree in front of the mark.
    pub(super) lead: String,
    /// The same in front of what follows below.
    pub(super) below: String,
    pub(super) mark: (char, Tone),
    pub(super) name: (String, Tone),
    pub(super) parts: Vec<Part>,
    pub(super) details: Vec<Part>,
    pub(super) origins: Vec<String>,
    /// The stages it tells of: run, decided later, skipped.
    pub(super) count: [usize; 3],
}

impl Row {
    pub(super) fn name_width(&self) -> usize {
        columns(&self.lead) + 2 + columns(&self.name.0)
    }

    pub(super) fn write(&self, text: &mut String, style: Style, names: usize, width: usize) {
        let lead = painted(style, Tone::Quiet, &self.lead);
        let mark = painted(style, self.mark.1, &self.mark.0.to_string());
        let name = painted(style, self.name.1, &self.name.0);
        let padding = names.saturating_sub(self.name_width());
        let mut line = Line {
            style,
            width,
            below: format!("{}  ", painted(style, Tone::Quiet, &self.below)),
            below_columns: columns(&self.below) + 2,
            used: self.name_width() + padding + 2,
            text: format!("{lead}{mark} {name}{}  ", " ".repeat(padding)),
            fresh: true,
        };
        line.parts(text, &self.parts);
        line.next(text);
        if !self.details.is_empty() {
            line.parts(text, &self.details);
            line.next(text);
        }
        for origin in &self.origins {
            line.parts(text, &[Part::quiet(origin)]);
            line.next(text);
        }
    }
}

pub(super) fn row(
    chart: &Chart<'_>,
    node: usize,
    links: &[Link],
    parent: Option<usize>,
    options: &TreeOptions,
    row: Row,
) -> Row {
    let node = &chart.nodes[node];
    let state = node.state();
    let (mark, name) = match state {
        State::Run => (Tone::Good, Tone::Strong),
        State::Later | State::Mixed => (Tone::Attention, Tone::Strong),
        State::Skip => (Tone::Quiet, Tone::Quiet),
    };
    let mut work = words::work(node, chart.plan);
    let mut parts = Vec::new();
    if state == State::Skip {
        work.tone = Tone::Quiet;
        parts.extend(words::decision(node));
        parts.push(work);
    } else {
        parts.push(work);
        parts.extend(words::cells(node));
        parts.extend(words::decision(node));
        parts.extend(words::conduct(node));
    }
    parts.extend(words::needs(chart, node, links, parent, options.all));
    parts.retain(|part| !part.text.is_empty());
    let mut details = if state == State::Skip { Vec::new() } else { details::details(node) };
    if details.len() == 1 {
        parts.append(&mut details);
    }
    let origins = match node.first() {
        Some(stage) if options.origins => origins(stage, &stage.origins),
        _ => Vec::new(),
    };
    Row {
        mark: (state.mark(), mark),
        name: (Part::plain(node.title()).text, name),
        parts,
        details,
        origins,
        count: Chart::count(node.cells.iter().copied()),
        ..row
    }
}

/// Each value of a stage, or of the plan itself, with the place it came from.
pub(super) fn origins(of: &impl Serialize, origins: &BTreeMap<String, Origin>) -> Vec<String> {
    let values = serde_json::to_value(of).unwrap_or_default();
    let line = |(path, origin): (&String, &Origin)| {
        let value = value_at(&values, path).map(|value| format!(" = {value}")).unwrap_or_default();
        format!("{path}{value}  <- {}", place(origin))
    };
    origins.iter().map(line).collect()
}

fn place(origin: &Origin) -> String {
    let by = match origin.by {
        OriginKind::File => "",
        OriginKind::Defaults => ", defaults",
        OriginKind::Template => ", template",
        OriginKind::Param => ", parameter of the template",
        OriginKind::Policy => ", policy",
        OriginKind::Builtin => return "built in".to_owned(),
        OriginKind::Server => return "the server".to_owned(),
    };
    format!("{}:{}:{}{by}", origin.file, origin.line, origin.column)
}

/// The value of a path in a planned stage; the keys of its action stand at the top.
fn value_at(values: &serde_json::Value, path: &str) -> Option<String> {
    let find = |path: &str| {
        path.split('.').try_fold(values, |value, key| match value {
            serde_json::Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            value => value.get(key),
        })
    };
    let found = find(path).or_else(|| find(path.split_once('.')?.1))?;
    match found {
        serde_json::Value::Object(_) | serde_json::Value::Null => None,
        value => Some(shortened(&value_text(value), 60)),
    }
}
