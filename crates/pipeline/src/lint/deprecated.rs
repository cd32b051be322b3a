//! W071: keys that a later version will drop. There is none today.

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Place;

/// A key that still works, and what to write in its place.
pub(crate) struct Deprecated {
    /// The map, as `keys` names it.
    pub(crate) map: &'static str,
    pub(crate) key: &'static str,
    pub(crate) replacement: &'static str,
    /// The first version of Shipline without it.
    pub(crate) removed_in: &'static str,
}

/// One row per deprecated key.
pub(crate) const DEPRECATED: &[Deprecated] = &[];

/// The warning about a key, when it is one of `table`.
pub(crate) fn warning(
    table: &[Deprecated],
    map: &str,
    key: &str,
    place: Place,
) -> Option<Diagnostic> {
    let row = table.iter().find(|row| row.map == map && row.key == key)?;
    Some(
        Diagnostic::warning(Code::W071, format!("`{key}` is deprecated"))
            .at(place)
            .label(format!("write `{}`", row.replacement))
            .help(format!("Shipline {} no longer reads `{key}`", row.removed_in)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    #[test]
    fn a_deprecated_key_names_its_replacement_and_its_end() {
        let table =
            [Deprecated { map: "stage", key: "old", replacement: "new", removed_in: "3.0" }];
        let place = || Place::new(SourceFile::new("a.yml", "old: 1"), 0, 3);
        let found = warning(&table, "stage", "old", place()).expect("a warning");
        assert_eq!(found.message, "`old` is deprecated");
        assert_eq!(found.label.as_deref(), Some("write `new`"));
        assert_eq!(found.help.as_deref(), Some("Shipline 3.0 no longer reads `old`"));
        assert!(warning(&table, "deploy", "old", place()).is_none());
        assert!(warning(&table, "stage", "new", place()).is_none());
    }
}
