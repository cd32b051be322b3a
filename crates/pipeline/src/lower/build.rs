//! `build` and `push`.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{BuildWork, PushWork, Scan, ScanSeverity, Unscannable};
use crate::scalar::{Credential, ImageReference, Platform, WorkspacePath};
use crate::yaml::{Entry, Map, Node};

/// How long a push waits for the registry's verdict.
const SCAN_TIMEOUT: Duration = Duration::from_secs(300);

impl Lowering<'_> {
    pub(super) fn build(&mut self, action: &Entry, stage: &Map, what: &str) -> Option<BuildWork> {
        let map = self.settings(&action.value, &keys::BUILD, what, |folder| {
            format!("build: {{ context: {folder} }}")
        })?;
        if map.0.is_empty() {
            // What is wrong with it has no other place.
            self.record("build", &action.value);
        }
        let path = |text: &str| WorkspacePath(text.to_owned());
        let tags: Vec<ImageReference> = map
            .get("tags")
            .map(|node| self.list("build.tags", node, Site::Value, false))
            .unwrap_or_default();
        let platform: Option<Platform> = self.optional(map, "build.platform", Site::Value);
        Some(BuildWork {
            context: self.or_builtin(map, "build.context", Site::Value, path(".")).0,
            file: self.or_builtin(map, "build.file", Site::Value, path("Dockerfile")).0,
            target: self.optional(map, "build.target", Site::Value),
            args: map
                .get("args")
                .map(|node| self.texts("build.args", node, Site::Value))
                .unwrap_or_default(),
            env: self.env(stage),
            tags: tags.into_iter().map(|tag| tag.0).collect(),
            platform: platform.map(|platform| platform.0),
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
        let registry: Option<Credential> = self.optional(map, "push.registry", Site::Value);
        let scan = map.get("scan").map(|node| self.scan(node, what));
        let tags = map.get("tags").map(|node| {
            let tags: Vec<ImageReference> = self.list("push.tags", node, Site::Value, false);
            if node.as_list().is_some_and(<[Node]>::is_empty) {
                let error = self.error_at(Code::E014, format!("{what} has no tag"), node);
                self.report(error.label("add one, for example `host/repository:tag`"));
            }
            tags.into_iter().map(|tag| tag.0).collect()
        });
        Some(PushWork { image: image?, registry: registry?.0, tags: tags?, scan: scan.flatten() })
    }

    /// The registry's verdict as a gate.
    fn scan(&mut self, node: &Node, what: &str) -> Option<Scan> {
        let what = format!("`scan` of {what}");
        let map = self.settings(node, &keys::SCAN, &what, |worst| {
            format!("scan: {{ max-severity: {worst} }}")
        })?;
        let max_severity: Option<ScanSeverity> =
            self.optional(map, "push.scan.max-severity", Site::Value);
        let timeout = self.or_builtin(map, "push.scan.timeout", Site::Value, SCAN_TIMEOUT);
        let on_unscannable =
            self.or_builtin(map, "push.scan.on-unscannable", Site::Value, Unscannable::Fail);
        let Some(max_severity) = max_severity else {
            let error = self.error_at(Code::E014, format!("{what} has no `max-severity`"), node);
            self.report(
                error.label("add the worst that may pass, for example `max-severity: high`"),
            );
            return None;
        };
        Some(Scan { max_severity, timeout, on_unscannable })
    }
}
