//! `shipline check`: every mistake of the pipeline file at once.

use crate::arguments::{CheckArguments, Format};
use crate::error::CommandError;
use crate::local;

pub(super) fn check(arguments: &CheckArguments) -> Result<u8, CommandError> {
    let checked = local::check(arguments.pipeline.pipeline.as_deref())?;
    match arguments.format {
        Format::Json => super::print(&format!(
            "{:#}\n",
            serde_json::Value::from(checked.diagnostics.to_json())
        ))?,
        Format::Text => local::report(&checked.diagnostics),
    }
    let bad = checked.pipeline.is_none() || (arguments.strict && !checked.diagnostics.is_empty());
    Ok(if bad { 2 } else { 0 })
}
