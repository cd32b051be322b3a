//! Where values come from, by their dotted paths.

use super::Lowering;
use crate::source::FileId;
use crate::yaml::{Node, Via};
use crate::{Origin, OriginKind};

impl Lowering<'_> {
    /// A value that follows another comes from where that one does.
    pub(super) fn same_origin(&mut self, of: &str, path: &str) {
        if let Some(origin) = self.origins.get(of).cloned() {
            self.origins.entry(path.to_owned()).or_insert(origin);
        }
    }

    /// Remembers where a value came from; `check` has no use for it.
    pub(super) fn record(&mut self, path: &str, node: &Node) {
        if !self.is_check() {
            let origin = self.origin(node);
            // A list comes from where its first item stands.
            self.origins.entry(without_item(path).to_owned()).or_insert(origin);
        }
    }

    pub(super) fn record_builtin(&mut self, path: &str) {
        if !self.is_check() {
            self.origins.entry(path.to_owned()).or_insert(Origin::builtin());
        }
    }

    pub(crate) fn origin(&self, node: &Node) -> Origin {
        let (by, at) = match node.via {
            Some(Via::Parameter(at)) => (OriginKind::Param, at),
            _ if self.in_defaults => (OriginKind::Defaults, node.span),
            _ if node.span.file != FileId::PIPELINE => (OriginKind::Template, node.span),
            _ => (OriginKind::File, node.span),
        };
        self.sources.origin(at, by)
    }
}

/// The last part of a path: the key in its map.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

pub(super) fn without_item(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((list, item)) if item.bytes().all(|byte| byte.is_ascii_digit()) => list,
        _ => path,
    }
}

/// The part of a path that names the value in an error: without the number of an
/// item, and with the map where the last part is a name of the user's.
pub(crate) fn key_of(path: &str) -> &str {
    let path = without_item(path);
    let Some((before, name)) = path.rsplit_once('.') else { return path };
    let map = last(before);
    if matches!(map, "env" | "args" | "params") {
        &path[path.len() - name.len() - 1 - map.len()..]
    } else {
        name
    }
}
