//! Caches of a stage: what it is given, and what is kept of it after a pass.

use std::collections::BTreeSet;
use std::time::Duration;

use event::EventKind;
use pipeline::PlannedStage;
use tokio::time::timeout;

use crate::backend::{AttemptSpec, CacheSpec, Kept, Restored};
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
    for cache in &stage.cache {
        let paths: Vec<String> = cache.paths.iter().map(|path| place(path)).collect();
        for path in &paths {
            if TAKEN.iter().any(|taken| path == taken || path.starts_with(&format!("{taken}/"))) {
                let reason = format!("`{path}` cannot be cached: the container has it for itself");
                return Err(Verdict::failed(Some("E060"), reason));
            }
            if !places.insert(path.clone()) {
                return Err(Verdict::failed(None, format!("`{path}` is cached twice")));
            }
        }
        specs.push(CacheSpec { key: cache.key.clone(), restore: cache.restore.clone(), paths });
    }
    Ok(specs)
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
    for (cache, restored) in spec.caches.iter().zip(restored) {
        match restored {
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
            kept = timeout(KEEPING, keep) => kept,
            () = limit.cancelled() => return,
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
        assert!(of(&["/proc/sys"]).unwrap_err().starts_with("`/proc/sys` cannot be cached"));
        assert_eq!(of(&["/runner"]), Ok(vec!["/runner".to_owned()]));
        assert_eq!(of(&["a", "./a"]), Err("`/workspace/a` is cached twice".to_owned()));
    }
}
