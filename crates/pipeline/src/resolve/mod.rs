//! What a plan left open, once it is known: values that read other stages, the run
//! or the workspace, and conditions that were deferred.
//!
//! The runner asks when a stage could start. It brings what the stages before it
//! ended with, and gets the stage with every value in its place, typed, or the
//! sentence that says why there is none.

mod place;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use world::World;

use crate::codes::Code;
use crate::expression::{Datum, brief};
use crate::lower::key_of;
use crate::plan::{
    Alternative, Condition, Origin, Pending, PendingPart, Plan, PlannedStage, ValueKind,
};
use crate::scalar::read_as;
use crate::source::{FileId, Span};
use crate::yaml::Node;

/// Of one value: more cannot be handed to a process (language.md §3).
const TEXT_LIMIT_BYTES: usize = 128 << 10;

/// What an expression gave stands in no file.
const NOWHERE: Span = Span { file: FileId::PIPELINE, start: 0, end: 0 };

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

impl Unresolved {
    fn new(code: Code, message: String, stage: &PlannedStage, origin: &Origin) -> Self {
        Self { code, message, origin: origin.clone(), stage: stage.name.clone() }
    }
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
    plan: &Plan,
    stage: &PlannedStage,
    finished: &BTreeMap<String, Finished>,
    run: &RunFacts,
    hash: &dyn Fn(&[String]) -> Result<String, String>,
) -> Result<PlannedStage, Unresolved> {
    if stage.pending.is_empty() {
        return Ok(stage.clone());
    }
    let world = World { plan, stage, finished, run, hash: Some(hash) };
    let mut json = serde_json::to_value(stage).map_err(|error| {
        Unresolved::new(Code::E042, no_place(&error.to_string()), stage, &stage.pending[0].origin)
    })?;
    for pending in &stage.pending {
        let unresolved = |(code, message): (Code, String)| {
            Unresolved::new(code, message, stage, &pending.origin)
        };
        let value = world.value(&pending.parts).map_err(unresolved)?;
        let value = typed(pending, value).map_err(unresolved)?;
        place::put(&mut json, stage, &pending.path, value).map_err(|found| {
            unresolved((Code::E042, format!("`{}` {}", pending.path, no_place(&found))))
        })?;
    }
    let mut resolved: PlannedStage = serde_json::from_value(json).map_err(|error| {
        let message = format!("the values of the stage do not fit: {error}");
        Unresolved::new(Code::E042, message, stage, &stage.pending[0].origin)
    })?;
    resolved.pending.clear();
    Ok(resolved)
}

/// Returns the condition of a stage with its deferred tests decided, and what they saw.
pub fn settle(
    plan: &Plan,
    stage: &PlannedStage,
    finished: &BTreeMap<String, Finished>,
    run: &RunFacts,
) -> Result<Condition, Unresolved> {
    // Without a `when` there is one alternative, and nothing in it that could fail.
    let mut condition =
        stage.condition.clone().unwrap_or_else(|| Condition { any: vec![Alternative::default()] });
    let world = World { plan, stage, finished, run, hash: None };
    for test in condition.any.iter_mut().flat_map(|alternative| &mut alternative.all) {
        let (None, Some(PendingPart::Expression { source, file })) = (test.holds, &test.expression)
        else {
            continue;
        };
        let unresolved = |(code, message)| Unresolved::new(code, message, stage, &test.origin);
        let (value, saw) = world.test(source, *file).map_err(unresolved)?;
        let Datum::Bool(holds) = value else {
            let message = format!(
                "`if` of stage `{}` takes true or false, not {}",
                stage.stage,
                value.kind()
            );
            return Err(unresolved((Code::E042, message)));
        };
        test.reason = match saw.as_str() {
            "" => format!("`{}` is {holds}", brief(&test.wants)),
            saw => format!("`{}` is {holds}: {saw}", brief(&test.wants)),
        };
        test.saw = if saw.is_empty() { holds.to_string() } else { saw };
        test.holds = Some(holds);
    }
    Ok(condition)
}

/// The value in the form the plan has it, as its type wants it.
fn typed(pending: &Pending, value: Datum) -> Result<serde_json::Value, (Code, String)> {
    let key = key_of(&pending.path);
    if value == Datum::Null && pending.kind != ValueKind::Json {
        return Err((Code::E042, format!("the expression of `{key}` has no value")));
    }
    let node = Node::new(value.into_value(NOWHERE), NOWHERE);
    let json = read_as(pending.kind, &node).map_err(|misfit| {
        let code = if misfit.code == Code::E012 { Code::E042 } else { misfit.code };
        (code, misfit.sentence(key, &node))
    })?;
    match &json {
        serde_json::Value::String(text) if text.len() > TEXT_LIMIT_BYTES => {
            let message =
                format!("`{key}` is {} bytes long, the limit is {TEXT_LIMIT_BYTES}", text.len());
            Err((Code::E003, message))
        }
        _ => Ok(json),
    }
}

fn no_place(found: &str) -> String {
    format!("has no place in the plan: {found}")
}
