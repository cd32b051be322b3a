//! `build` and `push`.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::{Build, Push};
use crate::scalar::{ImageReference, WorkspacePath};
use crate::yaml::{Entry, Node};

impl Lowering<'_> {
    pub(super) fn build(&mut self, node: &Node, what: &str) -> Option<Build> {
        let map = self.fields(node, &keys::BUILD, what)?;
        Some(Build {
            context: self.or_builtin(map, "context", Site::Value, WorkspacePath(".".to_owned())),
            file: self.or_builtin(map, "file", Site::Value, WorkspacePath("Dockerfile".to_owned())),
            args: map
                .get("args")
                .map(|node| self.texts("args", node, Site::Value))
                .unwrap_or_default(),
            tags: map
                .get("tags")
                .map(|node| self.list::<ImageReference>("tags", node, Site::Value, false))
                .unwrap_or_default(),
        })
    }

    pub(super) fn push(&mut self, name: &str, action: &Entry, what: &str) -> Option<Push> {
        let map = self.fields(&action.value, &keys::PUSH, what)?;
        let mut missing = |key: &str, example: &str| {
            let error = self.error(Code::E014, format!("{what} has no `{key}`"), action.key.span);
            self.report(error.label(format!("add `{key}: {example}`")));
        };
        for (key, example) in [
            ("image", "NAME_OF_A_BUILD_STAGE"),
            ("registry", "NAME_OF_A_CREDENTIAL"),
            ("tags", "[\"host/repository:tag\"]"),
        ] {
            if map.get(key).is_none() {
                missing(key, example);
            }
        }
        let image = map.get("image").and_then(|node| self.image(name, node, &["build"]));
        let registry = self.optional(map, "registry", Site::Value);
        let tags = map.get("tags").map(|node| {
            let tags = self.list::<ImageReference>("tags", node, Site::Value, false);
            if node.as_list().is_some_and(<[Node]>::is_empty) {
                let error = self.error_at(Code::E014, format!("{what} has no tag"), node);
                self.report(error.label("add one, for example `host/repository:tag`"));
            }
            tags
        });
        Some(Push { image: image?, registry: registry?, tags: tags? })
    }
}
