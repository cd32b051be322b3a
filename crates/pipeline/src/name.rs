//! Names of stages, pipelines, environments and variables.

/// The rule as people read it.
pub(crate) const STAGE_RULE: &str =
    "a stage name begins with a letter and has at most 64 letters, digits, `-` and `_`";
pub(crate) const LABEL_RULE: &str =
    "a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`";
pub(crate) const VARIABLE_RULE: &str =
    "the name of a variable begins with a letter or `_` and has letters, digits and `_`";
pub(crate) const PARAMETER_RULE: &str =
    "the name of a parameter begins with a letter and has at most 64 letters, digits, `-` and `_`";

pub(crate) const HOST_LABEL_RULE: &str = "the name of a service is its host name: at most 63 lower-case letters, digits and `-`, with a \
     letter or digit at both ends";

/// The engine's own first stage.
pub(crate) const CHECKOUT: &str = "checkout";

/// `[A-Za-z][A-Za-z0-9_-]{0,63}`
pub(crate) fn is_stage_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// What expressions read as `params.NAME`; the rule is that of stages.
pub(crate) fn is_parameter(name: &str) -> bool {
    is_stage_name(name)
}

/// Names of pipelines and environments: the name of a repository is one, too.
pub(crate) fn is_label(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A host name without dots, in the form that DNS knows it.
pub(crate) fn is_host_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The nearest host name, for the help line.
pub(crate) fn corrected_host_label(name: &str) -> String {
    let mut corrected = corrected(name).to_ascii_lowercase().replace('_', "-");
    corrected.truncate(63);
    corrected.trim_matches('-').to_owned()
}

/// The nearest name of a variable, for the help line.
pub(crate) fn corrected_variable(name: &str) -> String {
    let corrected: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match corrected.chars().next() {
        None => "NAME".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("_{corrected}"),
        Some(_) => corrected,
    }
}

/// Control characters, and marks that turn the direction of text: with them a
/// name can look like another.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// The text with hidden characters written out, for messages and terminals.
pub fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => visible.push('\n'),
            '\t' => visible.push('→'),
            _ if is_hidden(character) => visible.extend(character.escape_unicode()),
            _ => visible.push(character),
        }
    }
    visible
}

/// The nearest name that follows the rule of stages, for the help line.
pub(crate) fn corrected(name: &str) -> String {
    let mut corrected = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '_' | '-') {
            corrected.push(character);
        } else if !corrected.is_empty() && !corrected.ends_with('-') {
            corrected.push('-');
        }
    }
    if !corrected.starts_with(|first: char| first.is_ascii_alphabetic()) {
        corrected = format!("stage-{corrected}");
    }
    corrected.truncate(64);
    corrected.trim_end_matches(['-', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_names_follow_the_rule_and_corrections_do_too() {
        for name in ["a", "unit-test", "Build_2", &"x".repeat(64)] {
            assert!(is_stage_name(name), "{name}");
            assert_eq!(corrected(name), name);
        }
        for name in ["", "2nd", "-a", "unit test", "größe", "a/b", "\u{202e}a", &"x".repeat(65)] {
            assert!(!is_stage_name(name), "{name}");
            assert!(is_stage_name(&corrected(name)), "{name} → {}", corrected(name));
            let host = corrected_host_label(name);
            assert!(is_host_label(&host), "{name} → {host}");
            let variable = corrected_variable(name);
            assert!(is_variable(&variable), "{name} → {variable}");
        }
    }
}
