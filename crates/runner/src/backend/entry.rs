//! Which entry of a cache a stage is given: the same for every backend.

use sha2::{Digest, Sha256};

use super::{CacheSpec, RunContext};

/// Whose entries a cache reads and writes: no key of another project, another trust or
/// other paths can ever be among them.
pub(super) fn scope(run: &RunContext, cache: &CacheSpec, trusted: bool) -> String {
    let whose = serde_json::json!([run.project, trusted, cache.paths]);
    hex::encode(&Sha256::digest(whose.to_string())[..16])
}

/// The entry of the key, else the newest of the first prefix that any begins with; of an
/// untrusted run its own before the project's. `told` says scope, key and time of each.
pub(super) fn find<'a, E>(
    entries: &'a [E],
    run: &RunContext,
    cache: &CacheSpec,
    told: impl for<'e> Fn(&'e E) -> (&'e str, &'e str, u64),
) -> Option<&'a E> {
    let trusts: &[bool] = if run.trusted { &[true] } else { &[false, true] };
    let scopes: Vec<String> = trusts.iter().map(|trusted| scope(run, cache, *trusted)).collect();
    let newest = |fits: &dyn Fn(&str) -> bool| {
        scopes.iter().find_map(|scope| {
            let fitting = entries.iter().filter(|entry| {
                let (of, key, _) = told(entry);
                of == scope && fits(key)
            });
            fitting.max_by_key(|entry| told(entry).2)
        })
    };
    newest(&|key| key == cache.key)
        .or_else(|| cache.restore.iter().find_map(|prefix| newest(&|key| key.starts_with(prefix))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::contract::context;

    fn cache(key: &str, restore: &[&str]) -> CacheSpec {
        let restore = restore.iter().map(|prefix| (*prefix).to_owned()).collect();
        CacheSpec { key: key.to_owned(), restore, paths: vec!["~/.m2".to_owned()] }
    }

    /// An entry of `run` saved under `key` at a time.
    fn entry(run: &RunContext, key: &str, at: u64) -> (String, String, u64) {
        (scope(run, &cache(key, &[]), run.trusted), key.to_owned(), at)
    }

    fn found(
        entries: &[(String, String, u64)],
        run: &RunContext,
        cache: &CacheSpec,
    ) -> Option<String> {
        let found = find(entries, run, cache, |(scope, key, at)| (scope, key, *at));
        found.map(|(_, key, at)| format!("{key} {at}"))
    }

    #[test]
    fn the_key_wins_then_the_newest_of_the_first_prefix() {
        let run = context("test");
        let entries = [("npm-1", 1), ("npm-2", 2), ("os-1", 3), ("npm-2", 5)]
            .map(|(key, at)| entry(&run, key, at));
        let find = |key: &str, restore: &[&str]| found(&entries, &run, &cache(key, restore));
        assert_eq!(find("npm-1", &["npm-"]).as_deref(), Some("npm-1 1"));
        assert_eq!(find("npm-3", &["npm-", "os-"]).as_deref(), Some("npm-2 5"));
        assert_eq!(find("npm-3", &["pip-", "os-"]).as_deref(), Some("os-1 3"));
        assert_eq!(find("npm-3", &[]), None);
        let other = CacheSpec { paths: vec!["~/.npm".to_owned()], ..cache("npm-1", &["npm-"]) };
        assert_eq!(found(&entries, &run, &other), None, "other paths are another cache");
    }

    #[test]
    fn a_project_never_meets_entries_of_another_and_a_trusted_run_none_of_an_untrusted() {
        let run = context("test");
        let untrusted = RunContext { trusted: false, ..run.clone() };
        let foreign = RunContext { project: "other".to_owned(), ..run.clone() };
        let entries = [entry(&run, "a", 1), entry(&untrusted, "b", 2), entry(&untrusted, "a", 3)];
        let find = |run: &RunContext, key: &str| found(&entries, run, &cache(key, &[]));
        assert_eq!((find(&run, "a").as_deref(), find(&run, "b")), (Some("a 1"), None));
        assert_eq!(find(&untrusted, "a").as_deref(), Some("a 3"));
        assert_eq!(find(&untrusted, "b").as_deref(), Some("b 2"));
        assert_eq!((find(&foreign, "a"), find(&foreign, "../test/a")), (None, None));
    }
}
