//! Remotes, and the bare mirrors in which their commits are read.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::name::{NameError, Protocol, RefName, RemoteUrl, Sha, check_path};
use super::process::{Credential, Git, GitError, LISTING};

/// What a remote offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The branch its HEAD points to.
    pub default_branch: Option<String>,
    pub refs: Vec<RemoteRef>,
}

/// A branch or tag of a remote and the commit it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRef {
    pub kind: RefKind,
    /// Without `refs/heads/` or `refs/tags/`.
    pub name: String,
    pub sha: Sha,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefKind {
    Branch,
    Tag,
}

/// Who made a commit, when, and what they said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub sha: Sha,
    pub author_name: String,
    pub author_email: String,
    pub committed_at: DateTime<Utc>,
    /// Cut at 8 KiB.
    pub message: String,
}

const MESSAGE_LIMIT: usize = 8 << 10;
/// No file of a repository that the engine reads itself is larger.
const FILE_LIMIT: usize = 4 << 20;
/// A repository of this machine may belong to somebody else: whoever named it
/// has decided that, and serving it runs nothing that it says.
const SERVE: &str = "git -c safe.directory=* -c uploadpack.allowAnySHA1InWant=true upload-pack";

/// Lists branches and tags without fetching anything.
pub async fn ls_remote(
    url: &RemoteUrl,
    credential: Option<&Credential>,
) -> Result<Remote, GitError> {
    let mut arguments = vec!["--symref"];
    if url.protocol() == Protocol::File {
        arguments.extend(["--upload-pack", SERVE]);
    }
    arguments.extend(["--end-of-options", url.as_str(), "HEAD", "refs/heads/*", "refs/tags/*"]);
    let git = Git::new().remote(url, credential).limit(LISTING);
    let output = git.run("ls-remote", arguments).await?;
    Ok(parse_listing(&String::from_utf8_lossy(&output)))
}

fn parse_listing(text: &str) -> Remote {
    let mut remote = Remote::default();
    for line in text.lines() {
        let Some((left, name)) = line.split_once('\t') else { continue };
        if let Some(target) = left.strip_prefix("ref: refs/heads/") {
            remote.default_branch = Some(target.to_owned());
            continue;
        }
        let Ok(sha) = Sha::parse(left) else { continue };
        if let Some(name) = name.strip_prefix("refs/heads/") {
            remote.refs.push(RemoteRef { kind: RefKind::Branch, name: name.to_owned(), sha });
        } else if let Some(name) = name.strip_prefix("refs/tags/") {
            match (name.strip_suffix("^{}"), remote.refs.last_mut()) {
                // The commit behind the annotated tag of the line before.
                (Some(_), Some(tag)) => tag.sha = sha,
                _ => {
                    remote.refs.push(RemoteRef { kind: RefKind::Tag, name: name.to_owned(), sha });
                }
            }
        }
    }
    remote
}

/// Brings the bare mirror `directory` to the state of the remote, and makes it if need be.
/// One call at a time for one directory.
pub async fn fetch_mirror(
    url: &RemoteUrl,
    credential: Option<&Credential>,
    directory: &Path,
) -> Result<(), GitError> {
    if !directory.join("HEAD").is_file() {
        let arguments = ["--quiet", "--bare", "--template=", "--end-of-options"];
        let arguments = arguments.iter().map(AsRef::as_ref).chain([directory.as_os_str()]);
        Git::new().run("init", arguments).await?;
    }
    let mut arguments = vec!["--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--force"];
    if url.protocol() == Protocol::File {
        arguments.extend(["--upload-pack", SERVE]);
    }
    arguments.extend(["--end-of-options", url.as_str()]);
    arguments.extend(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
    Git::bare(directory).remote(url, credential).run("fetch", arguments).await.map(drop)
}

/// Returns the commit that a branch, a tag or a full ref points to.
pub async fn resolve(mirror: &Path, reference: &RefName) -> Result<Option<Sha>, GitError> {
    let revision = format!("{reference}^{{commit}}");
    let arguments = ["--verify", "--quiet", "--end-of-options", &revision];
    match Git::bare(mirror).run("rev-parse", arguments).await {
        Ok(output) => {
            Sha::parse(String::from_utf8_lossy(&output).trim()).map(Some).map_err(Into::into)
        }
        Err(GitError::Failed { code: Some(1), .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads author, time and message; [`GitError::Gone`] when the commit is not there.
pub async fn commit(mirror: &Path, sha: &Sha) -> Result<Commit, GitError> {
    commit_in(|| Git::bare(mirror), sha.as_str()).await
}

pub(super) async fn commit_in<'a>(
    git: impl Fn() -> Git<'a>,
    revision: &str,
) -> Result<Commit, GitError> {
    let exact = format!("{revision}^{{commit}}");
    if let Err(GitError::Failed { .. }) = git().run("cat-file", ["-e", &exact]).await {
        return Err(GitError::Gone { sha: revision.to_owned() });
    }
    let format = "--format=%H%x00%an%x00%ae%x00%ct%x00%B";
    let arguments = ["-s", "--no-show-signature", "--no-notes", format, "--end-of-options", &exact];
    let output = git().limit(16 << 20).run("show", arguments).await?;
    parse_commit(&String::from_utf8_lossy(&output))
        .ok_or_else(|| GitError::Unexpected { verb: "show".to_owned() })
}

fn parse_commit(text: &str) -> Option<Commit> {
    let mut fields = text.splitn(5, '\0');
    let sha = Sha::parse(fields.next()?).ok()?;
    let (author_name, author_email) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let committed_at = DateTime::from_timestamp(fields.next()?.parse().ok()?, 0)?;
    let message = fields.next()?.trim_end();
    let message = message[..message.floor_char_boundary(MESSAGE_LIMIT)].to_owned();
    Some(Commit { sha, author_name, author_email, committed_at, message })
}

/// Lists at most `limit` commits that `to` has and `since` has not, newest first,
/// each with the first line of its message only.
pub async fn commits(
    mirror: &Path,
    since: Option<&Sha>,
    to: &Sha,
    limit: usize,
) -> Result<Vec<Commit>, GitError> {
    let limit = format!("--max-count={limit}");
    let since = since.map(|sha| format!("^{sha}"));
    let format = "--format=%H%x00%an%x00%ae%x00%ct%x00%s";
    let mut arguments = vec![limit.as_str(), "--no-show-signature", "--no-notes", format];
    arguments.extend(["--end-of-options", to.as_str()]);
    arguments.extend(since.as_deref());
    let output = Git::bare(mirror).limit(16 << 20).run("log", arguments).await?;
    Ok(String::from_utf8_lossy(&output).lines().filter_map(parse_commit).collect())
}

/// Returns the paths that differ between two commits, sorted; a renamed file is two.
pub async fn changed_paths(mirror: &Path, from: &Sha, to: &Sha) -> Result<Vec<String>, GitError> {
    let options = ["-r", "-z", "--name-only", "--no-renames", "--end-of-options"];
    let arguments = options.into_iter().chain([from.as_str(), to.as_str()]);
    let output = Git::bare(mirror).limit(LISTING).run("diff-tree", arguments).await?;
    Ok(names(&output))
}

/// Tells whether `descendant` is `ancestor` or has it in its history; `false`
/// also when one of them is not in the mirror.
pub async fn is_ancestor(
    mirror: &Path,
    ancestor: &Sha,
    descendant: &Sha,
) -> Result<bool, GitError> {
    let arguments = ["--is-ancestor", "--end-of-options", ancestor.as_str(), descendant.as_str()];
    match Git::bare(mirror).run("merge-base", arguments).await {
        Ok(_) => Ok(true),
        // 1 is no; 128 is what git says of an object it does not have.
        Err(GitError::Failed { code: Some(1 | 128), .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a file of a commit; `None` when there is no plain file of that name.
/// Symbolic links are not followed.
pub async fn read_file(mirror: &Path, sha: &Sha, path: &str) -> Result<Option<Vec<u8>>, GitError> {
    check_path(path)?;
    let options = ["-z", "--full-tree", "--end-of-options", sha.as_str(), path];
    let output = Git::bare(mirror).run("ls-tree", options).await?;
    let listing = String::from_utf8_lossy(&output);
    let Some((entry, _)) = listing.split_once('\t') else { return Ok(None) };
    let mut fields = entry.split(' ');
    let (mode, kind, object) = (fields.next(), fields.next(), fields.next());
    let (Some("100644" | "100755"), Some("blob"), Some(object)) = (mode, kind, object) else {
        return Ok(None);
    };
    let object = Sha::parse(object)?;
    let git = Git::bare(mirror).limit(FILE_LIMIT);
    git.run("cat-file", ["blob", object.as_str()]).await.map(Some)
}

/// Lists the plain files directly in `folder` of a commit; the root is `""`.
pub async fn list_files(mirror: &Path, sha: &Sha, folder: &str) -> Result<Vec<String>, GitError> {
    let mut options = vec!["-z", "--full-tree", "--end-of-options", sha.as_str()];
    let inside = format!("{folder}/");
    if !folder.is_empty() {
        check_path(folder)?;
        options.push(&inside);
    }
    let output = Git::bare(mirror).limit(LISTING).run("ls-tree", options).await?;
    let listing = String::from_utf8_lossy(&output);
    let plain = |entry: &str| {
        let (entry, path) = entry.split_once('\t')?;
        entry.starts_with("100").then(|| path.to_owned())
    };
    Ok(listing.split('\0').filter_map(plain).collect())
}

/// Lists the folders at the root of a commit.
pub async fn list_folders(mirror: &Path, sha: &Sha) -> Result<Vec<String>, GitError> {
    let options = ["-z", "-d", "--name-only", "--full-tree", "--end-of-options", sha.as_str()];
    let output = Git::bare(mirror).limit(LISTING).run("ls-tree", options).await?;
    Ok(names(&output))
}

/// Puts exactly one commit of a mirror into the empty directory `into`, with `.git`
/// at the depth asked (`None` is everything), detached.
pub async fn clone_commit(
    mirror: &Path,
    sha: &Sha,
    depth: Option<u32>,
    into: &Path,
) -> Result<(), GitError> {
    let exact = format!("{sha}^{{commit}}");
    if let Err(GitError::Failed { .. }) = Git::bare(mirror).run("cat-file", ["-e", &exact]).await {
        return Err(GitError::Gone { sha: sha.to_string() });
    }
    let source = absolute(mirror)?;
    let arguments = ["--quiet", "--template=", "--end-of-options", "."];
    Git::tree(into).run("init", arguments).await?;
    let depth = depth.map(|depth| format!("--depth={}", depth.max(1)));
    let mut arguments =
        vec!["--quiet", "--no-tags", "--no-write-fetch-head", "--upload-pack", SERVE];
    arguments.extend(depth.as_deref());
    arguments.extend(["--end-of-options", source.as_str(), sha.as_str()]);
    Git::tree(into).remote(&source, None).run("fetch", arguments).await?;
    let arguments = ["--quiet", "--force", "--detach", sha.as_str()];
    Git::tree(into).run("checkout", arguments).await.map(drop)
}

fn absolute(path: &Path) -> Result<RemoteUrl, NameError> {
    RemoteUrl::local_path(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

pub(super) fn names(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_branches_tags_and_the_commit_behind_an_annotated_tag() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\n"
        );
        let remote = parse_listing(&text);
        assert_eq!(remote.default_branch.as_deref(), Some("main"));
        let told: Vec<_> =
            remote.refs.iter().map(|r| (r.kind, r.name.as_str(), r.sha.as_str())).collect();
        assert_eq!(told, [(RefKind::Branch, "main", &*a), (RefKind::Tag, "v1", &*c)]);
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        let text = format!("{}\0A\0a@x\x000\0{}", "a".repeat(40), "ü".repeat(5000));
        let commit = parse_commit(&text).unwrap();
        assert_eq!(commit.message.len(), 8 << 10);
    }
}
