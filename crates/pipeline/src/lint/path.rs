//! Warnings about ways through the graph: what runs past what was skipped.

use std::collections::{HashSet, VecDeque};

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::model::{Stage, When};
use crate::plan::Work;
use crate::source::Sources;

/// Finds what can never run, and what runs past a skipped stage.
pub(super) fn warnings(
    stages: &[Stage],
    graph: &Graph,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) {
    for (at, stage) in stages.iter().enumerate() {
        if matches!(stage.body.work, Work::Deploy(_)) {
            found.extend(passes_skipped(at, stages, graph, sources));
        }
    }
}

/// W024: a stage with a condition lies on the way to a deploy, and its being
/// skipped does not keep the deploy from running.
fn passes_skipped(
    deploy: usize,
    stages: &[Stage],
    graph: &Graph,
    sources: &Sources,
) -> Option<Diagnostic> {
    let all = reachable(deploy, graph, |_| true);
    let must = reachable(deploy, graph, |edge| edge.must);
    // What must run brings its conditions along: where they fail, nothing deploys.
    let conditions: Vec<&When> =
        must.iter().chain([&deploy]).map(|stage| &stages[*stage].when).collect();
    let mut passed: Vec<usize> = all
        .into_iter()
        .filter(|stage| !must.contains(stage))
        .filter(|stage| !matches!(stages[*stage].when, When::Always))
        .filter(|stage| !conditions.iter().any(|condition| same(condition, &stages[*stage].when)))
        .collect();
    passed.sort_unstable();
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

fn reachable(
    from: usize,
    graph: &Graph,
    follow: impl Fn(&crate::graph::Edge) -> bool,
) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let mut waiting = VecDeque::from([from]);
    while let Some(at) = waiting.pop_front() {
        for edge in graph.needs[at].iter().filter(|edge| follow(edge)) {
            if seen.insert(edge.stage) {
                waiting.push_back(edge.stage);
            }
        }
    }
    seen
}
