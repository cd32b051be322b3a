//! Warnings about stages that can never run: conditions that no event fulfils, and
//! needs that must run and never do so together with the stage.
//!
//! Only what is certain for every event is told: names that are written out are
//! compared, patterns are not.

use std::collections::VecDeque;

use crate::TriggerEvent;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::model::{Condition, Globs, Stage, When};
use crate::source::{Sources, Span};
use crate::suggest::quoted;
use crate::yaml::Value;

/// Needs that are compared with one stage, the nearest first.
const NEEDS_COMPARED: usize = 100;

/// Events that have no tag.
const WITHOUT_TAG: &[TriggerEvent] =
    &[TriggerEvent::Push, TriggerEvent::PullRequest, TriggerEvent::Gerrit, TriggerEvent::Svn];

/// Finds stages that no event starts (W023), alone or with their needs (W022).
pub(super) fn warnings(
    stages: &[Stage],
    graph: &Graph,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) {
    let dead: Vec<Option<Diagnostic>> =
        stages.iter().map(|stage| never_holds(stage, sources)).collect();
    for (at, stage) in stages.iter().enumerate() {
        match &dead[at] {
            Some(warning) => found.push(warning.clone()),
            None => found.extend(never_together(at, stage, stages, graph, &dead, sources)),
        }
    }
}

/// W023: every alternative of the condition contradicts itself.
fn never_holds(stage: &Stage, sources: &Sources) -> Option<Diagnostic> {
    let When::Any(conditions) = &stage.when else { return None };
    let contradictions: Option<Vec<(Span, String)>> =
        conditions.iter().map(contradiction).collect();
    let first = contradictions?.into_iter().next();
    let (span, label) = first.unwrap_or_else(|| {
        let span = stage.key("when").map_or(stage.span, |node| node.span);
        (span, "the list has no condition that could hold".to_owned())
    });
    let warning = Diagnostic::warning(
        Code::W023,
        format!("stage `{}` can never run: its condition is always false", stage.name),
    );
    Some(
        warning
            .at(sources.place(span))
            .label(label)
            .help("change the condition, or switch the stage off in words: when: off"),
    )
}

/// What of a condition is false for every event.
fn contradiction(condition: &Condition) -> Option<(Span, String)> {
    let globs = [
        ("branch", &condition.branch),
        ("tag", &condition.tag),
        ("changed", &condition.changed),
        ("environment", &condition.environment),
    ];
    for (key, globs) in globs {
        let Some(globs) = globs else { continue };
        if globs.patterns.is_empty() {
            return Some((globs.node.span, format!("`{key}` lists no pattern")));
        }
        if names(globs).is_some_and(|names| names.is_empty()) {
            let label = format!("`{key}` excludes everything it names");
            return Some((globs.node.span, label));
        }
    }
    if let Some(events) = &condition.event {
        if events.events.is_empty() {
            return Some((events.node.span, "`event` lists no event".to_owned()));
        }
        if let Some(tag) = &condition.tag
            && events.events.iter().all(|event| WITHOUT_TAG.contains(event))
        {
            let events = quoted(events.events.iter().map(|event| event.name()));
            let label = format!("there is no tag when the event is {events}");
            return Some((tag.node.span, label));
        }
    }
    if let Some(test) = condition.params.iter().find(|test| test.values.is_empty()) {
        return Some((test.node.span, format!("`params.{}` lists no value", test.name)));
    }
    let node = condition.expression.as_ref()?;
    let always_false = matches!(&node.value, Value::Bool(false))
        || matches!(&node.value, Value::Mixed(pieces) if is_false(pieces));
    always_false.then(|| (node.span, "`if` is always false".to_owned()))
}

fn is_false(pieces: &[crate::expression::Piece]) -> bool {
    matches!(pieces, [crate::expression::Piece::Expression(only)] if only.source.trim() == "false")
}

/// W022: a need that must run has a condition that excludes the stage's own.
fn never_together(
    at: usize,
    stage: &Stage,
    stages: &[Stage],
    graph: &Graph,
    dead: &[Option<Diagnostic>],
    sources: &Sources,
) -> Option<Diagnostic> {
    let When::Any(own) = &stage.when else { return None };
    let mut seen = vec![at];
    let mut waiting = VecDeque::from([at]);
    while let Some(from) = waiting.pop_front() {
        for edge in graph.needs[from].iter().filter(|edge| edge.must) {
            if seen.contains(&edge.stage) || seen.len() > NEEDS_COMPARED {
                continue;
            }
            seen.push(edge.stage);
            waiting.push_back(edge.stage);
            let need = &stages[edge.stage];
            let When::Any(theirs) = &need.when else { continue };
            if dead[edge.stage].is_some() {
                continue;
            }
            let mut all =
                own.iter().flat_map(|own| theirs.iter().map(|theirs| excludes(own, theirs)));
            let first = all.next().flatten();
            let Some(first) = first.filter(|_| all.all(|pair| pair.is_some())) else { continue };
            let ((own_at, own_words), (their_at, their_words)) = first;
            let (name, other) = (&stage.name, &need.name);
            let message = format!(
                "stage `{name}` can never run: `{other}` must run before it, and their conditions exclude each other"
            );
            return Some(
                Diagnostic::warning(Code::W022, message)
                    .at(sources.place(own_at))
                    .label(format!("`{name}` runs only when {own_words}"))
                    .related(
                        format!("`{other}` runs only when {their_words}"),
                        sources.place(their_at),
                    )
                    .help("give both the same condition, or take the `must: run` away"),
            );
        }
    }
    None
}

/// A place, and the condition there in words.
type Told = (Span, String);

/// Why two conditions cannot both hold for one event.
fn excludes(one: &Condition, other: &Condition) -> Option<(Told, Told)> {
    for (key, one, other) in [("branch", &one.branch, &other.branch), ("tag", &one.tag, &other.tag)]
    {
        let (Some(one), Some(other)) = (one, other) else { continue };
        let (Some(ours), Some(theirs)) = (names(one), names(other)) else { continue };
        if !ours.iter().any(|name| theirs.contains(name)) {
            let told = |globs: &Globs, names: &[&str]| {
                let words = format!("`{key}` is {}", quoted(names.iter().copied()));
                (globs.node.span, words)
            };
            return Some((told(one, &ours), told(other, &theirs)));
        }
    }
    let (ours, theirs) = (events(one), events(other));
    if let (Some((ours, our_words)), Some((theirs, their_words))) = (ours, theirs)
        && !ours.iter().any(|event| theirs.contains(event))
    {
        return Some((our_words, their_words));
    }
    None
}

/// The events a condition can hold for, by its `event` or its `tag`.
fn events(condition: &Condition) -> Option<(Vec<TriggerEvent>, Told)> {
    match (&condition.event, &condition.tag) {
        (Some(events), _) => {
            let names = quoted(events.events.iter().map(|event| event.name()));
            Some((events.events.clone(), (events.node.span, format!("`event` is {names}"))))
        }
        (None, Some(tag)) => {
            let all = [
                TriggerEvent::Tag,
                TriggerEvent::Schedule,
                TriggerEvent::Manual,
                TriggerEvent::Trigger,
            ];
            Some((all.to_vec(), (tag.node.span, "there is a tag".to_owned())))
        }
        (None, None) => None,
    }
}

/// The names that globs match, when they are written out.
fn names(globs: &Globs) -> Option<Vec<&str>> {
    let (excluded, included): (Vec<&str>, Vec<&str>) = globs
        .patterns
        .iter()
        .map(|pattern| pattern.text.as_str())
        .partition(|text| text.starts_with('!'));
    let literal = |text: &str| !text.contains(['*', '?', '[', ']', '{', '}', '\\']);
    if included.is_empty() || !included.iter().all(|text| literal(text)) {
        return None;
    }
    let excludes = |name: &str| excluded.iter().any(|text| text.strip_prefix('!') == Some(name));
    Some(included.into_iter().filter(|name| !excludes(name)).collect())
}
