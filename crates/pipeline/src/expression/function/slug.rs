//! `slug`: any text as part of a name.

/// The most characters a slug has: a label of DNS.
const SLUG_LIMIT: usize = 63;

/// Lower case, `[a-z0-9-]`, at most 63 characters, no dash at either end.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(SLUG_LIMIT);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_fits_a_tag_a_label_and_a_host() {
        for (text, expected) in [
            ("main", "main"),
            ("Feature/JIRA-12_x", "feature-jira-12-x"),
            ("--a--b--", "a-b"),
            ("Größe", "gr-e"),
            ("$(rm -rf /)", "rm-rf"),
            ("…", ""),
        ] {
            assert_eq!(slug(text), expected);
        }
        assert_eq!(slug(&"ab/".repeat(40)).len(), 62);
    }
}
