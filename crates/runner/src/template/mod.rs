//! Templates, brought here before a pipeline is checked.
//!
//! A check waits for nothing, so whoever checks asks [`fetch`] first for what the
//! file names. It uses the lock: exact versions, and texts by their digest, so that
//! what was fetched once needs no network again. [`update`] looks for the newest
//! versions instead and says what the lock is to become.

mod git;
mod store;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::path::Path;

use pipeline::{
    Bundled, Document, Files as _, GitTemplate, LOCK_FILE, Library, Lock, Locked, NotFound,
    SourceFile, Template, TemplateReference,
};
use sha2::{Digest as _, Sha256};

use crate::git::{Credential, GitError, NameError, RemoteUrl};
use store::{Store, Text};
pub use tree::Tree;

/// Where templates may come from.
pub struct TemplateSources<'a> {
    /// The commit, or the directory, that the pipeline is of.
    pub tree: Tree<'a>,
    /// The folder in which fetched templates and their repositories are kept.
    pub store: &'a Path,
    /// Nothing is asked of the network.
    pub offline: bool,
    /// The address of a repository, and who we are to it.
    pub remote: &'a (dyn Fn(&str) -> Result<Remote, RemoteError> + Sync),
}

/// A repository that may be asked.
#[derive(Clone, Debug)]
pub struct Remote {
    pub url: RemoteUrl,
    pub credential: Option<Credential>,
}

/// Why a repository is not asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Name(#[from] NameError),
    /// Whoever runs this process does not allow it; a sentence.
    #[error("{0}")]
    Forbidden(String),
}

/// A fault of the machine, and none of the template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("cannot use the folder of templates {folder}")]
    Store {
        folder: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read `{path}`")]
    Tree {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Reads `.shipline.lock`; the inner error is what is wrong with the file.
pub async fn lock(tree: &Tree<'_>) -> Result<Result<Lock, pipeline::Diagnostics>, TemplateError> {
    let bytes = match tree.read(LOCK_FILE).await? {
        tree::Read::Bytes(bytes) => bytes,
        tree::Read::Nothing | tree::Read::NoFile(_) => return Ok(Ok(Lock::default())),
    };
    Ok(SourceFile::from_bytes(LOCK_FILE, bytes).and_then(|source| Lock::parse(&source)))
}

/// Returns every template that `document` needs, exactly as the lock has it.
pub async fn fetch(
    document: &Document,
    lock: &Lock,
    sources: &TemplateSources<'_>,
) -> Result<Library, TemplateError> {
    let mut library = Library::default();
    while let Some(reference) = library.wanted(document) {
        let found = locked(&reference, lock, sources).await?;
        library.insert(reference, found);
    }
    Ok(library)
}

/// Returns the newest version of every template that `document` needs, and enters
/// it in `lock`; those in `kept` stay as they are there.
pub async fn update(
    document: &Document,
    kept: &Lock,
    lock: &mut Lock,
    sources: &TemplateSources<'_>,
) -> Result<Library, TemplateError> {
    let mut library = Library::default();
    while let Some(reference) = library.wanted(document) {
        let found = match kept.get(&reference) {
            Some(entry) => {
                lock.insert(&reference, entry.clone());
                locked(&reference, lock, sources).await?
            }
            None => newest(&reference, lock, sources).await?,
        };
        library.insert(reference, found);
    }
    Ok(library)
}

/// A template as the lock has it.
async fn locked(
    reference: &TemplateReference,
    lock: &Lock,
    sources: &TemplateSources<'_>,
) -> Result<Result<Template, NotFound>, TemplateError> {
    if !reference.is_locked() {
        return file(reference, sources).await;
    }
    let Some(entry) = lock.get(reference) else {
        // A name that nobody knows is a slip, and locking is no answer to it.
        return Ok(Err(match (reference, Bundled.find(reference)) {
            (TemplateReference::Named { .. }, Err(why)) => why,
            _ => NotFound::NotLocked,
        }));
    };
    if let TemplateReference::Named { .. } = reference {
        return Ok(bundled(reference, entry));
    }
    let (TemplateReference::Git(git) | TemplateReference::Beside { git, .. }) = reference else {
        return file(reference, sources).await;
    };
    let of_git = TemplateReference::Git(git.clone());
    let commit = lock.get(&of_git).and_then(|entry| entry.commit.as_deref());
    let Some(commit) = commit else { return Ok(Err(NotFound::NotLocked)) };
    let store = Store::open(sources.store)?;
    let text = Text { reference, commit, digest: &entry.sha256 };
    if let Some(bytes) = store.text(&text)? {
        return Ok(template(reference, entry, bytes));
    }
    let bytes = match git::at_commit(reference, git, commit, &store, sources).await? {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = same(entry, &bytes) {
        return Ok(Err(why));
    }
    store.keep(&text, &bytes)?;
    Ok(template(reference, entry, bytes))
}

/// What was found must be what the lock has.
fn same(locked: &Locked, bytes: &[u8]) -> Result<(), NotFound> {
    let found = sha256(bytes);
    if found == locked.sha256 {
        return Ok(());
    }
    Err(NotFound::Changed { locked: locked.sha256.clone(), found })
}

/// The newest template of what a reference allows; the lock gets it.
async fn newest(
    reference: &TemplateReference,
    lock: &mut Lock,
    sources: &TemplateSources<'_>,
) -> Result<Result<Template, NotFound>, TemplateError> {
    let (entry, bytes) = match reference {
        TemplateReference::Local { .. } => return file(reference, sources).await,
        TemplateReference::Named { .. } => match Bundled.find(reference) {
            Ok(template) => {
                let bytes = template.source.text().as_bytes().to_vec();
                let version = template.version;
                (Locked { version, commit: None, sha256: sha256(&bytes) }, bytes)
            }
            Err(why) => return Ok(Err(why)),
        },
        TemplateReference::Git(git) => {
            let store = Store::open(sources.store)?;
            match git::newest(reference, git, &store, sources).await? {
                Ok(found) => {
                    let sha256 = sha256(&found.bytes);
                    let text = Text { reference, commit: &found.commit, digest: &sha256 };
                    store.keep(&text, &found.bytes)?;
                    let commit = Some(found.commit);
                    (Locked { version: found.version, commit, sha256 }, found.bytes)
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        TemplateReference::Beside { git, .. } => {
            let store = Store::open(sources.store)?;
            let of_git = TemplateReference::Git(git.clone());
            // The template that names it has been found before it.
            let commit = lock.get(&of_git).and_then(|entry| entry.commit.clone());
            let Some(commit) = commit else { return Ok(Err(NotFound::NotLocked)) };
            match git::at_commit(reference, git, &commit, &store, sources).await? {
                Ok(bytes) => {
                    let sha256 = sha256(&bytes);
                    store.keep(&Text { reference, commit: &commit, digest: &sha256 }, &bytes)?;
                    (Locked { version: String::new(), commit: None, sha256 }, bytes)
                }
                Err(why) => return Ok(Err(why)),
            }
        }
    };
    let found = template(reference, &entry, bytes);
    if found.is_ok() {
        lock.insert(reference, entry);
    }
    Ok(found)
}

/// A file of the same commit.
async fn file(
    reference: &TemplateReference,
    sources: &TemplateSources<'_>,
) -> Result<Result<Template, NotFound>, TemplateError> {
    let TemplateReference::Local { path } = reference else {
        return Ok(Err(NotFound::NotLocked));
    };
    Ok(match sources.tree.read(path).await? {
        tree::Read::Bytes(bytes) => template(reference, &Locked::default(), bytes),
        tree::Read::Nothing => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let beside = sources.tree.yaml_files(folder).await?;
            let names = beside.iter().map(|path| format!("./{path}")).collect();
            Err(NotFound::Unknown {
                searched: vec![format!("{}: no such file", sources.tree)],
                names,
            })
        }
        tree::Read::NoFile(why) => {
            let searched = vec![format!("{}: {why}", sources.tree)];
            Err(NotFound::Unknown { searched, names: Vec::new() })
        }
    })
}

/// A bundled template of the version that is locked.
fn bundled(reference: &TemplateReference, locked: &Locked) -> Result<Template, NotFound> {
    let name = reference.name().to_owned();
    let exact = TemplateReference::Named { name, version: locked.version.clone() };
    let found = Bundled.find(&exact)?;
    if found.version != locked.version {
        // `1.2` is gone, and `1.2.1` is another one.
        return Err(NotFound::Version { versions: vec![found.version] });
    }
    same(locked, found.source.text().as_bytes())?;
    Ok(found)
}

fn template(
    reference: &TemplateReference,
    entry: &Locked,
    bytes: Vec<u8>,
) -> Result<Template, NotFound> {
    let name = match reference {
        TemplateReference::Named { name, .. } => format!("{name}@{}/template.yml", entry.version),
        TemplateReference::Git(git) => {
            let version = entry.version.clone();
            GitTemplate { version, ..git.clone() }.to_string()
        }
        other => other.to_string(),
    };
    match SourceFile::from_bytes(name, bytes) {
        Ok(source) => Ok(Template { version: entry.version.clone(), source }),
        Err(found) => {
            let why = found.iter().next().map(|found| found.message.clone()).unwrap_or_default();
            Err(NotFound::Unreadable { why })
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl fmt::Debug for TemplateSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateSources").field("store", &self.store).finish_non_exhaustive()
    }
}
