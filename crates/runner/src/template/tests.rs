//! Templates from directories, from commits and from repositories made here.

use std::path::PathBuf;
use std::process::Command;

use pipeline::{Diagnostics, Document, SourceFile, check, parse};

use super::*;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        for folder in ["tree", "templates"] {
            std::fs::create_dir(place.path(folder)).unwrap();
        }
        place.git(&["init", "-q", "-b", "main"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// In the repository of templates.
    fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"];
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path("templates")).args(identity).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Commits one file of the repository of templates and tags the commit.
    fn release(&self, path: &str, text: &str, tag: &str) {
        self.write(&format!("templates/{path}"), text);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", tag]);
        self.git(&["tag", "-f", tag]);
    }

    /// `https://git.example/t.git` is the repository made here; there is no other.
    fn remote(&self, address: &str) -> Result<Remote, RemoteError> {
        let url = match address {
            "https://git.example/t.git" => RemoteUrl::local_path(&self.path("templates"))?,
            "https://gone.example/t.git" => RemoteUrl::local_path(&self.path("gone"))?,
            _ => return Err(RemoteError::Forbidden("only git.example may be asked".to_owned())),
        };
        Ok(Remote { url, credential: None })
    }

    async fn fetch(&self, text: &str, lock: &Lock, offline: bool) -> Library {
        let (tree, store) = (self.path("tree"), self.path("store"));
        let remote = |address: &str| self.remote(address);
        let tree = Tree::Directory(&tree);
        let sources = TemplateSources { tree, store: &store, offline, remote: &remote };
        fetch(&document(text), lock, &sources).await.unwrap()
    }

    async fn update(&self, text: &str, lock: &mut Lock) -> Library {
        let (tree, store) = (self.path("tree"), self.path("store"));
        let remote = |address: &str| self.remote(address);
        let tree = Tree::Directory(&tree);
        let sources = TemplateSources { tree, store: &store, offline: false, remote: &remote };
        update(&document(text), &Lock::default(), lock, &sources).await.unwrap()
    }
}

fn document(text: &str) -> Document {
    parse(&SourceFile::new(".shipline.yml", text)).0
}

/// The stages of the pipeline, or what stands against it.
fn stages(text: &str, library: &Library) -> Result<String, Diagnostics> {
    let (pipeline, found) = check(&document(text), library);
    pipeline.map(|pipeline| pipeline.stages().collect::<Vec<_>>().join(" ")).ok_or(found)
}

fn said(text: &str, library: &Library) -> String {
    stages(text, library).unwrap_err().to_string()
}

const GIT: &str = "template: https://git.example/t.git//java@1";

#[tokio::test]
async fn a_template_of_a_repository_is_its_newest_tag_until_the_lock_moves() {
    let place = Place::new();
    place.release("java/template.yml", "image: a:1\nstages: { one: make }", "v1.0.0");
    place.release("java/template.yml", "image: a:1\nstages: { two: make }", "v1.2");
    place.release("java/template.yml", "image: a:1\nstages: { other: make }", "v2.0");
    let mut lock = Lock::default();
    assert!(said(GIT, &place.fetch(GIT, &lock, false).await).contains("error[E037]"));
    let library = place.update(GIT, &mut lock).await;
    assert_eq!(stages(GIT, &library).unwrap(), "two");
    let locked = lock.iter().next().unwrap().1.clone();
    assert_eq!((locked.version.as_str(), locked.commit.is_some()), ("1.2", true));

    place.release("java/template.yml", "image: a:1\nstages: { three: make }", "v1.3");
    assert_eq!(stages(GIT, &place.fetch(GIT, &lock, false).await).unwrap(), "two");
    let before = lock.clone();
    assert_eq!(stages(GIT, &place.update(GIT, &mut lock).await).unwrap(), "three");
    assert_ne!(lock, before);
}

#[tokio::test]
async fn what_was_fetched_once_is_read_without_the_network() {
    let place = Place::new();
    place.release("java.yml", "template: ./base.yml\nstages: { b: make }", "1.0");
    place.release("base.yml", "image: a:1\nstages: { a: make }", "1.1");
    let mut lock = Lock::default();
    place.update(GIT, &mut lock).await;
    assert_eq!(lock.iter().count(), 2, "{}", lock.to_text());
    std::fs::rename(place.path("templates"), place.path("away")).unwrap();
    assert_eq!(stages(GIT, &place.fetch(GIT, &lock, false).await).unwrap(), "a b");
    // Without what was stored it is told that nobody was asked, or that nobody answered.
    std::fs::remove_dir_all(place.path("store")).unwrap();
    let offline = said(GIT, &place.fetch(GIT, &lock, true).await);
    assert!(
        offline.contains("error[E039]") && offline.contains("`--offline` asks nobody"),
        "{offline}"
    );
    let gone = said(GIT, &place.fetch(GIT, &lock, false).await);
    assert!(gone.contains("error[E039]") && gone.contains("https://git.example/t.git: "), "{gone}");
    std::fs::rename(place.path("away"), place.path("templates")).unwrap();
    assert_eq!(stages(GIT, &place.fetch(GIT, &lock, false).await).unwrap(), "a b");
}

#[tokio::test]
async fn a_tag_that_was_moved_changes_nothing_and_a_changed_digest_is_told() {
    let place = Place::new();
    place.release("java.yml", "image: a:1\nstages: { good: make }", "v1.0");
    let mut lock = Lock::default();
    place.update(GIT, &mut lock).await;
    place.release("java.yml", "image: a:1\nstages: { evil: make }", "v1.0");
    std::fs::remove_dir_all(place.path("store")).unwrap();
    assert_eq!(stages(GIT, &place.fetch(GIT, &lock, false).await).unwrap(), "good");

    let text = lock.to_text();
    let digest = lock.iter().next().unwrap().1.sha256.clone();
    let other =
        Lock::parse(&SourceFile::new(LOCK_FILE, text.replace(&digest, &"0".repeat(64)))).unwrap();
    let told = said(GIT, &place.fetch(GIT, &other, false).await);
    assert!(
        told.contains("error[E037]: template `https://git.example/t.git//java@1` is not the one"),
        "{told}"
    );
    assert!(told.contains(&format!("locked: sha256 {}", "0".repeat(64))), "{told}");
    assert!(told.contains(&format!("found:  sha256 {digest}")), "{told}");
    // A stored text that rotted is fetched anew.
    let text = std::fs::read_dir(place.path("store/text")).unwrap().next().unwrap().unwrap();
    let text = text.path();
    std::fs::write(&text, "rotten").unwrap();
    assert_eq!(stages(GIT, &place.fetch(GIT, &lock, false).await).unwrap(), "good");
    assert_ne!(std::fs::read_to_string(text).unwrap(), "rotten");
}

#[tokio::test]
async fn tags_of_one_template_go_before_those_of_the_repository() {
    let place = Place::new();
    place.release("java.yml", "image: a:1\nstages: { of-all: make }", "v1.9");
    place.release("java.yml", "image: a:1\nstages: { own: make }", "java/v1.1");
    let mut lock = Lock::default();
    assert_eq!(stages(GIT, &place.update(GIT, &mut lock).await).unwrap(), "own");
    let other = "template: https://git.example/t.git//php@1";
    let told = said(other, &place.update(other, &mut lock).await);
    assert!(told.contains("error[E030]: there is no template `php`"), "{told}");
    assert!(
        told.contains("no file `php/template.yml`") && told.contains("no file `php.yml`"),
        "{told}"
    );
    let newer = "template: https://git.example/t.git//java@3";
    let told = said(newer, &place.update(newer, &mut lock).await);
    assert!(
        told.contains("error[E031]")
            && told.contains("write `https://git.example/t.git//java@1.1`"),
        "{told}"
    );
}

#[tokio::test]
async fn a_repository_that_may_not_be_asked_is_not() {
    let place = Place::new();
    let text = "template: https://evil.example/t.git//java@1";
    let told = said(text, &place.update(text, &mut Lock::default()).await);
    assert!(told.contains("https://evil.example/t.git: only git.example may be asked"), "{told}");
    let text = "template: https://gone.example/t.git//java@1";
    let told = said(text, &place.update(text, &mut Lock::default()).await);
    assert!(told.contains("error[E039]") && told.contains("does not"), "{told}");
}

#[tokio::test]
async fn a_file_of_the_directory_is_read_and_a_link_is_not() {
    let place = Place::new();
    place.write("tree/ci/java.yml", "image: a:1\nstages: { a: make }");
    place.write("secret.yml", "image: a:1\nstages: { secret: make }");
    std::os::unix::fs::symlink(place.path("secret.yml"), place.path("tree/ci/link.yml")).unwrap();
    std::os::unix::fs::symlink(place.directory.path(), place.path("tree/up")).unwrap();
    let of = async |path: &str| {
        let text = format!("template: {path}");
        stages(&text, &place.fetch(&text, &Lock::default(), true).await)
            .unwrap_or_else(|found| found.to_string())
    };
    assert_eq!(of("./ci/java.yml").await, "a");
    assert!(of("./ci/link.yml").await.contains("`ci/link.yml` is a symbolic link"));
    assert!(of("./up/secret.yml").await.contains("`up` is a symbolic link"));
    let slip = of("./ci/jaav.yml").await;
    assert!(slip.contains("did you mean `./ci/java.yml`?"), "{slip}");
    assert!(of("./ci").await.contains("`ci` is not a plain file"));
    place.write("tree/ci/huge.yml", &"#".repeat(3 << 20));
    assert!(of("./ci/huge.yml").await.contains("the limit is 1 MiB"));
    std::fs::write(place.path("tree/ci/bytes.yml"), [b'a', 0xff]).unwrap();
    assert!(of("./ci/bytes.yml").await.contains("byte 1 is 0xFF"));
}

#[tokio::test]
async fn a_commit_is_read_as_a_directory_is() {
    let place = Place::new();
    place.release("ci/java.yml", "image: a:1\nstages: { a: make }", "v1");
    std::os::unix::fs::symlink("/etc/passwd", place.path("templates/link.yml")).unwrap();
    place.release("x", "x", "v2");
    let mirror = place.path("mirror.git");
    let url = RemoteUrl::local_path(&place.path("templates")).unwrap();
    crate::git::fetch_mirror(&url, None, &mirror).await.unwrap();
    let tag = crate::git::RefName::parse("refs/tags/v2").unwrap();
    let sha = crate::git::resolve(&mirror, &tag).await.unwrap().unwrap();
    let store = place.path("store");
    let remote = |address: &str| place.remote(address);
    let tree = Tree::Commit { mirror: &mirror, sha: &sha };
    let sources = TemplateSources { tree, store: &store, offline: false, remote: &remote };
    let of = async |text: &str| {
        let library = fetch(&document(text), &Lock::default(), &sources).await.unwrap();
        stages(text, &library).unwrap_or_else(|found| found.to_string())
    };
    assert_eq!(of("template: ./ci/java.yml").await, "a");
    assert!(of("template: ./link.yml").await.contains("error[E030]"));
}

#[tokio::test]
async fn a_bundled_template_is_locked_by_its_digest() {
    let place = Place::new();
    let text = "template: docker-service@1\nwith: { image: r.example/a, registry: r, environment: demo }\n\
                environments: { demo: { target: house } }";
    let mut lock = Lock::default();
    assert!(said(text, &place.fetch(text, &lock, true).await).contains("E037"));
    place.update(text, &mut lock).await;
    assert!(stages(text, &place.fetch(text, &lock, true).await).is_ok());
    let entry = lock.iter().next().unwrap();
    assert_eq!((entry.0, entry.1.commit.as_deref()), ("docker-service@1", None));
    assert!(!place.path("store").exists(), "it comes with Shipline");
    // A slip is told as one, whatever the lock has.
    let slip = "template: docker-servce@1";
    assert!(
        said(slip, &place.fetch(slip, &lock, true).await)
            .contains("did you mean `docker-service`?")
    );
    // Another version of Shipline that brings another text under the same version.
    let digest = entry.1.sha256.clone();
    let other = lock.to_text().replace(&digest, &"1".repeat(64));
    let other = Lock::parse(&SourceFile::new(LOCK_FILE, other)).unwrap();
    assert!(said(text, &place.fetch(text, &other, true).await).contains("E037"));
    // One that it no longer brings is told with those that it does.
    let gone = lock.to_text().replace("version: \"1\"", "version: \"1.7\"");
    let gone = Lock::parse(&SourceFile::new(LOCK_FILE, gone)).unwrap();
    assert!(said(text, &place.fetch(text, &gone, true).await).contains("E031"));
}

#[tokio::test]
async fn a_lock_cannot_give_one_template_the_text_of_another() {
    let place = Place::new();
    place.release("evil.yml", "image: a:1\nstages: { evil: make }", "v1.0");
    place.release("java.yml", "image: a:1\nstages: { good: make }", "v1.1");
    let evil = "template: https://git.example/t.git//evil@1";
    let (mut lock, mut other) = (Lock::default(), Lock::default());
    place.update(evil, &mut other).await;
    place.update(GIT, &mut lock).await;
    let digest = |lock: &Lock| lock.iter().next().unwrap().1.sha256.clone();
    let forged = lock.to_text().replace(&digest(&lock), &digest(&other));
    let forged = Lock::parse(&SourceFile::new(LOCK_FILE, forged)).unwrap();
    let told = said(GIT, &place.fetch(GIT, &forged, false).await);
    assert!(told.contains("error[E037]") && told.contains("is not the one"), "{told}");
}

#[tokio::test]
async fn links_in_a_repository_of_templates_are_no_templates() {
    let place = Place::new();
    place.write("templates/real/template.yml", "image: a:1\nstages: { real: make }");
    std::os::unix::fs::symlink("/etc/passwd", place.path("templates/file.yml")).unwrap();
    std::os::unix::fs::symlink("real", place.path("templates/folder")).unwrap();
    place.release("beside.yml", "template: ./file.yml", "v1.0");
    for (name, missing) in [("file", "file"), ("folder", "folder"), ("beside", "file.yml")] {
        let text = format!("template: https://git.example/t.git//{name}@1");
        let told = said(&text, &place.update(&text, &mut Lock::default()).await);
        let expected = format!("error[E030]: there is no template `{missing}`");
        assert!(told.contains(&expected), "{told}");
    }
}

#[tokio::test]
async fn a_repository_that_may_not_be_read_answers_like_one_that_is_not_there() {
    let place = Place::new();
    place.release("java.yml", "image: a:1\nstages: { secret: make }", "v1.0");
    let mut lock = Lock::default();
    place.update(GIT, &mut lock).await;
    // What somebody else has fetched is no answer to those who may not ask.
    let (tree, store) = (place.path("tree"), place.path("store-of-another"));
    let forbidden =
        |_: &str| Err(RemoteError::Forbidden("only own.example may be asked".to_owned()));
    let tree = Tree::Directory(&tree);
    let sources = TemplateSources { tree, store: &store, offline: false, remote: &forbidden };
    let told = async |address: &str| {
        let text = format!("template: {address}//java@1");
        let lock = lock.to_text().replace("https://git.example/t.git", address);
        let lock = Lock::parse(&SourceFile::new(LOCK_FILE, lock)).unwrap();
        let library = fetch(&document(&text), &lock, &sources).await.unwrap();
        said(&text, &library).replace(address, "ADDRESS")
    };
    assert_eq!(told("https://git.example/t.git").await, told("https://git.example/x.git").await);
}
