//! Image references: `host:5000/team/orders:1.4@sha256:…`.

use std::ops::Range;

/// Why a text is not an image reference, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadReference {
    pub(crate) message: String,
    pub(crate) at: Range<usize>,
}

/// The parts of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Host and path, without tag and digest.
    pub(crate) repository: &'a str,
    pub(crate) tag: Option<&'a str>,
    pub(crate) digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, BadReference> {
        if text.is_empty() {
            return Err(bad("it is empty", 0..0));
        }
        check_habits(text)?;
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            check_digest(digest, rest.len() + 1)?;
        }
        // A colon before the last slash belongs to the host's port.
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match rest[path..].find(':') {
            Some(colon) => (&rest[..path + colon], Some(&rest[path + colon + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag {
            check_tag(tag, repository.len() + 1)?;
        }
        check_repository(repository)?;
        Ok(Self { repository, tag, digest })
    }

    /// Whether the same text may mean another image tomorrow without anybody's doing.
    pub(crate) fn is_loose(&self) -> bool {
        self.digest.is_none() && matches!(self.tag, None | Some("latest"))
    }
}

fn bad(message: impl Into<String>, at: Range<usize>) -> BadReference {
    BadReference { message: message.into(), at }
}

/// What people write who come from a shell, a browser, or another system's templates.
fn check_habits(text: &str) -> Result<(), BadReference> {
    if let Some(at) = text.find('$') {
        let message = "a shell's variables are not read here; an expression is `${{ git.sha }}`";
        return Err(bad(message, at..at + 1));
    }
    if let Some(at) = text.find("{{") {
        return Err(bad("an expression begins with `${{`, as in `${{ git.sha }}`", at..at + 2));
    }
    match text.split_once("://") {
        Some((scheme, rest)) => {
            Err(bad(format!("write it without this: `{rest}`"), 0..scheme.len() + 3))
        }
        None => Ok(()),
    }
}

fn check_digest(digest: &str, offset: usize) -> Result<(), BadReference> {
    let hex = digest.strip_prefix("sha256:");
    let valid = hex.is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    if valid {
        return Ok(());
    }
    Err(bad("a digest is `sha256:` and 64 hex digits", offset..offset + digest.len()))
}

fn check_tag(tag: &str, offset: usize) -> Result<(), BadReference> {
    if tag.is_empty() {
        return Err(bad("the tag after `:` is empty", offset - 1..offset));
    }
    if tag.len() > 128 {
        return Err(bad("a tag has at most 128 characters", offset..offset + tag.len()));
    }
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let valid = |c: char| first(c) || matches!(c, '.' | '-');
    let wrong = tag.char_indices().find(|(at, c)| if *at == 0 { !first(*c) } else { !valid(*c) });
    match wrong {
        Some((at, c)) => {
            Err(bad(format!("`{c}` cannot be in a tag"), offset + at..offset + at + c.len_utf8()))
        }
        None => Ok(()),
    }
}

/// As registries have it.
const REPOSITORY_LIMIT: usize = 255;

fn check_repository(repository: &str) -> Result<(), BadReference> {
    if repository.len() > REPOSITORY_LIMIT {
        let message = format!(
            "the name is {} characters long, the limit is {REPOSITORY_LIMIT}",
            repository.len()
        );
        return Err(bad(message, 0..repository.len()));
    }
    let mut offset = 0;
    let parts: Vec<_> = repository.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        // As Docker does it: a first part with a dot, a port, or `localhost` is a host.
        let host =
            index == 0 && parts.len() > 1 && (part.contains(['.', ':']) || *part == "localhost");
        let end = offset + part.len();
        if part.is_empty() {
            return Err(bad("a part of the path is empty", offset..end + 1));
        }
        let wrong = part.char_indices().find(|(_, c)| {
            let path = c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
            !(path || host && (c.is_ascii_uppercase() || matches!(c, ':' | '[' | ']')))
        });
        if let Some((at, c)) = wrong {
            let message = if c.is_ascii_uppercase() {
                "an image name is in lower case".to_owned()
            } else {
                format!("`{}` cannot be in an image name", c.escape_debug())
            };
            return Err(bad(message, offset + at..offset + at + c.len_utf8()));
        }
        if part.starts_with(['.', '_', '-']) || part.ends_with(['.', '_', '-']) {
            return Err(bad(
                "a part of the path begins and ends with a letter or digit",
                offset..end,
            ));
        }
        if let Some((_, port)) = part.rsplit_once(':').filter(|_| host)
            && port.parse::<u16>().is_err()
        {
            return Err(bad("this is not a port", end - port.len()..end));
        }
        offset = end + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_falls_into_repository_tag_and_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let full = format!("localhost:5000/team/orders:1.4@{digest}");
        for (text, repository, tag, loose) in [
            ("debian:12", "debian", Some("12"), false),
            ("debian", "debian", None, true),
            ("debian:latest", "debian", Some("latest"), true),
            ("harbor.corp.example/team/orders", "harbor.corp.example/team/orders", None, true),
            (full.as_str(), "localhost:5000/team/orders", Some("1.4"), false),
            ("10.0.0.1:5000/a:b_C.d-e", "10.0.0.1:5000/a", Some("b_C.d-e"), false),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!((reference.repository, reference.tag), (repository, tag), "{text}");
            assert_eq!(reference.is_loose(), loose, "{text}");
        }
    }

    #[test]
    fn the_wrong_part_is_pointed_at() {
        for (text, part) in [
            ("Debian:12", "D"),
            ("debian:1 2", " "),
            ("a//b", "/"),
            ("a/b:", ":"),
            ("a@sha256:12", "sha256:12"),
            ("host:99999/a", "99999"),
            ("-a/b", "-a"),
            ("a b", " "),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert_eq!(&text[error.at.clone()], part, "{text}: {}", error.message);
        }
        assert!(Reference::parse("").is_err());
    }
}
