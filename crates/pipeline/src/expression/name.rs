//! The names expressions can read and call, and where (language.md §6).

use super::function::CALLABLE;

/// What kind of place an expression stands at (the table of language.md §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// `concurrency` of the run, `environments`, `notify`, axes of a matrix: no `env`.
    Pipeline,
    /// `deploy.environment`: known when the plan is made, so nothing of the run.
    Environment,
    /// `image`, `services`, `resources`, `runner`, `timeout`: no `stages`.
    Plan,
    /// `when.if`: a condition that reads `stages` is deferred.
    Condition,
    /// `env`, `build`, `push`, the other keys of `deploy`, `approve`, `trigger`,
    /// `artifacts`, `concurrency` of a stage.
    Value,
    /// `env` of the pipeline and of `defaults`: as in a stage, but not `env` itself.
    Defaults,
    /// `cache.key` and `cache.restore`: also `hash()`.
    Cache,
    /// A command: trusted values, and outputs that the engine makes.
    Run,
    /// `with`.
    With,
    /// No expressions at all; the key that says so.
    Never(&'static str),
}

pub(crate) const CONTEXTS: &[&str] =
    &["git", "event", "params", "env", "matrix", "run", "pipeline", "project", "stages"];
pub(crate) const GIT: &[&str] =
    &["sha", "sha_short", "branch", "tag", "message", "author", "default_branch", "url"];
pub(crate) const EVENT: &[&str] = &["name", "title", "number", "target_branch", "trusted"];
pub(crate) const RUN: &[&str] = &["number", "id", "url", "attempt", "started"];
/// Of a stage that has finished, and of one of its cells.
pub(super) const STAGE: &[&str] = &["result", "outputs", "cells"];
pub(super) const CELL: &[&str] = &["result", "outputs"];

/// Text that whoever pushes can choose, and the variable that already holds it (§9).
pub(super) const UNTRUSTED: &[(&str, &str, &str)] = &[
    ("git", "branch", "SHIPLINE_GIT_BRANCH"),
    ("git", "message", "SHIPLINE_GIT_MESSAGE"),
    ("git", "author", "SHIPLINE_GIT_AUTHOR"),
    ("git", "tag", "SHIPLINE_GIT_TAG"),
    ("event", "title", "SHIPLINE_PR_TITLE"),
];

/// The end of the name of a variable that holds a parameter or an axis.
pub(super) fn variable_part(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// Whether a name is available at a place.
pub(crate) fn available(site: Site, root: &str) -> bool {
    let in_a_stage = !matches!(site, Site::Pipeline | Site::With);
    match root {
        "env" => in_a_stage && site != Site::Defaults,
        "matrix" => in_a_stage,
        "stages" => {
            matches!(site, Site::Condition | Site::Value | Site::Defaults | Site::Cache | Site::Run)
        }
        // A number exists only when the run is queued, which is after its plan.
        "run" => in_a_stage && site != Site::Environment,
        "pipeline" | "project" => site != Site::With,
        _ => true,
    }
}

/// Names that an expression can begin with at a place.
pub(super) fn available_names(site: Site) -> Vec<&'static str> {
    CONTEXTS.iter().copied().filter(|root| available(site, root)).collect()
}

/// Functions that can be called at a place.
pub(crate) fn available_functions(site: Site) -> Vec<&'static str> {
    CALLABLE
        .iter()
        .copied()
        .filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))
        .filter(|name| *name != "hash" || site == Site::Cache)
        .collect()
}

/// Where a name is available, for those that are not everywhere.
pub(super) fn available_where(root: &str) -> &'static str {
    match root {
        "stages" => {
            "`stages` is available in `when.if`, `env`, `build`, `push`, `deploy`, `approve`, `trigger`, \
             `artifacts`, `cache` and `concurrency` of a stage"
        }
        "env" => {
            "`env` is available in the keys of stages, but not in the axes of a `matrix`, \
             and not in the `env` of the pipeline itself"
        }
        "matrix" => {
            "`matrix` is available in the keys of a stage that has one, but not in its axes"
        }
        "run" => {
            "`run` is available in the keys of stages but `deploy.environment`: a run has a number \
             only when it is queued, and the plan is made before"
        }
        "hash" => "`hash` is available in `cache.key` and `cache.restore`",
        _ => "it is available everywhere but in `with`",
    }
}
