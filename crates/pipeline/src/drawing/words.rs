//! What a plan says of a stage, in few words.

use std::collections::BTreeMap;

use super::chart::{Chart, Link, Node, State, counted};
use super::details::numbers;
use super::paint::{Part, Tone};
use crate::plan::{
    AllowFailure, EdgeReason, ImageSource, PendingPart, Plan, PlannedStage, RunOn, Submodules,
    Verify, VerifyCheck, Work,
};
use crate::{InlineTarget, TargetSpec};

/// Behind an environment that the place of the plan does not define.
const ELSEWHERE: &str = " (defined on a server)";

/// More of a list than this is counted.
pub(super) const LISTED: usize = 6;

/// `a, b, c`, and from the seventh on `… 3 more`.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let mut shown: Vec<String> =
        names.iter().take(LISTED).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > LISTED {
        shown.push(format!("… {} more", names.len() - LISTED));
    }
    shown.join(", ")
}

/// Why a node runs or not, when there is something to say.
pub(super) fn decision(node: &Node<'_>) -> Vec<Part> {
    let Some(first) = node.first() else { return Vec::new() };
    match node.state() {
        State::Skip => vec![Part::new(Tone::Attention, format!("skipped: {}", first.reason))],
        State::Run if first.reason == "no condition" => Vec::new(),
        State::Run => vec![Part::quiet(&first.reason)],
        State::Later => {
            let mut parts = vec![Part::new(
                Tone::Attention,
                format!("decided after {}", listed(&first.deferred)),
            )];
            if first.reason != "no condition" {
                parts.push(Part::quiet(&first.reason));
            }
            parts
        }
        State::Mixed => {
            let count = Chart::count(node.cells.iter().copied());
            vec![Part::new(Tone::Attention, counted(count))]
        }
    }
}

/// The values of a matrix that stands as one: `db=mysql:8|postgres:16`.
pub(super) fn cells(node: &Node<'_>) -> Option<Part> {
    if !node.is_folded() {
        return None;
    }
    let mut axes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for cell in &node.cells {
        for (axis, value) in &cell.matrix {
            let values = axes.entry(axis).or_default();
            let value = crate::plan::value_text(value);
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    let product: usize = axes.values().map(Vec::len).product();
    let full = product == node.cells.len()
        && node.cells.iter().all(|cell| cell.matrix.len() == axes.len());
    let text = if full {
        let axes = axes.iter().map(|(axis, values)| format!("{axis}={}", listed(values)));
        axes.collect::<Vec<_>>().join(" × ")
    } else {
        let labels: Vec<&str> = node.cells.iter().map(|cell| label(cell)).collect();
        listed(&labels)
    };
    Some(Part::plain(text))
}

/// What stands in the brackets of a cell's name, with them.
fn label(cell: &PlannedStage) -> &str {
    cell.name.strip_prefix(cell.stage.as_str()).unwrap_or(&cell.name)
}

/// What the stage does, the state aside.
pub(super) fn work(node: &Node<'_>, plan: &Plan) -> Part {
    let mut texts: Vec<String> = Vec::new();
    for cell in &node.cells {
        let text = work_of(cell, plan);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let text = match texts.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, others @ ..] => format!("{first} … and {} others like it", others.len()),
    };
    Part::plain(text)
}

pub(super) fn work_of(stage: &PlannedStage, plan: &Plan) -> String {
    match &stage.work {
        Work::Checkout { depth, submodules, lfs, paths } => {
            let mut parts = vec![match depth {
                Some(depth) => format!("depth {depth}"),
                None => "full history".to_owned(),
            }];
            match submodules {
                Submodules::No => {}
                Submodules::Yes => parts.push("submodules".to_owned()),
                Submodules::Recursive => parts.push("submodules of submodules".to_owned()),
            }
            if *lfs {
                parts.push("LFS".to_owned());
            }
            if !paths.is_empty() {
                parts.push(format!("only {}", listed(paths)));
            }
            parts.join(", ")
        }
        Work::Run(run) => format!("run in {}", run.image),
        Work::Build(build) => {
            let mut text = format!("build {}", build.file);
            if build.context != "." && !build.context.is_empty() {
                text.push_str(&format!(" in {}", build.context));
            }
            if let Some(target) = &build.target {
                text.push_str(&format!(", target {target}"));
            }
            if let Some(platform) = &build.platform {
                text.push_str(&format!(" for {platform}"));
            }
            if !build.tags.is_empty() {
                text.push_str(&format!(" as {}", listed(&build.tags)));
            }
            text
        }
        Work::Push(push) => format!("push {} to {}", image(&push.image), listed(&push.tags)),
        Work::Deploy(deploy) => {
            let what = deploy.image.as_ref().map_or_else(String::new, |from| image(from) + " ");
            let target = plan.environments.get(&deploy.environment);
            let target = target.map_or_else(
                || ELSEWHERE.to_owned(),
                |found| format!(" ({})", place(&found.target)),
            );
            let units = match pending(stage, "deploy.replicas") {
                Some(text) => format!("{text} units"),
                None if deploy.replicas == 1 => "1 unit".to_owned(),
                None => format!("{} units", deploy.replicas),
            };
            let verified = match deploy.verify.as_slice() {
                [] => String::new(),
                checks => {
                    let checks: Vec<String> = checks.iter().map(check).collect();
                    format!(", verified by {}", listed(&checks))
                }
            };
            format!("deploy {what}to {}{target}, {units}{verified}", deploy.environment)
        }
        Work::Approve(approve) => match approve.by.as_slice() {
            [] => "approved by somebody".to_owned(),
            [one] if approve.count == 1 => format!("approved by {one}"),
            several => format!("approved by {} of {}", approve.count, listed(several)),
        },
        Work::Trigger(trigger) => {
            let on = trigger.reference.as_ref().map_or_else(String::new, |on| format!(" on {on}"));
            let wait = if trigger.wait { " and waits for it" } else { "" };
            format!("starts pipeline `{}`{on}{wait}", trigger.pipeline)
        }
    }
}

/// What is checked of new units.
fn check(verify: &Verify) -> String {
    match &verify.check {
        VerifyCheck::Suite { suite } => format!("suite `{suite}`"),
        VerifyCheck::Http(check) => format!("GET {}", check.http),
        VerifyCheck::Run(check) => format!("commands in {}", check.image),
    }
}

/// A value that is not known yet, as it is written.
fn pending(stage: &PlannedStage, path: &str) -> Option<String> {
    let pending = stage.pending.iter().find(|pending| pending.path == path)?;
    let part = |part: &PendingPart| match part {
        PendingPart::Text(text) => text.clone(),
        PendingPart::Expression { source, .. } => format!("${{{{ {} }}}}", source.trim()),
    };
    Some(pending.parts.iter().map(part).collect())
}

fn image(source: &ImageSource) -> String {
    match source {
        ImageSource::Stage(stage) => format!("`{stage}`"),
        ImageSource::Reference(reference) => reference.clone(),
    }
}

/// Where an environment is.
fn place(target: &TargetSpec) -> String {
    match target {
        TargetSpec::Named(name) => format!("target {name}"),
        TargetSpec::Inline(inline) => match inline {
            InlineTarget::Docker { host, .. } | InlineTarget::Swarm { host, .. } => {
                format!("{} {host}", inline.name())
            }
            InlineTarget::Kubernetes { context: Some(context), .. } => {
                format!("kubernetes {context}")
            }
            InlineTarget::Kubernetes { context: None, .. } => "kubernetes".to_owned(),
            InlineTarget::Hosts { hosts, .. } if hosts.len() == 1 => "1 host".to_owned(),
            InlineTarget::Hosts { hosts, .. } => format!("{} hosts", hosts.len()),
            InlineTarget::Process { root, .. } => format!("process {root}"),
        },
    }
}

/// What a node waits for, unless the drawing itself says it: `parent` is the
/// node that it stands under.
pub(super) fn needs(
    chart: &Chart<'_>,
    node: &Node<'_>,
    links: &[Link],
    parent: Option<usize>,
    whole: bool,
) -> Option<Part> {
    let shown: Vec<&Link> = match links {
        [only] if Some(only.from) == parent && !only.must && is_usual(only.by) => Vec::new(),
        links => links.iter().collect(),
    };
    if shown.is_empty() {
        return None;
    }
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for link in shown {
        let reason = reason(link);
        let name = named(&chart.nodes[link.from], node);
        match groups.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) if names.last() == Some(&name) => {}
            Some((_, names)) => names.push(name),
            None => groups.push((reason, vec![name])),
        }
    }
    let groups = groups.into_iter().map(|(reason, names)| {
        let names = if whole { names.join(", ") } else { listed(&names) };
        if reason.is_empty() { names } else { format!("{names} ({reason})") }
    });
    Some(Part::quiet(format!("after {}", groups.collect::<Vec<_>>().join(", "))))
}

/// A cell by the name of its stage where all of its cells are needed.
fn named<'a>(need: &Node<'a>, of: &Node<'_>) -> &'a str {
    let Some(stage) = need.first().map(|cell| cell.stage.as_str()) else { return need.name };
    let mut edges = of.cells.iter().flat_map(|cell| &cell.needs);
    if edges.any(|edge| edge.stage == stage) { stage } else { need.name }
}

const fn is_usual(by: EdgeReason) -> bool {
    matches!(by, EdgeReason::Needs | EdgeReason::Order)
}

/// Why a node waits for another; nothing for a need that is written out.
pub(super) fn reason(link: &Link) -> String {
    let by = match link.by {
        EdgeReason::Needs => None,
        EdgeReason::Order => Some("order"),
        EdgeReason::Output => Some("output"),
        EdgeReason::Before => Some("before"),
    };
    let must = link.must.then_some("must run");
    by.into_iter().chain(must).collect::<Vec<_>>().join(", ")
}

/// What else decides how the stage runs.
pub(super) fn conduct(node: &Node<'_>) -> Vec<Part> {
    let Some(stage) = node.first() else { return Vec::new() };
    let mut parts = Vec::new();
    match stage.run_on {
        RunOn::Success => {}
        // Its reason says so.
        _ if stage.reason.starts_with("runs ") => {}
        RunOn::Failure => parts.push(Part::new(Tone::Attention, "runs on failure")),
        RunOn::Always => parts.push(Part::new(Tone::Attention, "runs always")),
    }
    match &stage.allow_failure {
        None => {}
        Some(AllowFailure::Any) => parts.push(Part::new(Tone::Attention, "may fail")),
        Some(AllowFailure::ExitCodes(codes)) => {
            parts.push(Part::new(Tone::Attention, format!("may fail with {}", numbers(codes))));
        }
    }
    parts
}
