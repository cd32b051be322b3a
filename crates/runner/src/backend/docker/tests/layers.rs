//! Workspaces as layers on a real engine.

use std::process::Command;

use super::bench::{Bench, CHECKOUT, tree};
use crate::Workspace;
use crate::backend::docker::layer::{Attempt, remember};
use crate::backend::{Backend, BackendError, LayerId};

#[tokio::test]
async fn stages_see_what_those_below_made_and_deleted() {
    let bench = Bench::with(&[("keep", "k"), ("gone", "g"), ("d/file", "f")]).await;
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
    let bench = Bench::with(&[("base", "b")]).await;
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
    let bench = Bench::with(&[("version", "0"), ("d/x", "x"), ("d/y", "y")]).await;
    bench.stage(1, &[0], &["echo 1 >version; rm -rf d; mkdir d; echo z >d/z"]).await;
    bench.stage(2, &[0], &["echo 2 >version"]).await;
    bench.stage(3, &[0], &["echo changed >d/x"]).await;

    let join = |lower: &[u32]| {
        let mut attempt = bench.attempt(9, &["true"]);
        attempt.lower = lower.iter().map(|&index| LayerId { index, attempt: 1 }).collect();
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
         or let one need the other"
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
    let bench = Bench::with(&[("base", "b")]).await;
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
        attempt.lower = lower.iter().map(|&index| LayerId { index, attempt: 1 }).collect();
        let Err(BackendError::Infrastructure { message, .. }) = bench.run_attempt(&attempt).await
        else {
            panic!("a layer is missing in {lower:?}");
        };
        assert_eq!(message, format!("the layer `{name}` is gone from the engine"));
    }
}

#[tokio::test]
async fn a_long_chain_is_flattened_and_the_newest_wins() {
    let bench = Bench::empty().await;
    let count = 80;
    let mut lower = Vec::new();
    for index in 0..count {
        let layer = LayerId { index, attempt: 1 };
        let files = tree(&[(&format!("f{index}"), ""), ("newest", &index.to_string())]);
        bench.check_out(layer, &Workspace::Tree(files.path().to_owned())).await.unwrap();
        // As if each had needed the one before.
        let attempt = Attempt { stage: "s", attempt: 1, container: "", layer, lower: &lower };
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
        .check_out(CHECKOUT, &Workspace::Commit { mirror: mirror.clone(), sha: sha.clone() })
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
    let gone = bench.check_out(LayerId { index: 7, attempt: 1 }, &never).await;
    let Err(BackendError::User { message, .. }) = gone else { panic!("it was never there") };
    assert_eq!(message, format!("commit {lost} is gone"));
}
