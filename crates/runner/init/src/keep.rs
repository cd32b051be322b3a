//! Copies what a stage left in its caches into the volume that keeps it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::tree;

/// Copies each of `from` to `TO/0`, `TO/1` …, unless all of them together are larger
/// than `limit`, or none of `uppers` has anything in it: then nothing has changed.
pub(crate) fn keep(limit: u64, to: &Path, from: &[&Path], uppers: &[&Path]) -> io::Result<Value> {
    if !uppers.is_empty() {
        let mut changed = false;
        for upper in uppers {
            changed |= fs::read_dir(upper)?.next().is_some();
        }
        if !changed {
            return Ok(json!({ "kept": false, "why": "unchanged" }));
        }
    }
    let mut bytes = 0;
    for directory in from {
        bytes += size(directory)?;
    }
    if bytes > limit {
        return Ok(json!({ "kept": false, "why": "too large", "bytes": bytes }));
    }
    for (index, directory) in from.iter().enumerate() {
        let target = to.join(index.to_string());
        fs::create_dir(&target)?;
        tree::copy(directory, &target)?;
    }
    Ok(json!({ "kept": true, "bytes": bytes }))
}

/// What the files take on the disk, holes and all small ones rounded up as they are.
fn size(root: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for item in fs::read_dir(directory)? {
            let item = item?;
            let metadata = item.metadata()?;
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                pending.push(item.path());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_and_is_not_too_large_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["from", "upper", "to"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("from").join("file"), vec![1; 10_000]).unwrap();
        let run = |limit, uppers: &[&Path]| {
            let kept = keep(limit, &path("to"), &[&path("from")], uppers).unwrap();
            (kept["kept"].as_bool().unwrap(), kept["why"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(run(1 << 20, &[&path("upper")]), (false, "unchanged".to_owned()));
        assert_eq!(run(100, &[]), (false, "too large".to_owned()));
        assert!(fs::read_dir(path("to")).unwrap().next().is_none());
        fs::write(path("upper").join("file"), "").unwrap();
        assert_eq!(run(1 << 20, &[&path("upper")]), (true, String::new()));
        assert_eq!(fs::read(path("to").join("0/file")).unwrap().len(), 10_000);
    }
}
