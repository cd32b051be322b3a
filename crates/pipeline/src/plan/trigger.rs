//! Whether an event starts a pipeline at all.

use crate::model::Pipeline;
use crate::pattern::Matching;
use crate::{Context, TriggerEvent};

/// Returns why the event starts nothing, as the record of an ignored event says it.
pub fn triggers(pipeline: &Pipeline, context: &Context) -> Result<(), String> {
    let name = pipeline.name(&context.project);
    let no_trigger = || Err(format!("pipeline `{name}` has no trigger `{}`", context.event.name()));
    match context.event {
        TriggerEvent::Push => {
            let Some(push) = &pipeline.on.push else { return no_trigger() };
            let Some(patterns) = &push.branch else { return Ok(()) };
            match &context.git.branch {
                Some(branch) if Matching::new(branch).any(patterns) => Ok(()),
                Some(branch) => {
                    Err(format!("branch `{branch}` matches no push filter of pipeline `{name}`"))
                }
                None => Err(format!("there is no branch for the push filter of pipeline `{name}`")),
            }
        }
        TriggerEvent::PullRequest if pipeline.on.pull_request.is_some() => Ok(()),
        TriggerEvent::Manual if pipeline.on.manual.is_some() => Ok(()),
        // Another pipeline asks for this one by name.
        TriggerEvent::Trigger => Ok(()),
        _ => no_trigger(),
    }
}
