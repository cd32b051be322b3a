//! W070: deploys without an end, and deploys past a failure that is allowed.

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::plan::{AllowFailure, Work};

pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    for stage in lint.stages {
        let timeout = stage.key("timeout").or_else(|| lint.defaults.get("timeout"));
        if matches!(stage.body.work, Work::Deploy(_)) && timeout.is_none() {
            let message =
                format!("stage `{}` deploys without a `timeout`, and may take an hour", stage.name);
            found.push(
                Diagnostic::warning(Code::W070, message)
                    .at(lint.sources.place(stage.span))
                    .label("add for example `timeout: 15m`"),
            );
        }
    }
    allowed_failures(lint, found);
}

/// `allow-failure: true` with a deploy after it: with exit codes somebody has
/// thought about which failures they are.
fn allowed_failures(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    let any = |stage: usize| lint.stages[stage].body.allow_failure == Some(AllowFailure::Any);
    if !(0..lint.stages.len()).any(any) {
        return;
    }
    // The first deploy that comes after each stage, needs before users.
    let mut deploy: Vec<Option<usize>> = vec![None; lint.stages.len()];
    for at in lint.graph.order.iter().rev() {
        let below = match lint.stages[*at].body.work {
            Work::Deploy(_) => Some(*at),
            _ => deploy[*at],
        };
        for edge in &lint.graph.needs[*at] {
            deploy[edge.stage] = deploy[edge.stage].or(below);
        }
    }
    for (at, stage) in lint.stages.iter().enumerate() {
        let (true, Some(deploy)) = (any(at), deploy[at]) else { continue };
        let span = stage.key("allow-failure").map_or(stage.span, |node| node.span);
        let deploy = &lint.stages[deploy];
        let message = format!(
            "stage `{}` deploys although `{}` may have failed in any way",
            deploy.name, stage.name
        );
        found.push(
            Diagnostic::warning(Code::W070, message)
                .at(lint.sources.place(span))
                .label("name the exit codes that are fine, for example `allow-failure: [1]`")
                .related("the deploy", lint.sources.place(deploy.span)),
        );
    }
}
