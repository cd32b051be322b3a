//! `shipline plan`: what a run would do, and why.

use crate::arguments::{Format, PlanArguments};
use crate::error::CommandError;
use crate::local;

pub(super) async fn plan(arguments: &PlanArguments) -> Result<u8, CommandError> {
    let name = arguments.pipeline.pipeline.as_deref();
    let planned = local::plan(name, &arguments.simulation).await?;
    match arguments.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&planned.plan).map_err(|error| {
                CommandError::environment(format_args!("the plan is no JSON: {error}"))
            })?;
            super::print(&format!("{text}\n"))?;
        }
        Format::Text => super::print(&pipeline::plan_text(&planned.plan))?,
    }
    Ok(0)
}
