//! `shipline check`: every mistake of the pipeline file at once.

use crate::arguments::{CheckArguments, CheckFormat};
use crate::error::CommandError;
use crate::local;

pub(super) async fn check(arguments: &CheckArguments) -> Result<u8, CommandError> {
    let checked = match &arguments.file {
        Some(file) => local::check_file(file, arguments.pipeline.offline).await?,
        None => local::check(&arguments.pipeline).await?,
    };
    let found = &checked.diagnostics;
    match arguments.format {
        CheckFormat::Json => {
            super::print(&format!("{:#}\n", serde_json::Value::from(found.to_json())))?;
        }
        CheckFormat::Sarif => super::print(&format!("{:#}\n", found.to_sarif()))?,
        CheckFormat::Text => local::report(found),
    }
    let bad = checked.pipeline.is_none() || (arguments.strict && !found.is_empty());
    Ok(if bad { 2 } else { 0 })
}
