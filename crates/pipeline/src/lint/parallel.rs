//! W025: `merge` where nothing can conflict.

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::plan::Work;

/// A stage joins layers only when two stages above it, neither of which waits for
/// the other, both write.
pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    for (at, stage) in lint.stages.iter().enumerate() {
        let Some(merge) = stage.key("merge").filter(|_| !joins(lint, at)) else { continue };
        let message = format!(
            "`merge` of stage `{}` never applies: the stages above it run one after another, so \
             nothing can conflict",
            stage.name
        );
        found.push(
            Diagnostic::warning(Code::W025, message)
                .at(lint.sources.place(merge.span))
                .label("remove it"),
        );
    }
}

/// Whether two stages that write lie above `stage` side by side.
fn joins(lint: &Lint<'_>, stage: usize) -> bool {
    let mut above = vec![false; lint.stages.len()];
    let mut waiting = vec![stage];
    while let Some(at) = waiting.pop() {
        for edge in &lint.graph.needs[at] {
            if !std::mem::replace(&mut above[edge.stage], true) {
                waiting.push(edge.stage);
            }
        }
    }
    // In an order where needs come first, stages that write form one chain when each
    // has the one before it above itself.
    let mut last: Option<usize> = None;
    for at in lint.graph.order.iter().copied().filter(|at| above[*at]) {
        if !matches!(lint.stages[at].body.work, Work::Run(_) | Work::Build(_)) {
            continue;
        }
        // Cells of one stage run side by side.
        if lint.stages[at].key("matrix").is_some() {
            return true;
        }
        if last.is_some_and(|last| !reaches(lint, at, last)) {
            return true;
        }
        last = Some(at);
    }
    false
}

fn reaches(lint: &Lint<'_>, from: usize, to: usize) -> bool {
    let mut seen = vec![false; lint.stages.len()];
    let mut waiting = vec![from];
    while let Some(at) = waiting.pop() {
        for edge in &lint.graph.needs[at] {
            if edge.stage == to {
                return true;
            }
            if !std::mem::replace(&mut seen[edge.stage], true) {
                waiting.push(edge.stage);
            }
        }
    }
    false
}
