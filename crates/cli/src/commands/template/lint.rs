//! `shipline template lint`: what is wrong with a template before anybody uses it.

use std::path::Path;

use pipeline::Diagnostics;

use super::{files, read};
use crate::arguments::{Format, TemplateLintArguments};
use crate::error::CommandError;
use crate::{local, local_templates};

pub(super) async fn lint(arguments: &TemplateLintArguments) -> Result<u8, CommandError> {
    let mut all = Vec::new();
    let mut bad = false;
    for path in files(&arguments.paths)? {
        let found = checked(&path, arguments.offline).await?;
        bad |= found.has_errors() || (arguments.strict && !found.is_empty());
        match arguments.format {
            Format::Json => all.extend(found.to_json()),
            Format::Text => local::report(&found),
        }
    }
    if arguments.format == Format::Json {
        crate::commands::print(&format!("{:#}\n", serde_json::Value::from(all)))?;
    }
    Ok(if bad { 2 } else { 0 })
}

async fn checked(path: &Path, offline: bool) -> Result<Diagnostics, CommandError> {
    let source = match read(path)? {
        Ok(source) => source,
        Err(found) => return Ok(found),
    };
    let (document, mut found) = pipeline::parse(&source);
    let folder = path.parent().unwrap_or(path);
    let library = local_templates::look(&document, folder, offline).await?;
    found.extend(pipeline::check_template(&document, &library).1);
    Ok(found)
}
