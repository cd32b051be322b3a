//! Regular expressions, within limits: a pattern is text of the file.

use regex::{Regex, RegexBuilder};

use crate::expression::evaluate::{Budget, Fault};

/// Of a regular expression; matching takes time for each byte of it.
const REGEX_LIMIT_BYTES: usize = 256;
/// Of a compiled one: `\w{1000}` is short and is not small.
const REGEX_PROGRAM_BYTES: usize = 128 << 10;
/// What compiling one counts in steps.
pub(super) const REGEX_STEPS: usize = 2_000;

/// Searches a text. A byte of it meets at most every state of the pattern.
pub(crate) fn is_match(regex: &Regex, text: &str, budget: &Budget) -> Result<bool, Fault> {
    budget.bytes(text.len().saturating_mul(regex.as_str().len().max(16) / 16))?;
    Ok(regex.is_match(text))
}

/// Compiles a regular expression, within limits.
pub(crate) fn regex(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > REGEX_LIMIT_BYTES {
        return Err(format!(
            "the regular expression is {} bytes long, the limit is {REGEX_LIMIT_BYTES}",
            pattern.len()
        ));
    }
    let built = RegexBuilder::new(pattern)
        .size_limit(REGEX_PROGRAM_BYTES)
        .dfa_size_limit(REGEX_PROGRAM_BYTES)
        .nest_limit(32)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression `{pattern}` repeats too much")
        }
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("`{pattern}` is no regular expression: {reason}")
        }
    })
}
