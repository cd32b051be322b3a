//! The files of a repository, as far as they tell what it is.

use std::collections::{BTreeMap, BTreeSet};

/// Paths of a repository, and the texts of those that tell something.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    files: BTreeSet<String>,
    texts: BTreeMap<String, String>,
}

/// Files whose text tells something.
const TELLING: [&str; 16] = [
    "Cargo.toml",
    "go.mod",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "composer.json",
    "pyproject.toml",
    "requirements.txt",
    "package.json",
    "CMakeLists.txt",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "Dockerfile",
    "application.properties",
    ".nvmrc",
];
/// Folders that hold what others wrote, or what was built.
const FOREIGN: [&str; 12] = [
    "node_modules",
    "vendor",
    "target",
    "build",
    "dist",
    "test",
    "tests",
    "testdata",
    "examples",
    "docs",
    "third_party",
    ".git",
];

/// Whether `propose` wants to see the text of a file.
pub fn is_telling(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    TELLING.contains(&name) || name.starts_with("Dockerfile")
}

impl Listing {
    /// Takes paths from the root, with `/`, and the texts of those that are telling.
    pub fn new(
        files: impl IntoIterator<Item = String>,
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self { files: files.into_iter().collect(), texts: texts.into_iter().collect() }
    }

    pub(super) fn folder<'a>(&'a self, folder: &str) -> Folder<'a> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Folder { listing: self, prefix }
    }

    /// Folders one level down in which a build may be, sorted.
    pub(super) fn folders(&self) -> Vec<String> {
        let first = |path: &String| path.split_once('/').map(|(folder, _)| folder.to_owned());
        let folders: BTreeSet<String> = self.files.iter().filter_map(first).collect();
        let own = |folder: &String| !FOREIGN.contains(&folder.as_str()) && !folder.starts_with('.');
        folders.into_iter().filter(own).collect()
    }
}

/// One folder of a [`Listing`]; paths are from it.
pub(super) struct Folder<'a> {
    listing: &'a Listing,
    prefix: String,
}

impl Folder<'_> {
    pub(super) fn has(&self, path: &str) -> bool {
        self.listing.files.contains(&format!("{}{path}", self.prefix))
    }

    /// The first of these files that is there.
    pub(super) fn one_of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.listing.texts.get(&format!("{}{path}", self.prefix)).map(String::as_str)
    }

    /// Every file below the folder.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let from = self.listing.files.range(self.prefix.clone()..);
        from.map_while(|path| path.strip_prefix(&self.prefix))
    }

    pub(super) fn has_extension(&self, extensions: &[&str]) -> bool {
        self.files().any(|path| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name.rsplit_once('.').is_some_and(|(_, end)| extensions.contains(&end))
        })
    }
}

/// What stands between two marks, the first time they do.
pub(super) fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(rest[..rest.find(after)?].trim())
}

/// The number that a text begins with, behind anything that is none: `>=18.2` is 18.
pub(super) fn major(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}
