//! Caches on a real engine: what is on it, who may write, what goes.

use super::bench::Bench;
use crate::backend::{AttemptSpec, Backend, CacheSpec, Kept, RunContext, contract};

fn caching(bench: &Bench, index: u32, key: &str, paths: &[&str], commands: &[&str]) -> AttemptSpec {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let cache = CacheSpec { key: key.to_owned(), restore: Vec::new(), paths };
    AttemptSpec { caches: vec![cache], ..bench.attempt(index, commands) }
}

/// Runs an attempt, keeps its cache, and returns what it said.
async fn kept(bench: &Bench, run: &RunContext, attempt: &AttemptSpec) -> (String, Kept) {
    let handle = bench.backend.start(run, attempt, &Default::default()).await.unwrap();
    let ran = bench.collect(handle.as_ref()).await.unwrap();
    assert_eq!(ran.exit.code, 0, "{}", ran.all());
    let restored = handle.restored()[0].clone();
    let kept = bench.backend.keep(run, attempt, 0, restored.as_ref()).await.unwrap();
    (ran.stdout(), kept)
}

#[tokio::test]
async fn caches_outlive_their_run_and_clean_up_only_when_they_are_asked_for() {
    let mut bench = Bench::with(&[]).await;
    let attempt = caching(&bench, 1, "k", &["~/.deps"], &["echo one >~/.deps/a"]);
    let (_, saved) = kept(&bench, &bench.run, &attempt).await;
    assert!(matches!(saved, Kept::Saved { .. }));
    bench.backend.clean(&bench.run).await.unwrap();
    let left = bench.objects().await;
    assert!(left.iter().all(|object| object.starts_with("Volume shipline-cache-")), "{left:?}");
    assert_eq!(left.len(), 2, "a volume and its record");

    let instance = bench.run.instance.clone();
    assert_eq!(bench.backend.sweep(&instance, &[]).await.unwrap(), 0);
    assert_eq!(bench.backend.remove_kept(&instance, &[], false).await.unwrap(), 0);
    // The next run is another, of the same project.
    bench.run = contract::context(&instance);
    bench.begin_with(&[]).await;
    let attempt = caching(&bench, 1, "k", &["~/.deps"], &["cat ~/.deps/a"]);
    assert_eq!(kept(&bench, &bench.run, &attempt).await, ("one\n".to_owned(), Kept::Unchanged));
    // What replaces an entry is all that is left of both.
    let attempt = caching(&bench, 2, "k", &["~/.deps"], &["echo two >~/.deps/a"]);
    assert!(matches!(kept(&bench, &bench.run, &attempt).await.1, Kept::Saved { .. }));
    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.backend.remove_kept(&instance, &[], true).await.unwrap(), 2);
    assert_eq!(bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn what_was_used_longest_ago_makes_room() {
    let bench = Bench::with(&[]).await;
    let run = RunContext { cache_limit: 250 << 10, ..bench.run.clone() };
    let fill = ["dd if=/dev/zero of=$HOME/.deps/a bs=1k count=100 2>/dev/null"];
    for (index, key) in [(1, "a"), (2, "b")] {
        kept(&bench, &run, &caching(&bench, index, key, &["~/.deps"], &fill)).await;
    }
    let look = |index, key| caching(&bench, index, key, &["~/.deps"], &["ls ~/.deps"]);
    assert_eq!(kept(&bench, &run, &look(3, "a")).await.0, "a\n");
    kept(&bench, &run, &caching(&bench, 4, "c", &["~/.deps"], &fill)).await;
    let mut found = Vec::new();
    for (index, key) in [(5, "a"), (6, "b"), (7, "c")] {
        let attempt = look(index, key);
        let handle = bench.backend.start(&run, &attempt, &Default::default()).await.unwrap();
        found.push(handle.restored()[0].is_some());
        bench.collect(handle.as_ref()).await.unwrap();
    }
    assert_eq!(found, [true, false, true]);
}

#[tokio::test]
async fn the_home_is_that_of_the_user_and_the_user_may_write_there() {
    let bench = Bench::with(&[]).await;
    let mut attempt = caching(
        &bench,
        1,
        "k",
        &["~/.cache/pip", "made"],
        &["id -u", "echo $HOME", "echo 1 >~/.cache/pip/a", "echo 2 >~/.cache/other"],
    );
    attempt.caches[0].paths[1] = "/workspace/made".to_owned();
    // With an entry in its /etc/passwd.
    attempt.image = "debian:12".to_owned();
    attempt.user = Some("games".to_owned());
    let (said, saved) = kept(&bench, &bench.run, &attempt).await;
    assert_eq!(said, "5\n/usr/games\n");
    assert!(matches!(saved, Kept::Saved { .. }));
}

#[tokio::test]
async fn an_entry_that_somebody_removed_is_none() {
    let bench = Bench::with(&[]).await;
    let attempt = caching(&bench, 1, "k", &["~/.deps"], &["echo one >~/.deps/a"]);
    kept(&bench, &bench.run, &attempt).await;
    bench.backend.clean(&bench.run).await.unwrap();
    // As `docker volume rm` of what looks large does.
    for object in bench.objects().await {
        let name = object.strip_prefix("Volume ").unwrap();
        let engine = &bench.backend.engine;
        let found = engine.docker.inspect_volume(name).await.unwrap();
        if !found.labels.contains_key("shipline.cache.key") {
            crate::backend::docker::clean::remove_volume(engine, name).await.unwrap();
        }
    }
    bench.begin_with(&[]).await;
    let attempt = caching(&bench, 2, "k", &["~/.deps"], &["ls ~/.deps"]);
    let handle = bench.backend.start(&bench.run, &attempt, &Default::default()).await.unwrap();
    assert_eq!(handle.restored(), [None]);
    assert_eq!(bench.collect(handle.as_ref()).await.unwrap().stdout(), "");
}
