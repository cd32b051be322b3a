//! W051: a literal that looks like a credential. Its value is never shown.

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::yaml::{Node, Value};

/// How tokens of well-known issuers begin, and how long the rest is at least.
const TOKENS: &[(&str, usize, &str)] = &[
    ("ghp_", 30, "a GitHub token"),
    ("gho_", 30, "a GitHub token"),
    ("ghs_", 30, "a GitHub token"),
    ("github_pat_", 30, "a GitHub token"),
    ("glpat-", 16, "a GitLab token"),
    ("gldt-", 16, "a GitLab deploy token"),
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("npm_", 30, "an npm token"),
    ("pypi-", 40, "a PyPI token"),
    ("dckr_pat_", 20, "a Docker Hub token"),
    ("sk_live_", 20, "a Stripe key"),
    ("AIza", 30, "a Google API key"),
    ("eyJ", 60, "a signed token (JWT)"),
];

/// Parts of names that say what a value is.
const NAMES: &[&str] =
    &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "ACCESS_KEY"];

pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    walk(lint.root, "", lint, found);
}

fn walk(node: &Node, name: &str, lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    match &node.value {
        Value::Text(text) => {
            if let Some(what) = credential(name, text) {
                let message = match name {
                    "" => format!("this text holds {what}"),
                    name => format!("the value of `{name}` holds {what}"),
                };
                found.push(
                    Diagnostic::warning(Code::W051, message)
                        // The line itself would show it.
                        .at(lint.sources.place(node.span))
                        .without_excerpt()
                        .help(
                            "make it a secret: store it where secrets are kept, name it under \
                             `secrets` of the stage, and replace it where it is in use, since whoever \
                             reads the repository has it",
                        ),
                );
            }
        }
        Value::List(list) => list.iter().for_each(|item| walk(item, name, lint, found)),
        Value::Map(map) => {
            map.0.iter().for_each(|entry| walk(&entry.value, &entry.key.name, lint, found));
        }
        _ => {}
    }
}

/// What kind of credential the text holds, if it looks like one.
fn credential(name: &str, text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let words = || text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)));
    for word in words() {
        for (prefix, rest, what) in TOKENS {
            let body = word.strip_prefix(prefix);
            if body.is_some_and(|body| body.len() >= *rest) {
                return Some(what);
            }
        }
    }
    if has_user_info(text) {
        return Some("an address with a password");
    }
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let told = NAMES.iter().any(|part| upper.contains(part));
    (told && is_random(text)).then_some("what looks like a password or key")
}

/// `scheme://user:password@host`, where the password is no variable.
fn has_user_info(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let authority = text[at + 3..].split(['/', '?', ' ', '"', '\'']).next().unwrap_or_default();
        let Some((user_info, _)) = authority.rsplit_once('@') else { return false };
        let Some((_, password)) = user_info.split_once(':') else { return false };
        password.len() >= 4 && !password.contains(['$', '{', '<'])
    })
}

/// Long, without spaces, and of several kinds of characters: nobody writes that as
/// a word, and `test` as a password of a test database is none of our business.
fn is_random(text: &str) -> bool {
    let kinds = [
        text.contains(|c: char| c.is_ascii_lowercase()),
        text.contains(|c: char| c.is_ascii_uppercase()),
        text.contains(|c: char| c.is_ascii_digit()),
    ];
    let distinct: std::collections::HashSet<char> = text.chars().collect();
    text.len() >= 16
        && !text.contains(char::is_whitespace)
        && !text.contains(['$', '/', '{'])
        && distinct.len() >= 10
        && kinds.iter().filter(|kind| **kind).count() >= 2
        && kinds[2]
}

#[cfg(test)]
mod tests {
    use super::credential;

    #[test]
    fn what_looks_like_a_credential_is_one_and_what_does_not_is_none() {
        // Put together here, so that no scanner takes this file for a leak.
        let token = |prefix: &str| format!("{prefix}{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6");
        for (name, text) in [
            ("", token("ghp_")),
            ("run", format!("curl -H 'Authorization: Bearer {}' x", token("glpat-"))),
            ("KEY", format!("-----BEGIN RSA {} KEY-----", "PRIVATE")),
            ("URL", "postgres://app:hunter22@db/orders".to_owned()),
            ("DB_PASSWORD", "aG4k9Zq2Lm81XcVb".to_owned()),
        ] {
            assert!(credential(name, &text).is_some(), "{name}: {text}");
        }
        for (name, text) in [
            ("POSTGRES_PASSWORD", "test"),
            ("TOKEN", "$CI_TOKEN"),
            ("TOKEN_FILE", "/run/secrets/token-1"),
            ("URL", "https://git.corp.example:8443/team@v1"),
            ("URL", "postgres://app:$PASSWORD@db/orders"),
            ("CHECKSUM", "9f86d081884c7d659a2feaa0c55ad015"),
            ("run", "make test"),
        ] {
            assert_eq!(credential(name, text), None, "{name}: {text}");
        }
    }
}
