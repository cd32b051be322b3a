//! A run as lines, one per fact and per line of output, each with the stage it belongs to:
//! for pipes, dumb terminals and those who want it so.

use std::collections::BTreeMap;
use std::io::Write;

use event::{Event, EventKind, Frame, OutputStream, Phase, RunState};
use pipeline::{Decision, FORCED};

use super::failure::{Excerpts, failure};
use super::output::Output;
use super::style::Style;
use super::told;
use super::visible::{of_output, readable, visible};
use crate::text;

/// Shows a run as it happens.
pub(crate) struct Reporter<W> {
    out: W,
    style: Style,
    excerpts: Excerpts,
    state: RunState,
    width: usize,
    outputs: BTreeMap<String, Output>,
    /// How the last attempt of a stage ended.
    ended: BTreeMap<String, String>,
}

impl<W: Write> Reporter<W> {
    pub(crate) fn new(out: W, style: Style, excerpts: Excerpts) -> Self {
        let (outputs, ended) = (BTreeMap::new(), BTreeMap::new());
        Self { out, style, excerpts, state: RunState::default(), width: 8, outputs, ended }
    }

    /// Hands on what a buffer holds back.
    pub(crate) fn hand_on(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn event(&mut self, event: &Event) -> std::io::Result<()> {
        // An event that cannot follow is still shown; the run itself judges it.
        let _ = self.state.apply(event);
        match &event.kind {
            EventKind::RunQueued { number, plan, .. } => {
                self.width =
                    plan.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(8);
                let Some(run) = self.state.run else { return Ok(()) };
                writeln!(self.out, "{}", told::title(self.style, *number, plan, &run.short()))?;
                let forced = plan.stages.iter().filter(|stage| {
                    stage.state == Decision::Run && stage.reason.starts_with(FORCED)
                });
                forced.into_iter().try_for_each(|stage| self.note(&stage.name, &stage.reason))
            }
            EventKind::StageSkipped { stage, reason } => self.line(stage, "skipped", reason),
            EventKind::StageBlocked { stage, reason } => self.line(stage, "blocked", reason),
            EventKind::AttemptFinished { stage, attempt, result, reason, .. } => {
                // Its last words, should another attempt follow.
                let ended = told::ended(*attempt, *result, reason.as_deref());
                self.ended.insert(stage.clone(), ended);
                Ok(())
            }
            EventKind::AttemptStarting { stage, attempt, not_before, .. } if *attempt > 1 => {
                self.flush(stage)?;
                self.outputs.remove(stage);
                let ended = self.ended.remove(stage).unwrap_or_default();
                let pause = not_before.map_or(0, |until| (until - event.at).num_milliseconds());
                self.note(stage, &told::repeated(&ended, *attempt, pause))
            }
            EventKind::StageFinished { stage, result, reason, duration_ms, .. } => {
                self.flush(stage)?;
                let duration = text::duration(*duration_ms);
                let reason =
                    reason.as_deref().map(|reason| format!("  {reason}")).unwrap_or_default();
                self.line(stage, result.name(), &format!("{duration}{reason}"))
            }
            EventKind::CancelRequested { reason, by } => {
                let told = visible(&told::cancelled(&self.state, by, reason));
                writeln!(self.out, "{}", self.style.bold(&told))
            }
            EventKind::RunTimedOut { reason } => {
                writeln!(self.out, "{}", self.style.bold(&told::overdue(reason)))
            }
            EventKind::RunFinished { result, duration_ms } => {
                self.summary(result.name(), *duration_ms)
            }
            kind => match told::note(kind) {
                Some((stage, note)) => self.note(stage, &note),
                None => Ok(()),
            },
        }
    }

    pub(crate) fn frame(&mut self, frame: &Frame) -> std::io::Result<()> {
        if !self.outputs.contains_key(&frame.stage) {
            self.outputs.insert(frame.stage.clone(), Output::default());
        }
        let begin = self.begin(&frame.stage);
        let Self { out, style, outputs, .. } = self;
        let Some(output) = outputs.get_mut(&frame.stage) else { return Ok(()) };
        let dim = frame.stream == OutputStream::Engine;
        output.push(&readable(&frame.body), |line| {
            let line = of_output(line);
            if dim {
                writeln!(out, "{begin} {}", style.dim(&line))
            } else {
                writeln!(out, "{begin} {line}")
            }
        })
    }

    /// Why the run does not begin yet.
    pub(crate) fn waiting(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.out, "{}", self.style.dim(&visible(line)))
    }

    /// A line about a stage that is not its output.
    fn note(&mut self, stage: &str, line: &str) -> std::io::Result<()> {
        let line = self.style.dim(&visible(line));
        self.say(stage, &line)
    }

    fn flush(&mut self, stage: &str) -> std::io::Result<()> {
        match self.outputs.get_mut(stage).and_then(Output::flush) {
            Some(rest) => self.say(stage, &visible(&rest)),
            None => Ok(()),
        }
    }

    fn say(&mut self, stage: &str, line: &str) -> std::io::Result<()> {
        let begin = self.begin(stage);
        writeln!(self.out, "{begin} {line}")
    }

    /// What stands before each line of a stage.
    fn begin(&self, stage: &str) -> String {
        let name = format!("{:<width$} |", visible(stage), width = self.width);
        self.style.dim(&name)
    }

    fn line(&mut self, stage: &str, word: &str, rest: &str) -> std::io::Result<()> {
        let name = format!("{:<width$}", visible(stage), width = self.width);
        let indent = " ".repeat(self.width + 3);
        let mut lines = rest.trim_end().lines();
        let first = visible(lines.next().unwrap_or_default());
        writeln!(self.out, "{name} = {}  {first}", self.style.result(word))?;
        lines.try_for_each(|line| writeln!(self.out, "{indent}{}", visible(line)))
    }

    fn summary(&mut self, result: &str, duration_ms: u64) -> std::io::Result<()> {
        let failed =
            self.state.stages.iter().filter(
                |(_, stage)| matches!(stage.phase, Phase::Done(result) if result.is_failure()),
            );
        for (name, stage) in failed {
            let code = stage.attempts.last().and_then(|attempt| attempt.code.as_deref());
            let lines: Vec<&str> =
                self.outputs.get(name).into_iter().flat_map(Output::last).collect();
            if lines.is_empty() && code.is_none() {
                continue;
            }
            let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
            // A stage that never ran has no output, nor has one whose output is elsewhere.
            let name = visible(name);
            let title =
                if lines.is_empty() { name.clone() } else { format!("last lines of {name}") };
            writeln!(self.out, "\n{}{code}", self.style.bold(&title))?;
            if !code.is_empty() {
                let reason = stage.reason.as_deref();
                let told = failure(self.style, &self.excerpts, &self.state, &name, reason, None);
                told.iter().try_for_each(|line| writeln!(self.out, "{line}"))?;
            }
            for line in lines {
                writeln!(self.out, "  {}", visible(line))?;
            }
        }
        for line in told::failing_tests(self.style, &self.state) {
            writeln!(self.out, "{line}")?;
        }
        let counts = told::counts(&self.state);
        writeln!(
            self.out,
            "\n{} in {}  {}",
            self.style.result(result),
            text::duration(duration_ms),
            self.style.dim(&counts)
        )
    }
}

#[cfg(test)]
mod tests {
    use event::{FrameBody, StageResult};

    use super::*;

    #[test]
    fn a_reason_of_several_lines_stands_below_its_stage() {
        let mut shown = Vec::new();
        let mut reporter = Reporter::new(&mut shown, Style { colour: false }, Excerpts::default());
        reporter.line("image", "failed", "0.4s  exit code: 3\n  hi").expect("a vector takes all");
        let expected = "image    = failed  0.4s  exit code: 3\n             hi\n";
        assert_eq!(String::from_utf8_lossy(&shown), expected);
    }

    #[test]
    fn a_failed_stage_without_output_has_no_last_lines() {
        let summary = |code: Option<&str>| {
            let mut shown = Vec::new();
            let mut reporter =
                Reporter::new(&mut shown, Style { colour: false }, Excerpts::default());
            let attempt = event::Attempt {
                number: 1,
                name: String::new(),
                not_before: None,
                started_at: None,
                deadline: None,
                image_digest: None,
                result: Some(StageResult::Failed),
                exit: None,
                code: code.map(str::to_owned),
                reason: None,
                repeat: false,
                peak: event::Peak::default(),
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
            "\nimage [E090]\n  error[E090]: \n   |\n   = help: `shipline explain E090` tells more\n\n\
             failed in 0.4s  1 failed\n"
        );
    }

    #[test]
    fn a_frame_without_a_line_end_is_shown_when_its_stage_ends() {
        let mut shown = Vec::new();
        let mut reporter = Reporter::new(&mut shown, Style { colour: false }, Excerpts::default());
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
