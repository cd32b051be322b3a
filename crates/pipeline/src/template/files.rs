//! Where templates come from.

use rust_embed::RustEmbed;

use crate::source::SourceFile;

/// Gives templates by name and version.
///
/// Contract: the same name and version give the same text for as long as one
/// check lasts, and answers come without waiting (whoever fetches does it
/// before). `template` answers for every pair that `versions` names.
pub trait Files {
    /// Every name there is, for suggestions.
    fn names(&self) -> Vec<String>;

    /// Exact versions of a template; empty when the name is unknown.
    fn versions(&self, name: &str) -> Vec<String>;

    fn template(&self, name: &str, version: &str) -> Option<SourceFile>;
}

/// The templates that come with Shipline: `templates/pipelines/NAME/VERSION/template.yml`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bundled;

#[derive(RustEmbed)]
#[folder = "../../templates/pipelines"]
struct Folder;

/// Name and version of `NAME/VERSION/template.yml`.
fn parts(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("/template.yml")?.split_once('/')
}

impl Files for Bundled {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            Folder::iter().filter_map(|path| Some(parts(&path)?.0.to_owned())).collect();
        names.sort();
        names.dedup();
        names
    }

    fn versions(&self, name: &str) -> Vec<String> {
        Folder::iter()
            .filter_map(|path| {
                let (own, version) = parts(&path)?;
                (own == name).then(|| version.to_owned())
            })
            .collect()
    }

    fn template(&self, name: &str, version: &str) -> Option<SourceFile> {
        // Names come from pipeline files; only what is embedded can be asked for.
        let file = Folder::get(&format!("{name}/{version}/template.yml"))?;
        let text = std::str::from_utf8(&file.data).ok()?;
        Some(SourceFile::new(format!("{name}@{version}/template.yml"), text))
    }
}

/// No templates at all; for pipelines that are known to use none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTemplates;

impl Files for NoTemplates {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn versions(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn template(&self, _: &str, _: &str) -> Option<SourceFile> {
        None
    }
}

/// Returns the newest version that is `wanted` or begins with it: `2` may be `2.3`.
pub(super) fn newest<'a>(versions: &'a [String], wanted: &str) -> Option<&'a String> {
    versions
        .iter()
        .filter(|version| {
            version
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .max_by_key(|version| numbers(version))
}

/// `2.10` is newer than `2.9`.
pub(super) fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_means_the_newest_that_begins_with_it() {
        let versions = ["1", "2.9", "2.10", "20.1"].map(str::to_owned);
        assert_eq!(newest(&versions, "2").map(String::as_str), Some("2.10"));
        assert_eq!(newest(&versions, "2.9").map(String::as_str), Some("2.9"));
        assert_eq!(newest(&versions, "1").map(String::as_str), Some("1"));
        assert_eq!(newest(&versions, "3"), None);
    }

    #[test]
    fn the_bundled_templates_are_there() {
        assert_eq!(
            Bundled.names(),
            [
                "c-service",
                "cmake-service",
                "docker-service",
                "go-service",
                "gradle-service",
                "maven-service",
                "node-service",
                "php-service",
                "python-service",
                "rust-service",
                "static-site",
            ]
        );
        for name in Bundled.names() {
            for version in Bundled.versions(&name) {
                assert!(Bundled.template(&name, &version).is_some(), "{name}@{version}");
            }
        }
        assert!(Bundled.template("../secrets", "1").is_none());
    }
}
