//! `approve` and `trigger`: stages that wait for people and for other pipelines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::Lowering;
use super::param::{Declared, Owner};
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{ApproveWork, Param, TriggerWork};
use crate::scalar::{AnyValue, Approver, Count, GitReference, PipelineName, json};
use crate::yaml::{Entry, Map, Node, Value};

/// Outputs an approval has besides its fields.
const OUTPUT_BY: &str = "by";

impl Lowering<'_> {
    pub(super) fn approve(&mut self, action: &Entry, what: &str) -> Option<ApproveWork> {
        const EXAMPLE: &str = "for example `by: [ada, \"group:release\"]`";
        let map = self.settings(&action.value, &keys::APPROVE, what, |person| match person {
            "true" | "false" | "\"\"" => "approve: { by: [\"group:release\"] }".to_owned(),
            person => format!("approve: {{ by: [{person}] }}"),
        })?;
        let message = self.optional(map, "approve.message", Site::Value);
        let fields = map.get("fields").map(|node| self.approval_fields(node, what));
        let count: Count = self.or_builtin(map, "approve.count", Site::Value, Count(1));
        let Some(node) = map.get("by") else {
            let error = self.error(Code::E014, format!("{what} has no `by`"), action.key.span);
            self.report(error.label(format!("add who may approve, {EXAMPLE}")));
            return None;
        };
        if matches!(node.as_list(), Some([])) {
            let message = format!("`by` of {what} is an empty list, and nobody could approve");
            let error = self.error_at(Code::E014, message, node);
            self.report(error.label(EXAMPLE));
        }
        let by: Vec<Approver> = self.list("approve.by", node, Site::Value, true);
        let by: Vec<String> = by.into_iter().map(|by| by.0).collect();
        self.enough(map, &by, count);
        Some(ApproveWork { by, count: count.0, message, fields: fields.unwrap_or_default() })
    }

    /// More approvals than people who could give them are never reached. How many
    /// a group has is known to the server.
    fn enough(&mut self, map: &Map, by: &[String], count: Count) {
        // An expression may give a group.
        if by.iter().any(|by| by.starts_with("group:") || by.contains("${{")) {
            return;
        }
        let people = by.iter().collect::<BTreeSet<_>>().len();
        let Some(count_node) = map.get("count") else { return };
        if people > 0 && count.0 as usize > people {
            let only = match people {
                1 => "only 1 person".to_owned(),
                people => format!("only {people} people"),
            };
            let message = format!("`count` is {}, and `by` names {only}", count.0);
            let error = self.error_at(Code::E015, message, count_node);
            self.report(error.label("name more people in `by`, or a `group:NAME`"));
        }
    }

    fn approval_fields(&mut self, node: &Node, what: &str) -> BTreeMap<String, Param> {
        let stage = what.rsplit('`').nth(1).unwrap_or_default();
        let mut fields = BTreeMap::new();
        for Declared { key, param, .. } in self.params(node, Owner::Approval(stage)) {
            if key.name == OUTPUT_BY {
                let message = format!("a field of stage `{stage}` cannot be named `by`");
                let error = self.error(Code::E016, message, key.span);
                self.report(error.label("the output `by` says who approved; choose another name"));
            }
            fields.extend(param.map(|param| (key.name, param)));
        }
        fields
    }

    pub(super) fn trigger_stage(&mut self, action: &Entry, what: &str) -> Option<TriggerWork> {
        let map = self.settings(&action.value, &keys::TRIGGER, what, |pipeline| {
            format!("trigger: {{ pipeline: {pipeline} }}")
        })?;
        let reference: Option<GitReference> = self.optional(map, "trigger.ref", Site::Value);
        let params = map.get("params").map(|node| self.trigger_params(node));
        let wait = self.or_builtin(map, "trigger.wait", Site::Value, true);
        let pipeline: Option<PipelineName> = self.optional(map, "trigger.pipeline", Site::Value);
        let Some(pipeline) = pipeline else {
            let error =
                self.error(Code::E014, format!("{what} has no `pipeline`"), action.key.span);
            self.report(error.label("add the pipeline to start, for example `pipeline: release`"));
            return None;
        };
        Some(TriggerWork {
            pipeline: pipeline.0,
            reference: reference.map(|reference| reference.0),
            params: params.unwrap_or_default(),
            wait,
        })
    }

    /// Values for the other pipeline, which checks them when it is started.
    fn trigger_params(&mut self, node: &Node) -> BTreeMap<String, Json> {
        if node.value.is_reported() {
            return BTreeMap::new();
        }
        let Some(map) = node.as_map() else {
            let message = format!("`params` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `{ target: staging }`"));
            return BTreeMap::new();
        };
        let path = |name: &str| format!("trigger.params.{name}");
        let value = |entry: &Entry| {
            let name = &entry.key.name;
            (name.clone(), self.json_value(&path(name), &entry.value))
        };
        map.0.iter().map(value).collect()
    }

    /// A value of any type, with the expressions in it.
    fn json_value(&mut self, path: &str, node: &Node) -> Json {
        match &node.value {
            Value::Mixed(_) => self.value::<AnyValue>(path, node, Site::Value).0,
            Value::List(list) => {
                let item =
                    |(at, item): (usize, &Node)| self.json_value(&format!("{path}.{at}"), item);
                list.iter().enumerate().map(item).collect()
            }
            Value::Map(map) => map
                .0
                .iter()
                .map(|entry| {
                    let name = &entry.key.name;
                    (name.clone(), self.json_value(&format!("{path}.{name}"), &entry.value))
                })
                .collect(),
            _ => {
                self.record(path, node);
                json(node)
            }
        }
    }
}
