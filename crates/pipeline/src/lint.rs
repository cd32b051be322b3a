//! Warnings: what is allowed, and seldom meant.

use std::collections::{HashSet, VecDeque};

use crate::OriginKind;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::model::{Action, Image, Setting, Stage, When};
use crate::reference::Reference;
use crate::scalar::ImageReference;
use crate::source::{Sources, Span};

/// Returns the warnings of a pipeline, without those its file allows.
pub(crate) fn warnings(stages: &[Stage], graph: &Graph, sources: &Sources) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    loose_images(stages, sources, &mut found);
    for (at, stage) in stages.iter().enumerate() {
        if let Action::Deploy(_) = &stage.action {
            if stage.timeout.origin.by == OriginKind::Builtin {
                found.push(
                    Diagnostic::warning(
                        Code::W070,
                        format!(
                            "stage `{}` deploys without a `timeout`, and may take an hour",
                            stage.name
                        ),
                    )
                    .at(sources.place(stage.span))
                    .label("add for example `timeout: 15m`"),
                );
            }
            found.extend(passes_skipped(at, stages, graph, sources));
        }
    }
    found.retain(|warning| !is_allowed(warning));
    found
}

/// `:latest` and no tag, once for each place it is written at.
fn loose_images(stages: &[Stage], sources: &Sources, found: &mut Vec<Diagnostic>) {
    let mut seen: HashSet<Span> = HashSet::new();
    for stage in stages {
        let image: &Setting<ImageReference> = match &stage.action {
            Action::Run(run) => &run.image,
            Action::Push(push) => match &push.image {
                Image::Reference(reference) => reference,
                Image::Stage { .. } => continue,
            },
            Action::Deploy(deploy) => match &deploy.image {
                Image::Reference(reference) => reference,
                Image::Stage { .. } => continue,
            },
            Action::Build(_) => continue,
        };
        let (Some(ImageReference(text)), Some(span)) = (image.known(), image.span) else {
            continue;
        };
        let Ok(reference) = Reference::parse(text) else { continue };
        if !reference.is_loose() || !seen.insert(span) {
            continue;
        }
        let message = match reference.tag {
            Some(tag) => format!("image `{text}` has the tag `{tag}`, which moves"),
            None => format!("image `{text}` has no tag, which means `latest`"),
        };
        found.push(
            Diagnostic::warning(Code::W070, message)
                .at(sources.place(span))
                .label(format!("name a version, for example `{}:1.0`", reference.repository)),
        );
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
        (When::Any(one), When::Any(other)) => one == other,
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

/// `# shipline: allow W024` on the line of the warning.
fn is_allowed(warning: &Diagnostic) -> bool {
    let Some(place) = &warning.place else { return false };
    let line = place.source().line(place.start().0);
    allows(line, warning.code.name())
}

fn allows(line: &str, code: &str) -> bool {
    let Some((_, comment)) = line.split_once("# shipline: allow ") else { return false };
    comment
        .split([' ', ','])
        .take_while(|word| word.is_empty() || is_code(word))
        .any(|word| word == code)
}

fn is_code(word: &str) -> bool {
    word.len() == 4 && word.starts_with('W') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_allows_the_codes_it_names() {
        let line = "  deploy: # shipline: allow W024, W070 -- approval is for prod only W071";
        assert!(allows(line, "W024"));
        assert!(allows(line, "W070"));
        assert!(!allows(line, "W071"));
        assert!(!allows("  deploy: # allow W024", "W024"));
    }
}
