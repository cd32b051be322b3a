//! Where a laptop's templates are from: the directory, and the Git of whoever sits there.

use std::path::{Path, PathBuf};

use pipeline::{Diagnostics, Document, LOCK_FILE, Library, Lock};
use runner::git::{Credential, RemoteUrl};
use runner::template::{self, Remote, RemoteError, TemplateSources, Tree};

use crate::error::{CommandError, Context as _};
use crate::{home, written};

/// The templates of a file that was read in `directory`, as the lock has them. The
/// inner error is what is wrong with the lock.
pub(crate) async fn fetch(
    document: &Document,
    directory: &Path,
    offline: bool,
) -> Result<Result<Library, Diagnostics>, CommandError> {
    if Library::default().wanted(document).is_none() {
        return Ok(Ok(Library::default()));
    }
    let lock = match lock(directory).await? {
        Ok(lock) => lock,
        Err(diagnostics) => return Ok(Err(diagnostics)),
    };
    with_lock(document, directory, &lock, offline).await.map(Ok)
}

/// The newest versions of the templates of a file; `lock` gets them. Those in `kept`
/// stay as they are there.
pub(crate) async fn update(
    document: &Document,
    directory: &Path,
    kept: &Lock,
    lock: &mut Lock,
    offline: bool,
) -> Result<Library, CommandError> {
    let (root, store) = (root(directory), store()?);
    let library = template::update(document, kept, lock, &sources(&root, &store, offline)).await;
    library.environment("cannot get the templates")
}

/// The newest versions of what a file names, without a lock: for looking at templates.
pub(crate) async fn look(
    document: &Document,
    directory: &Path,
    offline: bool,
) -> Result<Library, CommandError> {
    update(document, directory, &Lock::default(), &mut Lock::default(), offline).await
}

/// The templates of a file as a lock has them.
pub(crate) async fn with_lock(
    document: &Document,
    directory: &Path,
    lock: &Lock,
    offline: bool,
) -> Result<Library, CommandError> {
    let (root, store) = (root(directory), store()?);
    let library = template::fetch(document, lock, &sources(&root, &store, offline)).await;
    library.environment("cannot get the templates")
}

/// The lock of the repository that `directory` is in.
pub(crate) async fn lock(directory: &Path) -> Result<Result<Lock, Diagnostics>, CommandError> {
    let root = root(directory);
    template::lock(&Tree::Directory(&root)).await.environment("cannot read the lock of templates")
}

/// Writes the lock, whole or not at all: a half of it would stop every run.
pub(crate) fn write_lock(root: &Path, lock: &Lock) -> Result<(), CommandError> {
    let path = root.join(LOCK_FILE);
    written::write(&path, &lock.to_text()).environment(&format!("cannot write {}", path.display()))
}

/// The root of the repository: paths of templates begin there, and the lock lies there.
pub(crate) fn root(directory: &Path) -> PathBuf {
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let root = whole.ancestors().find(|folder| folder.join(".git").exists());
    root.unwrap_or(&whole).to_owned()
}

fn store() -> Result<PathBuf, CommandError> {
    Ok(home::state_directory()?.join("templates"))
}

fn sources<'a>(root: &'a Path, store: &'a Path, offline: bool) -> TemplateSources<'a> {
    TemplateSources { tree: Tree::Directory(root), store, offline, remote: &remote }
}

/// Any repository that the language can name, as the person's own Git reaches it.
fn remote(address: &str) -> Result<Remote, RemoteError> {
    Ok(Remote { url: RemoteUrl::parse(address)?, credential: Some(Credential::Person) })
}
