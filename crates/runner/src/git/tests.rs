//! The real `git` on repositories made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(repository.path()).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    fn mirror(&self) -> PathBuf {
        self.directory.path().join("mirror.git")
    }

    fn url(&self) -> RemoteUrl {
        RemoteUrl::local_path(&self.path()).unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.path(), arguments)
    }

    fn commit(&self, message: &str, files: &[(&str, &str)]) -> Sha {
        for (path, contents) in files {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        Sha::parse(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }
}

fn git_in(directory: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"];
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(identity)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_mirror_follows_the_remote_and_is_read_by_commit() {
    let repository = Repository::new();
    let first = repository.commit("one", &[(".shipline.yml", "a"), ("pipelines/web.yml", "b")]);
    repository.git(&["tag", "-a", "v1", "-m", "v1"]);
    let second = repository.commit("two\n\nbody", &[("pipelines/web.yml", "c"), ("new", "")]);
    let mirror = repository.mirror();

    let remote = ls_remote(&repository.url(), None).await.unwrap();
    assert_eq!(remote.default_branch.as_deref(), Some("main"));
    assert_eq!(
        remote.refs,
        [
            RemoteRef { kind: RefKind::Branch, name: "main".to_owned(), sha: second.clone() },
            RemoteRef { kind: RefKind::Tag, name: "v1".to_owned(), sha: first.clone() },
        ]
    );

    fetch_mirror(&repository.url(), None, &mirror).await.unwrap();
    let name = |text| RefName::parse(text).unwrap();
    assert_eq!(resolve(&mirror, &name("main")).await.unwrap(), Some(second.clone()));
    assert_eq!(resolve(&mirror, &name("v1")).await.unwrap(), Some(first.clone()));
    assert_eq!(resolve(&mirror, &name("nope")).await.unwrap(), None);

    let read = |sha, path| {
        let mirror = &mirror;
        async move { read_file(mirror, sha, path).await.unwrap() }
    };
    assert_eq!(read(&first, "pipelines/web.yml").await.as_deref(), Some(&b"b"[..]));
    assert_eq!(read(&second, "pipelines/web.yml").await.as_deref(), Some(&b"c"[..]));
    assert_eq!(read(&second, "pipelines").await, None);
    assert_eq!(read(&second, "none").await, None);
    assert_eq!(list_files(&mirror, &second, "pipelines").await.unwrap(), ["pipelines/web.yml"]);
    assert_eq!(list_files(&mirror, &second, "").await.unwrap(), [".shipline.yml", "new"]);
    assert_eq!(
        changed_paths(&mirror, &first, &second).await.unwrap(),
        ["new", "pipelines/web.yml"]
    );

    let told = commit(&mirror, &second).await.unwrap();
    assert_eq!((told.author_name.as_str(), told.author_email.as_str()), ("Ann", "ann@example.com"));
    assert_eq!(told.message, "two\n\nbody");

    repository.git(&["branch", "-q", "-m", "main", "trunk"]);
    fetch_mirror(&repository.url(), None, &mirror).await.unwrap();
    assert_eq!(resolve(&mirror, &name("main")).await.unwrap(), None);
    assert_eq!(resolve(&mirror, &name("trunk")).await.unwrap(), Some(second));
}

#[tokio::test]
async fn a_symbolic_link_is_not_a_file() {
    let repository = Repository::new();
    std::os::unix::fs::symlink("/etc/passwd", repository.path().join("link")).unwrap();
    let sha = repository.commit("link", &[]);
    fetch_mirror(&repository.url(), None, &repository.mirror()).await.unwrap();
    assert_eq!(read_file(&repository.mirror(), &sha, "link").await.unwrap(), None);
    assert!(matches!(
        read_file(&repository.mirror(), &sha, "../link").await,
        Err(GitError::Name(_))
    ));
}

#[tokio::test]
async fn a_clone_is_exactly_the_commit_at_the_depth_asked() {
    let repository = Repository::new();
    repository.commit("one", &[("a", "1")]);
    let second = repository.commit("two", &[("a", "2")]);
    repository.commit("three", &[("a", "3")]);
    let mirror = repository.mirror();
    fetch_mirror(&repository.url(), None, &mirror).await.unwrap();

    for (depth, commits) in [(Some(1), "1"), (None, "2")] {
        let into = tempfile::tempdir().unwrap();
        clone_commit(&mirror, &second, depth, into.path()).await.unwrap();
        assert_eq!(fs::read_to_string(into.path().join("a")).unwrap(), "2");
        assert_eq!(git_in(into.path(), &["rev-list", "--count", "HEAD"]), commits);
        assert_eq!(git_in(into.path(), &["status", "--porcelain"]), "");
        assert_eq!(git_in(into.path(), &["rev-parse", "HEAD"]), second.as_str());
    }
}

#[tokio::test]
async fn a_commit_that_no_ref_leads_to_any_more_is_still_cloned_and_a_lost_one_is_gone() {
    let repository = Repository::new();
    repository.commit("one", &[("a", "1")]);
    let lost = repository.commit("two", &[("a", "2")]);
    fetch_mirror(&repository.url(), None, &repository.mirror()).await.unwrap();
    repository.git(&["reset", "-q", "--hard", "HEAD^"]);
    fetch_mirror(&repository.url(), None, &repository.mirror()).await.unwrap();

    let into = tempfile::tempdir().unwrap();
    clone_commit(&repository.mirror(), &lost, Some(1), into.path()).await.unwrap();
    let never = Sha::parse(&"1".repeat(40)).unwrap();
    let error = clone_commit(&repository.mirror(), &never, Some(1), into.path()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("commit {never} is gone"));
    let error = commit(&repository.mirror(), &never).await.unwrap_err();
    assert!(matches!(error, GitError::Gone { .. }));
}

#[tokio::test]
async fn hooks_and_filters_of_a_repository_do_not_run() {
    let repository = Repository::new();
    let trace = repository.directory.path().join("ran");
    let sha = repository.commit("one", &[(".gitattributes", "* filter=evil\n"), ("a", "1")]);
    let mirror = repository.mirror();
    fetch_mirror(&repository.url(), None, &mirror).await.unwrap();
    let command = format!("touch {}", trace.display());
    git_in(&mirror, &["config", "filter.evil.smudge", &command]);
    git_in(&mirror, &["config", "uploadpack.packObjectsHook", &command]);
    fs::create_dir_all(mirror.join("hooks")).unwrap();
    fs::write(mirror.join("hooks/post-checkout"), format!("#!/bin/sh\n{command}\n")).unwrap();

    let into = tempfile::tempdir().unwrap();
    clone_commit(&mirror, &sha, Some(1), into.path()).await.unwrap();
    assert_eq!(fs::read_to_string(into.path().join("a")).unwrap(), "1");
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_local_repository_tells_its_branch_commit_and_state() {
    let repository = Repository::new();
    let path = repository.path();
    let empty = local(&path).await.unwrap().unwrap();
    assert_eq!((empty.branch.as_deref(), empty.commit, empty.dirty), (Some("main"), None, false));

    let sha = repository.commit("one", &[("a", "1"), ("d/b", "2")]);
    repository.git(&["remote", "add", "origin", "https://me:token@forge.example/app"]);
    let told = local(&path.join("d")).await.unwrap().unwrap();
    assert_eq!(told.root, path.canonicalize().unwrap());
    assert_eq!(told.commit.unwrap().sha, sha);
    assert_eq!(told.remote_url.as_deref(), Some("https://me@forge.example/app"));
    assert_eq!((told.default_branch.as_deref(), told.dirty), (Some("main"), false));
    assert_eq!(tracked_files(&path.join("d")).await.unwrap(), ["b"]);

    fs::write(path.join("new"), "").unwrap();
    repository.git(&["checkout", "-q", "--detach"]);
    let told = local(&path).await.unwrap().unwrap();
    assert_eq!((told.branch, told.dirty), (None, true));
}

#[tokio::test]
async fn changed_is_what_would_be_pushed_with_what_is_not_committed() {
    let repository = Repository::new();
    let path = repository.path();
    let changed = async |base| changed_files(&path, base).await.unwrap();
    let pushed = Base::Pushed { default_branch: Some("main") };
    assert_eq!(changed(pushed).await, None, "there is no commit");
    repository.commit("one", &[("a", "1")]);
    assert_eq!(changed(pushed).await, None, "the first commit has no parent");
    repository.commit("two", &[("a", "2"), (".gitignore", "out")]);
    assert_eq!(changed(pushed).await.unwrap(), [".gitignore", "a"], "the last commit");
    fs::write(path.join("new"), "").unwrap();
    fs::write(path.join("out"), "").unwrap();
    assert_eq!(changed(pushed).await.unwrap(), ["new"], "what is not committed");
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.commit("three", &[("d/b", "1")]);
    repository.commit("four", &[("d/c", "1")]);
    assert_eq!(changed(pushed).await.unwrap(), ["d/b", "d/c", "new"], "what main does not have");
    assert_eq!(changed(Base::Target("main")).await.unwrap(), ["d/b", "d/c", "new"]);
    assert_eq!(changed(Base::Target("none")).await, None);
    let below = changed_files(&path.join("d"), pushed).await.unwrap();
    assert_eq!(below.unwrap(), ["b", "c"], "relative to the directory");
    repository.git(&["config", "branch.topic.remote", "."]);
    repository.git(&["config", "branch.topic.merge", "refs/heads/topic"]);
    assert_eq!(changed(pushed).await.unwrap(), ["d/c"], "all is pushed: the last commit");
    assert!(is_ignored(&path, "out").await.unwrap());
    assert!(!is_ignored(&path, "new").await.unwrap());
    repository.git(&["tag", "v1"]);
    assert_eq!(tags_here(&path).await.unwrap(), ["v1"]);
}

#[tokio::test]
async fn a_directory_without_repository_is_none() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(local(directory.path()).await.unwrap(), None);
    assert!(is_ignored(directory.path(), "a").await.unwrap());
    assert_eq!(tracked_files(directory.path()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_remote_that_is_not_there_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let url = RemoteUrl::local_path(&directory.path().join("none")).unwrap();
    let error = ls_remote(&url, None).await.unwrap_err();
    assert!(matches!(error, GitError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn a_commit_belongs_to_what_was_built_on_it_and_to_nothing_else() {
    let repository = Repository::new();
    let first = repository.commit("first", &[("a", "1")]);
    let second = repository.commit("second", &[("a", "2")]);
    repository.git(&["checkout", "-q", "-b", "side", first.as_str()]);
    let side = repository.commit("side", &[("b", "1")]);
    fetch_mirror(&repository.url(), None, &repository.mirror()).await.unwrap();
    let mirror = repository.mirror();
    assert!(is_ancestor(&mirror, &first, &second).await.unwrap());
    assert!(is_ancestor(&mirror, &second, &second).await.unwrap());
    assert!(!is_ancestor(&mirror, &second, &first).await.unwrap());
    assert!(!is_ancestor(&mirror, &second, &side).await.unwrap());
    let unknown = Sha::parse(&"0".repeat(40)).unwrap();
    assert!(!is_ancestor(&mirror, &unknown, &second).await.unwrap());
}

#[tokio::test]
async fn what_is_new_since_a_commit_is_listed_newest_first() {
    let repository = Repository::new();
    let first = repository.commit("first", &[("a", "1")]);
    let second = repository.commit("second\n\nwith a body", &[("a", "2")]);
    let third = repository.commit("third", &[("a", "3")]);
    fetch_mirror(&repository.url(), None, &repository.mirror()).await.unwrap();
    let mirror = repository.mirror();
    let told = |commits: Vec<Commit>| -> Vec<(Sha, String)> {
        commits.into_iter().map(|commit| (commit.sha, commit.message)).collect()
    };
    let new = told(commits(&mirror, Some(&first), &third, 10).await.unwrap());
    assert_eq!(new, [(third.clone(), "third".to_owned()), (second, "second".to_owned())]);
    let newest = told(commits(&mirror, None, &third, 1).await.unwrap());
    assert_eq!(newest, [(third, "third".to_owned())]);
}
