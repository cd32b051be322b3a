//! What a repository has, as far as it tells which pipeline it should have.

use std::path::Path;

use pipeline::Listing;

/// Deep enough for the sources of a service, and not for what others wrote.
const DEPTH: usize = 5;
/// More files than this tell nothing new.
const FILES: usize = 20_000;
/// A build file is smaller.
const TEXT_BYTES: u64 = 1 << 20;
/// Folders that hold what was downloaded or built.
const SKIPPED: [&str; 5] = ["node_modules", "vendor", "target", "__pycache__", "dist"];

/// Lists the files below `root`, and reads those that tell something.
pub(crate) fn listing(root: &Path) -> Listing {
    let mut files = Vec::new();
    walk(root, "", DEPTH, &mut files);
    let telling = files.iter().filter(|path| pipeline::is_telling(path));
    let text = |path: &String| {
        let file = root.join(path);
        let small = file.metadata().is_ok_and(|metadata| metadata.len() <= TEXT_BYTES);
        let text = small.then(|| std::fs::read_to_string(file).ok()).flatten()?;
        Some((path.clone(), text))
    };
    let texts: Vec<(String, String)> = telling.filter_map(text).collect();
    Listing::new(files, texts)
}

/// What cannot be read tells nothing, and is left out.
fn walk(folder: &Path, inside: &str, depth: usize, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
            continue;
        };
        let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
        let skipped = SKIPPED.contains(&name.as_str()) || (name.starts_with('.') && kind.is_dir());
        if kind.is_dir() && depth > 0 && !skipped {
            walk(&entry.path(), &path, depth - 1, files);
        } else if kind.is_file() && files.len() < FILES {
            files.push(path);
        }
    }
}
