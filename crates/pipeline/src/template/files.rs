//! Where templates come from.

use std::collections::BTreeMap;

use rust_embed::RustEmbed;

use super::reference::TemplateReference;
use super::version;
use crate::source::SourceFile;

/// Gives templates.
///
/// Contract: the same reference gives the same answer for as long as one check
/// lasts, and answers come without waiting: whoever fetches does it before, and
/// hands over a [`Library`](super::Library).
pub trait Files {
    fn find(&self, reference: &TemplateReference) -> Result<Template, NotFound>;
}

/// A template that was found.
#[derive(Clone, Debug)]
pub struct Template {
    /// Exact; empty for a file of the same commit, which has none.
    pub version: String,
    pub source: SourceFile,
}

/// Why there is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No source has one of this name.
    Unknown {
        /// Each source that was asked, with its answer.
        searched: Vec<String>,
        /// Names there are, for a suggestion.
        names: Vec<String>,
    },
    /// It is there, but not in this version; these are, the newest last.
    Version { versions: Vec<String> },
    /// `.shipline.lock` does not have it.
    NotLocked,
    /// What was found is not what the lock has.
    Changed { locked: String, found: String },
    /// It is there, and is no text.
    Unreadable { why: String },
    /// The source does not answer, and nothing of it is stored here.
    Unreachable { address: String, reason: String },
}

/// The templates that come with Shipline: `templates/pipelines/NAME/VERSION/template.yml`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bundled;

#[derive(RustEmbed)]
#[folder = "../../templates/pipelines"]
struct Folder;

impl Bundled {
    /// Every name, sorted, with its exact versions, the newest last.
    pub fn all() -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in Folder::iter() {
            let parts = path.strip_suffix("/template.yml").and_then(|path| path.split_once('/'));
            if let Some((name, version)) = parts {
                all.entry(name.to_owned()).or_default().push(version.to_owned());
            }
        }
        all.values_mut().for_each(|versions| version::sort(versions));
        all
    }

    fn template(name: &str, version: &str) -> Option<Template> {
        // Names come from pipeline files; only what is embedded can be asked for.
        let file = Folder::get(&format!("{name}/{version}/template.yml"))?;
        let text = std::str::from_utf8(&file.data).ok()?;
        let source = SourceFile::new(format!("{name}@{version}/template.yml"), text);
        Some(Template { version: version.to_owned(), source })
    }
}

impl Files for Bundled {
    fn find(&self, reference: &TemplateReference) -> Result<Template, NotFound> {
        let mut all = Self::all();
        let names: Vec<String> = all.keys().cloned().collect();
        let TemplateReference::Named { name, version: wanted } = reference else {
            let searched = vec!["bundled templates: only they are read here".to_owned()];
            return Err(NotFound::Unknown { searched, names });
        };
        let Some(versions) = all.remove(name) else {
            let answer = crate::suggest::quoted(names.iter().map(String::as_str));
            let searched = vec![format!("bundled templates ({answer})")];
            return Err(NotFound::Unknown { searched, names });
        };
        version::newest(&versions, wanted)
            .and_then(|version| Self::template(name, version))
            .ok_or(NotFound::Version { versions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, version: &str) -> Result<Template, NotFound> {
        Bundled
            .find(&TemplateReference::Named { name: name.to_owned(), version: version.to_owned() })
    }

    #[test]
    fn every_bundled_template_is_found_by_its_name_and_versions() {
        let all = Bundled::all();
        assert!(all.contains_key("c-service") && all.contains_key("docker-service"), "{all:?}");
        for (name, versions) in all {
            for version in versions {
                assert_eq!(find(&name, &version).unwrap().version, version, "{name}");
            }
        }
        assert!(matches!(find("../secrets", "1"), Err(NotFound::Unknown { .. })));
        assert!(matches!(find("c-service", ""), Err(NotFound::Version { .. })));
    }
}
