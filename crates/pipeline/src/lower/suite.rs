//! `suites`: lists of checks that `verify` names.

use std::collections::BTreeMap;

use super::Lowering;
use super::verify::Sites;
use crate::codes::Code;
use crate::name;
use crate::plan::Verify;
use crate::yaml::{Entry, Node};

impl Lowering<'_> {
    pub(super) fn suites(&mut self, node: &Node) -> BTreeMap<String, Vec<Verify>> {
        if node.value.is_reported() {
            return BTreeMap::new();
        }
        let Some(map) = node.as_map() else {
            let message = format!("`suites` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("a map from names to lists of checks"));
            return BTreeMap::new();
        };
        let read = |entry: &Entry| (entry.key.name.clone(), self.suite(entry));
        map.0.iter().map(read).collect()
    }

    fn suite(&mut self, entry: &Entry) -> Vec<Verify> {
        let name = &entry.key.name;
        if !name::is_label(name) {
            let message = format!("a suite cannot be named `{name}`");
            let error = self.error(Code::E016, message, entry.key.span);
            self.report(error.note(name::LABEL_RULE));
        }
        let what = format!("suite `{name}`");
        self.checks(&what, &format!("suites.{name}"), &entry.value, |lowering, what, path, node| {
            lowering.one_check(what, path, node, Sites::SUITE)
        })
    }
}
