//! Order, skip, failure: language.md §7.

use crate::{Fate, NeedResult, NeedState, RunOn, fate};

/// A row of the table: results of the needs `a`, `b` …, and the three verdicts.
/// `a!` is a need with `must: run`.
type Row = (&'static str, [&'static str; 3]);

/// The table of §7, row by row, then what several rows together give.
const TABLE: &[Row] = &[
    ("", ["run", "skipped: nothing failed", "run"]),
    ("a open", ["wait", "wait", "wait"]),
    ("a failed, b open", ["wait", "wait", "wait"]),
    ("a good", ["run", "skipped: nothing failed", "run"]),
    ("a good, b good", ["run", "skipped: nothing failed", "run"]),
    ("a! good", ["run", "skipped: nothing failed", "run"]),
    ("a good, b skipped", ["run", "skipped: nothing failed", "run"]),
    (
        "a good, b! skipped",
        ["skipped: `b` was skipped", "skipped: nothing failed", "skipped: `b` was skipped"],
    ),
    (
        "a! skipped, b! skipped",
        ["skipped: `a` was skipped", "skipped: nothing failed", "skipped: `a` was skipped"],
    ),
    ("a good, b failed", ["blocked: `b` failed", "run", "run"]),
    ("a failed, b failed", ["blocked: `a` failed", "run", "run"]),
    ("a skipped, b failed", ["blocked: `b` failed", "run", "run"]),
    ("a! failed", ["blocked: `a` failed", "run", "run"]),
    ("a blocked", ["blocked: `first` failed", "run", "run"]),
    ("a blocked, b failed", ["blocked: `b` failed", "run", "run"]),
    (
        "a failed, b! skipped",
        ["blocked: `a` failed", "skipped: `b` did not run", "skipped: `b` did not run"],
    ),
    (
        "a failed, b! blocked",
        ["blocked: `a` failed", "skipped: `b` did not run", "skipped: `b` did not run"],
    ),
    (
        "a! blocked",
        ["blocked: `first` failed", "skipped: `a` did not run", "skipped: `a` did not run"],
    ),
    ("a cancelled", ["cancelled: `a` was cancelled", "cancelled: `a` was cancelled", "run"]),
    ("a! cancelled", ["cancelled: `a` was cancelled", "cancelled: `a` was cancelled", "run"]),
    (
        "a failed, b cancelled",
        ["cancelled: `b` was cancelled", "cancelled: `b` was cancelled", "run"],
    ),
    (
        "a cancelled, b! skipped",
        [
            "cancelled: `a` was cancelled",
            "cancelled: `a` was cancelled",
            "skipped: `b` was skipped",
        ],
    ),
];

fn need(text: &'static str) -> NeedState<'static> {
    let (name, result) = text.trim().split_once(' ').unwrap();
    let result = match result {
        "open" => NeedResult::Open,
        "good" => NeedResult::Good,
        "skipped" => NeedResult::Skipped,
        "failed" => NeedResult::Failed,
        "blocked" => NeedResult::Blocked("`first` failed"),
        "cancelled" => NeedResult::Cancelled,
        other => panic!("no result: {other}"),
    };
    NeedState { name: name.trim_end_matches('!'), result, must_run: name.ends_with('!') }
}

fn verdict(run_on: RunOn, needs: &'static str) -> String {
    match fate(run_on, needs.split(',').filter(|need| !need.is_empty()).map(need)) {
        Fate::Wait => "wait".to_owned(),
        Fate::Run => "run".to_owned(),
        Fate::Skip(reason) => format!("skipped: {reason}"),
        Fate::Block(reason) => format!("blocked: {reason}"),
        Fate::Cancel(reason) => format!("cancelled: {reason}"),
    }
}

#[test]
fn the_results_of_the_needs_decide_as_the_table_says() {
    for (needs, verdicts) in TABLE {
        let came =
            [RunOn::Success, RunOn::Failure, RunOn::Always].map(|run_on| verdict(run_on, needs));
        assert_eq!(came, *verdicts, "needs: {needs}");
    }
}
