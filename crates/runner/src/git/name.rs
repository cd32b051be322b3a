//! What may be called a commit, a ref and a remote: the grammars behind which
//! untrusted text reaches `git`.

use std::fmt;
use std::path::Path;

/// A text that is none of these, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}")]
pub struct NameError {
    text: String,
    what: &'static str,
    why: &'static str,
}

/// Long texts are shown cut; they come from anywhere.
const SHOWN: usize = 200;

fn refuse<T>(text: &str, what: &'static str, why: &'static str) -> Result<T, NameError> {
    Err(NameError {
        text: text.chars().take(SHOWN).flat_map(char::escape_debug).collect(),
        what,
        why,
    })
}

/// A full object id, SHA-1 or SHA-256, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha(String);

impl Sha {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            refuse(text, "a commit id", "40 or 64 lower-case hex digits are expected")
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a branch or tag, or a full ref, as `git check-ref-format` has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > 255 {
            "it is longer than 255 bytes"
        } else if text.starts_with('-') {
            "it begins with `-`"
        } else if text.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c)) {
            "it has a space, a control character, or one of ~^:?*[\\"
        } else if text.contains("..") || text.contains("@{") || text == "@" {
            "`..`, `@{` and a lone `@` mean something else to Git"
        } else if text.ends_with('.') {
            "it ends with a dot"
        } else if text
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock"))
        {
            "a part between slashes is empty, begins with a dot or ends with `.lock`"
        } else {
            return Ok(Self(text.to_owned()));
        };
        refuse(text, "a ref", why)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a repository is: https or ssh; a path on this machine only where an
/// administrator says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    text: String,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Https,
    Ssh,
    File,
}

const URL: &str = "the address of a repository";

impl RemoteUrl {
    /// Accepts `https://…`, `ssh://…`, `git+ssh://…` and `user@host:path`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > 2048 {
            return refuse(text, URL, "it is longer than 2048 bytes");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse(text, URL, "it has a space or a control character");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::parse_short(text);
        };
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "https" => Protocol::Https,
            "ssh" | "git+ssh" => Protocol::Ssh,
            _ => return refuse(text, URL, "only https and ssh are spoken"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some((user, _)) = authority.rsplit_once('@')
            && user.contains(':')
        {
            return refuse("…", URL, "a password has no place in it");
        }
        Self::check_host(text, authority)?;
        if path.is_empty() {
            return refuse(text, URL, "no path follows the host");
        }
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { text: format!("{scheme}://{rest}"), protocol })
    }

    /// `user@host:path`, as forges show it.
    fn parse_short(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            Some((authority, path))
                if authority.contains('@') && !path.is_empty() && !path.starts_with(':') =>
            {
                Self::check_host(text, authority)?;
                let path = path.strip_prefix('/').unwrap_or(path);
                Ok(Self { text: format!("ssh://{authority}/{path}"), protocol: Protocol::Ssh })
            }
            _ => refuse(
                text,
                URL,
                "https://HOST/PATH, ssh://HOST/PATH, USER@HOST:PATH or an absolute path is expected",
            ),
        }
    }

    fn check_host(text: &str, authority: &str) -> Result<(), NameError> {
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (user, host),
            None => ("", authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return refuse(text, URL, "no host is named");
        }
        // ssh takes a host or user that begins so for an option.
        if host.starts_with('-') || user.starts_with('-') {
            return refuse(text, URL, "host and user may not begin with `-`");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%~+".contains(c);
        if !host.chars().all(plain) || !user.chars().all(plain) {
            return refuse(text, URL, "host and user have letters, digits and .-_ only");
        }
        Ok(())
    }

    /// An absolute path on this machine, for administrators.
    pub fn local_path(path: &Path) -> Result<Self, NameError> {
        match path.to_str() {
            Some(text) if path.is_absolute() && !text.contains(['\n', '\0']) => {
                // Git decodes what follows `file://`.
                let text = format!("file://{}", text.replace('%', "%25"));
                Ok(Self { text, protocol: Protocol::File })
            }
            _ => refuse(&path.to_string_lossy(), URL, "an absolute path is expected"),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The host without user, with its port where that is written; empty for a path of
    /// this machine.
    pub fn host_and_port(&self) -> &str {
        let origin = self.origin();
        let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        let host = self.host_and_port();
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// Scheme, user, host and port: what a credential is valid for.
    pub fn origin(&self) -> &str {
        let start = self.text.find("://").map_or(0, |at| at + 3);
        let length = self.text[start..].find('/').unwrap_or(self.text.len() - start);
        &self.text[..start + length]
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A path inside a tree of Git: relative, with plain parts.
pub(super) fn check_path(path: &str) -> Result<(), NameError> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if path.split('/').all(plain) && !path.contains('\0') {
        Ok(())
    } else {
        refuse(path, "a path in a repository", "it is relative, without empty parts, `.` and `..`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_those_of_check_ref_format() {
        for good in ["main", "release/1.2", "refs/heads/a", "ünï", "x\";echo${IFS}y;#", "a@b"] {
            assert!(RefName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-h",
            "--upload-pack=touch x",
            "a b",
            "a\nb",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "@",
            "a@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a.",
        ] {
            assert!(RefName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RefName::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn addresses_are_https_and_ssh_only() {
        for (good, expected) in [
            ("https://forge.example/team/app.git", "https://forge.example/team/app.git"),
            ("HTTPS://forge.example:8443/app", "https://forge.example:8443/app"),
            ("ssh://git@forge.example:29418/app", "ssh://git@forge.example:29418/app"),
            ("git+ssh://forge.example/app", "git+ssh://forge.example/app"),
            ("git@forge.example:team/app.git", "ssh://git@forge.example/team/app.git"),
            ("https://[::1]/app", "https://[::1]/app"),
        ] {
            assert_eq!(RemoteUrl::parse(good).map(|url| url.to_string()), Ok(expected.to_owned()));
        }
        for bad in [
            "",
            "ext::sh -c touch% x",
            "EXT::x",
            "fd::17",
            "file:///etc",
            "FILE:///etc",
            "/etc",
            "http://forge.example/app",
            "git://forge.example/app",
            "ssh://-oProxyCommand=x/app",
            "ssh://-o@host/app",
            "-u@host:x",
            "git@-oProxyCommand=x:app",
            "https://host",
            "https:///app",
            "https://host/a b",
            "https://host/a\nb",
            "git@host:",
            "git@host::x",
            "C:\\repo",
            "host:path",
            "https://ho$t/app",
            "https://user:secret@host/app",
        ] {
            assert!(RemoteUrl::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        let error = RemoteUrl::parse("https://user:secret@host/app").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn paths_of_this_machine_are_absolute() {
        let url = RemoteUrl::local_path(Path::new("/srv/git/100%/app.git")).unwrap();
        assert_eq!(url.as_str(), "file:///srv/git/100%25/app.git");
        assert!(RemoteUrl::local_path(Path::new("srv/app")).is_err());
    }

    #[test]
    fn a_credential_belongs_to_scheme_and_host() {
        let url = RemoteUrl::parse("https://forge.example:8443/team/app.git").unwrap();
        assert_eq!(url.origin(), "https://forge.example:8443");
    }

    #[test]
    fn commit_ids_are_complete() {
        assert!(Sha::parse(&"0123456789abcdef".repeat(4)).is_ok());
        for bad in ["", "abc", &"g".repeat(40), &"A".repeat(40), &"a".repeat(41), "--help"] {
            assert!(Sha::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_in_a_tree_stay_in_it() {
        for good in [".shipline.yml", "pipelines/web.yml", "-x", "a b"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
