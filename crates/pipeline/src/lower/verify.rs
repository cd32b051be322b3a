//! `verify`: how the behaviour of new units is tested.

use std::collections::BTreeMap;

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{HttpCheck, Per, RunCheck, Verify, VerifyCheck};
use crate::scalar::{AnyValue, CheckAddress, HttpStatus, ImageReference, Interval, Label};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Map, Node, Value};

const EXAMPLE: &str = "for example `verify: { http: \"https://orders.corp.example/health\" }`";
/// Of commands, where one is missing.
const COMMAND: &str = "for example `curl -fsS $SHIPLINE_URL/health`";

/// Which expressions stand in a check, by what it is a part of.
#[derive(Clone, Copy)]
pub(super) struct Sites {
    value: Site,
    run: Site,
    image: Site,
}

impl Sites {
    const STAGE: Self = Self { value: Site::Value, run: Site::Run, image: Site::Plan };
    /// A suite is no stage's: whoever runs it later has no run to read from.
    pub(super) const SUITE: Self = Self {
        value: Site::Never("suites"),
        run: Site::Never("suites"),
        image: Site::Never("suites"),
    };
}

impl Lowering<'_> {
    /// Reads suites by name, or checks that are written out.
    pub(super) fn verify(&mut self, what: &str, path: &str, node: &Node) -> Vec<Verify> {
        self.checks(what, path, node, Self::check_or_suite)
    }

    /// Reads one, or a list of them.
    pub(super) fn checks(
        &mut self,
        what: &str,
        path: &str,
        node: &Node,
        read: fn(&mut Self, &str, &str, &Node) -> Option<Verify>,
    ) -> Vec<Verify> {
        match &node.value {
            Value::List(items) => {
                if items.is_empty() {
                    let error = self.error_at(Code::E012, format!("{what} has no check"), node);
                    self.report(error.label("for example `[{ http: /health }]`"));
                }
                let read =
                    |(at, item): (usize, &Node)| read(self, what, &format!("{path}.{at}"), item);
                items.iter().enumerate().filter_map(read).collect()
            }
            _ => read(self, what, &format!("{path}.0"), node).into_iter().collect(),
        }
    }

    fn check_or_suite(&mut self, what: &str, path: &str, node: &Node) -> Option<Verify> {
        if matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) {
            return self.one_check(what, path, node, Sites::STAGE);
        }
        let before = self.found.len();
        let suite: Label = self.value(path, node, Site::Value);
        let settled = self.is_settled(path, node) && !self.is_skipped();
        if settled && self.found.len() == before {
            self.suite_is_known(what, &suite.0, node);
        }
        Some(Verify { check: VerifyCheck::Suite { suite: suite.0 }, timeout: None })
    }

    fn suite_is_known(&mut self, what: &str, suite: &str, node: &Node) {
        let file = self.names;
        let known = &file.suites;
        if known.iter().any(|known| known == suite) {
            return;
        }
        let message = format!("{what} names the suite `{suite}`, and there is none");
        let error = self.error_at(Code::E067, message, node);
        let names = || known.iter().map(String::as_str);
        let error = match closest(suite, names()) {
            Some(close) => error.label(format!("did you mean `{close}`?")),
            None => error.label("no suite of this name"),
        };
        let error = match known.is_empty() {
            true => error.note("the file has no `suites`"),
            false => error.note(format!("suites of the file: {}", quoted(names()))),
        };
        self.report(error.help(format!(
            "define it at the top level, for example\nsuites:\n  {suite}: [{{ http: /health }}]"
        )));
    }

    pub(super) fn one_check(
        &mut self,
        what: &str,
        path: &str,
        node: &Node,
        sites: Sites,
    ) -> Option<Verify> {
        let map = self.fields(node, &keys::VERIFY, what)?;
        let check = self.check(what, path, node, map, sites);
        let timeout: Option<Interval> = self.optional(map, &format!("{path}.timeout"), sites.value);
        Some(Verify { check: check?, timeout: timeout.map(|timeout| timeout.0) })
    }

    fn check(
        &mut self,
        what: &str,
        path: &str,
        node: &Node,
        map: &Map,
        sites: Sites,
    ) -> Option<VerifyCheck> {
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
            (Some(http), None) => Some(self.http_check(what, path, map, http, sites)),
            (None, Some(run)) => self.run_check(what, path, map, run, sites),
        }
    }

    fn http_check(
        &mut self,
        what: &str,
        path: &str,
        map: &Map,
        http: &Entry,
        sites: Sites,
    ) -> VerifyCheck {
        for (key, why) in [
            ("image", "has nothing to run"),
            ("per", "says nothing: a path is asked of each unit, an address once"),
        ] {
            if let Some(entry) = map.entry(key) {
                let message = format!("{what} asks an address, so `{key}` {why}");
                let error = self.error(Code::E013, message, entry.key.span);
                let place = self.sources.place(http.key.span);
                self.report(
                    error
                        .label("remove it, or write `run` in place of `http`")
                        .related("also here", place),
                );
            }
        }
        let address: CheckAddress = self.value(&format!("{path}.http"), &http.value, sites.value);
        let status: Vec<HttpStatus> = match map.get("status") {
            Some(node) => self.list(&format!("{path}.status"), node, Site::Never("status"), true),
            None => Vec::new(),
        };
        if let Some(node) = map.get("status")
            && matches!(node.as_list(), Some([]))
        {
            let message = "`status` is an empty list, and no answer would be good";
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `[200, 204]`"));
        }
        let latency: Option<Interval> = self.optional(map, &format!("{path}.latency"), sites.value);
        VerifyCheck::Http(HttpCheck {
            http: address.0,
            status: status.into_iter().map(|status| status.0).collect(),
            body: self.optional(map, &format!("{path}.body"), sites.value),
            json: map.get("json").map(|node| self.pointers(path, node)).unwrap_or_default(),
            latency: latency.map(|latency| latency.0),
        })
    }

    /// Values by JSON pointer.
    fn pointers(&mut self, path: &str, node: &Node) -> BTreeMap<String, serde_json::Value> {
        let Some(map) = node.as_map() else {
            if !node.value.is_reported() {
                let message = format!("`json` takes a map, not {}", node.value.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("for example `{ /checks/0/state: up }`"));
            }
            return BTreeMap::new();
        };
        let read = |entry: &Entry| {
            let pointer = &entry.key.name;
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let message = format!("`{pointer}` is no JSON pointer");
                let error = self.error(Code::E015, message, entry.key.span);
                let written = pointer.replace('.', "/");
                self.report(error.label(format!("write `/{written}`")));
            }
            let path = format!("{path}.json.{pointer}");
            let value: AnyValue = self.value(&path, &entry.value, Site::Never("json"));
            (pointer.clone(), value.0)
        };
        map.0.iter().map(read).collect()
    }

    fn run_check(
        &mut self,
        what: &str,
        path: &str,
        map: &Map,
        run: &Entry,
        sites: Sites,
    ) -> Option<VerifyCheck> {
        for key in ["status", "body", "json", "latency"] {
            if let Some(entry) = map.entry(key) {
                let message = format!("{what} runs commands, so `{key}` has no answer to look at");
                let error = self.error(Code::E013, message, entry.key.span);
                let place = self.sources.place(run.key.span);
                self.report(
                    error
                        .label("remove it, or write `http` in place of `run`")
                        .related("also here", place),
                );
            }
        }
        let commands: Vec<String> = self.list(&format!("{path}.run"), &run.value, sites.run, true);
        if matches!(run.value.as_list(), Some([])) {
            let error = self.error_at(Code::E012, "`run` has no command", &run.value);
            self.report(error.label(COMMAND));
        }
        let per: Option<Per> = self.optional(map, &format!("{path}.per"), sites.value);
        let Some(image) = map.get("image") else {
            let message = format!("{what} has a `run`, but no `image` to run it in");
            let error = self.error(Code::E014, message, run.key.span);
            self.report(error.label("add for example `image: debian:12`"));
            return None;
        };
        let image: ImageReference = self.value(&format!("{path}.image"), image, sites.image);
        Some(VerifyCheck::Run(RunCheck {
            image: image.0,
            run: commands,
            per: per.unwrap_or_default(),
        }))
    }
}
