//! `shipline template new`: the files of a template that can be tried at once.

use std::path::Path;

use super::FILE;
use crate::arguments::TemplateNewArguments;
use crate::error::{CommandError, Context as _};
use crate::{local_templates, written};

const TEMPLATE: &str = include_str!("../../../../../templates/init/template.yml");
const TEST: &str = include_str!("../../../../../templates/init/template-test.yml");

pub(super) fn new(arguments: &TemplateNewArguments) -> Result<u8, CommandError> {
    let folder = &arguments.folder;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| !name.starts_with('.')).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(CommandError::usage(format!("`{}` cannot be the name of a template", name))
            .hint("a name has letters, digits and `-`, for example `java-service`"));
    }
    let root = local_templates::root(Path::new("."));
    let whole = std::path::absolute(folder).environment("cannot tell where that is")?;
    let Ok(inside) = whole.strip_prefix(&root) else {
        return Err(CommandError::usage(format!(
            "{} is outside of the repository {}",
            folder.display(),
            root.display()
        )));
    };
    let path = inside.join(FILE).display().to_string();
    let files = [
        (folder.join(FILE), TEMPLATE.replace("NAME", &name)),
        (folder.join("tests/minimal.yml"), TEST.replace("PATH", &path)),
    ];
    if let Some((there, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(CommandError::usage(format!("{} is there already", there.display()))
            .hint("choose another folder, or remove it"));
    }
    for (path, text) in files {
        let inside = inside.join(path.strip_prefix(folder).unwrap_or(&path));
        if let Some(folder) = inside.parent() {
            written::folder(&root, folder)
                .environment(&format!("cannot make the folder {}", folder.display()))?;
        }
        written::write(&path, &text).environment(&format!("cannot write {}", path.display()))?;
        super::super::print(&format!("wrote {}\n", path.display()))?;
    }
    let shown = folder.display();
    super::super::print(&format!(
        "\nnext:\n  shipline template lint {shown}\n  shipline template test {shown} --update\n"
    ))?;
    Ok(0)
}
