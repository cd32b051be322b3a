//! `on.schedule`: times, and what a run of a schedule is given.

use std::collections::BTreeMap;

use super::Lowering;
use super::param;
use super::trigger::Written;
use crate::codes::Code;
use crate::keys;
use crate::model::{Schedule, Triggers};
use crate::scalar::{BranchName, CronLine, TimeZone};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Key, Map, Node, Value};

impl Lowering<'_> {
    pub(super) fn schedules(&mut self, written: &Written<'_>, auto: bool, triggers: &mut Triggers) {
        const EXAMPLE: &str = "for example `{ cron: \"0 3 * * *\", timezone: Asia/Shanghai }`";
        let Some(node) = written.node else {
            let message = "`on.schedule` says no time";
            let error = self.error(Code::E014, message, written.key.span);
            self.report(error.label(EXAMPLE));
            return;
        };
        self.not_empty("schedule", node, EXAMPLE);
        for node in node.one_or_many() {
            if let Value::Text(text) = &node.value {
                let message = "`on.schedule` takes a map or a list of maps, not text";
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label(format!("write `{{ cron: \"{text}\" }}`")));
                continue;
            }
            let Some(map) = self.fields(node, &keys::ON_SCHEDULE, "`on.schedule`") else {
                continue;
            };
            triggers.schedules.extend(self.schedule(node, map, auto, triggers));
        }
    }

    fn schedule(
        &mut self,
        node: &Node,
        map: &Map,
        auto: bool,
        triggers: &Triggers,
    ) -> Option<Schedule> {
        let auto = self.auto(Some(map), auto);
        let timezone = map.get("timezone").map(|node| self.plain::<TimeZone>("timezone", node));
        let branch = map.get("branch").map(|node| self.plain::<BranchName>("branch", node));
        let params = self.schedule_params(node, map.entry("params"), triggers);
        let Some(cron) = map.get("cron") else {
            let error = self.error_at(Code::E014, "`on.schedule` has no `cron`", node);
            self.report(error.label("add the time, for example `cron: \"0 3 * * 1-5\"`"));
            return None;
        };
        Some(Schedule {
            auto,
            cron: self.plain::<CronLine>("cron", cron).0,
            timezone: timezone.map_or_else(|| "UTC".to_owned(), |timezone| timezone.0),
            branch: branch.map(|branch| branch.0),
            params,
        })
    }

    /// What a schedule gives to the parameters of `on.manual` (E066).
    fn schedule_params(
        &mut self,
        schedule: &Node,
        entry: Option<&Entry>,
        triggers: &Triggers,
    ) -> BTreeMap<String, serde_json::Value> {
        let empty = Map::default();
        let map = match entry.map(|entry| &entry.value) {
            None => &empty,
            Some(node) => match node.as_map() {
                Some(map) => map,
                None => {
                    if !node.value.is_reported() {
                        let message = format!("`params` takes a map, not {}", node.value.kind());
                        let error = self.error_at(Code::E012, message, node);
                        self.report(error.label("for example `{ target: staging }`"));
                    }
                    return BTreeMap::new();
                }
            },
        };
        let mut values = BTreeMap::new();
        for entry in &map.0 {
            let name = &entry.key.name;
            let Some(declared) = triggers.declared.get(name).copied() else {
                self.undeclared(&entry.key, triggers);
                continue;
            };
            // One that was declared badly has been told.
            let Some(declaration) = triggers.params.get(name) else { continue };
            if let Value::Mixed(pieces) = &entry.value.value {
                if !pieces.is_empty() {
                    let message = "expressions are not available in `params` of a schedule";
                    let error = self.error_at(Code::E045, message, &entry.value);
                    self.report(error.label("write the value itself"));
                }
                continue;
            }
            match param::fit(declaration, &entry.value) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(rule) => {
                    let shown = param::shown(&entry.value);
                    let message = format!("parameter `{name}` cannot be {shown}");
                    let error = self.error_at(Code::E066, message, &entry.value);
                    let place = self.sources.place(declared);
                    self.report(error.label(rule).related("declared here", place));
                }
            }
        }
        for (name, declaration) in triggers.params.iter().filter(|(_, param)| param.required) {
            if map.get(name).is_none() {
                let message = format!("this schedule gives no value to the parameter `{name}`");
                let at = entry.map_or(schedule.span, |entry| entry.key.span);
                let error = self.error(Code::E066, message, at);
                let place = triggers.declared.get(name).map(|span| self.sources.place(*span));
                let error =
                    error.label(format!("it is required: add {}", param::expected(declaration)));
                let error = match place {
                    Some(place) => error.related("declared here", place),
                    None => error,
                };
                self.report(error);
            }
        }
        values
    }

    fn undeclared(&mut self, key: &Key, triggers: &Triggers) {
        let names = || triggers.declared.keys().map(String::as_str);
        let message = format!("there is no parameter `{}`", key.name);
        let error = self.error(Code::E066, message, key.span);
        let error = match closest(&key.name, names()) {
            Some(close) => error.label(format!("did you mean `{close}`?")),
            None => error.label("parameters are declared by `on.manual.params`"),
        };
        let error = match names().next() {
            Some(_) => error.note(format!("parameters there are: {}", quoted(names()))),
            None => error,
        };
        self.report(error);
    }
}
