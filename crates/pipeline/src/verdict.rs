//! What becomes of a stage once its needs are done: the table of language.md §7.
//!
//! The planner uses it for what is certain before a run, the runner for the rest,
//! so both say the same words. `when` is applied after it, by whoever asks.

use crate::plan::RunOn;

/// A need of a stage, as far as it has come. A need on a stage with a matrix is
/// one for each cell.
#[derive(Clone, Copy, Debug)]
pub struct NeedState<'a> {
    pub name: &'a str,
    pub result: NeedResult<'a>,
    /// `must: run`, written or implied.
    pub must_run: bool,
}

/// The result of a need, as the table tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedResult<'a> {
    /// Not done yet. What is cancelled before it starts is done only when its own
    /// needs are, for a stage waits for those through it, too.
    Open,
    /// `passed`, `unchanged` or `warning`.
    Good,
    Skipped,
    /// `failed`, `timed-out`, `resource-limit` or `infra-error`.
    Failed,
    /// With its reason, which names the first cause.
    Blocked(&'a str),
    /// While it ran.
    Cancelled,
    /// Cancelled before it could start: it did not run.
    Unstarted,
}

/// What follows for the stage, with the reason in half a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A need is not done.
    Wait,
    Run,
    Skip(String),
    Block(String),
    Cancel(String),
}

/// Returns what becomes of a stage with these needs. Where several rows of the
/// table apply, the last of them counts: cancelling goes over failing, failing
/// over skipping. Only a `must: run` on what did not run at all keeps a
/// `run-on: always` stage from running after that.
pub fn fate<'a>(run_on: RunOn, needs: impl IntoIterator<Item = NeedState<'a>>) -> Fate {
    let (mut failed, mut blocked, mut cancelled) = (None, None, None);
    // Of those that must run: the first that was skipped, the first that did not run.
    let (mut skipped, mut missing) = (None, None);
    for need in needs {
        match need.result {
            NeedResult::Open => return Fate::Wait,
            NeedResult::Good => {}
            NeedResult::Skipped if need.must_run => {
                skipped.get_or_insert(need.name);
                missing.get_or_insert(need.name);
            }
            NeedResult::Skipped => {}
            NeedResult::Failed => {
                failed.get_or_insert(need.name);
            }
            NeedResult::Blocked(reason) => {
                blocked.get_or_insert(reason);
                if need.must_run {
                    missing.get_or_insert(need.name);
                }
            }
            NeedResult::Cancelled => {
                cancelled.get_or_insert(need.name);
            }
            NeedResult::Unstarted => {
                cancelled.get_or_insert(need.name);
                if need.must_run {
                    missing.get_or_insert(need.name);
                }
            }
        }
    }
    let cause =
        failed.map(|name| format!("`{name}` failed")).or_else(|| blocked.map(str::to_owned));
    let did_not_run = |name: &str| Fate::Skip(format!("`{name}` did not run"));
    let was_skipped = |name: &str| Fate::Skip(format!("`{name}` was skipped"));
    if let (Some(name), RunOn::Success | RunOn::Failure) = (cancelled, run_on) {
        return Fate::Cancel(format!("`{name}` was cancelled"));
    }
    match (run_on, cause) {
        (RunOn::Success, Some(cause)) => Fate::Block(cause),
        (RunOn::Success, None) => skipped.map_or(Fate::Run, was_skipped),
        (RunOn::Failure, None) => Fate::Skip("nothing failed".to_owned()),
        // Where all went well but for skipping, the words say that.
        (RunOn::Always, None) if cancelled.is_none() => skipped.map_or(Fate::Run, was_skipped),
        (RunOn::Failure, Some(_)) | (RunOn::Always, _) => missing.map_or(Fate::Run, did_not_run),
    }
}
