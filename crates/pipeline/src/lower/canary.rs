//! `deploy.canary`: traffic that moves to the new release in steps.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{Canary, CanaryBy, CanaryStep, Inconclusive, Metric};
use crate::scalar::{Requests, Selector, Threshold, Weight};
use crate::yaml::{Entry, Map, Node, Value};

const STEPS_EXAMPLE: &str =
    "for example `steps: [{ weight: 5, bake: 5m }, { weight: 25, bake: 10m }, { weight: 100 }]`";

impl Lowering<'_> {
    pub(super) fn canary(&mut self, name: &str, node: &Node) -> Option<Canary> {
        let what = format!("`canary` of stage `{name}`");
        let map = self.fields(node, &keys::CANARY, &what)?;
        let by = self.or_builtin(map, "deploy.canary.by", Site::Value, CanaryBy::Weight);
        // Which keys a step needs depends on it.
        let settled = map.get("by").is_none_or(|node| self.is_settled("deploy.canary.by", node));
        let by_is = settled.then_some(by);
        let min_requests: Option<Requests> =
            self.optional(map, "deploy.canary.min-requests", Site::Value);
        let on_inconclusive =
            self.or_builtin(map, "deploy.canary.on-inconclusive", Site::Value, Inconclusive::Fail);
        if self.lacks(map, &keys::CANARY, "steps") {
            let error = self.error_at(Code::E014, format!("{what} has no `steps`"), node);
            self.report(error.label("how far does it go, and when?").note(STEPS_EXAMPLE));
        }
        let steps = self.steps(&what, map.entry("steps")?, by_is);
        Some(Canary {
            by,
            steps,
            min_requests: min_requests.map(|requests| requests.0),
            on_inconclusive,
        })
    }

    fn steps(&mut self, what: &str, entry: &Entry, by: Option<CanaryBy>) -> Vec<CanaryStep> {
        let node = &entry.value;
        if node.value.is_reported() {
            return Vec::new();
        }
        let nodes = match node.as_list() {
            Some([]) => {
                let error = self.error_at(Code::E012, format!("{what} has no step"), node);
                self.report(error.note(STEPS_EXAMPLE));
                return Vec::new();
            }
            Some(nodes) => nodes,
            None => {
                let message = format!("`steps` takes a list, not {}", node.value.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.note(STEPS_EXAMPLE));
                return Vec::new();
            }
        };
        let mut steps = Vec::with_capacity(nodes.len());
        let mut before: Option<(u32, &Node)> = None;
        for (at, node) in nodes.iter().enumerate() {
            let path = format!("deploy.canary.steps.{at}");
            let Some(step) = self.step(&format!("step {} of {what}", at + 1), &path, node, by)
            else {
                continue;
            };
            let weight = node.as_map().and_then(|map| map.get("weight"));
            if let (Some(weight), Some(node)) = (step.weight, weight) {
                self.ascends(&path, weight, node, &mut before);
            }
            steps.push(step);
        }
        steps
    }

    /// A step that sends no more traffic than the one before is a slip.
    fn ascends<'n>(
        &mut self,
        path: &str,
        weight: u32,
        node: &'n Node,
        before: &mut Option<(u32, &'n Node)>,
    ) {
        // An expression, or a value that has been reported.
        let written = matches!(node.value, Value::Int(value, _) if value == i64::from(weight));
        let evaluated = !self.is_check() && self.is_settled(&format!("{path}.weight"), node);
        if !written && !evaluated {
            *before = None;
            return;
        }
        if let Some((least, earlier)) = before.filter(|(least, _)| weight <= *least) {
            let message = format!(
                "the weights of a canary grow from step to step, and {weight} follows {least}"
            );
            let error = self.error_at(Code::E015, message, node);
            let place = self.sources.place(earlier.span);
            self.report(
                error
                    .label(format!("write more than {least}, or remove the step"))
                    .related("the step before", place),
            );
        }
        *before = Some((weight, node));
    }

    fn step(
        &mut self,
        what: &str,
        path: &str,
        node: &Node,
        by: Option<CanaryBy>,
    ) -> Option<CanaryStep> {
        let map = self.fields(node, &keys::CANARY_STEP, what)?;
        let at = |key: &str| format!("{path}.{key}");
        let weight: Option<Weight> = self.optional(map, &at("weight"), Site::Value);
        let label: Option<Selector> = self.optional(map, &at("label"), Site::Value);
        self.share_of_step(what, node, map, by);
        let bake: Option<Duration> = self.optional(map, &at("bake"), Site::Value);
        let verify = map
            .get("verify")
            .map(|node| self.verify(&format!("`verify` of {what}"), &at("verify"), node));
        let metrics = map.get("metrics").map(|node| self.metrics(what, &at("metrics"), node));
        Some(CanaryStep {
            weight: weight.map(|weight| weight.0),
            label: label.map(|label| label.0),
            bake,
            verify: verify.unwrap_or_default(),
            metrics: metrics.unwrap_or_default(),
        })
    }

    /// Who sees the new release in a step: a share of the requests, or the hosts
    /// with a label.
    fn share_of_step(&mut self, what: &str, node: &Node, map: &Map, by: Option<CanaryBy>) {
        let (needed, example, refused) = match by {
            Some(CanaryBy::Weight) => (Some("weight"), "weight: 5", Some("label")),
            Some(CanaryBy::Label) => (Some("label"), "label: region=north", Some("weight")),
            Some(CanaryBy::Header | CanaryBy::Tag) => (None, "", Some("label")),
            None => (None, "", None),
        };
        if let Some(entry) = refused.and_then(|key| map.entry(key)) {
            let key = &entry.key.name;
            let message = match key.as_str() {
                "label" => format!("{what} has a `label`, and the canary does not go by labels"),
                _ => format!("{what} has a `{key}`, and the canary goes by labels"),
            };
            let error = self.error(Code::E013, message, entry.key.span);
            self.report(error.label(match key.as_str() {
                "label" => "write `by: label` into the canary, or remove it",
                _ => "write `by: weight` into the canary, or remove it",
            }));
        } else if let Some(key) = needed.filter(|key| self.lacks(map, &keys::CANARY_STEP, key)) {
            let error = self.error_at(Code::E014, format!("{what} has no `{key}`"), node);
            self.report(error.label(format!("add for example `{example}`")));
        }
    }

    fn metrics(&mut self, what: &str, path: &str, node: &Node) -> Vec<Metric> {
        if node.value.is_reported() {
            return Vec::new();
        }
        let Some(nodes) = node.as_list() else {
            let message = format!("`metrics` takes a list, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `[{ query: error_rate, max: 1% }]`"));
            return Vec::new();
        };
        let read = |(at, node): (usize, &Node)| self.metric(what, &format!("{path}.{at}"), node);
        nodes.iter().enumerate().filter_map(read).collect()
    }

    fn metric(&mut self, what: &str, path: &str, node: &Node) -> Option<Metric> {
        let what = format!("a metric of {what}");
        let map = self.fields(node, &keys::METRIC, &what)?;
        let at = |key: &str| format!("{path}.{key}");
        let query: Option<String> = self.optional(map, &at("query"), Site::Value);
        let max: Option<Threshold> = self.optional(map, &at("max"), Site::Value);
        let min: Option<Threshold> = self.optional(map, &at("min"), Site::Value);
        if self.lacks(map, &keys::METRIC, "query") {
            let error = self.error_at(Code::E014, format!("{what} has no `query`"), node);
            self.report(error.label("what is measured? for example `query: error_rate`"));
        } else if let Some(node) = map.get("query").filter(|node| node.is_text("")) {
            let error = self.error_at(Code::E015, "`query` asks nothing", node);
            self.report(error.label("for example `error_rate`"));
        }
        if ["max", "min"].iter().all(|key| self.lacks(map, &keys::METRIC, key)) {
            let error = self.error_at(Code::E014, format!("{what} has no limit"), node);
            self.report(error.label("add `max` or `min`, for example `max: 1%`"));
        }
        let numbers = [&max, &min].map(|limit| limit.as_ref().and_then(Threshold::number));
        if let ([Some((most, share)), Some((least, other))], Some(entry)) =
            (numbers, map.entry("min"))
            && share == other
            && least > most
        {
            let message = format!("{what} can never hold: `min` is above `max`");
            let error = self.error(Code::E013, message, entry.key.span);
            self.report(error.label("exchange the two"));
        }
        Some(Metric { query: query?, max: max.map(|limit| limit.0), min: min.map(|limit| limit.0) })
    }
}
