//! Files of a stage's workspace that its patterns choose.

use std::sync::{Arc, Mutex};

use pipeline::FilePatterns;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::backend::{BackendError, FileEntry, Piece, View};
use crate::executor::Shared;
use crate::verdict::Verdict;

/// Pieces on their way, 64 KiB each.
pub(crate) const PIECES: usize = 16;

/// What became of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    pub(crate) files: Vec<FileEntry>,
    pub(crate) unmatched: Vec<Unmatched>,
    /// Why none of the files was read.
    pub(crate) refused: Option<String>,
}

/// A pattern that matched nothing, and what there is where it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unmatched {
    pub(crate) pattern: String,
    /// The directory, or the nearest above it that exists.
    pub(crate) parent: String,
    pub(crate) entries: Vec<String>,
    pub(crate) more: usize,
}

/// Entries of a directory that are told.
const TOLD: usize = 12;

/// Reads the files that `patterns` choose, in the order of their paths, if `admit` has
/// nothing against them, and sends them to `to`.
pub(crate) async fn read(
    shared: &Shared,
    view: &View,
    patterns: &[String],
    admit: impl Fn(&[FileEntry]) -> Result<(), String> + Send + 'static,
    to: mpsc::Sender<Piece>,
) -> Result<Matched, BackendError> {
    let patterns = FilePatterns::new(patterns);
    let matched: Arc<Mutex<Matched>> = Arc::default();
    let told = Arc::clone(&matched);
    let choose = Box::new(move |entries: &[FileEntry]| {
        let (chosen, unmatched) = patterns.choose(entries.iter().map(|entry| entry.path.as_str()));
        let files: Vec<FileEntry> = chosen.iter().map(|at| entries[*at].clone()).collect();
        let refused = admit(&files).err();
        let chosen = if refused.is_some() { Vec::new() } else { chosen };
        let unmatched = unmatched.into_iter().map(|pattern| look(pattern, entries)).collect();
        *told.lock().expect("nobody panics with this lock") = Matched { files, unmatched, refused };
        chosen
    });
    shared.backend.read(&shared.context, view, choose, to).await?;
    let mut matched = matched.lock().expect("nobody panics with this lock");
    Ok(std::mem::take(&mut *matched))
}

/// Says what there is where a pattern looks for files.
pub(crate) fn look(pattern: String, entries: &[FileEntry]) -> Unmatched {
    let literal: Vec<&str> = pattern
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[', ']', '{', '}', '\\']))
        .collect();
    // The last part is a file's name, if it is no pattern itself.
    let whole = literal.len() == pattern.split('/').count();
    let mut parent = literal[..literal.len() - usize::from(whole)].join("/");
    loop {
        let below = if parent.is_empty() { String::new() } else { format!("{parent}/") };
        let names = entries.iter().filter_map(|entry| entry.path.strip_prefix(&below));
        let mut names: Vec<String> = names
            .map(|rest| match rest.split_once('/') {
                Some((directory, _)) => format!("{directory}/"),
                None => rest.to_owned(),
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() && !parent.is_empty() {
            parent.truncate(parent.rfind('/').unwrap_or(0));
            continue;
        }
        let more = names.len().saturating_sub(TOLD);
        names.truncate(TOLD);
        return Unmatched { pattern, parent, entries: names, more };
    }
}

/// Returns the SHA-256 over paths, contents and executable bits of the files that `globs`
/// choose, or that there is none.
pub(crate) async fn inputs(
    shared: &Shared,
    view: &View,
    globs: &[String],
) -> Result<Result<String, String>, BackendError> {
    digest(shared, view, globs, true).await
}

/// Returns the SHA-256 over paths and contents of the files that `globs` choose, or
/// what is wrong with them.
pub(crate) async fn hash(
    shared: &Shared,
    view: &View,
    globs: &[String],
) -> Result<Result<String, String>, BackendError> {
    digest(shared, view, globs, false).await
}

async fn digest(
    shared: &Shared,
    view: &View,
    globs: &[String],
    modes: bool,
) -> Result<Result<String, String>, BackendError> {
    let (to, mut pieces) = mpsc::channel(PIECES);
    let digest = async {
        let mut digest = Sha256::new();
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::File(entry) => {
                    digest.update((entry.path.len() as u64).to_be_bytes());
                    digest.update(entry.path.as_bytes());
                    digest.update([u8::from(entry.link)]);
                    digest.update(entry.size.to_be_bytes());
                    if modes {
                        digest.update([u8::from(entry.mode & 0o111 != 0)]);
                    }
                }
                Piece::Bytes(bytes) => digest.update(&bytes),
            }
        }
        hex::encode(digest.finalize())
    };
    let (matched, digest) = tokio::join!(read(shared, view, globs, |_| Ok(()), to), digest);
    let matched = matched?;
    if matched.files.is_empty() {
        let globs: Vec<String> = globs.iter().map(|glob| format!("`{glob}`")).collect();
        let found = matched.unmatched.first().map(Unmatched::found).unwrap_or_default();
        return Ok(Err(format!("no file matches {}{found}", globs.join(", "))));
    }
    Ok(Ok(digest))
}

impl Matched {
    /// E097 for the first pattern of `key` that matched nothing.
    pub(crate) fn first_unmatched(&self, key: &str) -> Result<(), Verdict> {
        let Some(unmatched) = self.unmatched.first() else { return Ok(()) };
        let (pattern, found) = (&unmatched.pattern, unmatched.found());
        let reason = format!("`{pattern}` of `{key}` matches no file{found}");
        Err(Verdict::failed(Some("E097"), reason))
    }
}

impl Unmatched {
    /// `; target/ has a, b/ and 3 more`
    pub(crate) fn found(&self) -> String {
        let place = if self.parent.is_empty() {
            "the workspace".to_owned()
        } else {
            format!("`{}/`", self.parent)
        };
        let names: Vec<String> = self.entries.iter().map(|name| format!("`{name}`")).collect();
        match (names.as_slice(), self.more) {
            ([], _) => format!("; {place} is empty"),
            (names, 0) => format!("; {place} has {}", names.join(", ")),
            (names, more) => format!("; {place} has {} and {more} more", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(paths: &[&str]) -> Vec<FileEntry> {
        let entry = |path: &&str| FileEntry {
            path: (*path).to_owned(),
            link: false,
            size: 0,
            mode: 0o100_644,
        };
        paths.iter().map(entry).collect()
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_told_with_what_is_there() {
        let entries = entries(&["a", "target/classes/X.class", "target/x.jar"]);
        let found = |pattern: &str| look(pattern.to_owned(), &entries).found();
        assert_eq!(found("target/*.war"), "; `target/` has `classes/`, `x.jar`");
        assert_eq!(found("target/x.war"), "; `target/` has `classes/`, `x.jar`");
        assert_eq!(found("target/surefire/**/*.xml"), "; `target/` has `classes/`, `x.jar`");
        assert_eq!(found("**/TEST-*.xml"), "; the workspace has `a`, `target/`");
        assert_eq!(look("*.c".to_owned(), &[]).found(), "; the workspace is empty");
        let many: Vec<String> = (0..20).map(|index| format!("f{index:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = look("*.c".to_owned(), &self::entries(&many)).found();
        assert!(told.ends_with("`f11` and 8 more"), "{told}");
    }
}
