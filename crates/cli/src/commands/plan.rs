//! `shipline plan`: what a run would do, and why.

use pipeline::TreeOptions;

use crate::arguments::{PlanArguments, PlanFormat};
use crate::error::CommandError;
use crate::local;
use crate::terminal::{Style, width_of_stdout};

pub(super) async fn plan(arguments: &PlanArguments) -> Result<u8, CommandError> {
    let options = TreeOptions {
        style: Style::of_stdout().of_language(),
        width: width_of_stdout(),
        all: arguments.all,
        origins: arguments.origins,
    };
    let text_only = [("--all", arguments.all), ("--origins", arguments.origins)];
    if let Some((option, _)) = text_only.into_iter().find(|(_, given)| *given)
        && arguments.format != PlanFormat::Text
    {
        return Err(CommandError::usage(format_args!("`{option}` is for `--format text`"))
            .hint("`--format json` holds every cell and every origin"));
    }
    let planned = local::plan(&arguments.pipeline, &arguments.simulation).await?;
    let plan = &planned.plan.with_mounts();
    let text = match arguments.format {
        PlanFormat::Text => pipeline::plan_text(plan, &options),
        PlanFormat::Json => {
            serde_json::to_string_pretty(plan).map(|text| text + "\n").map_err(|error| {
                CommandError::environment(format_args!("the plan is no JSON: {error}"))
            })?
        }
        PlanFormat::Dot => pipeline::plan_dot(plan),
        PlanFormat::Mermaid => pipeline::plan_mermaid(plan),
        PlanFormat::Svg => pipeline::plan_svg(plan),
    };
    super::print(&text)?;
    if let Some(reason) = planned.ignored.filter(|_| arguments.simulation.is_typed()) {
        CommandError::usage(format_args!("on a server this event starts nothing: {reason}")).warn();
    }
    Ok(0)
}
