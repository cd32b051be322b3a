//! Workspaces as layers on a real engine.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use pipeline::Merge;

use super::bench::{Bench, tree};
use crate::Workspace;
use crate::backend::docker::layer::{Attempt, base, remember};
use crate::backend::docker::{direct, labels};
use crate::backend::{AttemptSpec, Backend, BackendError};

/// Tells all that a stage can see of its workspace.
const LOOK: &str = "find . -mindepth 1 | sort | while read -r path; do \
    stat -c '%n %A %u %g %Y' \"$path\"; [ -L \"$path\" ] && readlink \"$path\"; \
    [ -f \"$path\" ] && md5sum \"$path\"; done; true";

#[tokio::test]
async fn a_base_layer_is_the_same_whoever_unpacks_it() {
    let mut bench = Bench::empty().await;
    let long = format!("{0}/{0}", "long".repeat(30));
    let directory = tree(&[("a", "1"), ("d/x", ""), (&long, "2"), ("ignored/no", "3")]);
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path(".gitignore"), "ignored\n").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::set_permissions(path("d/x"), std::fs::Permissions::from_mode(0o4750)).unwrap();
    std::os::unix::fs::symlink("../outside", path("d/link")).unwrap();
    std::os::unix::fs::symlink("d", path("to-directory")).unwrap();
    std::fs::write(path("d/y"), vec![7; 300_000]).unwrap();
    let mut seen = Vec::new();
    for (index, of_root) in [(0, true), (10, false)] {
        bench.backend.engine.of_root = of_root;
        let layer = bench.layer(index);
        let said = bench.check_out(layer, &Workspace::Tree(directory.path().to_owned())).await;
        let looked = bench.stage(index + 1, &[index], &[LOOK]).await;
        seen.push((said.unwrap(), looked.stdout()));
    }
    assert_eq!(seen[0], seen[1]);
    let text = &seen[0].1;
    assert!(text.contains("./d/x -rwxrwxrwx 0 0") && text.contains("../outside"), "{text}");
    assert!(!text.contains("ignored/no"), "{text}");
}

#[tokio::test]
async fn a_layer_that_is_not_empty_or_not_here_is_filled_by_the_engine() {
    let mut bench = Bench::with(&[("a", "1")]).await;
    let engine = &bench.backend.engine;
    let upper = labels::volume(bench.layer(0), labels::Part::Upper);
    assert_eq!(direct::place(engine, &upper), None, "something is in it");
    assert_eq!(direct::place(engine, "sl-nobody-0u"), None);
    bench.backend.engine.root = "/nonexistent".to_owned();
    let empty = labels::empty_volume(bench.run.run);
    assert_eq!(direct::place(&bench.backend.engine, &empty), None);
}

/// Files that a workspace begins with: paths and contents.
type Tree = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn stages_see_what_those_below_made_and_deleted() {
    chain(&Bench::with(CHAIN).await).await;
}

pub(super) const CHAIN: Tree = &[("keep", "k"), ("gone", "g"), ("d/file", "f")];

pub(super) async fn chain(bench: &Bench) {
    let first = bench.stage(1, &[0], &["echo one >one; rm gone; mv d e; chmod 600 keep"]).await;
    assert_eq!(first.exit.code, 0, "{}", first.all());
    let second = bench.stage(2, &[1, 0], &["find . -type f | sort; cat one e/file"]).await;
    assert_eq!(second.stdout(), "./e/file\n./keep\n./one\none\nf");
    let third = bench.stage(3, &[2, 1, 0], &["rm -rf e; mkdir e; echo new >e/new", "ls e"]).await;
    assert_eq!(third.stdout(), "new\n");
    let fourth = bench.stage(4, &[3, 2, 1, 0], &["ls . e"]).await;
    assert_eq!(fourth.stdout(), ".:\ne\nkeep\none\n\ne:\nnew\n");
}

#[tokio::test]
async fn parallel_stages_do_not_see_each_other_and_are_joined() {
    join(&Bench::with(JOIN).await).await;
}

pub(super) const JOIN: Tree = &[("base", "b")];

pub(super) async fn join(bench: &Bench) {
    let (left, right) = tokio::join!(
        bench.stage(1, &[0], &["echo left >left; echo same >same; ls"]),
        bench.stage(2, &[0], &["echo right >right; echo same >same; ls"]),
    );
    assert_eq!(left.stdout(), "base\nleft\nsame\n");
    assert_eq!(right.stdout(), "base\nright\nsame\n");
    let joined = bench.stage(3, &[2, 1, 0], &["ls"]).await;
    assert_eq!(joined.stdout(), "base\nleft\nright\nsame\n");
}

#[tokio::test]
async fn parallel_stages_that_changed_one_path_are_not_joined() {
    conflicts(&Bench::with(CONFLICTS).await).await;
}

pub(super) const CONFLICTS: Tree = &[("version", "0"), ("d/x", "x"), ("d/y", "y")];

pub(super) async fn conflicts(bench: &Bench) {
    bench.stage(1, &[0], &["echo 1 >version; rm -rf d; mkdir d; echo z >d/z"]).await;
    bench.stage(2, &[0], &["echo 2 >version"]).await;
    bench.stage(3, &[0], &["echo changed >d/x"]).await;

    let join = |lower: &[u32]| {
        let mut attempt = bench.attempt(9, &["true"]);
        attempt.lower = lower.iter().map(|&index| bench.layer(index)).collect();
        attempt
    };
    let Err(BackendError::User { code, message }) = bench.run_attempt(&join(&[2, 1, 0])).await
    else {
        panic!("both changed `version`");
    };
    assert_eq!(code, Some("E095"));
    assert_eq!(
        message,
        "`version` was changed by both `s1` and `s2`, which run in parallel: write another path, \
         let one need the other, or let the later one win with `merge: [\"version\"]` in `s9`"
    );
    // One made the directory anew, the other changed what was in it.
    let Err(BackendError::User { code, message }) = bench.run_attempt(&join(&[3, 1, 0])).await
    else {
        panic!("one deleted what the other changed");
    };
    assert_eq!(code, Some("E095"));
    assert!(message.starts_with("`d/x` was changed by both `s1` and `s3`"), "{message}");
    assert_eq!(bench.run_attempt(&join(&[3, 2, 0])).await.unwrap().exit.code, 0);
}

#[tokio::test]
async fn a_layer_that_is_gone_is_named_and_never_taken_for_empty() {
    gone_layer(&Bench::with(GONE_LAYER).await).await;
}

pub(super) const GONE_LAYER: Tree = &[("base", "b")];

pub(super) async fn gone_layer(bench: &Bench) {
    bench.stage(1, &[0], &["echo 1 >one"]).await;
    bench.stage(2, &[0], &["echo 2 >two"]).await;
    // Its container is removed behind the run; only then does the volume go.
    let name = format!("sl-{}-1u", bench.run.run.short());
    let gone = async || {
        crate::backend::docker::clean::remove_volume(&bench.backend.engine, &name).await.is_ok()
    };
    for _ in 0..100 {
        if gone().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for lower in [&[1, 0][..], &[2, 1, 0][..]] {
        let mut attempt = bench.attempt(9, &["ls"]);
        attempt.lower = lower.iter().map(|&index| bench.layer(index)).collect();
        let Err(BackendError::Infrastructure { message, .. }) = bench.run_attempt(&attempt).await
        else {
            panic!("a layer is missing in {lower:?}");
        };
        assert_eq!(message, format!("the layer `{name}` is gone from the engine"));
    }
}

#[tokio::test]
async fn a_long_chain_of_layers_that_hold_nothing_is_not_copied() {
    let bench = Bench::empty().await;
    let mut lower = Vec::new();
    for index in 0..60 {
        let layer = bench.layer(index);
        if index % 20 == 0 {
            let files = tree(&[(&format!("f{index}"), ""), ("newest", &index.to_string())]);
            bench.check_out(layer, &Workspace::Tree(files.path().to_owned())).await.unwrap();
        } else {
            let attempt = Attempt {
                stage: "s",
                attempt: 1,
                container: "",
                layer,
                lower: &lower,
                merge: None,
            };
            base(&bench.backend.engine, &bench.backend.layers, &bench.run, &attempt).await.unwrap();
        }
        lower.insert(0, layer);
    }
    let mut attempt = bench.attempt(60, &["ls; cat newest"]);
    attempt.lower = lower;
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.stdout(), "f0\nf20\nf40\nnewest\n40", "{}", ran.all());
    let filter = format!("name=sl-{}-60f", bench.run.run.short());
    let listed = Command::new("docker").args(["volume", "ls", "-q", "--filter", &filter]).output();
    assert_eq!(String::from_utf8(listed.unwrap().stdout).unwrap(), "");
}

#[tokio::test]
async fn a_long_chain_is_flattened_and_the_newest_wins() {
    let bench = Bench::empty().await;
    let count = 80;
    let mut lower = Vec::new();
    for index in 0..count {
        let layer = bench.layer(index);
        let files = tree(&[(&format!("f{index}"), ""), ("newest", &index.to_string())]);
        bench.check_out(layer, &Workspace::Tree(files.path().to_owned())).await.unwrap();
        // As if each had needed the one before.
        let attempt =
            Attempt { stage: "s", attempt: 1, container: "", layer, lower: &lower, merge: None };
        remember(&bench.backend.layers, &bench.run, &attempt);
        lower.insert(0, layer);
    }
    let mut attempt = bench.attempt(count, &["ls | wc -l; cat newest; ln f1 linked; rm f0"]);
    attempt.lower = lower.clone();
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.stdout(), "81\n79", "{}", ran.all());
    bench.backend.seal(&bench.run, attempt.layer).await.unwrap();

    // The next stage uses what was flattened: nothing is copied again.
    let flats = || {
        let filter = format!("name=sl-{}-{count}f", bench.run.run.short());
        let listed =
            Command::new("docker").args(["volume", "ls", "-q", "--filter", &filter]).output();
        String::from_utf8(listed.unwrap().stdout).unwrap()
    };
    let before = flats();
    assert!(!before.is_empty());
    let mut next = bench.attempt(count + 1, &["ls | wc -l; ls f0 linked"]);
    next.lower = [vec![attempt.layer], lower].concat();
    let ran = bench.run_attempt(&next).await.unwrap();
    assert!(ran.stdout().starts_with("81\nlinked"), "{}", ran.all());
    assert_eq!(flats(), before);
}

#[tokio::test]
async fn a_commit_is_checked_out_and_a_lost_one_is_gone() {
    let bench = Bench::empty().await;
    let work = tree(&[("a", "1"), ("run.sh", "#!/bin/sh\necho ran\n")]);
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"];
        let output =
            Command::new("git").arg("-C").arg(work.path()).args(identity).args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["update-index", "--chmod=+x", "run.sh"]);
    git(&["commit", "-q", "-m", "one"]);
    let sha = git(&["rev-parse", "HEAD"]);
    let parent = tempfile::tempdir().unwrap();
    let mirror = parent.path().join("mirror.git");
    let cloned = Command::new("git")
        .args(["clone", "-q", "--mirror"])
        .arg(work.path())
        .arg(&mirror)
        .status();
    assert!(cloned.unwrap().success());

    let said = bench
        .check_out(bench.layer(0), &Workspace::Commit { mirror: mirror.clone(), sha: sha.clone() })
        .await
        .unwrap();
    assert!(said.contains(" files, "), "{said}");
    let ran =
        bench.stage(1, &[0], &["./run.sh; cat a; cat .git/HEAD; stat -c '%a %n' a run.sh"]).await;
    assert_eq!(ran.stdout(), format!("ran\n1{sha}\n666 a\n777 run.sh\n"));
    let beside: Vec<_> = std::fs::read_dir(parent.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "the clone is removed");

    let lost = "1".repeat(40);
    let never = Workspace::Commit { mirror, sha: lost.clone() };
    let gone = bench.check_out(bench.layer(7), &never).await;
    let Err(BackendError::User { message, .. }) = gone else { panic!("it was never there") };
    assert_eq!(message, format!("commit {lost} is gone"));
}

#[tokio::test]
async fn where_merge_matches_the_later_layer_wins() {
    merge(&Bench::with(MERGE).await).await;
}

pub(super) const MERGE: Tree = &[("target/a", "0"), ("target/gone", "0"), ("d/x", "x")];

pub(super) async fn merge(bench: &Bench) {
    let first = ["echo 1 >target/a; rm target/gone; echo 1 >version; rm -rf d; echo f >d"];
    bench.stage(1, &[0], &first).await;
    let second = ["echo 2 >target/a; echo 2 >target/gone; echo 2 >version; echo y >d/y"];
    bench.stage(2, &[0], &second).await;
    let join = |index, merge| AttemptSpec {
        lower: [2, 1, 0].map(|index| bench.layer(index)).into(),
        merge: Some(merge),
        ..bench.attempt(index, &["cat target/a target/gone version; find d"])
    };
    let paths = |paths: &[&str]| Merge::Paths(paths.iter().map(|&path| path.to_owned()).collect());

    let only_some = bench.run_attempt(&join(9, paths(&["target/**", "d"]))).await;
    let Err(BackendError::User { code: Some("E095"), message }) = only_some else {
        panic!("`version` is not among them")
    };
    assert_eq!(
        message,
        "`version` was changed by both `s1` and `s2`, which run in parallel: write another path, \
         let one need the other, or let the later one win with `merge: [\"version\"]` in `s9`"
    );
    for (index, merge) in [(10, Merge::Last), (11, paths(&["target/**", "version", "d", "d/**"]))] {
        let ran = bench.run_attempt(&join(index, merge)).await.unwrap();
        assert_eq!(ran.stdout(), "2\n2\n2\nd\nd/y\n", "{}", ran.all());
    }
    // Without `merge`, others still see that they disagree.
    let plain = AttemptSpec { merge: None, ..join(12, Merge::Last) };
    assert!(bench.run_attempt(&plain).await.is_err());
}

/// Two stages that make the same new directory share it; one that replaces an old one
/// hides what is in it.
#[tokio::test]
async fn a_new_directory_of_parallel_stages_is_shared() {
    new_directory(&Bench::with(NEW_DIRECTORY).await).await;
}

pub(super) const NEW_DIRECTORY: Tree = &[("old/base", "b")];

pub(super) async fn new_directory(bench: &Bench) {
    bench.stage(1, &[0], &["mkdir -p out/deep; echo a >out/a; echo a >out/deep/a"]).await;
    bench.stage(2, &[0], &["mkdir -p out/deep; echo b >out/b; echo b >out/deep/b"]).await;
    let joined = bench.stage(3, &[2, 1, 0], &["find out -type f | sort", "cat out/deep/*"]).await;
    assert_eq!(joined.stdout(), "out/a\nout/b\nout/deep/a\nout/deep/b\na\nb\n");

    bench.stage(4, &[0], &["rm -rf old; mkdir old; echo new >old/new"]).await;
    bench.stage(5, &[0], &["echo more >old/more"]).await;
    let attempt = |merge| AttemptSpec {
        lower: [5, 4, 0].map(|index| bench.layer(index)).into(),
        merge,
        ..bench.attempt(9, &["ls old"])
    };
    let refused = bench.run_attempt(&attempt(None)).await;
    assert!(matches!(refused, Err(BackendError::User { code: Some("E095"), .. })));
    let later = bench.run_attempt(&attempt(Some(Merge::Last))).await.unwrap();
    assert_eq!(later.stdout(), "more\nnew\n", "{}", later.all());
}
