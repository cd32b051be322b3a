//! `verify`: how the behaviour of new units is tested.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{Verify, VerifyCheck};
use crate::scalar::{ImageReference, Interval, Label, WebAddress};
use crate::yaml::{Map, Node, Value};

const EXAMPLE: &str = "for example `verify: { http: \"https://orders.corp.example/health\" }`";

impl Lowering<'_> {
    /// Reads suites by name, or checks that are written out.
    pub(super) fn verify(&mut self, what: &str, path: &str, node: &Node) -> Vec<Verify> {
        match &node.value {
            Value::List(items) => {
                if items.is_empty() {
                    let error = self.error_at(Code::E012, format!("{what} has no check"), node);
                    self.report(error.label("for example `[smoke]`"));
                }
                let read = |(at, item): (usize, &Node)| {
                    self.one_check(what, &format!("{path}.{at}"), item)
                };
                items.iter().enumerate().filter_map(read).collect()
            }
            _ => self.one_check(what, &format!("{path}.0"), node).into_iter().collect(),
        }
    }

    fn one_check(&mut self, what: &str, path: &str, node: &Node) -> Option<Verify> {
        if !matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) {
            let suite: Label = self.value(path, node, Site::Value);
            return Some(Verify { check: VerifyCheck::Suite { suite: suite.0 }, timeout: None });
        }
        let map = self.fields(node, &keys::VERIFY, what)?;
        let check = self.check(what, path, node, map);
        let timeout: Option<Interval> = self.optional(map, &format!("{path}.timeout"), Site::Value);
        Some(Verify { check: check?, timeout: timeout.map(|timeout| timeout.0) })
    }

    fn check(&mut self, what: &str, path: &str, node: &Node, map: &Map) -> Option<VerifyCheck> {
        match (map.entry("http"), map.entry("run")) {
            (Some(http), Some(run)) => {
                let (first, second) = if http.key.span.start < run.key.span.start {
                    (http, run)
                } else {
                    (run, http)
                };
                let error =
                    self.error(Code::E013, format!("{what} has `http` and `run`"), second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(
                    error
                        .label("keep one, or write a list of two checks")
                        .related("also here", place),
                );
                None
            }
            (None, None) => {
                if ["http", "run"].iter().all(|key| self.lacks(map, &keys::VERIFY, key)) {
                    let message = format!("{what} does not say what to check");
                    let error = self.error_at(Code::E014, message, node);
                    self.report(error.label("add `http` or `run`").note(EXAMPLE));
                }
                None
            }
            (Some(http), None) => {
                if let Some(image) = map.entry("image") {
                    let message = format!("{what} asks an address, so `image` has nothing to run");
                    let error = self.error(Code::E013, message, image.key.span);
                    let place = self.sources.place(http.key.span);
                    self.report(
                        error
                            .label("remove it, or write `run` in place of `http`")
                            .related("also here", place),
                    );
                }
                let path = format!("{path}.http");
                let http: WebAddress = self.value(&path, &http.value, Site::Value);
                Some(VerifyCheck::Http { http: http.0 })
            }
            (None, Some(entry)) => {
                let run: Vec<String> =
                    self.list(&format!("{path}.run"), &entry.value, Site::Run, true);
                if matches!(entry.value.as_list(), Some([])) {
                    let error = self.error_at(Code::E012, "`run` has no command", &entry.value);
                    self.report(error.label("for example `./smoke.sh`"));
                }
                let Some(image) = map.get("image") else {
                    let message = format!("{what} has a `run`, but no `image` to run it in");
                    let error = self.error(Code::E014, message, entry.key.span);
                    self.report(error.label("add for example `image: debian:12`"));
                    return None;
                };
                let image: ImageReference = self.value(&format!("{path}.image"), image, Site::Plan);
                Some(VerifyCheck::Run { image: image.0, run })
            }
        }
    }
}
