//! Decides before the run which stages are skipped, and says why.

mod said;

use std::collections::HashMap;

use said::{Said, changed, environment, event, glob, parameter, wanted};

use super::condition::{Alternative, Condition as Trace, Test, Verdict};
use super::pending::PendingPart;
use super::{Decision, RunOn};
use crate::Context;
use crate::diagnostic::Diagnostic;
use crate::expression::{Piece, brief};
use crate::lower::{Lowering, Tested};
use crate::model::{Condition, Stage, When};
use crate::pattern::{Matching, Pattern, first_match};
use crate::suggest::{listed, quoted};
use crate::yaml::{Node, Value};

/// Whether a stage runs, as far as the plan knows.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) state: Decision,
    pub(super) reason: String,
    pub(super) condition: Option<Trace>,
    pub(super) deferred: Vec<String>,
}

/// What conditions look at.
pub(super) struct Facts<'a> {
    context: &'a Context,
    /// `target branch` of a pull request, else `branch`.
    branch_words: &'static str,
    branch: Option<Matching<'a>>,
    tag: Option<Matching<'a>>,
    /// First changed path that matches, by the patterns.
    changed: HashMap<String, Option<&'a str>>,
    /// Where the stages of the plan deploy to.
    pub(super) environments: Vec<String>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        let (branch_words, branch) = match &context.pull_request {
            Some(request) => ("target branch", Some(request.target_branch.as_str())),
            // The branch a tag lies on may be known; that the tag was pushed is no push
            // of the branch.
            None if context.git.tag.is_some() => ("branch", None),
            None => ("branch", context.git.branch.as_deref()),
        };
        Self {
            context,
            branch_words,
            branch: branch.map(Matching::new),
            tag: context.git.tag.as_deref().map(Matching::new),
            changed: HashMap::new(),
            environments: Vec::new(),
        }
    }

    fn changed(&mut self, patterns: &[Pattern], paths: &'a [String]) -> Option<&'a str> {
        let key = patterns.iter().map(|pattern| pattern.text.as_str()).collect::<Vec<_>>();
        *self
            .changed
            .entry(key.join("\n"))
            .or_insert_with(|| first_match(patterns, paths.iter().map(String::as_str)))
    }
}

/// Decides a stage or cell whose needs do not skip it. `own` is where it deploys
/// to itself; errors are those of expressions the decision depends on.
pub(super) fn decide(
    stage: &Stage,
    own: Option<&str>,
    facts: &mut Facts<'_>,
    lowering: &mut Lowering<'_>,
) -> (Decided, Vec<Diagnostic>) {
    let mut errors = Vec::new();
    let (condition, deferred) = match &stage.when {
        When::Always => (None, Vec::new()),
        When::Off => (Some(Trace::default()), Vec::new()),
        When::Any(conditions) => {
            let (trace, found) = trace(conditions, own, facts, lowering);
            errors = found;
            let deferred = deferred(conditions, &trace);
            (Some(trace), deferred)
        }
    };
    let verdict = match (&stage.when, &condition) {
        // `when: []` has nothing that could hold, and is not switched off either.
        (When::Any(conditions), _) if conditions.is_empty() => Verdict {
            holds: Some(false),
            reason: "`when` lists no condition that could hold".to_owned(),
        },
        (_, Some(condition)) => condition.verdict(),
        (_, None) => Verdict { holds: Some(true), reason: "no condition".to_owned() },
    };
    let state = match verdict.holds {
        Some(false) => Decision::Skip,
        Some(true) | None => Decision::Run,
    };
    let reason = match state {
        Decision::Skip => verdict.reason,
        Decision::Run => with_run_on(stage.run_on, verdict.reason),
    };
    let deferred = if verdict.holds.is_none() { deferred } else { Vec::new() };
    (Decided { state, reason, condition, deferred }, errors)
}

fn with_run_on(run_on: RunOn, reason: String) -> String {
    let words = match run_on {
        RunOn::Success => return reason,
        RunOn::Failure => "runs when something above fails",
        RunOn::Always => "runs whatever happens above",
    };
    if reason == "no condition" { words.to_owned() } else { format!("{words}; {reason}") }
}

/// Every test of every alternative. An error counts only when the decision would
/// need the value: not beside a test that fails, not beside an alternative that holds.
fn trace(
    conditions: &[Condition],
    own: Option<&str>,
    facts: &mut Facts<'_>,
    lowering: &mut Lowering<'_>,
) -> (Trace, Vec<Diagnostic>) {
    let mut errors = Vec::new();
    let mut any = Vec::with_capacity(conditions.len());
    for condition in conditions {
        let mut tests = Tests { facts, lowering, all: Vec::new(), error: None };
        tests.condition(condition, own);
        let Tests { all, error, .. } = tests;
        let others = all.iter().filter(|test| test.key != "if");
        if !others.clone().any(|test| test.holds == Some(false)) {
            errors.extend(error);
        }
        any.push(Alternative { all });
    }
    if any.iter().any(|alternative| alternative.holds() == Some(true)) {
        errors.clear();
    }
    (Trace { any }, errors)
}

/// The stages that the open alternatives read, in the order they are named.
fn deferred(conditions: &[Condition], trace: &Trace) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    for (condition, alternative) in conditions.iter().zip(&trace.any) {
        if alternative.holds().is_none() {
            for stage in &condition.reads {
                if !stages.contains(stage) {
                    stages.push(stage.clone());
                }
            }
        }
    }
    stages
}

/// The tests of one map of `when`.
struct Tests<'t, 'a, 'l> {
    facts: &'t mut Facts<'a>,
    lowering: &'t mut Lowering<'l>,
    all: Vec<Test>,
    error: Option<Diagnostic>,
}

impl Tests<'_, '_, '_> {
    fn condition(&mut self, condition: &Condition, own: Option<&str>) {
        if let Some(globs) = &condition.branch {
            let words = self.facts.branch_words;
            let said = glob(words, &globs.patterns, self.facts.branch.as_mut());
            self.add("branch", &wanted(globs), &globs.node, said);
        }
        if let Some(globs) = &condition.tag {
            let said = glob("tag", &globs.patterns, self.facts.tag.as_mut());
            self.add("tag", &wanted(globs), &globs.node, said);
        }
        if let Some(events) = &condition.event {
            let said = event(&events.events, self.facts.context.event);
            let wants = listed(events.events.iter().map(|event| event.name().to_owned()));
            self.add("event", &wants, &events.node, said);
        }
        if let Some(globs) = &condition.changed {
            let said = changed(&globs.patterns, self.facts);
            self.add("changed", &wanted(globs), &globs.node, said);
        }
        for test in &condition.params {
            let values = self.lowering.parameter_values(test);
            let said = parameter(&test.name, &test.values, &values);
            let wants = listed(test.values.iter().cloned());
            self.add(&format!("params.{}", test.name), &wants, &test.node, said);
        }
        if let Some(globs) = &condition.environment {
            let said = environment(&globs.patterns, own, &self.facts.environments);
            self.add("environment", &wanted(globs), &globs.node, said);
        }
        if let Some(node) = &condition.expression {
            self.expression(node, &condition.reads);
        }
    }

    fn add(&mut self, key: &str, wants: &str, node: &Node, said: Said) {
        let Said { holds, saw, reason } = said;
        self.all.push(Test {
            key: key.to_owned(),
            wants: wants.to_owned(),
            saw,
            holds: Some(holds),
            reason,
            origin: self.lowering.origin(node),
            expression: None,
        });
    }

    fn expression(&mut self, node: &Node, reads: &[String]) {
        let expression = match &node.value {
            Value::Mixed(pieces) => pieces.iter().find_map(|piece| match piece {
                Piece::Expression(expression) => Some(expression),
                Piece::Text(_) => None,
            }),
            _ => None,
        };
        let wants = match expression {
            Some(expression) => expression.source.trim().to_owned(),
            None => node.scalar_text().unwrap_or_default().into_owned(),
        };
        let origin = self.lowering.origin(node);
        let shown = brief(&wants);
        let (holds, saw, reason, later) = match self.lowering.tested(node) {
            Tested::Known(value) => {
                let reason = match expression {
                    Some(_) => format!("`{shown}` is {value}"),
                    None => format!("`if` is {value}"),
                };
                (Some(value), value.to_string(), reason, None)
            }
            Tested::Deferred => {
                let later = expression.map(|expression| PendingPart::Expression {
                    source: expression.source.clone(),
                    file: expression.span.file.0,
                });
                (None, "not known yet".to_owned(), when_decided(reads), later)
            }
            Tested::Wrong(error) => {
                self.error = Some(*error);
                let reason = format!("`{shown}` has no value for this event");
                (Some(false), "no value".to_owned(), reason, None)
            }
        };
        let key = "if".to_owned();
        self.all.push(Test { key, wants, saw, holds, reason, origin, expression: later });
    }
}

fn when_decided(reads: &[String]) -> String {
    match reads {
        [] => "decided when the stage could start".to_owned(),
        [one] => format!("decided when `{one}` has finished"),
        [first @ .., last] => {
            let first = quoted(first.iter().map(String::as_str));
            format!("decided when {first} and `{last}` have finished")
        }
    }
}
