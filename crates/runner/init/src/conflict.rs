//! Paths that layers of parallel stages changed differently.
//!
//! Layers that are ordered by needs stack, the later wins. Where two are not
//! ordered, neither may hide what the other wrote.
//!
//! A directory that is made anew is opaque, though there may be nothing below that it
//! could hide: then it would hide nothing but what a parallel layer has there, and the mark
//! is taken off before the layers are joined.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::layer::{self, Entry, list};

/// Two layers, by index, that disagree about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conflict {
    path: PathBuf,
    first: usize,
    second: usize,
}

/// Prints the conflicts as JSON, at most `most` of them; more are counted. `ancestors` is a
/// JSON list with, for each of the layers to be compared, the indexes in `directories` of
/// all that lie below it by needs, newest first. Directories behind these are only looked
/// up.
pub(crate) fn print(most: &str, ancestors: &str, directories: &[&str]) -> io::Result<()> {
    let most = most.parse().map_err(io::Error::other)?;
    let ancestors = parse(ancestors).filter(|list| list.len() <= directories.len());
    let ancestors = ancestors.ok_or_else(|| io::Error::other("not a list of ancestors"))?;
    let roots: Vec<&Path> = directories.iter().map(Path::new).collect();
    let found = conflicts(&roots, &ancestors)?;
    let told: Vec<Value> = found
        .iter()
        .take(most)
        .map(|conflict| {
            json!({
                "path": conflict.path.to_string_lossy(),
                "first": conflict.first,
                "second": conflict.second,
            })
        })
        .collect();
    println!("{}", json!({ "count": found.len(), "conflicts": told }));
    Ok(())
}

fn parse(text: &str) -> Option<Vec<Vec<usize>>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let index = |value: &Value| usize::try_from(value.as_u64()?).ok();
    value.as_array()?.iter().map(|list| list.as_array()?.iter().map(index).collect()).collect()
}

/// Returns each path at most once for each pair that disagrees about it.
fn conflicts(roots: &[&Path], ancestors: &[Vec<usize>]) -> io::Result<Vec<Conflict>> {
    let compared = &roots[..ancestors.len()];
    let mut layers = compared.iter().map(|root| list(root)).collect::<io::Result<Vec<_>>>()?;
    for (index, layer) in layers.iter_mut().enumerate() {
        let below: Vec<&Path> = ancestors[index].iter().map(|below| roots[*below]).collect();
        uncover(roots[index], layer, &below)?;
    }
    let mut holders: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        for path in layer.keys() {
            holders.entry(path).or_default().push(index);
        }
    }
    let parallel = |a: usize, b: usize| !ancestors[a].contains(&b) && !ancestors[b].contains(&a);
    let mut found = Vec::new();
    for (path, indexes) in &holders {
        for (position, &first) in indexes.iter().enumerate() {
            for &second in &indexes[position + 1..] {
                if parallel(first, second)
                    && !agree(
                        path,
                        (roots[first], &layers[first]),
                        (roots[second], &layers[second]),
                    )?
                {
                    found.push(Conflict { path: path.to_path_buf(), first, second });
                }
            }
        }
    }
    // A directory that hides what is below hides what a parallel layer has below it.
    for (first, layer) in layers.iter().enumerate() {
        for (directory, entry) in layer {
            if !matches!(entry, Entry::Directory { hides: true, .. }) {
                continue;
            }
            for (second, other) in layers.iter().enumerate() {
                if second == first || !parallel(first, second) {
                    continue;
                }
                for (path, entry) in other.range(directory.clone()..) {
                    if !path.starts_with(directory) {
                        break;
                    }
                    let deleted = *entry == Entry::Deleted;
                    if path != directory && !layer.contains_key(path) && !deleted {
                        found.push(Conflict { path: path.clone(), first, second });
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Takes the mark off directories that hide nothing of `below`, newest first.
fn uncover(root: &Path, layer: &mut BTreeMap<PathBuf, Entry>, below: &[&Path]) -> io::Result<()> {
    for (path, entry) in layer {
        let Entry::Directory { hides, .. } = entry else { continue };
        if !*hides || !layer::is_only_opaque(&root.join(path))? || is_directory(below, path)? {
            continue;
        }
        layer::uncover(&root.join(path))?;
        *hides = false;
    }
    Ok(())
}

/// Whether the layers, newest first, show a directory at `path`.
fn is_directory(layers: &[&Path], path: &Path) -> io::Result<bool> {
    for root in layers {
        let mut place = root.to_path_buf();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            place.push(part);
            match layer::at(&place)? {
                // It says nothing of what is below it.
                None => break,
                Some(Entry::Directory { .. }) if parts.peek().is_none() => return Ok(true),
                Some(Entry::Directory { hides: false, .. }) => {}
                Some(Entry::Directory { hides: true, .. }) => {
                    // What it does not have itself is not there, unless it was moved here.
                    let rest: PathBuf = parts.collect();
                    let has = layer::at(&place.join(rest))?;
                    let here = matches!(has, Some(Entry::Directory { .. }));
                    return Ok(here || !layer::is_only_opaque(&place)?);
                }
                Some(_) => return Ok(false),
            }
        }
    }
    Ok(false)
}

type Layer<'a> = (&'a Path, &'a BTreeMap<PathBuf, Entry>);

/// Says whether both layers leave the same at `path`; time stamps do not count.
fn agree(path: &Path, first: Layer<'_>, second: Layer<'_>) -> io::Result<bool> {
    match (&first.1[path], &second.1[path]) {
        (Entry::Directory { mode: a, .. }, Entry::Directory { mode: b, .. }) => Ok(a == b),
        (Entry::File { .. }, Entry::File { .. }) if first.1[path] == second.1[path] => {
            same_bytes(&first.0.join(path), &second.0.join(path))
        }
        (a, b) => Ok(a == b),
    }
}

/// Compares two files; where both are as long as each other, byte by byte.
pub(crate) fn same_bytes(first: &Path, second: &Path) -> io::Result<bool> {
    let mut readers = [File::open(first)?, File::open(second)?].map(BufReader::new);
    let mut pieces = [[0; 8192]; 2];
    loop {
        let mut lengths = [0; 2];
        for ((reader, piece), length) in readers.iter_mut().zip(&mut pieces).zip(&mut lengths) {
            // Short reads differ between files; full pieces do not.
            while *length < piece.len() {
                match reader.read(&mut piece[*length..])? {
                    0 => break,
                    count => *length += count,
                }
            }
        }
        if pieces[0][..lengths[0]] != pieces[1][..lengths[1]] {
            return Ok(false);
        }
        if lengths[0] == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Makes layers of `path=contents` lines and returns who disagrees about what.
    fn check(layers: &[&[(&str, &str)]], ancestors: &[&[usize]]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let roots: Vec<PathBuf> = layers
            .iter()
            .enumerate()
            .map(|(index, entries)| {
                let root = directory.path().join(index.to_string());
                fs::create_dir(&root).unwrap();
                for (path, contents) in *entries {
                    let path = root.join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    match contents.strip_prefix("-> ") {
                        Some(target) => symlink(target, &path).unwrap(),
                        None => fs::write(&path, contents).unwrap(),
                    }
                }
                root
            })
            .collect();
        let roots: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
        let ancestors: Vec<_> = ancestors.iter().map(|list| list.to_vec()).collect();
        conflicts(&roots, &ancestors)
            .unwrap()
            .iter()
            .map(|found| format!("{} {}/{}", found.path.display(), found.first, found.second))
            .collect()
    }

    #[test]
    fn different_contents_of_parallel_layers_conflict_and_equal_ones_do_not() {
        let found =
            check(&[&[("d/a", "1"), ("d/b", "x")], &[("d/a", "2"), ("d/b", "x")]], &[&[], &[]]);
        assert_eq!(found, ["d/a 0/1"]);
    }

    #[test]
    fn layers_that_are_ordered_by_needs_stack() {
        assert_eq!(check(&[&[("a", "1")], &[("a", "2")]], &[&[], &[0]]), [""; 0]);
    }

    #[test]
    fn a_file_against_a_directory_or_a_link_conflicts() {
        assert_eq!(check(&[&[("a", "1")], &[("a/b", "1")]], &[&[], &[]]), ["a 0/1"]);
        assert_eq!(check(&[&[("a", "1")], &[("a", "-> b")]], &[&[], &[]]), ["a 0/1"]);
        assert_eq!(check(&[&[("a", "-> b")], &[("a", "-> b")]], &[&[], &[]]), [""; 0]);
    }

    #[test]
    fn each_pair_of_parallel_layers_is_told() {
        let found = check(&[&[("a", "1")], &[("a", "2")], &[("a", "3")]], &[&[], &[], &[0]]);
        assert_eq!(found, ["a 0/1", "a 1/2"]);
    }

    #[test]
    fn another_mode_conflicts() {
        let directory = tempfile::tempdir().unwrap();
        let roots = [directory.path().join("0"), directory.path().join("1")];
        for (root, mode) in roots.iter().zip([0o644, 0o755]) {
            fs::create_dir(root).unwrap();
            fs::write(root.join("run.sh"), "true").unwrap();
            fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = conflicts(&[&roots[0], &roots[1]], &[Vec::new(), Vec::new()]).unwrap();
        assert_eq!(found, [Conflict { path: "run.sh".into(), first: 0, second: 1 }]);
    }

    #[test]
    fn a_directory_is_found_through_what_hides_it() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        for path in ["out/a", "kept"] {
            fs::create_dir_all(old.join(path)).unwrap();
        }
        fs::create_dir_all(new.join("own")).unwrap();
        fs::write(new.join("kept"), "a file by now").unwrap();
        let shows = |path: &str| is_directory(&[&new, &old], Path::new(path)).unwrap();
        assert!(shows("out") && shows("out/a") && shows("own"));
        assert!(!shows("out/b") && !shows("kept") && !shows("kept/x") && !shows("none"));
    }

    #[test]
    fn ancestors_are_read_strictly() {
        assert_eq!(parse("[[],[0]]"), Some(vec![vec![], vec![0]]));
        assert_eq!(parse("[[-1]]"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
