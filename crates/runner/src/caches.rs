//! Caches of a stage: what it is given, and what is kept of it after a pass.

use std::collections::BTreeSet;
use std::time::Duration;

use event::EventKind;
use pipeline::{Origin, PlannedStage};
use tokio::time::timeout;

use crate::backend::{AttemptSpec, BackendError, CacheSpec, Kept, Restored};
use crate::environment::WORKSPACE;
use crate::executor::Attempt;
use crate::size;
use crate::verdict::Verdict;

/// How long keeping a cache may take: its stage has passed already.
const KEEPING: Duration = Duration::from_secs(600);
/// Where the container has things of its own.
const TAKEN: [&str; 6] = ["/.shipline", "/dev", "/proc", "/run", "/sys", "/tmp"];

/// What the stage asks the backend for.
pub(crate) fn specs(stage: &PlannedStage) -> Result<Vec<CacheSpec>, Verdict> {
    let mut places = BTreeSet::new();
    let mut specs = Vec::new();
    for (index, cache) in stage.cache.iter().enumerate() {
        let written = || written(stage, index);
        let paths: Vec<String> = cache.paths.iter().map(|path| place(path)).collect();
        for path in &paths {
            if TAKEN.iter().any(|taken| path == taken || path.starts_with(&format!("{taken}/"))) {
                let reason = format!("the container has `{path}` for itself, so it is no cache");
                return Err(Verdict::failed(Some("E060"), reason + &written()));
            }
            if !places.insert(path.clone()) {
                let reason = format!("the cache `{path}` is given twice{}", written());
                return Err(Verdict::failed(Some("E091"), reason));
            }
        }
        specs.push(CacheSpec { key: cache.key.clone(), restore: cache.restore.clone(), paths });
    }
    Ok(specs)
}

/// Why an attempt was not started, with the place of the cache that the error speaks of.
pub(crate) fn unstarted(stage: &PlannedStage, spec: &AttemptSpec, error: &BackendError) -> Verdict {
    let mut verdict = Verdict::of_error(error);
    if let Some(reason) = &mut verdict.reason
        && let Some((place, _)) =
            reason.strip_prefix("the cache `").and_then(|rest| rest.split_once('`'))
        && let Some(index) = spec.caches.iter().position(|cache| is_of(cache, place))
    {
        reason.push_str(&written(stage, index));
    }
    verdict
}

/// Whether a directory of the container is one of a cache; where `~` is, its image says.
fn is_of(cache: &CacheSpec, place: &str) -> bool {
    cache.paths.iter().any(|path| match path.strip_prefix('~') {
        Some(below) => place.ends_with(below),
        None => path == place,
    })
}

/// Where the paths of the `index`th cache are written.
fn written(stage: &PlannedStage, index: usize) -> String {
    let origin = stage.origins.get(&format!("cache.{index}.paths"));
    origin.map_or_else(String::new, |Origin { file, line, column, .. }| {
        format!(" ({file}:{line}:{column})")
    })
}

/// A path of the workspace, unless it is absolute or in the home directory.
fn place(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path_ = parts.join("/");
    match path.chars().next() {
        Some('~') => path_,
        Some('/') => format!("/{path_}"),
        _ => format!("{WORKSPACE}/{path_}"),
    }
}

/// Tells what each cache began as.
pub(crate) async fn tell(
    attempt: &mut Attempt<'_>,
    spec: &AttemptSpec,
    restored: &[Option<Restored>],
) {
    // Who began the attempt has told it right after its start.
    let told = attempt.assignment.begun.as_ref().is_some_and(|begun| begun.started_at().is_some());
    for (cache, restored) in spec.caches.iter().zip(restored) {
        match restored {
            Some(_) if told => {}
            Some(found) => {
                let restored = EventKind::CacheRestored {
                    stage: spec.stage.clone(),
                    attempt: spec.attempt,
                    key: attempt.shared.masker.text(&cache.key),
                    from: (found.key != cache.key).then(|| attempt.shared.masker.text(&found.key)),
                };
                attempt.shared.report(restored).await;
            }
            None => attempt.log.say(format!("no cache `{}` yet: it begins empty", cache.key)).await,
        }
    }
}

/// Keeps the caches of a stage that passed. What cannot be kept is told, and no fault
/// of the stage.
pub(crate) async fn keep(
    attempt: &mut Attempt<'_>,
    spec: &AttemptSpec,
    restored: &[Option<Restored>],
) {
    let shared = attempt.shared;
    for (index, cache) in spec.caches.iter().enumerate() {
        let restored = restored.get(index).and_then(Option::as_ref);
        let keep = shared.backend.keep(&shared.context, spec, index, restored);
        let limit = attempt.limit.clone();
        let kept = tokio::select! {
            biased;
            kept = timeout(KEEPING, keep) => kept,
            _ = limit.cancelled() => return,
        };
        let key = &cache.key;
        let line = match kept {
            Ok(Ok(Kept::Saved { bytes })) => {
                let saved = EventKind::CacheSaved {
                    stage: spec.stage.clone(),
                    attempt: spec.attempt,
                    key: shared.masker.text(key),
                    size: bytes,
                };
                shared.report(saved).await;
                continue;
            }
            Ok(Ok(Kept::Unchanged)) => continue,
            Ok(Ok(Kept::TooLarge { bytes })) => format!(
                "cache `{key}` is not kept: it is {}, and all caches may take {}",
                size::text(bytes),
                size::text(shared.context.cache_limit)
            ),
            Ok(Err(error)) => format!("cache `{key}` could not be kept: {error}"),
            Err(_) => {
                format!("cache `{key}` was not kept within {} minutes", KEEPING.as_secs() / 60)
            }
        };
        attempt.log.say(line).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stage;

    fn of(paths: &[&str]) -> Result<Vec<String>, String> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let cache = pipeline::Cache { key: "k".to_owned(), restore: Vec::new(), paths };
        let stage = PlannedStage { cache: vec![cache], ..stage("a", &[]) };
        let specs = specs(&stage).map_err(|verdict| verdict.reason.unwrap())?;
        Ok(specs.into_iter().flat_map(|spec| spec.paths).collect())
    }

    #[test]
    fn paths_are_of_the_workspace_the_home_or_the_container() {
        let places = of(&["~/.m2/", "node_modules", "./a//b", "/var/cache/apt"]).unwrap();
        let expected = ["~/.m2", "/workspace/node_modules", "/workspace/a/b", "/var/cache/apt"];
        assert_eq!(places, expected);
    }

    #[test]
    fn what_the_container_has_for_itself_is_refused_and_so_is_a_path_twice() {
        let taken = "the container has `/proc/sys` for itself, so it is no cache";
        assert_eq!(of(&["/proc/sys"]), Err(taken.to_owned()));
        assert_eq!(of(&["/runner"]), Ok(vec!["/runner".to_owned()]));
        assert_eq!(of(&["a", "./a"]), Err("the cache `/workspace/a` is given twice".to_owned()));
    }
}
