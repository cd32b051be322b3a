//! "Did you mean …?": by edit distance, and by the words of other systems.

/// Words that people bring along, and what they are called here.
const FOREIGN: &[(&str, &str)] = &[
    ("script", "run"),
    ("scripts", "run"),
    ("command", "run"),
    ("commands", "run"),
    ("steps", "run"),
    ("sh", "run"),
    ("bash", "run"),
    ("before_script", "run-before"),
    ("after_script", "run-after"),
    ("depends_on", "needs"),
    ("depends-on", "needs"),
    ("dependencies", "needs"),
    ("variables", "env"),
    ("vars", "env"),
    ("only", "when"),
    ("except", "when"),
    ("rules", "when"),
    ("if", "when"),
    ("agent", "image"),
    ("container", "image"),
    ("runs-on", "runner"),
    ("allow_failure", "allow-failure"),
    ("continue-on-error", "allow-failure"),
    ("finally", "run-on: always"),
    ("post", "run-on: always"),
    ("healthcheck", "ready"),
    ("jobs", "stages"),
    ("pipeline", "stages"),
    ("triggers", "on"),
    ("trigger", "on"),
    ("extends", "template"),
    ("include", "template"),
    ("parameters", "params"),
    ("timeout-minutes", "timeout"),
];

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

/// Returns what a word of another system is called here, if it is allowed at this place.
pub(crate) fn translated<'a>(
    wrong: &str,
    allowed: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'static str> {
    FOREIGN.iter().filter(|(word, _)| *word == wrong).find_map(|(_, ours)| {
        let key = ours.split(':').next().unwrap_or(ours);
        allowed.clone().into_iter().any(|name| name == key).then_some(*ours)
    })
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

    #[test]
    fn words_of_other_systems_are_translated_where_the_key_is_allowed() {
        let stage = ["run", "needs", "when", "run-on", "env"];
        assert_eq!(translated("script", stage), Some("run"));
        assert_eq!(translated("finally", stage), Some("run-on: always"));
        assert_eq!(translated("only", stage), Some("when"));
        assert_eq!(translated("script", ["port", "host"]), None);
    }
}
