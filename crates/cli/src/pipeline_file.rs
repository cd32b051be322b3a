//! Finds and reads the pipeline file of a directory (language.md §3).

use std::path::{Path, PathBuf};

use pipeline::{Diagnostics, SourceFile};

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
        let single = directory.join(".shipline.yml");
        let several = pipelines_in(&directory.join(".shipline"));
        looked_at.push(single.display().to_string());
        looked_at.push(directory.join(".shipline/*.yml").display().to_string());
        if single.is_file() && !several.is_empty() {
            return Err(NotRead::Diagnostics(pipeline::both_layouts(&several)));
        }
        if single.is_file() {
            return match name {
                None => load(directory, ".shipline.yml"),
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
    Err(NotRead::Diagnostics(pipeline::no_pipeline_file(&looked_at)))
}

fn choose(
    directory: &Path,
    several: &[String],
    name: Option<&str>,
) -> Result<PipelineFile, NotRead> {
    match (name, several) {
        (Some(name), _) if several.iter().any(|known| known == name) => {
            load(directory, &format!(".shipline/{name}.yml"))
        }
        (None, [only]) => load(directory, &format!(".shipline/{only}.yml")),
        (name, _) => {
            Err(NotRead::Diagnostics(pipeline::unknown_pipeline(name.unwrap_or_default(), several)))
        }
    }
}

/// Names of `*.yml` directly in `.shipline/`, sorted.
fn pipelines_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".yml")?.to_owned()))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names
}

fn load(directory: &Path, name: &str) -> Result<PipelineFile, NotRead> {
    let path = directory.join(name);
    let bytes = std::fs::read(&path)
        .map_err(|error| fault(format_args!("cannot read {}: {error}", path.display())))?;
    let source = SourceFile::from_bytes(name, bytes).map_err(NotRead::Diagnostics)?;
    Ok(PipelineFile { directory: directory.to_owned(), source })
}

fn fault(message: std::fmt::Arguments<'_>) -> NotRead {
    NotRead::Fault(CommandError::environment(message))
}
