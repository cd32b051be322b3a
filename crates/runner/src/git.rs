//! The system's `git`, always with arguments that the engine made.
//!
//! Whatever a user, a forge or a repository chooses (URLs, refs, paths) is
//! checked against a grammar first and stands behind `--end-of-options`. The
//! host's configuration, hooks, filters and credential helpers are off, and only
//! the protocols we name may be spoken.

mod local;
mod mirror;
mod name;
mod process;

pub use local::{Base, Local, changed_files, is_ignored, local, tags_here, tracked_files};
pub use mirror::{
    Commit, RefKind, Remote, RemoteRef, changed_paths, clone_commit, commit, commits, fetch_mirror,
    is_ancestor, list_files, list_folders, ls_remote, read_file, resolve,
};
pub use name::{NameError, RefName, RemoteUrl, Sha};
pub use process::{Credential, GitError};

/// Begins the names of the folders beside a mirror that hold a commit's files while
/// they are brought to the engine.
pub const CHECKOUT_PREFIX: &str = "checkout-";

#[cfg(test)]
mod tests;
