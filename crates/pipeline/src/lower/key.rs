//! The keys of a map: which belong there, and whether a stage's own value counts or
//! that of `defaults`.

use super::Lowering;
use crate::codes::Code;
use crate::keys::{self, Keys};
use crate::lint::deprecated::{self, DEPRECATED};
use crate::suggest::{absent, closest, map_instead, translated};
use crate::yaml::{Key, Map, Node};

impl Lowering<'_> {
    /// Returns the map behind a key and checks that it has only keys of `keys`.
    /// `what` names the map in errors: "`build` of stage `image`".
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        keys: &Keys,
        what: &str,
    ) -> Option<&'n Map> {
        if node.value.is_reported() {
            return None;
        }
        let Some(map) = node.as_map() else {
            let message = format!("{what} takes a map, not {}", node.value.kind());
            let mut error = self.error_at(Code::E012, message, node);
            let written = self.sources.text(node.span);
            let short = node.scalar_text().is_some() && !written.contains('\n');
            if let Some(instead) = map_instead(keys.name, short.then_some(written)) {
                error = error.label(instead);
            }
            self.report(error.note(allowed(keys)));
            return None;
        };
        for entry in &map.0 {
            self.key(&entry.key, keys, what);
        }
        Some(map)
    }

    /// Whether a key belongs here and can be used; says so if not.
    pub(super) fn key(&mut self, key: &Key, keys: &Keys, what: &str) -> bool {
        let name = key.name.as_str();
        let here = if keys.name == keys::TOP.name {
            "at the top level".to_owned()
        } else {
            format!("in {what}")
        };
        if keys.has(name) {
            let place = self.sources.place(key.span);
            self.found.extend(deprecated::warning(DEPRECATED, keys.name, name, place));
            return true;
        }
        if let Some(instead) = absent(keys.name, name) {
            let error = self.error(Code::E010, format!("unknown key `{name}` {here}"), key.span);
            self.report(error.label(instead));
            return false;
        }
        let foreign = translated(name, keys.names());
        if let Some(home) = keys::belongs_to(keys, name) {
            let error =
                self.error(Code::E011, format!("`{name}` does not belong {here}"), key.span);
            self.report(error.label(match foreign {
                Some(ours) => format!("belongs to {home}; or did you mean `{ours}`?"),
                None => format!("belongs to {home}"),
            }));
            return false;
        }
        let close = foreign.or_else(|| closest(name, keys.names()));
        let mut error = self.error(Code::E010, format!("unknown key `{name}` {here}"), key.span);
        if let Some(close) = close {
            error = error.label(format!("did you mean `{close}`?"));
        }
        self.report(error.note(allowed(keys)));
        false
    }

    /// Returns the node of a stage's key: its own, else that of `defaults`. Says
    /// with the second value that it is the default, which `check` has read already.
    pub(super) fn own_or_default<'n>(&self, map: &'n Map, key: &str) -> Option<(&'n Node, bool)>
    where
        Self: 'n,
    {
        match map.get(key) {
            Some(node) => Some((node, false)),
            None => self.defaults.get(key).map(|node| (node, true)),
        }
    }

    /// Reads a value of `defaults`: its errors have been told where it stands.
    pub(super) fn of_defaults<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.found.len();
        let outer = std::mem::replace(&mut self.in_defaults, true);
        let value = read(self);
        self.in_defaults = outer;
        if self.is_check() {
            self.found.truncate(before);
        }
        value
    }
}

pub(super) fn allowed(keys: &Keys) -> String {
    format!("allowed here: {}", keys.listed())
}
