//! Sentences about what happened, the same in every view.

use std::collections::BTreeMap;

use event::{EventKind, Phase, RunState, StageResult, TestTotals};
use pipeline::Plan;

use super::style::Style;
use super::visible::visible;
use crate::text;

/// `orders #12 main at 1a2b3c4d  run 3f9a0c1d`
pub(super) fn title(style: Style, number: u64, plan: &Plan, run: &str) -> String {
    let commit = plan.sha.get(..8).unwrap_or(&plan.sha);
    let commit = if commit.is_empty() { String::new() } else { format!(" at {commit}") };
    let branch = plan.branch.as_deref().map(|branch| format!(" {branch}")).unwrap_or_default();
    let title = visible(&format!("{} #{number}{branch}{commit}", plan.pipeline));
    format!("{}  {}", style.bold(&title), style.dim(&format!("run {run}")))
}

/// What an event says about a stage that goes on.
pub(super) fn note(kind: &EventKind) -> Option<(&str, String)> {
    Some(match kind {
        EventKind::ServiceReady { stage, name, duration_ms, .. } => {
            let after = text::duration(*duration_ms);
            (stage, format!("service `{name}` is ready after {after}"))
        }
        EventKind::CacheRestored { stage, key, from, .. } => {
            (stage, format!("cache restored from `{}`", from.as_ref().unwrap_or(key)))
        }
        EventKind::CacheSaved { stage, key, size, .. } => {
            (stage, format!("cache saved as `{key}`, {}", runner::size_text(*size)))
        }
        EventKind::ArtifactStored { stage, name, size, files, .. } => {
            (stage, format!("artifact `{name}` stored, {}", files_of(*files, *size)))
        }
        EventKind::ReportRead { stage, totals, .. } => (stage, tests(totals)),
        _ => return None,
    })
}

/// `12 files, 3.4 MB`
pub(super) fn files_of(files: u64, size: u64) -> String {
    let plural = if files == 1 { "" } else { "s" };
    format!("{files} file{plural}, {}", runner::size_text(size))
}

/// `attempt 1 failed: exit 1; attempt 2 begins in 5s`
pub(super) fn repeated(ended: &str, attempt: u32, pause_ms: i64) -> String {
    let pause = text::duration(u64::try_from(pause_ms).unwrap_or(0));
    format!("{ended}; attempt {attempt} begins in {pause}")
}

/// `attempt 1 failed: exit 1`
pub(super) fn ended(attempt: u32, result: StageResult, reason: Option<&str>) -> String {
    let reason = reason.and_then(|reason| reason.lines().next());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("attempt {attempt} {}{reason}", result.name())
}

/// What the first and the second Ctrl-C do.
pub(super) fn cancelled(state: &RunState, by: &str, reason: &str) -> String {
    if state.killed {
        "cancelled again: what still runs is killed".to_owned()
    } else {
        format!(
            "cancelled by {by}: {reason}; stages get time to end, press Ctrl-C again to kill them"
        )
    }
}

pub(super) fn overdue(reason: &str) -> String {
    visible(&format!("{reason}; what runs gets time to end"))
}

/// `120 tests, 2 failed, 1 skipped`
pub(super) fn tests(totals: &TestTotals) -> String {
    let plural = if totals.tests == 1 { "" } else { "s" };
    let mut line = format!("{} test{plural}", totals.tests);
    for (count, word) in [(totals.failed, "failed"), (totals.skipped, "skipped")] {
        if count > 0 {
            line.push_str(&format!(", {count} {word}"));
        }
    }
    line
}

/// `5 passed, 1 failed, 2 blocked`
pub(super) fn counts(state: &RunState) -> String {
    let mut counts: BTreeMap<StageResult, usize> = BTreeMap::new();
    for stage in state.stages.values() {
        if let Phase::Done(result) = stage.phase {
            *counts.entry(result).or_default() += 1;
        }
    }
    let words: Vec<String> =
        counts.iter().map(|(result, count)| format!("{count} {result}")).collect();
    words.join(", ")
}

/// The tests that failed, by stage, also of stages that passed all the same.
pub(super) fn failing_tests(style: Style, state: &RunState) -> Vec<String> {
    let mut lines = Vec::new();
    let stages = state.stages.iter();
    let failing = stages.filter_map(|(name, stage)| Some((name, stage.tests.as_ref()?)));
    for (name, totals) in failing.filter(|(_, totals)| totals.failed > 0) {
        lines.push(String::new());
        lines.push(style.bold(&format!("failed tests of {}", visible(name))));
        for test in &totals.failing {
            let class = match test.class.as_str() {
                "" => String::new(),
                class => format!("{class} "),
            };
            let message = test.message.as_deref().map(|message| format!(": {message}"));
            let line = format!("{class}{}{}", test.name, message.unwrap_or_default());
            lines.push(format!("  {}", visible(&line)));
        }
        let more = totals.failed.saturating_sub(totals.failing.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_tests_are_named_at_the_end() {
        let failing = |name: &str, class: &str, message: Option<&str>| event::FailingTest {
            name: name.to_owned(),
            class: class.to_owned(),
            message: message.map(str::to_owned),
        };
        let totals = TestTotals {
            files: 1,
            tests: 120,
            failed: 3,
            skipped: 1,
            duration_ms: 5,
            failing: vec![failing("adds", "T", Some("1 is not 2")), failing("x\x1b[2J", "", None)],
        };
        assert_eq!(tests(&totals), "120 tests, 3 failed, 1 skipped");
        let mut state = RunState::default();
        let stage = event::Stage { tests: Some(totals), ..Default::default() };
        state.stages.insert("unit".to_owned(), stage);
        let told = failing_tests(Style { colour: false }, &state);
        let expected =
            ["", "failed tests of unit", "  T adds: 1 is not 2", "  x\\u{1b}[2J", "  and 1 more"];
        assert_eq!(told, expected);
    }
}
