//! What stands behind `template:`: a name, an address in Git, or a path (language.md §5.1).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A template, as a file names it.
///
/// Paths are from the root of the tree that the naming file lies in, and stay
/// inside it: `./ci/java.yml` means the same in every file of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplateReference {
    /// `c-service@1`: one that a server or Shipline itself brings.
    Named { name: String, version: String },
    /// `https://git.example/ci/templates.git//java-service@2.3`.
    Git(GitTemplate),
    /// `./ci/java.yml`: a file of the commit that the pipeline is of.
    Local { path: String },
    /// `./base.yml` in a template from Git: a file of the same tree.
    Beside { git: GitTemplate, path: String },
}

/// A template of a Git repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitTemplate {
    /// As it is written: the part before `//`.
    pub repository: String,
    /// Of the template in the repository: `java-service`, `ci/java-service`.
    pub path: String,
    /// A version, or the beginning of one; empty when none is written.
    pub version: String,
}

/// A text that names no template, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadReference {
    pub(super) why: String,
    /// The part of the text it is about.
    pub(super) part: Range<usize>,
    pub(super) label: String,
}

impl TemplateReference {
    /// Reads the text behind `template:` in a file that is the template `of`, or the
    /// pipeline itself.
    pub(super) fn parse(text: &str, of: Option<&Self>) -> Result<Self, BadReference> {
        if text.starts_with(['.', '/']) {
            return Self::path(text, of);
        }
        if text.contains("//") || text.contains(':') {
            return GitTemplate::parse(text).map(Self::Git);
        }
        let (name, version) = text.split_once('@').unwrap_or((text, ""));
        if let Some((at, wrong)) = name.char_indices().find(|(_, c)| !is_plain(*c)) {
            return Err(BadReference {
                why: format!("`{text}` is neither a name, nor an address in Git, nor a path"),
                part: at..at + wrong.len_utf8(),
                label: format!(
                    "a name has letters, digits and `-`; a path begins with `./`: `./{name}`"
                ),
            });
        }
        Ok(Self::Named { name: name.to_owned(), version: version.to_owned() })
    }

    fn path(text: &str, of: Option<&Self>) -> Result<Self, BadReference> {
        let Some(path) = text.strip_prefix("./") else {
            let label = if text.starts_with('/') || text.starts_with("..") {
                "paths begin with `./` at the root of the repository, and stay inside it"
            } else {
                "write `./` in front of a path"
            };
            let why = format!("`{text}` is not a path of a template");
            return Err(BadReference { why, part: 0..text.len(), label: label.to_owned() });
        };
        check_path(path).map_err(|(part, label)| BadReference {
            why: format!("`{text}` is not a path of a template"),
            part: part.start + 2..part.end + 2,
            label,
        })?;
        let path = path.to_owned();
        match of {
            None | Some(Self::Local { .. }) => Ok(Self::Local { path }),
            Some(Self::Git(git) | Self::Beside { git, .. }) => {
                Ok(Self::Beside { git: git.clone(), path })
            }
            Some(Self::Named { name, .. }) => Err(BadReference {
                why: format!("template `{name}` lies in no repository, so it has no `{text}`"),
                part: 0..text.len(),
                label: "write a name and version, or an address in Git".to_owned(),
            }),
        }
    }

    /// The version that is asked for, where there is one to ask for.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Named { version, .. } => Some(version),
            Self::Git(git) => Some(&git.version),
            Self::Local { .. } | Self::Beside { .. } => None,
        }
    }

    /// The same template in another version.
    pub(super) fn at(&self, version: &str) -> Self {
        let mut same = self.clone();
        match &mut same {
            Self::Named { version: own, .. } => version.clone_into(own),
            Self::Git(git) => version.clone_into(&mut git.version),
            Self::Local { .. } | Self::Beside { .. } => {}
        }
        same
    }

    /// What people call it: the name without address and version.
    pub fn name(&self) -> &str {
        match self {
            Self::Named { name, .. } => name,
            Self::Git(git) => git.path.rsplit('/').next().unwrap_or_default(),
            Self::Local { path } | Self::Beside { path, .. } => path,
        }
    }

    /// Whether it is the template `wanted`, which is written without a version or
    /// with the beginning of one.
    pub(super) fn is(&self, wanted: &str, exact: &str) -> bool {
        let Ok(wanted) = Self::parse(wanted, None) else { return false };
        let version = wanted.version().unwrap_or_default();
        let rest = exact.strip_prefix(version);
        let fits = version.is_empty() || rest.is_some_and(|r| r.is_empty() || r.starts_with('.'));
        wanted.at("") == self.at("") && fits
    }

    /// Whether the lock holds it. A file of the same commit cannot change beneath it.
    pub const fn is_locked(&self) -> bool {
        !matches!(self, Self::Local { .. })
    }
}

/// As a person types it, who is at no file: paths are from the root of the repository.
impl FromStr for TemplateReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, None).map_err(|bad| format!("{}: {}", bad.why, bad.label))
    }
}

impl GitTemplate {
    fn parse(text: &str) -> Result<Self, BadReference> {
        const FORM: &str = "for example `https://git.example/ci/templates.git//java-service@2.3`";
        let bad = |why: &str, part: Range<usize>, label: &str| BadReference {
            why: format!("`{text}` is not the address of a template: {why}"),
            part,
            label: label.to_owned(),
        };
        // The `//` after the scheme is not the one that ends the repository.
        let host = text.find("://").map_or(0, |at| at + "://".len());
        let Some(end) = text[host..].find("//").map(|at| host + at) else {
            return Err(bad("no `//` ends the repository", 0..text.len(), FORM));
        };
        let inside = end + "//".len();
        // A version has no slash; `git@host` may stand in front.
        let slash = text[inside..].rfind('/').map_or(inside, |at| inside + at);
        let at = text[slash..].find('@').map(|at| slash + at);
        let path = &text[inside..at.unwrap_or(text.len())];
        if path.is_empty() {
            return Err(bad("no template follows `//`", 0..text.len(), FORM));
        }
        check_path(path).map_err(|(part, label)| {
            bad("the path is none", inside + part.start..inside + part.end, &label)
        })?;
        Ok(Self {
            repository: text[..end].to_owned(),
            path: path.to_owned(),
            version: at.map_or_else(String::new, |at| text[at + 1..].to_owned()),
        })
    }
}

/// The form in which a file names it, and in which the lock knows it.
impl fmt::Display for TemplateReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { name, version } => versioned(f, name, version),
            Self::Git(git) => git.fmt(f),
            Self::Local { path } => write!(f, "./{path}"),
            Self::Beside { git, path } => write!(f, "{git} ./{path}"),
        }
    }
}

impl fmt::Display for GitTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        versioned(f, &format!("{}//{}", self.repository, self.path), &self.version)
    }
}

fn versioned(f: &mut fmt::Formatter<'_>, name: &str, version: &str) -> fmt::Result {
    if version.is_empty() { f.write_str(name) } else { write!(f, "{name}@{version}") }
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// The part that is no plain name of a file or folder, and what to say of it.
fn check_path(path: &str) -> Result<(), (Range<usize>, String)> {
    let mut start = 0;
    for part in path.split('/') {
        let here = start..start + part.len();
        start = here.end + 1;
        let label = match part {
            "" => "a part between slashes is empty",
            "." => "`.` is no folder; leave it out",
            ".." => "leaves its folder; paths are from the root of the repository",
            // What looks like `..` to somebody else is none of ours.
            _ if !part.chars().all(is_plain) => {
                "the parts of a path have letters, digits, `.`, `-` and `_`"
            }
            _ => continue,
        };
        return Err((here, label.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> (String, String, String) {
        match TemplateReference::parse(text, None) {
            Ok(TemplateReference::Git(git)) => (git.repository, git.path, git.version),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        let bad = TemplateReference::parse(text, None).unwrap_err();
        format!("{} | {} | {}", bad.why, &text[bad.part], bad.label)
    }

    #[test]
    fn names_addresses_and_paths_are_told_apart_and_written_as_they_were() {
        for text in [
            "c-service@1",
            "c-service",
            "https://git.example/ci/templates.git//java-service@2.3",
            "ssh://git@git.example:29418/ci//deep/java-service@2",
            "git@git.example:ci/templates.git//java-service@2",
            "./ci/java.yml",
        ] {
            let reference = TemplateReference::parse(text, None).unwrap();
            assert_eq!(reference.to_string(), text);
        }
        assert_eq!(
            git("git@git.example:ci/t.git//a/b@2.3"),
            ("git@git.example:ci/t.git".to_owned(), "a/b".to_owned(), "2.3".to_owned())
        );
        assert_eq!(git("https://git.example/x//java").2, "");
    }

    #[test]
    fn a_path_means_the_tree_that_the_naming_file_lies_in() {
        let of = |text| TemplateReference::parse(text, None).unwrap();
        let named = |text, of: &TemplateReference| TemplateReference::parse(text, Some(of));
        let git = of("https://git.example/t.git//java@2");
        let base = named("./base.yml", &git).unwrap();
        assert_eq!(base.to_string(), "https://git.example/t.git//java@2 ./base.yml");
        assert_eq!(
            named("./other.yml", &base).unwrap().to_string(),
            "https://git.example/t.git//java@2 ./other.yml"
        );
        assert_eq!(named("./b.yml", &of("./a.yml")), Ok(of("./b.yml")));
        assert!(named("./b.yml", &of("c-service@1")).is_err());
    }

    #[test]
    fn what_would_leave_the_tree_is_refused_where_it_does() {
        for (text, part) in [
            ("../../etc/passwd", "../../etc/passwd"),
            ("/etc/passwd", "/etc/passwd"),
            ("./../x", ".."),
            ("./ci/../../x", ".."),
            ("./%2e%2e/x", "%2e%2e"),
            ("./a//b", ""),
            ("./a\\..\\b", "a\\..\\b"),
            ("./", ""),
            ("https://git.example/t.git//../x@1", ".."),
            ("https://git.example/t.git//%2e%2e@1", "%2e%2e"),
        ] {
            let said = refused(text);
            assert_eq!(said.split(" | ").nth(1), Some(part), "{said}");
        }
        assert!(refused("https://git.example/t.git").contains("no `//` ends the repository"));
        assert!(refused("ci/java.yml").contains("a path begins with `./`: `./ci/java.yml`"));
    }
}
