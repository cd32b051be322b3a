//! `shipline template`: one file per verb; here what they share.

mod lint;
mod list;
mod new;
mod show;
mod test;
mod update;

use std::path::{Path, PathBuf};

use pipeline::SourceFile;

use crate::arguments::TemplateCommand;
use crate::error::{CommandError, Context as _};

pub(super) async fn template(command: TemplateCommand) -> Result<u8, CommandError> {
    match command {
        TemplateCommand::List(arguments) => list::list(&arguments).await,
        TemplateCommand::Show(arguments) => show::show(&arguments).await,
        TemplateCommand::Update(arguments) => update::update(&arguments).await,
        TemplateCommand::New(arguments) => new::new(&arguments),
        TemplateCommand::Lint(arguments) => lint::lint(&arguments).await,
        TemplateCommand::Test(arguments) => test::test(&arguments).await,
    }
}

/// The name of a template's file in its folder.
const FILE: &str = "template.yml";
/// Folders deeper than this below a path are not looked into.
const DEPTH: usize = 8;

/// The template files that are meant by paths of files and folders, in order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CommandError> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_file() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        walk(path, DEPTH, &mut found)?;
        if found.len() == before {
            let message = format!("there is no `{FILE}` in {}", path.display());
            return Err(CommandError::usage(message).hint("`shipline template new` writes one"));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), CommandError> {
    let entries = std::fs::read_dir(folder)
        .environment(&format!("cannot read the folder {}", folder.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 && !hidden => walk(&path, depth - 1, found)?,
            Ok(kind) if kind.is_file() && path.ends_with(FILE) => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a file under the name that was typed; the inner error is what is wrong with it.
fn read(path: &Path) -> Result<Result<SourceFile, pipeline::Diagnostics>, CommandError> {
    let name = path.display().to_string();
    let name = name.strip_prefix("./").unwrap_or(&name);
    let bytes = std::fs::read(path).environment(&format!("cannot read {}", path.display()))?;
    Ok(SourceFile::from_bytes(name, bytes))
}
