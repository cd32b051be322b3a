//! `on`: what starts a run.

use super::Lowering;
use crate::codes::Code;
use crate::keys;
use crate::model::{PushTrigger, Triggers};
use crate::yaml::{Key, Node, Value};

impl Lowering<'_> {
    pub(super) fn triggers(&mut self, node: &Node) -> Triggers {
        let mut triggers = Triggers::default();
        match &node.value {
            Value::Map(map) => {
                for entry in &map.0 {
                    if self.key(&entry.key, &keys::ON, "`on`") {
                        self.trigger(&entry.key.name, Some(&entry.value), &mut triggers);
                    }
                }
            }
            Value::List(_) | Value::Text(_) => {
                let one;
                let names = match &node.value {
                    Value::List(names) => names.as_slice(),
                    _ => {
                        one = [node.clone()];
                        one.as_slice()
                    }
                };
                for name in names {
                    let text: String = self.plain("on", name);
                    let key = Key { name: text, span: name.span };
                    if self.key(&key, &keys::ON, "`on`") {
                        self.trigger(&key.name, None, &mut triggers);
                    }
                }
            }
            other => {
                let message = format!("`on` takes a map or a list, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("for example `[push, manual]`"));
            }
        }
        triggers
    }

    fn trigger(&mut self, name: &str, node: Option<&Node>, triggers: &mut Triggers) {
        let settings = node.filter(|node| !matches!(node.value, Value::Null));
        match name {
            "push" => triggers.push = Some(self.push_trigger(settings)),
            "pull-request" => {
                triggers.pull_request = Triggers::builtin().pull_request;
                if let Some(node) = settings {
                    self.fields(node, &keys::ON_PULL_REQUEST, "`on.pull-request`");
                }
            }
            "manual" => {
                triggers.manual = Some(true);
                if let Some(node) = settings {
                    self.fields(node, &keys::ON_MANUAL, "`on.manual`");
                }
            }
            _ => {}
        }
    }

    fn push_trigger(&mut self, node: Option<&Node>) -> PushTrigger {
        let map = node.and_then(|node| self.fields(node, &keys::ON_PUSH, "`on.push`"));
        let branch =
            map.and_then(|map| map.get("branch")).map(|node| self.patterns("branch", node));
        PushTrigger { auto: true, branch, changed: None }
    }
}
