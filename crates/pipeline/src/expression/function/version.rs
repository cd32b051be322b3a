//! `semver`: the parts of a version.

use crate::expression::evaluate::Fault;
use crate::expression::value::Datum;

/// `1.2.3-rc.1+build`, with or without `v` in front, as semver.org has it.
pub(super) fn semver(text: &str) -> Result<Datum, Fault> {
    let bad = || {
        let shown: String = text.escape_debug().take(40).collect();
        Fault::Bad(format!("`{shown}` is no version such as `1.2.3` or `v1.2.3-rc.1`"))
    };
    let rest = text.strip_prefix('v').unwrap_or(text);
    let rest = match rest.split_once('+') {
        Some((rest, build)) if is_identifiers(build, false) => rest,
        Some(_) => return Err(bad()),
        None => rest,
    };
    let (numbers, pre) = match rest.split_once('-') {
        Some((numbers, pre)) if is_identifiers(pre, true) => (numbers, pre),
        Some(_) => return Err(bad()),
        None => (rest, ""),
    };
    let numbers: Option<Vec<i64>> = numbers
        .split('.')
        .map(|number| is_number(number).then(|| number.parse().ok()).flatten())
        .collect();
    let Some([major, minor, patch]) = numbers.as_deref() else { return Err(bad()) };
    Ok(Datum::map([
        ("major", Datum::Int(*major)),
        ("minor", Datum::Int(*minor)),
        ("patch", Datum::Int(*patch)),
        ("pre", Datum::text(pre)),
    ]))
}

fn is_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text.len() == 1 || !text.starts_with('0'))
}

/// Words between dots; of a pre-release, numbers have no zero in front.
fn is_identifiers(text: &str, pre: bool) -> bool {
    text.split('.').all(|word| {
        let letters = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let number = word.bytes().all(|byte| byte.is_ascii_digit());
        !word.is_empty() && letters && (!pre || !number || is_number(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_three_numbers_and_perhaps_a_word() {
        for good in ["1.2.3", "v1.2.3", "0.0.0", "1.2.3-rc.1", "1.2.3-x-y.0a+build.01"] {
            assert!(semver(good).is_ok(), "{good}");
        }
        for bad in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3-01", "1.2.3+", "-1.2.3"]
        {
            assert!(semver(bad).is_err(), "{bad}");
        }
        let version = semver("v1.20.3-rc.1+b").ok().unwrap();
        assert_eq!(
            version.to_json(),
            serde_json::json!({ "major": 1, "minor": 20, "patch": 3, "pre": "rc.1" })
        );
    }
}
