//! `run`: commands in a container, and the keys that belong to them.

use std::collections::BTreeMap;

use super::{Lowering, written_bytes};
use crate::codes::Code;
use crate::expression::Site;
use crate::plan::{RunWork, Shell};
use crate::scalar::ImageReference;
use crate::yaml::{Entry, Map, Node};

const SCRIPT_LIMIT_BYTES: usize = 128 << 10;
/// Of one variable; more cannot be handed to a process.
const VARIABLE_LIMIT_BYTES: usize = 128 << 10;
/// Of all variables of a stage.
const ENVIRONMENT_LIMIT_BYTES: usize = 1 << 20;

impl Lowering<'_> {
    pub(super) fn run(&mut self, entry: &Entry, action: &Entry, map: &Map) -> Option<RunWork> {
        let run = self.list::<String>("run", &action.value, Site::Run, true);
        if run.is_empty() {
            if matches!(action.value.as_list(), Some([])) {
                let error = self.error_at(Code::E012, "`run` has no command", &action.value);
                self.report(error);
            }
            return None;
        }
        let image: ImageReference = match self.own_or_default(map, "image") {
            Some((node, false)) => self.value("image", node, Site::Plan),
            Some((node, true)) => {
                self.of_defaults(|lowering| lowering.value("image", node, Site::Plan))
            }
            None => {
                let name = &entry.key.name;
                let message = format!("stage `{name}` has a `run`, but no `image` to run it in");
                let error = self.error(Code::E014, message, entry.key.span);
                self.report(error.help(format!(
                    "set it in one of these places\n`image` of stage `{name}`, for this stage\n\
                     `image` at the top level, or `defaults.image`, for every stage"
                )));
                return None;
            }
        };
        let env = self.env(map);
        if self.is_check() {
            self.sizes(entry, action, map);
        }
        Some(RunWork {
            image: image.0,
            run,
            env,
            pull: false,
            shell: Shell::Sh,
            user: None,
            workdir: None,
            services: BTreeMap::new(),
            outputs: BTreeMap::new(),
            reports: None,
        })
    }

    /// The variables of the defaults, and over them the stage's own.
    pub(super) fn env(&mut self, map: &Map) -> BTreeMap<String, String> {
        // Own ones first, so that their places are the ones remembered.
        let own = map.get("env").map(|node| self.texts("env", node, Site::Value));
        let mut env = match self.defaults.get("env") {
            Some(node) => self.of_defaults(|lowering| lowering.texts("env", node, Site::Value)),
            None => BTreeMap::new(),
        };
        env.extend(own.unwrap_or_default());
        env
    }

    /// Limits of language.md §3, with the number found.
    fn sizes(&mut self, entry: &Entry, action: &Entry, map: &Map) {
        let name = &entry.key.name;
        let script: usize = match action.value.as_list() {
            Some(commands) => commands.iter().map(written_bytes).sum(),
            None => written_bytes(&action.value),
        };
        if script > SCRIPT_LIMIT_BYTES {
            let message = format!(
                "the `run` of stage `{name}` is {script} bytes long, the limit is {SCRIPT_LIMIT_BYTES}"
            );
            let error = self.error(Code::E003, message, action.key.span);
            self.report(error.label("put the script into a file of the repository"));
        }
        let variables = |node: Option<&Node>| -> Vec<(String, Node)> {
            let entries =
                node.and_then(Node::as_map).map(|map| map.0.as_slice()).unwrap_or_default();
            entries.iter().map(|entry| (entry.key.name.clone(), entry.value.clone())).collect()
        };
        let own = variables(map.get("env"));
        let mut all: usize = variables(self.defaults.get("env"))
            .iter()
            .filter(|(name, _)| !own.iter().any(|(own, _)| own == name))
            .map(|(_, node)| written_bytes(node))
            .sum();
        for (variable, node) in &own {
            let bytes = written_bytes(node);
            all += bytes;
            if bytes > VARIABLE_LIMIT_BYTES {
                let message = format!(
                    "`env.{variable}` of stage `{name}` is {bytes} bytes long, the limit is {VARIABLE_LIMIT_BYTES}"
                );
                let error = self.error(Code::E003, message, node.span);
                self.report(error);
            }
        }
        if all > ENVIRONMENT_LIMIT_BYTES {
            let message = format!(
                "the `env` of stage `{name}` is {all} bytes long, the limit is {ENVIRONMENT_LIMIT_BYTES}"
            );
            let error = self.error(Code::E003, message, entry.key.span);
            self.report(error);
        }
    }
}
