//! Versions of templates: numbers with dots between them.

/// Returns the newest version that is `wanted` or begins with it: `2` may be `2.3`.
pub fn newest<'a>(versions: &'a [String], wanted: &str) -> Option<&'a String> {
    versions
        .iter()
        .filter(|version| {
            version.strip_prefix(wanted).is_some_and(|rest| {
                !wanted.is_empty() && (rest.is_empty() || rest.starts_with('.'))
            })
        })
        .max_by_key(|version| numbers(version))
}

/// Whether it is a version, as in `2`, `2.3` or `2.3.1`.
pub fn is_version(text: &str) -> bool {
    text.len() <= 64
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// The newest last: `2.10` is newer than `2.9`.
pub fn sort(versions: &mut [String]) {
    versions.sort_by_cached_key(|version| numbers(version));
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_means_the_newest_that_begins_with_it() {
        let mut versions = ["20.1", "2.10", "1", "2.9"].map(str::to_owned);
        assert_eq!(newest(&versions, "2").map(String::as_str), Some("2.10"));
        assert_eq!(newest(&versions, "2.9").map(String::as_str), Some("2.9"));
        assert_eq!(newest(&versions, "1").map(String::as_str), Some("1"));
        assert_eq!(newest(&versions, "3"), None);
        assert_eq!(newest(&versions, ""), None);
        sort(&mut versions);
        assert_eq!(versions, ["1", "2.9", "2.10", "20.1"]);
    }

    #[test]
    fn a_version_is_numbers_with_dots() {
        assert!(["2", "2.3", "2.3.1", "0.0.12"].iter().all(|text| is_version(text)));
        assert!(!["", "v2", "2.", ".2", "2.x", "main"].iter().any(|text| is_version(text)));
    }
}
