//! Warnings about ways through the graph: what runs past what was skipped.

use super::never;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::graph::{Above, Graph};
use crate::model::{Stage, When};
use crate::plan::{AllowFailure, RunOn, Work};
use crate::source::Sources;

/// Conditions of needs that are compared with that of a gate, the first of the file.
const CONDITIONS_COMPARED: usize = 100;

/// Finds what can never run, and what runs past a skipped stage.
pub(super) fn warnings(
    stages: &[Stage],
    graph: &Graph,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) {
    never::warnings(stages, graph, sources, found);
    let gates: Vec<usize> = (0..stages.len()).filter(|at| is_gate(&stages[*at])).collect();
    let deploys = |stage: &Stage| {
        matches!(stage.body.work, Work::Deploy(_)) && stage.run_on == RunOn::Success
    };
    if gates.is_empty() || !stages.iter().any(deploys) {
        return;
    }
    let all = Above::new(&graph.needs, &graph.order, |_| true);
    let must = Above::new(&graph.needs, &graph.order, |edge| edge.must);
    for (at, _) in stages.iter().enumerate().filter(|(_, stage)| deploys(stage)) {
        found.extend(passes_skipped(at, stages, &gates, &all, &must, sources));
    }
}

/// Whether a stage may be skipped, and would else keep a deploy from running when
/// it fails: not one whose failure is allowed, and not one that waits for failures.
fn is_gate(stage: &Stage) -> bool {
    !matches!(stage.when, When::Always)
        && stage.run_on != RunOn::Failure
        && stage.body.allow_failure != Some(AllowFailure::Any)
}

/// W024: a stage with a condition lies on the way to a deploy, and its being
/// skipped does not keep the deploy from running.
fn passes_skipped(
    deploy: usize,
    stages: &[Stage],
    gates: &[usize],
    all: &Above,
    must: &Above,
    sources: &Sources,
) -> Option<Diagnostic> {
    // What must run brings its conditions along: where they fail, nothing deploys.
    let conditions: Vec<&When> = std::iter::once(deploy)
        .chain(must.of(deploy))
        .map(|stage| &stages[stage].when)
        .filter(|when| !matches!(when, When::Always))
        .take(CONDITIONS_COMPARED)
        .collect();
    let passed: Vec<usize> = gates
        .iter()
        .copied()
        .filter(|gate| all.has(deploy, *gate) && !must.has(deploy, *gate))
        .filter(|gate| !conditions.iter().any(|condition| same(condition, &stages[*gate].when)))
        .collect();
    let first = *passed.first()?;
    let name = &stages[deploy].name;
    let mut warning = Diagnostic::warning(
        Code::W024,
        format!("stage `{name}` deploys also when `{}` was skipped", stages[first].name),
    )
    .at(sources.place(stages[deploy].span));
    for stage in &passed {
        let place = sources.place(stages[*stage].span);
        warning = warning.related(format!("`{}` has a `when`", stages[*stage].name), place);
    }
    let needs: Vec<_> = passed
        .iter()
        .map(|stage| format!("{{ stage: {}, must: run }}", stages[*stage].name))
        .collect();
    Some(warning.help(format!(
        "add to the needs of `{name}`: {}; or write on its line: # shipline: allow W024",
        needs.join(", ")
    )))
}

fn same(one: &When, other: &When) -> bool {
    match (one, other) {
        (When::Any(one), When::Any(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.same(other))
        }
        (When::Off, When::Off) => true,
        _ => false,
    }
}
