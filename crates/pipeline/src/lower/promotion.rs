//! Gates of an environment: what must hold before a release comes to it. The server
//! evaluates them; here they are read, and their graph is checked.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::scalar::{Count, Interval, Label, Promotion, Selector, Window};
use crate::source::Span;
use crate::suggest::{closest, listed, quoted};
use crate::yaml::{Map, Node, Value};
use crate::{Duration, Only};

/// What a gate requires; there is exactly one of them.
const GATES: [&str; 3] = ["passed", "approvals", "bake"];
const REQUIRES_EXAMPLE: &str =
    "for example `[{ passed: test }, { approvals: 2, of: release-managers }, { bake: 30m }]`";

impl Lowering<'_> {
    /// Reads the gates of one environment, as the plan keeps them.
    pub(super) fn gates(&mut self, what: &str, map: &Map) -> BTreeMap<String, Json> {
        let mut gates = BTreeMap::new();
        let mut gate = |name: &str, value: Json| {
            gates.insert(name.to_owned(), value);
        };
        if let Some(way) = self.optional::<Promotion>(map, "promote", Site::Pipeline) {
            gate("promote", json!(way.name()));
        }
        if let Some(reserved) = self.optional::<bool>(map, "reservations", Site::Pipeline) {
            gate("reservations", json!(reserved));
        }
        if let Some(shadow) = self.optional::<Label>(map, "shadow-of", Site::Pipeline) {
            gate("shadow-of", json!(shadow.0));
        }
        if let Some(node) = map.get("requires") {
            let requires = self.requires(what, node);
            gate("requires", Json::Array(requires));
        }
        if let Some(node) = map.get("windows") {
            let windows: Vec<Window> = self.list("windows", node, Site::Pipeline, true);
            gate("windows", windows.into_iter().map(|window| json!(window.0)).collect());
        }
        if let Some(node) = map.get("freeze") {
            let freeze: Vec<Label> = self.list("freeze", node, Site::Pipeline, true);
            gate("freeze", freeze.into_iter().map(|calendar| json!(calendar.0)).collect());
        }
        gates
    }

    /// The part of the target that the environment is.
    pub(super) fn only(&mut self, what: &str, node: &Node) -> Option<Only> {
        let what = format!("`only` of {what}");
        let map = self.fields(node, &keys::ONLY, &what)?;
        let group: Option<Label> = self.optional(map, "only.group", Site::Pipeline);
        let label: Option<Selector> = self.optional(map, "only.label", Site::Pipeline);
        match (map.entry("group"), map.entry("label")) {
            (None, None)
                if ["group", "label"].iter().all(|key| self.lacks(map, &keys::ONLY, key)) =>
            {
                let error = self.error_at(Code::E014, format!("{what} chooses nothing"), node);
                self.report(error.label(
                    "add `group` or `label`, for example `{ group: preprod }` or \
                     `{ label: region=north }`",
                ));
            }
            (Some(group), Some(label)) => {
                let error = self.error(
                    Code::E013,
                    format!("{what} has `group` and `label`"),
                    label.key.span,
                );
                let place = self.sources.place(group.key.span);
                self.report(error.label("keep one").related("also here", place));
            }
            _ => {}
        }
        match (group, label) {
            (Some(group), _) => Some(Only::Group(group.0)),
            (None, Some(label)) => Some(Only::Label(label.0)),
            (None, None) => None,
        }
    }

    fn requires(&mut self, what: &str, node: &Node) -> Vec<Json> {
        if node.value.is_reported() {
            return Vec::new();
        }
        let Some(nodes) = node.as_list() else {
            let message = format!("`requires` takes a list, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.note(REQUIRES_EXAMPLE));
            return Vec::new();
        };
        nodes.iter().filter_map(|node| self.requirement(what, node)).collect()
    }

    fn requirement(&mut self, what: &str, node: &Node) -> Option<Json> {
        let what = format!("`requires` of {what}");
        let map = self.fields(node, &keys::REQUIREMENT, &what)?;
        let found: Vec<_> =
            map.0.iter().filter(|entry| GATES.contains(&entry.key.name.as_str())).collect();
        match found.as_slice() {
            [] if GATES.iter().all(|key| self.lacks(map, &keys::REQUIREMENT, key)) => {
                let error =
                    self.error_at(Code::E014, format!("a gate of {what} requires nothing"), node);
                self.report(
                    error.label("add `passed`, `approvals` or `bake`").note(REQUIRES_EXAMPLE),
                );
            }
            [] | [_] => {}
            [first, second, ..] => {
                let names = quoted(found.iter().map(|entry| entry.key.name.as_str()));
                let message = format!("a gate of {what} requires several things: {names}");
                let error = self.error(Code::E013, message, second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(
                    error.label("write each as a gate of its own").related("also here", place),
                );
            }
        }
        for (key, of) in [("of", "approvals"), ("max-age", "passed")] {
            if let Some(entry) = map.entry(key)
                && map.get(of).is_none()
            {
                let message =
                    format!("`{key}` belongs to `{of}`, and this gate of {what} has none");
                let error = self.error(Code::E011, message, entry.key.span);
                self.report(error.label(format!("add `{of}`, or remove it")));
            }
        }
        let mut gate = serde_json::Map::new();
        if let Some(passed) = self.optional::<Label>(map, "requires.passed", Site::Pipeline) {
            gate.insert("passed".to_owned(), json!(passed.0));
        }
        if let Some(age) = self.optional::<Interval>(map, "requires.max-age", Site::Pipeline) {
            gate.insert("max-age".to_owned(), json!(age.0));
        }
        if let Some(count) = self.optional::<Count>(map, "requires.approvals", Site::Pipeline) {
            gate.insert("approvals".to_owned(), json!(count.0));
        }
        if let Some(group) = self.optional::<Label>(map, "requires.of", Site::Pipeline) {
            gate.insert("of".to_owned(), json!(group.0));
        }
        if let Some(bake) = self.optional::<Duration>(map, "requires.bake", Site::Pipeline) {
            gate.insert("bake".to_owned(), json!(bake));
        }
        Some(Json::Object(gate))
    }

    /// The graph of all environments of the file: every name exists (E062), and
    /// none needs itself through others (E021). A shadow may well be passed on the
    /// way to what it shadows, so the two kinds of edges make no circle together.
    pub(super) fn promotions(&mut self, environments: &Map) {
        self.edges(environments, "passed", |map| {
            let gates = map.get("requires").and_then(Node::as_list).unwrap_or_default();
            gates.iter().filter_map(|gate| gate.as_map()?.get("passed")).collect()
        });
        self.edges(environments, "shadow-of", |map| map.get("shadow-of").into_iter().collect());
    }

    fn edges(&mut self, environments: &Map, key: &str, others: fn(&Map) -> Vec<&Node>) {
        let mut edges: BTreeMap<&str, Vec<(&str, Span)>> = BTreeMap::new();
        for entry in &environments.0 {
            let name = entry.key.name.as_str();
            for node in entry.value.as_map().map(others).unwrap_or_default() {
                let Value::Text(other) = &node.value else { continue };
                if environments.get(other).is_none() {
                    self.no_such_environment(name, key, other, node, environments);
                } else {
                    edges.entry(name).or_default().push((other, node.span));
                }
            }
        }
        let Some(path) = circle(&edges) else { return };
        let Some((start, first)) = path.first() else { return };
        let step = |(name, span): &(&str, Span)| {
            let (line, column) = self.sources.place(*span).start();
            format!("{name} ({line}:{column})")
        };
        let steps: Vec<String> = path.iter().map(step).chain([(*start).to_owned()]).collect();
        let (message, label) = match key {
            "passed" => (
                "each of these environments wants a release to have passed another",
                "so no release could ever come here",
            ),
            _ => (
                "each of these environments takes its configuration from another",
                "so none of them has one",
            ),
        };
        let error = self.error(Code::E021, message, *first);
        self.report(error.label(label).note(steps.join(" -> ")));
    }

    fn no_such_environment(
        &mut self,
        name: &str,
        key: &str,
        other: &str,
        node: &Node,
        environments: &Map,
    ) {
        let names = || environments.0.iter().map(|entry| entry.key.name.as_str());
        let message = match key {
            "passed" => format!(
                "environment `{name}` requires that a release passed `{other}`, which is not an \
                 environment"
            ),
            _ => format!(
                "environment `{name}` is the shadow of `{other}`, which is not an environment"
            ),
        };
        let error = self.error_at(Code::E062, message, node);
        let error = match closest(other, names()) {
            Some(close) => error.label(format!("did you mean `{close}`?")),
            None => error.label("define it beside this one"),
        };
        let known = listed(names().map(|name| format!("`{name}`")));
        self.report(error.note(format!("defined in the file: {known}")));
    }
}

/// A closed path, if there is one: each name with the place of the edge that leaves it.
fn circle<'m>(edges: &BTreeMap<&'m str, Vec<(&'m str, Span)>>) -> Option<Vec<(&'m str, Span)>> {
    let mut done: Vec<&str> = Vec::new();
    for start in edges.keys() {
        // Edges still to follow, per environment of the path.
        let mut path: Vec<(&'m str, usize)> = vec![(*start, 0)];
        while let Some((name, next)) = path.last().copied() {
            let edge = edges.get(name).and_then(|edges| edges.get(next));
            let Some((other, _)) = edge.filter(|_| !done.contains(&name)) else {
                done.push(name);
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 += 1;
            }
            if let Some(at) = path.iter().position(|(name, _)| name == other) {
                let leaving = |(name, next): &(&'m str, usize)| {
                    edges.get(name).map(|edges| (*name, edges[next - 1].1))
                };
                return path[at..].iter().filter_map(leaving).collect::<Vec<_>>().into();
            }
            path.push((*other, 0));
        }
    }
    None
}
