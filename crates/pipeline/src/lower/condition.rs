//! `when`: the conditions of a stage.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::{Condition, Globs, When};
use crate::pattern::Pattern;
use crate::yaml::{Node, Value};

impl Lowering<'_> {
    pub(super) fn when(&mut self, node: &Node) -> When {
        match &node.value {
            Value::Text(text) if text == "off" => When::Off,
            Value::Map(_) => When::Any(self.condition(node).into_iter().collect()),
            Value::List(items) => {
                When::Any(items.iter().filter_map(|item| self.condition(item)).collect())
            }
            other => {
                let message =
                    format!("`when` takes a map, a list of maps or `off`, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("for example `{ branch: main }`"));
                When::Always
            }
        }
    }

    fn condition(&mut self, node: &Node) -> Option<Condition> {
        let map = self.fields(node, &keys::WHEN, "`when`")?;
        let mut globs = |key: &'static str| {
            map.get(key)
                .map(|node| Globs { patterns: self.patterns(key, node), node: node.clone() })
        };
        Some(Condition {
            span: node.span,
            branch: globs("branch"),
            tag: globs("tag"),
            event: None,
            changed: globs("changed"),
            params: Vec::new(),
            environment: globs("environment"),
            expression: None,
        })
    }

    /// Globs: one, or a list of which one must match.
    pub(super) fn patterns(&mut self, key: &'static str, node: &Node) -> Vec<Pattern> {
        self.list(key, node, Site::Never(key), true)
    }
}
