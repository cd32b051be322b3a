//! `build` and `push`.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{BuildWork, PushWork};
use crate::scalar::{ImageReference, WorkspacePath};
use crate::yaml::{Entry, Map, Node};

impl Lowering<'_> {
    pub(super) fn build(&mut self, action: &Entry, stage: &Map, what: &str) -> Option<BuildWork> {
        let map = self.fields(&action.value, &keys::BUILD, what)?;
        let path = |text: &str| WorkspacePath(text.to_owned());
        let tags: Vec<ImageReference> = map
            .get("tags")
            .map(|node| self.list("build.tags", node, Site::Value, false))
            .unwrap_or_default();
        Some(BuildWork {
            context: self.or_builtin(map, "build.context", Site::Value, path(".")).0,
            file: self.or_builtin(map, "build.file", Site::Value, path("Dockerfile")).0,
            target: None,
            args: map
                .get("args")
                .map(|node| self.texts("build.args", node, Site::Value))
                .unwrap_or_default(),
            env: self.env(stage),
            tags: tags.into_iter().map(|tag| tag.0).collect(),
            platform: None,
        })
    }

    pub(super) fn push(&mut self, action: &Entry, what: &str) -> Option<PushWork> {
        let map = self.fields(&action.value, &keys::PUSH, what)?;
        for (key, example) in [
            ("image", "NAME_OF_A_BUILD_STAGE"),
            ("registry", "NAME_OF_A_CREDENTIAL"),
            ("tags", "[\"host/repository:tag\"]"),
        ] {
            if map.get(key).is_none() {
                let error =
                    self.error(Code::E014, format!("{what} has no `{key}`"), action.key.span);
                self.report(error.label(format!("add `{key}: {example}`")));
            }
        }
        let image = map.get("image").map(|node| self.image_source("push.image", node));
        let registry = self.optional(map, "push.registry", Site::Value);
        let tags = map.get("tags").map(|node| {
            let tags: Vec<ImageReference> = self.list("push.tags", node, Site::Value, false);
            if node.as_list().is_some_and(<[Node]>::is_empty) {
                let error = self.error_at(Code::E014, format!("{what} has no tag"), node);
                self.report(error.label("add one, for example `host/repository:tag`"));
            }
            tags.into_iter().map(|tag| tag.0).collect()
        });
        Some(PushWork { image: image?, registry: registry?, tags: tags?, scan: None })
    }
}
