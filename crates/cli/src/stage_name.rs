//! The name of a stage that a plan does not have, and those it has.

use pipeline::Plan;

use crate::error::CommandError;

/// Names that a message lists.
const NAMES: usize = 20;

pub(crate) fn no_such_stage(plan: &Plan, name: &str) -> CommandError {
    let cells: Vec<&str> = named(plan.stages.iter().filter(|stage| stage.stage == name));
    if !cells.is_empty() {
        return CommandError::usage(format_args!(
            "stage `{name}` has a matrix: name one of its cells"
        ))
        .hint(format_args!("its cells are {}", listed(&cells)));
    }
    CommandError::usage(format_args!("the plan has no stage `{name}`"))
        .hint(format_args!("its stages are {}", listed(&named(plan.stages.iter()))))
}

fn named<'a>(stages: impl Iterator<Item = &'a pipeline::PlannedStage>) -> Vec<&'a str> {
    stages.map(|stage| stage.name.as_str()).collect()
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
