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
    /// As `origin` had it when it was cloned, else `main` or `master` if it is here.
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
    let default_branch = match default_branch {
        Some(name) => Some(name.strip_prefix("origin/").unwrap_or(&name).to_owned()),
        None => usual_branch(git).await?,
    };
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

/// What changes in a working tree are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base<'a> {
    /// What would be pushed: the commits that the branch's upstream does not have,
    /// without an upstream those that the default branch does not have; where there
    /// are none, the last commit.
    Pushed { default_branch: Option<&'a str> },
    /// What a branch would bring into this one.
    Target(&'a str),
}

/// Lists the files below `directory` that differ from the base, with what is not
/// committed and not ignored, sorted and relative to it; `None` when there is
/// nothing to compare with.
pub async fn changed_files(
    directory: &Path,
    base: Base<'_>,
) -> Result<Option<Vec<String>>, GitError> {
    let git = || Git::tree(directory);
    let Some(head) = revision(git(), "HEAD").await? else { return Ok(None) };
    let untracked = git().limit(LISTING).run("ls-files", UNTRACKED).await?;
    let mut changed = names(&untracked);
    let from = match base {
        Base::Target(branch) => match on_either_side(git, branch).await? {
            Some(target) => merge_base(git(), &target).await?,
            None => None,
        },
        Base::Pushed { default_branch } => {
            let pushed = match (revision(git(), "@{upstream}").await?, default_branch) {
                (Some(upstream), _) => merge_base(git(), &upstream).await?,
                (None, Some(branch)) => match on_either_side(git, branch).await? {
                    Some(target) => merge_base(git(), &target).await?,
                    None => None,
                },
                (None, None) => None,
            };
            match pushed {
                Some(pushed) if pushed != head || is_dirty(git()).await? => Some(pushed),
                _ => revision(git(), "HEAD^").await?,
            }
        }
    };
    let Some(from) = from else { return Ok(None) };
    let options = ["-z", "--name-only", "--relative", "--no-renames", "--no-ext-diff"];
    let arguments = options.into_iter().chain(["--end-of-options", from.as_str(), "--"]);
    changed.extend(names(&git().limit(LISTING).run("diff", arguments).await?));
    changed.sort();
    changed.dedup();
    Ok(Some(changed))
}

const UNTRACKED: [&str; 3] = ["-z", "--others", "--exclude-standard"];

/// Returns the tags of the commit of `directory`, sorted.
pub async fn tags_here(directory: &Path) -> Result<Vec<String>, GitError> {
    match Git::tree(directory).run("tag", ["--points-at", "HEAD"]).await {
        Ok(output) => Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()),
        Err(GitError::Failed { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether Git leaves a file alone that is there; `true` also where there is no
/// repository that could take it in, `false` for a file that is tracked already.
pub async fn is_ignored(directory: &Path, path: &str) -> Result<bool, GitError> {
    let options = ["-z", "--others", "--ignored", "--exclude-standard", "--", path];
    match Git::tree(directory).run("ls-files", options).await {
        Ok(output) => Ok(!output.is_empty()),
        Err(GitError::Failed { message, .. }) if message.contains("not a git repository") => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// The commit of a branch as the remote had it, else as it is here.
async fn on_either_side<'a>(
    git: impl Fn() -> Git<'a>,
    branch: &str,
) -> Result<Option<String>, GitError> {
    match revision(git(), &format!("refs/remotes/origin/{branch}")).await? {
        Some(remote) => Ok(Some(remote)),
        None => revision(git(), &format!("refs/heads/{branch}")).await,
    }
}

async fn merge_base(git: Git<'_>, other: &str) -> Result<Option<String>, GitError> {
    optional(git, "merge-base", &["--end-of-options", other, "HEAD"]).await
}

/// The commit behind a name; `None` also for a name that cannot be one.
async fn revision(git: Git<'_>, name: &str) -> Result<Option<String>, GitError> {
    let exact = format!("{name}^{{commit}}");
    match optional(git, "rev-parse", &["--verify", "--quiet", "--end-of-options", &exact]).await {
        Err(GitError::Failed { .. }) => Ok(None),
        other => other,
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

/// The branch that is most likely the main one, where no remote says it.
async fn usual_branch<'a>(git: impl Fn() -> Git<'a>) -> Result<Option<String>, GitError> {
    for name in ["main", "master"] {
        if revision(git(), &format!("refs/heads/{name}")).await?.is_some() {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
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
