//! `shipline schema`: what an editor needs to know.

use crate::arguments::SchemaArguments;
use crate::error::CommandError;

pub(super) fn schema(arguments: &SchemaArguments) -> Result<u8, CommandError> {
    let schema = if arguments.template { pipeline::template_schema() } else { pipeline::schema() };
    super::print(&format!("{schema:#}\n"))?;
    Ok(0)
}
