//! `env`: variables of a stage, with their names and limits.

use std::collections::BTreeMap;

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::name;
use crate::yaml::{Entry, Map, Node};

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

    /// Whether the name of a variable can be used (E016, E017).
    pub(super) fn variable(&mut self, key: &str, entry: &Entry) -> bool {
        let name = &entry.key.name;
        if !name::is_variable(name) {
            let message = format!("`{name}` in `{key}` cannot be the name of a variable");
            let error = self.error(Code::E016, message, entry.key.span);
            let label = format!("write for example `{}`", name::corrected_variable(name));
            self.report(error.label(label).note(name::VARIABLE_RULE));
            return false;
        }
        if key == "env" && name.starts_with("SHIPLINE_") {
            let message =
                format!("`{name}` cannot be set: names that begin with `SHIPLINE_` are Shipline's");
            let error = self.error(Code::E017, message, entry.key.span);
            self.report(
                error.label(format!("write for example `{}`", name.replacen("SHIPLINE_", "", 1))),
            );
            return false;
        }
        true
    }
}
