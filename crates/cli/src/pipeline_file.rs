//! Finds and reads the pipeline file of a directory (language.md §3).

use std::path::{Path, PathBuf};

use pipeline::{Diagnostics, FOLDER, OTHER_SYSTEMS, OtherSystem, SINGLE_FILE, SourceFile};

use crate::error::CommandError;

/// A pipeline file that was read, with the directory it belongs to.
pub(crate) struct PipelineFile {
    /// The root of the repository, or the directory itself.
    pub(crate) directory: PathBuf,
    pub(crate) source: SourceFile,
}

/// Why there is none: diagnostics of the language, or a fault of the machine.
pub(crate) enum NotRead {
    Diagnostics(Diagnostics),
    Fault(CommandError),
}

/// Looks in `start` and its parents up to the root of the repository.
pub(crate) fn read(start: &Path, name: Option<&str>) -> Result<PipelineFile, NotRead> {
    let start = start
        .canonicalize()
        .map_err(|error| fault(format_args!("cannot enter {}: {error}", start.display())))?;
    let mut looked_at = Vec::new();
    for directory in start.ancestors() {
        let single = directory.join(SINGLE_FILE);
        let several = pipelines_in(&directory.join(FOLDER));
        looked_at.push(single.display().to_string());
        looked_at.push(directory.join(".shipline/*.yml").display().to_string());
        if single.is_file() && !several.is_empty() {
            return Err(NotRead::Diagnostics(pipeline::both_layouts(&several)));
        }
        if single.is_file() {
            return match name {
                None => load(directory, &single, SINGLE_FILE),
                Some(name) => Err(NotRead::Diagnostics(pipeline::unknown_pipeline(name, &[]))),
            };
        }
        if !several.is_empty() {
            return choose(directory, &several, name);
        }
        if directory.join(".git").exists() {
            break;
        }
    }
    let nearest = start.ancestors().map(other_systems).find(|found| !found.is_empty());
    Err(NotRead::Diagnostics(match nearest {
        Some(files) => pipeline::other_system(&files, &looked_at),
        None => pipeline::no_pipeline_file(&looked_at),
    }))
}

/// Reads a file that was named, wherever it lies.
pub(crate) fn read_named(path: &Path) -> Result<PipelineFile, NotRead> {
    let shown = path.display().to_string();
    if !path.is_file() {
        let beside = path.parent().map(yaml_files).unwrap_or_default();
        return Err(NotRead::Diagnostics(pipeline::no_such_file(&shown, &beside)));
    }
    if let Some(system) = OtherSystem::of(&shown) {
        return Err(NotRead::Diagnostics(pipeline::file_of_other_system(&shown, system)));
    }
    let whole =
        path.canonicalize().map_err(|error| fault(format_args!("cannot read {shown}: {error}")))?;
    let folder = whole.parent().unwrap_or(&whole);
    // What belongs to `.shipline/NAME.yml` is the directory around the folder.
    let directory = if folder.ends_with(FOLDER) { folder.parent() } else { Some(folder) };
    load(directory.unwrap_or(folder), &whole, &shown)
}

/// Every pipeline file of a repository: its name in messages, and where it is.
pub(crate) fn all(root: &Path) -> Vec<(String, PathBuf)> {
    let single = root.join(SINGLE_FILE);
    let single = single.is_file().then(|| (SINGLE_FILE.to_owned(), single));
    let folder = root.join(FOLDER);
    let several = pipelines_in(&folder)
        .into_iter()
        .map(|name| (format!("{FOLDER}/{name}.yml"), folder.join(format!("{name}.yml"))));
    single.into_iter().chain(several).collect()
}

/// Files of other CI systems in a directory, relative to it.
fn other_systems(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for system in OTHER_SYSTEMS {
        let path = directory.join(system.path);
        if !system.path.ends_with('/') {
            found.extend(path.is_file().then(|| system.path.to_owned()));
            continue;
        }
        let mut names: Vec<String> = file_names(&path);
        names.retain(|name| OtherSystem::is_file_of_folder(name));
        found.extend(names.iter().map(|name| format!("{}{name}", system.path)));
    }
    found
}

/// The `*.yml` beside a file that is not there, as they would be typed.
fn yaml_files(folder: &Path) -> Vec<String> {
    let real = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut names = file_names(real);
    names.retain(|name| OtherSystem::is_file_of_folder(name));
    names.iter().map(|name| folder.join(name).display().to_string()).collect()
}

fn choose(
    directory: &Path,
    several: &[String],
    name: Option<&str>,
) -> Result<PipelineFile, NotRead> {
    match (name, several) {
        (Some(name), _) if several.iter().any(|known| known == name) => {
            load_of_folder(directory, name)
        }
        (None, [only]) => load_of_folder(directory, only),
        (name, _) => {
            Err(NotRead::Diagnostics(pipeline::unknown_pipeline(name.unwrap_or_default(), several)))
        }
    }
}

/// Names of `*.yml` directly in `.shipline/`, sorted.
fn pipelines_in(folder: &Path) -> Vec<String> {
    let names = file_names(folder);
    names.iter().filter_map(|name| pipeline::pipeline_of_file(name)).map(str::to_owned).collect()
}

/// Names of the files directly in a folder, sorted; none where there is no folder.
fn file_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let files = entries.filter_map(Result::ok).filter(|entry| entry.path().is_file());
    let mut names: Vec<String> =
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn load_of_folder(directory: &Path, name: &str) -> Result<PipelineFile, NotRead> {
    let name = format!("{FOLDER}/{name}.yml");
    load(directory, &directory.join(&name), &name)
}

/// Reads a file under the name that messages show.
fn load(directory: &Path, path: &Path, name: &str) -> Result<PipelineFile, NotRead> {
    let bytes = std::fs::read(path)
        .map_err(|error| fault(format_args!("cannot read {}: {error}", path.display())))?;
    let source = SourceFile::from_bytes(name, bytes).map_err(NotRead::Diagnostics)?;
    Ok(PipelineFile { directory: directory.to_owned(), source })
}

fn fault(message: std::fmt::Arguments<'_>) -> NotRead {
    NotRead::Fault(CommandError::environment(message))
}
