//! Files of a stage that outlive it: caches, artifacts, reports, and which of them
//! count (`inputs`, `merge`).

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{Artifacts, ArtifactsOn, Cache, Merge, Reports};
use crate::scalar::{ArtifactName, CachePath, Line, Timeout, WorkspacePattern};
use crate::yaml::{Map, Node, Value};

const EXPIRE: Duration = Duration::from_secs(30 * 86_400);
const CACHE_EXAMPLE: &str = "{ key: npm, paths: [~/.npm] }";

impl Lowering<'_> {
    /// `cache`: one map, or a list of them.
    pub(super) fn caches(&mut self, map: &Map, of: &str) -> Vec<Cache> {
        let Some(node) = map.get("cache") else { return Vec::new() };
        self.record("cache", node);
        match node.as_list() {
            Some(items) => items
                .iter()
                .enumerate()
                .filter_map(|(at, item)| self.cache(&format!("cache.{at}"), item, of))
                .collect(),
            None => self.cache("cache.0", node, of).into_iter().collect(),
        }
    }

    fn cache(&mut self, path: &str, node: &Node, of: &str) -> Option<Cache> {
        let what = format!("`cache` of {of}");
        let map = self.settings(node, &keys::CACHE, &what, |_| CACHE_EXAMPLE.to_owned())?;
        for (key, example) in
            [("key", "key: \"npm-${{ hash('package-lock.json') }}\""), ("paths", "paths: [~/.npm]")]
        {
            if self.lacks(map, &keys::CACHE, key) {
                let error = self.error_at(Code::E014, format!("{what} has no `{key}`"), node);
                self.report(error.label(format!("add for example `{example}`")));
            }
        }
        let key: Option<Line> = self.optional(map, &format!("{path}.key"), Site::Cache);
        let restore = map
            .get("restore")
            .map(|node| self.list::<Line>(&format!("{path}.restore"), node, Site::Cache, true));
        let paths = map.get("paths").map(|node| {
            self.is_not_empty("paths", node, "path");
            self.list::<CachePath>(&format!("{path}.paths"), node, Site::Plan, true)
        });
        Some(Cache {
            key: key?.0,
            restore: restore.unwrap_or_default().into_iter().map(|prefix| prefix.0).collect(),
            paths: paths?.into_iter().map(|path| path.0).collect(),
        })
    }

    pub(super) fn inputs(&mut self, map: &Map) -> Vec<String> {
        map.get("inputs")
            .map(|node| self.workspace_patterns("inputs", node, Site::Never("inputs")))
            .unwrap_or_default()
    }

    /// `artifacts`: patterns, or a map with them.
    pub(super) fn artifacts(&mut self, node: &Node, of: &str) -> Option<Artifacts> {
        let builtin =
            Artifacts { paths: Vec::new(), name: None, expire: EXPIRE, on: ArtifactsOn::Success };
        if !matches!(node.value, Value::Map(_)) {
            let paths = self.workspace_patterns("artifacts.paths", node, Site::Value);
            return Some(Artifacts { paths, ..builtin });
        }
        let what = format!("`artifacts` of {of}");
        let map = self.fields(node, &keys::ARTIFACTS, &what)?;
        if self.lacks(map, &keys::ARTIFACTS, "paths") {
            let error = self.error_at(Code::E014, format!("{what} has no `paths`"), node);
            self.report(error.label("add for example `paths: [dist/**]`"));
        }
        let paths = map
            .get("paths")
            .map(|node| self.workspace_patterns("artifacts.paths", node, Site::Value));
        let name: Option<ArtifactName> = self.optional(map, "artifacts.name", Site::Value);
        let expire = self.or_builtin(map, "artifacts.expire", Site::Value, Timeout(builtin.expire));
        let on = self.or_builtin(map, "artifacts.on", Site::Never("on"), builtin.on);
        Some(Artifacts { paths: paths?, name: name.map(|name| name.0), expire: expire.0, on })
    }

    pub(super) fn reports(&mut self, node: &Node, of: &str) -> Option<Reports> {
        let what = format!("`reports` of {of}");
        let map =
            self.settings(node, &keys::REPORTS, &what, |text| format!("{{ junit: {text} }}"))?;
        if self.lacks(map, &keys::REPORTS, "junit") {
            let error = self.error_at(Code::E014, format!("{what} has no `junit`"), node);
            self.report(error.label("add for example `junit: \"**/TEST-*.xml\"`"));
        }
        let junit = map.get("junit")?;
        Some(Reports { junit: self.workspace_patterns("reports.junit", junit, Site::Plan) })
    }

    pub(super) fn merge(&mut self, node: &Node) -> Option<Merge> {
        if node.is_text("last") {
            self.record("merge", node);
            return Some(Merge::Last);
        }
        if node.value.is_reported() {
            return None;
        }
        if node.as_list().is_none() {
            let message = format!("`merge` takes `last` or a list, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            let written = self.sources.text(node.span).to_owned();
            self.report(error.label(match node.scalar_text() {
                Some(_) if !written.contains('\n') => {
                    format!("write `last` for all paths, or `[{written}]`")
                }
                _ => "write `last`, or for example `[\"target/**\"]`".to_owned(),
            }));
            return None;
        }
        Some(Merge::Paths(self.workspace_patterns("merge", node, Site::Plan)))
    }

    /// One pattern or a list of them.
    fn workspace_patterns(&mut self, path: &str, node: &Node, site: Site) -> Vec<String> {
        self.is_not_empty(super::key_of(path), node, "pattern");
        let patterns: Vec<WorkspacePattern> = self.list(path, node, site, true);
        patterns.into_iter().map(|pattern| pattern.0).collect()
    }

    /// Says that a list has nothing in it, where that would mean nothing.
    fn is_not_empty(&mut self, key: &str, node: &Node, of: &str) {
        if matches!(node.as_list(), Some([])) {
            let error = self.error_at(Code::E012, format!("`{key}` has no {of}"), node);
            self.report(error.label(format!("add one, or remove `{key}`")));
        }
    }
}
