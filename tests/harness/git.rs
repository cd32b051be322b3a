//! A repository to push to, and a work tree to push from.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Repository {
    /// What the server polls.
    pub bare: PathBuf,
    pub tree: PathBuf,
}

impl Repository {
    pub fn create(folder: &Path) -> Self {
        let repository = Self { bare: folder.join("origin.git"), tree: folder.join("tree") };
        run(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
        run(folder, &["init", "--quiet", "--initial-branch=main", "tree"]);
        let origin = repository.bare.display().to_string();
        run(&repository.tree, &["remote", "add", "origin", &origin]);
        repository
    }

    pub fn write(&self, path: &str, text: &(impl AsRef<[u8]> + ?Sized)) {
        let file = self.tree.join(path);
        std::fs::create_dir_all(file.parent().expect("a file has a folder"))
            .expect("a folder can be made");
        std::fs::write(file, text).expect("a file can be written");
    }

    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let file = self.tree.join(path);
        let text = std::fs::read_to_string(&file).expect("the file is there");
        assert!(text.contains(from), "{path} does not contain `{from}`");
        std::fs::write(file, text.replace(from, to)).expect("a file can be written");
    }

    /// Copies a folder of files into the tree.
    pub fn copy(&self, from: &Path) {
        let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(&self.tree).status();
        assert!(status.is_ok_and(|status| status.success()), "{} cannot be copied", from.display());
    }

    /// Commits everything and returns the full id.
    pub fn commit(&self, message: &str) -> String {
        run(&self.tree, &["add", "--all"]);
        run(&self.tree, &["commit", "--quiet", "--message", message]);
        run(&self.tree, &["rev-parse", "HEAD"])
    }

    pub fn push(&self) {
        run(&self.tree, &["push", "--quiet", "origin", "HEAD"]);
    }

    pub fn tag_and_push(&self, tag: &str) {
        run(&self.tree, &["tag", "--force", tag]);
        run(&self.tree, &["push", "--quiet", "--force", "origin", &format!("refs/tags/{tag}")]);
    }

    /// Lets plain file servers serve it.
    pub fn prepare_for_http(&self) {
        run(&self.bare, &["update-server-info"]);
    }

    pub fn commit_and_push(&self, message: &str) -> String {
        let sha = self.commit(message);
        self.push();
        sha
    }
}

fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args([
            "-c",
            "user.name=Ada Dev",
            "-c",
            "user.email=ada@example.net",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git can be started");
    assert!(
        output.status.success(),
        "git {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
