//! "Did you mean …?": by edit distance, and by the words of other systems.

mod expression;
mod foreign;
mod shape;
mod word;

pub(crate) use expression::{foreign_function, foreign_name, foreign_sign};
pub(crate) use foreign::{absent, translated};
pub(crate) use shape::map_instead;
pub(crate) use word::word;

use crate::diagnostic::Diagnostic;

/// As many findings as people are shown have all the names that there are instead; for
/// thousands of slips in a file of thousands of names that would take all memory.
pub(crate) const EXPLAINED: usize = 20;

pub(crate) fn explains(found: &[Diagnostic]) -> bool {
    found.len() < EXPLAINED
}

/// Returns the name that was probably meant.
pub(crate) fn closest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = fold(wrong);
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&folded, &fold(name)), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Case, `_` and `-` are what people mix up most.
fn fold(name: &str) -> String {
    name.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// `a, b, c`.
pub(crate) fn listed(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// `` `a`, `b` `` .
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    listed(names.into_iter().map(|name| format!("`{name}`")))
}

/// A text as YAML has it in single quotes.
pub(crate) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_recognised() {
        let known = ["needs", "env", "image", "run-before", "timeout"];
        for (wrong, meant) in [
            ("neds", Some("needs")),
            ("need", Some("needs")),
            ("imgae", Some("image")),
            ("Timeout", Some("timeout")),
            ("run_before", Some("run-before")),
            ("x", None),
            ("colour", None),
        ] {
            assert_eq!(closest(wrong, known), meant, "{wrong}");
        }
    }
}
