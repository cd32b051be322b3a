//! `env`: variables of a stage, with their limits.

use std::collections::BTreeMap;

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::yaml::{Map, Node};

/// Of one variable; more cannot be handed to a process.
const VARIABLE_LIMIT_BYTES: usize = 128 << 10;
/// Of all variables of a stage.
const ENVIRONMENT_LIMIT_BYTES: usize = 1 << 20;

impl Lowering<'_> {
    /// The variables of the defaults, and over them the stage's own.
    pub(super) fn env(&mut self, map: &Map) -> BTreeMap<String, String> {
        // Own ones first, so that their places are the ones remembered.
        let own = map.get("env").map(|node| self.own_env(node));
        let mut env = match self.default_beneath(map, "env") {
            Some(node) => self.of_defaults(|lowering| lowering.own_env(&node)),
            None => BTreeMap::new(),
        };
        env.extend(own.unwrap_or_default());
        if let Some(node) = map.get("env") {
            self.env_size(&env, node);
        }
        env
    }

    /// `env` of one place, with what is said of each variable.
    pub(super) fn own_env(&mut self, node: &Node) -> BTreeMap<String, String> {
        let site = if self.in_defaults { Site::Defaults } else { Site::Value };
        let env = self.texts("env", node, site);
        for entry in node.as_map().map(|map| map.0.as_slice()).unwrap_or_default() {
            let name = &entry.key.name;
            let bytes = env.get(name).map_or(0, String::len);
            if bytes > VARIABLE_LIMIT_BYTES {
                let message = format!(
                    "`env.{name}` is {bytes} bytes long, the limit is {VARIABLE_LIMIT_BYTES}"
                );
                let error = self.error(Code::E003, message, entry.key.span);
                self.report(error.label("put the value into a file of the repository"));
            }
        }
        env
    }

    pub(super) fn env_size(&mut self, env: &BTreeMap<String, String>, node: &Node) {
        let bytes: usize = env.values().map(String::len).sum();
        if bytes > ENVIRONMENT_LIMIT_BYTES {
            let message = format!(
                "all variables together are {bytes} bytes long, the limit is {ENVIRONMENT_LIMIT_BYTES}"
            );
            let error = self.error_at(Code::E003, message, node);
            self.report(error.label("put large values into files of the repository"));
        }
    }
}
