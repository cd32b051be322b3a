//! How a run looks on a terminal and in a pipe: one line per fact and per line
//! of output, each with the stage it belongs to.
//!
//! Only what an observation says is printed, so a recorded run shown again looks
//! the same.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use event::{
    Event, EventKind, Frame, FrameBody, OutputStream, Phase, RunState, StageResult, TestTotals,
};

use crate::text;

/// Lines of a failed stage shown again at the end.
const LAST_LINES: usize = 30;

/// Colours, or none: a pipe, `NO_COLOR` and a dumb terminal get none.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colour: bool,
}

/// `--plain` was given.
static PLAIN: AtomicBool = AtomicBool::new(false);

impl Style {
    /// From now on nothing is coloured.
    pub(crate) fn plain() {
        PLAIN.store(true, Ordering::Relaxed);
    }

    pub(crate) fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    pub(crate) fn of_stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_some_and(|value| value != "dumb");
        Self { colour: wanted && able && terminal && !PLAIN.load(Ordering::Relaxed) }
    }

    /// The same for what the language prints.
    pub(crate) const fn of_language(self) -> pipeline::Style {
        if self.colour { pipeline::Style::Coloured } else { pipeline::Style::Plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The word of a result in its colour.
    pub(crate) fn result(self, result: &str) -> String {
        let code = match result {
            "passed" | "unchanged" | "succeeded" => "32",
            "warning" | "skipped" | "cancelled" => "33",
            "blocked" => "2",
            _ => "31",
        };
        self.paint(code, result)
    }
}

/// Columns of the terminal that stdout is; `None` when it is none.
pub(crate) fn width_of_stdout() -> Option<usize> {
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width)).filter(|width| *width > 0)
}

/// Shows a run as it happens.
pub(crate) struct Reporter<W> {
    out: W,
    style: Style,
    state: RunState,
    width: usize,
    /// Per stage: output that has no line end yet, and the last lines.
    stages: BTreeMap<String, StageOutput>,
}

#[derive(Default)]
struct StageOutput {
    partial: String,
    last: Vec<String>,
    /// How its last attempt ended.
    ended: String,
}

impl<W: Write> Reporter<W> {
    pub(crate) fn new(out: W, style: Style) -> Self {
        Self { out, style, state: RunState::default(), width: 8, stages: BTreeMap::new() }
    }

    pub(crate) fn event(&mut self, event: &Event) -> std::io::Result<()> {
        // An event that cannot follow is still shown; the run itself judges it.
        let _ = self.state.apply(event);
        match &event.kind {
            EventKind::RunQueued { number, plan, .. } => {
                self.width =
                    plan.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(8);
                let Some(run) = self.state.run else { return Ok(()) };
                let commit = if plan.sha.is_empty() {
                    String::new()
                } else {
                    format!(" at {}", &plan.sha[..plan.sha.len().min(8)])
                };
                let branch =
                    plan.branch.as_deref().map(|branch| format!(" {branch}")).unwrap_or_default();
                let title = format!("{} #{number}{branch}{commit}", plan.pipeline);
                writeln!(
                    self.out,
                    "{}  {}",
                    self.style.bold(&title),
                    self.style.dim(&format!("run {}", run.short()))
                )
            }
            EventKind::StageSkipped { stage, reason } => self.line(stage, "skipped", reason),
            EventKind::StageBlocked { stage, reason } => self.line(stage, "blocked", reason),
            EventKind::AttemptFinished { stage, attempt, result, reason, .. } => {
                // Its last words, should another attempt follow.
                let reason = reason.as_deref().and_then(|reason| reason.lines().next());
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let ended = format!("attempt {attempt} {}{reason}", result.name());
                self.stages.entry(stage.clone()).or_default().ended = ended;
                Ok(())
            }
            EventKind::AttemptStarting { stage, attempt, not_before, .. } if *attempt > 1 => {
                self.flush(stage)?;
                let output = self.stages.entry(stage.clone()).or_default();
                output.last.clear();
                let ended = std::mem::take(&mut output.ended);
                let pause = not_before.map_or(0, |until| (until - event.at).num_milliseconds());
                let pause = text::duration(u64::try_from(pause).unwrap_or(0));
                self.note(stage, &format!("{ended}; attempt {attempt} begins in {pause}"))
            }
            EventKind::CacheRestored { stage, key, from, .. } => {
                self.note(stage, &format!("cache restored from `{}`", from.as_ref().unwrap_or(key)))
            }
            EventKind::CacheSaved { stage, key, size, .. } => {
                self.note(stage, &format!("cache saved as `{key}`, {}", runner::size_text(*size)))
            }
            EventKind::ArtifactStored { stage, name, size, files, .. } => {
                let plural = if *files == 1 { "" } else { "s" };
                let size = runner::size_text(*size);
                self.note(stage, &format!("artifact `{name}` stored, {files} file{plural}, {size}"))
            }
            EventKind::ReportRead { stage, totals, .. } => self.note(stage, &tests(totals)),
            EventKind::StageFinished { stage, result, reason, duration_ms, .. } => {
                self.flush(stage)?;
                let duration = text::duration(*duration_ms);
                let reason =
                    reason.as_deref().map(|reason| format!("  {reason}")).unwrap_or_default();
                self.line(stage, result.name(), &format!("{duration}{reason}"))
            }
            EventKind::CancelRequested { reason, by } if !self.state.killed => {
                writeln!(self.out, "{}", self.style.bold(&format!("cancelled by {by}: {reason}; stages get time to end, press Ctrl-C again to kill them")))
            }
            EventKind::CancelRequested { .. } => {
                writeln!(
                    self.out,
                    "{}",
                    self.style.bold("cancelled again: what still runs is killed")
                )
            }
            EventKind::RunFinished { result, duration_ms } => {
                self.summary(result.name(), *duration_ms)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn frame(&mut self, frame: &Frame) -> std::io::Result<()> {
        let output = self.stages.entry(frame.stage.clone()).or_default();
        output.partial.push_str(&readable(&frame.body));
        let mut lines = Vec::new();
        while let Some(end) = output.partial.find('\n') {
            let line: String = output.partial.drain(..=end).collect();
            lines.push(line.trim_end_matches(['\n', '\r']).to_owned());
        }
        output.last.extend(lines.iter().cloned());
        let surplus = output.last.len().saturating_sub(LAST_LINES);
        output.last.drain(..surplus);
        let dim = frame.stream == OutputStream::Engine;
        for line in lines {
            let line = visible(&line);
            let line = if dim { self.style.dim(&line) } else { line };
            self.say(&frame.stage, &line)?;
        }
        Ok(())
    }

    /// A line about a stage that is not its output.
    fn note(&mut self, stage: &str, line: &str) -> std::io::Result<()> {
        let line = self.style.dim(&visible(line));
        self.say(stage, &line)
    }

    fn flush(&mut self, stage: &str) -> std::io::Result<()> {
        let Some(output) = self.stages.get_mut(stage) else { return Ok(()) };
        let rest = std::mem::take(&mut output.partial);
        if rest.is_empty() {
            return Ok(());
        }
        output.last.push(rest.clone());
        self.say(stage, &visible(&rest))
    }

    fn say(&mut self, stage: &str, line: &str) -> std::io::Result<()> {
        let name = format!("{stage:<width$} |", width = self.width);
        writeln!(self.out, "{} {line}", self.style.dim(&name))
    }

    fn line(&mut self, stage: &str, word: &str, rest: &str) -> std::io::Result<()> {
        let name = format!("{stage:<width$}", width = self.width);
        let indent = " ".repeat(self.width + 3);
        let mut lines = rest.trim_end().lines();
        let first = visible(lines.next().unwrap_or_default());
        writeln!(self.out, "{name} = {}  {first}", self.style.result(word))?;
        lines.try_for_each(|line| writeln!(self.out, "{indent}{}", visible(line)))
    }

    /// The tests that failed, by stage, also of stages that passed all the same.
    fn failing_tests(&mut self) -> std::io::Result<()> {
        let stages = self.state.stages.iter();
        let failing = stages.filter_map(|(name, stage)| Some((name, stage.tests.as_ref()?)));
        for (name, totals) in failing.filter(|(_, totals)| totals.failed > 0) {
            let title = format!("failed tests of {name}");
            writeln!(self.out, "\n{}", self.style.bold(&title))?;
            for test in &totals.failing {
                let class = match test.class.as_str() {
                    "" => String::new(),
                    class => format!("{class} "),
                };
                let message = test.message.as_deref().map(|message| format!(": {message}"));
                let line = format!("{class}{}{}", test.name, message.unwrap_or_default());
                writeln!(self.out, "  {}", visible(&line))?;
            }
            let more = totals.failed.saturating_sub(totals.failing.len() as u64);
            if more > 0 {
                writeln!(self.out, "  and {more} more")?;
            }
        }
        Ok(())
    }

    fn summary(&mut self, result: &str, duration_ms: u64) -> std::io::Result<()> {
        let failed: Vec<(String, Option<String>)> = self
            .state
            .stages
            .iter()
            .filter(|(_, stage)| matches!(stage.phase, Phase::Done(result) if result.is_failure()))
            .map(|(name, stage)| {
                (name.clone(), stage.attempts.last().and_then(|attempt| attempt.code.clone()))
            })
            .collect();
        for (name, code) in &failed {
            let silent = self.stages.get(name).is_none_or(|output| output.last.is_empty());
            if silent && code.is_none() {
                continue;
            }
            writeln!(self.out)?;
            let code = code
                .as_deref()
                .map(|code| format!(" [{code}], see `shipline explain {code}`"))
                .unwrap_or_default();
            let lines = self.stages.get(name).map(|output| output.last.clone()).unwrap_or_default();
            // A stage that never ran has no output, nor has one whose output is elsewhere.
            let title =
                if lines.is_empty() { name.clone() } else { format!("last lines of {name}") };
            writeln!(self.out, "{}{code}", self.style.bold(&title))?;
            for line in lines {
                writeln!(self.out, "  {}", visible(&line))?;
            }
        }
        self.failing_tests()?;
        let counts = counts(&self.state);
        writeln!(self.out)?;
        writeln!(
            self.out,
            "{} in {}  {}",
            self.style.result(result),
            text::duration(duration_ms),
            self.style.dim(&counts)
        )
    }
}

/// `120 tests, 2 failed, 1 skipped`
fn tests(totals: &TestTotals) -> String {
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
fn counts(state: &RunState) -> String {
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

/// The text of a frame. Bytes that are not UTF-8 are replaced one by one, so that
/// a compiler that speaks Latin-1 can still be read.
pub(crate) fn readable(body: &FrameBody) -> String {
    match body {
        FrameBody::Text(text) => text.clone(),
        FrameBody::Base64(encoded) => base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_or_else(|_| encoded.clone(), |bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Output may colour itself and nothing else: cursor movements, titles and
/// clipboard writes of a build must not reach the terminal.
pub(crate) fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = colour_sequence(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
        } else {
            let mut characters = rest.chars();
            if let Some(control) = characters.next()
                && control != '\r'
            {
                shown.extend(control.escape_default());
            }
            rest = characters.as_str();
        }
    }
    shown.push_str(rest);
    shown
}

/// Length of `ESC [ digits ; … m` at the beginning of `text`.
fn colour_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    body[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_may_colour_itself_and_nothing_else() {
        assert_eq!(visible("\x1b[31mred\x1b[0m"), "\x1b[31mred\x1b[0m");
        assert_eq!(visible("\x1b]0;title\x07x"), "\\u{1b}]0;title\\u{7}x");
        assert_eq!(visible("\x1b[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(visible("50%\r100%\tdone"), "50%100%\tdone");
    }

    #[test]
    fn a_line_that_is_not_utf8_is_shown_as_far_as_it_is_text() {
        let latin = base64::engine::general_purpose::STANDARD.encode(b"l\xf6schen\n");
        assert_eq!(readable(&FrameBody::Base64(latin)), "l\u{fffd}schen\n");
    }

    #[test]
    fn a_reason_of_several_lines_stands_below_its_stage() {
        let mut shown = Vec::new();
        let mut reporter = Reporter::new(&mut shown, Style { colour: false });
        reporter.line("image", "failed", "0.4s  exit code: 3\n  hi").expect("a vector takes all");
        let expected = "image    = failed  0.4s  exit code: 3\n             hi\n";
        assert_eq!(String::from_utf8_lossy(&shown), expected);
    }

    #[test]
    fn a_failed_stage_without_output_has_no_last_lines() {
        let summary = |code: Option<&str>| {
            let mut shown = Vec::new();
            let mut reporter = Reporter::new(&mut shown, Style { colour: false });
            let attempt = event::Attempt {
                number: 1,
                name: String::new(),
                started_at: None,
                deadline: None,
                image_digest: None,
                result: Some(StageResult::Failed),
                exit: None,
                code: code.map(str::to_owned),
                reason: None,
            };
            let stage = event::Stage {
                phase: Phase::Done(StageResult::Failed),
                attempts: vec![attempt],
                ..Default::default()
            };
            reporter.state.stages.insert("image".to_owned(), stage);
            reporter.summary("failed", 400).expect("a vector takes all");
            String::from_utf8_lossy(&shown).into_owned()
        };
        assert_eq!(summary(None), "\nfailed in 0.4s  1 failed\n");
        assert_eq!(
            summary(Some("E090")),
            "\nimage [E090], see `shipline explain E090`\n\nfailed in 0.4s  1 failed\n"
        );
    }

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
        let mut shown = Vec::new();
        let mut reporter = Reporter::new(&mut shown, Style { colour: false });
        let stage = event::Stage { tests: Some(totals), ..Default::default() };
        reporter.state.stages.insert("unit".to_owned(), stage);
        reporter.failing_tests().expect("a vector takes all");
        let expected =
            "\nfailed tests of unit\n  T adds: 1 is not 2\n  x\\u{1b}[2J\n  and 1 more\n";
        assert_eq!(String::from_utf8_lossy(&shown), expected);
    }

    #[test]
    fn a_frame_without_a_line_end_is_shown_when_its_stage_ends() {
        let mut shown = Vec::new();
        let mut reporter = Reporter::new(&mut shown, Style { colour: false });
        let frame = |text: &str| Frame {
            stage: "say".to_owned(),
            attempt: 1,
            stream: OutputStream::Stdout,
            offset: 0,
            body: FrameBody::Text(text.to_owned()),
        };
        reporter.frame(&frame("one\ntw")).expect("a vector takes all");
        reporter.frame(&frame("o")).expect("a vector takes all");
        reporter.flush("say").expect("a vector takes all");
        assert_eq!(String::from_utf8_lossy(&shown), "say      | one\nsay      | two\n");
    }
}
