//! `.shipline.lock`: which version of each template the repository uses, exactly.
//!
//! It is written by `shipline template update` and committed, so that a run of a
//! commit reads the same templates for ever, and a new version of one changes
//! nothing until somebody has seen what it changes.

use std::collections::BTreeMap;

use super::{TemplateReference, is_version};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{FileId, Place, SourceFile, Sources};
use crate::yaml::{self, Node, Value};

/// The file's name; it lies at the root of the repository.
pub const LOCK_FILE: &str = ".shipline.lock";

const HEAD: &str =
    "# Exact versions of templates, written by `shipline template update`. Commit this file.\n";
const VERSION: i64 = 1;
const REPAIR: &str = "write it anew with `shipline template update`";

/// What a repository has locked, by the reference as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<String, Locked>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locked {
    /// Exact; empty for a file beside a template from Git.
    pub version: String,
    /// Of the template's repository, in Git.
    pub commit: Option<String>,
    /// Of the template file, in hex.
    pub sha256: String,
}

impl Lock {
    pub fn get(&self, reference: &TemplateReference) -> Option<&Locked> {
        self.0.get(&reference.to_string())
    }

    pub fn insert(&mut self, reference: &TemplateReference, locked: Locked) {
        self.0.insert(reference.to_string(), locked);
    }

    /// By the reference as it is written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Locked)> {
        self.0.iter().map(|(reference, locked)| (reference.as_str(), locked))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the file; everything that is wrong with it is E037.
    pub fn parse(source: &SourceFile) -> Result<Self, Diagnostics> {
        let sources = Sources::one(source.clone());
        let mut found = Vec::new();
        let root = yaml::read(&sources, FileId::PIPELINE, &mut found);
        if let Some(first) = found.first() {
            // Most likely two branches wrote it, and Git left its marks.
            let whole = Place::new(source.clone(), 0, 0);
            let place = first.place.clone().unwrap_or(whole);
            return Err(unreadable(&first.message, place));
        }
        let Some(root) = root else { return Ok(Self::default()) };
        let mut lock = Self::default();
        lock.read(&root).map_err(|(node, why)| unreadable(why, sources.place(node.span)))?;
        Ok(lock)
    }

    fn read<'n>(&mut self, root: &'n Node) -> Result<(), (&'n Node, &'static str)> {
        let map = root.as_map().ok_or((root, "it is no map"))?;
        match map.get("version").map(|node| (node, &node.value)) {
            Some((_, Value::Int(VERSION, _))) => {}
            Some((node, _)) => return Err((node, "this Shipline reads version 1 of it")),
            None => return Err((root, "it has no `version`")),
        }
        let Some(templates) = map.get("templates") else { return Ok(()) };
        let entries = templates.as_map().ok_or((templates, "`templates` is no map"))?;
        for entry in &entries.0 {
            let value = entry.value.as_map().ok_or((&entry.value, "an entry is no map"))?;
            let text = |key: &str| value.get(key).and_then(Node::scalar_text).map(String::from);
            let sha256 = text("sha256").filter(|digest| is_hex(digest, 64));
            let locked = Locked {
                version: text("version").unwrap_or_default(),
                commit: text("commit").filter(|commit| is_hex(commit, 40) || is_hex(commit, 64)),
                sha256: sha256.ok_or((&entry.value, "an entry has no `sha256` of 64 digits"))?,
            };
            if !locked.version.is_empty() && !is_version(&locked.version) {
                return Err((&entry.value, "a `version` is not numbers with dots between them"));
            }
            if value.get("commit").is_some() && locked.commit.is_none() {
                return Err((&entry.value, "a `commit` is not the whole id of one"));
            }
            self.0.insert(entry.key.name.clone(), locked);
        }
        Ok(())
    }

    /// The text of the file; equal locks give equal bytes.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}version: {VERSION}\ntemplates:");
        if self.0.is_empty() {
            text.push_str(" {}");
        }
        text.push('\n');
        for (reference, locked) in &self.0 {
            // A JSON string is a YAML one, whatever is in it.
            text.push_str(&format!("  {}:\n", serde_json::Value::from(reference.as_str())));
            if !locked.version.is_empty() {
                text.push_str(&format!("    version: \"{}\"\n", locked.version));
            }
            if let Some(commit) = &locked.commit {
                text.push_str(&format!("    commit: \"{commit}\"\n"));
            }
            text.push_str(&format!("    sha256: \"{}\"\n", locked.sha256));
        }
        text
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn unreadable(why: &str, place: Place) -> Diagnostics {
    let message = format!("`{LOCK_FILE}` cannot be used: {why}");
    Diagnostics::from(Diagnostic::error(Code::E037, message).at(place).help(REPAIR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let mut lock = Lock::default();
        for (text, commit) in
            [("https://git.example/t.git//java@2", Some("a".repeat(40))), ("c-service@1", None)]
        {
            let reference = TemplateReference::parse(text, None).unwrap();
            let locked = Locked { version: "2.10".to_owned(), commit, sha256: "0f".repeat(32) };
            lock.insert(&reference, locked);
        }
        lock
    }

    fn said(text: &str) -> String {
        let found = Lock::parse(&SourceFile::new(LOCK_FILE, text)).unwrap_err();
        let first = found.iter().next().unwrap();
        format!("{} {}", first.place.as_ref().unwrap(), first.message)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let text = lock().to_text();
        assert_eq!(Lock::parse(&SourceFile::new(LOCK_FILE, text.as_str())).unwrap(), lock());
        assert!(
            text.contains("  \"c-service@1\":\n    version: \"2.10\"\n    sha256: \""),
            "{text}"
        );
        let empty = Lock::default().to_text();
        assert_eq!(Lock::parse(&SourceFile::new(LOCK_FILE, empty)).unwrap(), Lock::default());
    }

    #[test]
    fn a_lock_that_is_none_is_told_with_its_place() {
        let conflict = lock().to_text().replace("version: 1\n", "<<<<<<< ours\nversion: 1\n");
        assert!(said(&conflict).contains("`.shipline.lock` cannot be used"), "{}", said(&conflict));
        assert_eq!(
            said("version: 2\ntemplates: {}\n"),
            ".shipline.lock:1:10 `.shipline.lock` cannot be used: this Shipline reads version 1 of it"
        );
        assert_eq!(
            said("version: 1\ntemplates:\n  a@1: { sha256: \"12\" }\n"),
            ".shipline.lock:3:8 `.shipline.lock` cannot be used: an entry has no `sha256` of 64 digits"
        );
        let version = format!(
            "version: 1\ntemplates:\n  a@1: {{ version: \"1\\n\", sha256: {} }}\n",
            "0f".repeat(32)
        );
        assert!(said(&version).contains("a `version` is not numbers"), "{}", said(&version));
        assert_eq!(said("[]"), ".shipline.lock:1:1 `.shipline.lock` cannot be used: it is no map");
    }
}
