//! Decides before the run which stages are skipped, and says why.

use super::{Condition as Trace, Decision};
use crate::Context;
use crate::model::{Condition, Pipeline, When};
use crate::pattern::{Matching, Pattern};
use crate::suggest::quoted;

/// Whether a stage runs, as far as the plan knows.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) state: Decision,
    pub(super) reason: String,
    pub(super) condition: Option<Trace>,
    pub(super) deferred: Vec<String>,
}

/// Returns a decision and its reason for each stage, by index.
pub(super) fn decide(pipeline: &Pipeline, context: &Context) -> Vec<Decided> {
    let mut branch = context.git.branch.as_deref().map(Matching::new);
    let mut decisions: Vec<Decided> = Vec::new();
    decisions.resize_with(pipeline.stages.len(), Decided::default);
    // Needs come first in this order, so theirs are decided.
    for at in &pipeline.graph.order {
        let skipped = pipeline.graph.needs[*at]
            .iter()
            .find(|edge| edge.must && decisions[edge.stage].state == Decision::Skip);
        let (state, reason) = match skipped {
            Some(edge) => {
                (Decision::Skip, format!("`{}` was skipped", pipeline.stages[edge.stage].name))
            }
            None => holds(&pipeline.stages[*at].when, &mut branch),
        };
        decisions[*at] = Decided { state, reason, condition: None, deferred: Vec::new() };
    }
    decisions
}

/// Whether a `when` holds for this event.
fn holds(when: &When, branch: &mut Option<Matching<'_>>) -> (Decision, String) {
    let conditions = match when {
        When::Always => return (Decision::Run, "no condition".to_owned()),
        When::Off => return (Decision::Skip, "`when` is off".to_owned()),
        When::Any(conditions) => conditions,
    };
    let mut failed = Vec::new();
    for condition in conditions {
        match condition_holds(condition, branch) {
            Ok(reason) => return (Decision::Run, reason),
            Err(reason) => failed.push(reason),
        }
    }
    if failed.is_empty() {
        failed.push("`when` lists no condition that could hold".to_owned());
    }
    (Decision::Skip, failed.join("; "))
}

fn condition_holds(
    condition: &Condition,
    branch: &mut Option<Matching<'_>>,
) -> Result<String, String> {
    match &condition.branch {
        None => Ok("no condition".to_owned()),
        Some(globs) => branch_matches(&globs.patterns, branch),
    }
}

/// The reason why a branch matches, or why not.
fn branch_matches(
    patterns: &[Pattern],
    branch: &mut Option<Matching<'_>>,
) -> Result<String, String> {
    let written = quoted(patterns.iter().map(|pattern| pattern.text.as_str()));
    let Some(branch) = branch else {
        return Err(format!("there is no branch that could match {written}"));
    };
    let name = branch.text();
    if branch.any(patterns) {
        Ok(format!("branch `{name}` matches {written}"))
    } else {
        Err(format!("branch `{name}` matches no pattern of {written}"))
    }
}
