//! The repository a local run starts in, read as it is.

use std::path::{Path, PathBuf};

use super::mirror::{Commit, commit_in, names};
use super::process::{Git, GitError, LISTING};

/// What a local run knows of its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The top of the working tree.
    pub root: PathBuf,
    /// `None` when HEAD is detached.
    pub branch: Option<String>,
    /// `None` before the first commit.
    pub commit: Option<Commit>,
    /// As `origin` had it when it was cloned.
    pub default_branch: Option<String>,
    /// Of `origin`, without password.
    pub remote_url: Option<String>,
    /// Something differs from the commit, or is untracked and not ignored.
    pub dirty: bool,
}

/// Reads the repository around `directory`; `None` when there is none.
pub async fn local(directory: &Path) -> Result<Option<Local>, GitError> {
    let root = match Git::tree(directory).run("rev-parse", ["--show-toplevel"]).await {
        Ok(output) => PathBuf::from(line(&output)),
        Err(GitError::Failed { message, .. })
            if message.contains("not a git repository")
                || message.contains("must be run in a work tree") =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let git = || Git::tree(&root);
    let head = async {
        match commit_in(git, "HEAD").await {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let (branch, default_branch, remote_url, dirty, commit) = tokio::try_join!(
        optional(git(), "symbolic-ref", &["--quiet", "--short", "HEAD"]),
        optional(git(), "symbolic-ref", &["--quiet", "--short", "refs/remotes/origin/HEAD"]),
        optional(git(), "config", &["--get", "remote.origin.url"]),
        is_dirty(git()),
        head,
    )?;
    let default_branch =
        default_branch.map(|name| name.strip_prefix("origin/").unwrap_or(&name).to_owned());
    let remote_url = remote_url.map(|url| without_password(&url));
    Ok(Some(Local { root, branch, commit, default_branch, remote_url, dirty }))
}

/// Lists the tracked files below `directory`, relative to it; none when it is not in a repository.
pub async fn tracked_files(directory: &Path) -> Result<Vec<String>, GitError> {
    let git = Git::tree(directory).limit(LISTING);
    match git.run("ls-files", ["-z", "--cached"]).await {
        Ok(output) => Ok(names(&output)),
        Err(GitError::Failed { message, .. }) if message.contains("not a git repository") => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Runs a command that says by its exit code 1 that there is no such thing.
async fn optional(
    git: Git<'_>,
    verb: &str,
    arguments: &[&str],
) -> Result<Option<String>, GitError> {
    match git.run(verb, arguments).await {
        Ok(output) => Ok(Some(line(&output)).filter(|line| !line.is_empty())),
        Err(GitError::Failed { code: Some(1), .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn is_dirty(git: Git<'_>) -> Result<bool, GitError> {
    match git.run("status", ["--porcelain", "-z", "--untracked-files=normal"]).await {
        Ok(output) => Ok(!output.is_empty()),
        Err(GitError::TooLong { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

fn line(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end_matches('\n').to_owned()
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}/{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn the_password_of_an_address_is_left_out() {
        assert_eq!(without_password("https://me:token@host/a/b"), "https://me@host/a/b");
        assert_eq!(without_password("https://host/a"), "https://host/a");
        assert_eq!(without_password("git@host:a"), "git@host:a");
    }
}
