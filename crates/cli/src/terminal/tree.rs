//! A run as a quiet tree: a row per stage that runs, and what has ended as lines above.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use event::{Event, EventKind, Frame, OutputStream, Phase, RunResult, RunState, StageResult};
use pipeline::{Decision, FORCED, NOT_ASKED_FOR, Plan};

use super::chain::critical_path;
use super::failure::{Excerpts, failure, quoted};
use super::output::Output;
use super::screen::Size;
use super::style::{Style, sign};
use super::told;
use super::visible::{colourless, readable, visible};
use super::width::{columns, fit, pad};
use crate::text;

/// Names of stages get no more columns than that; longer ones push the rest aside.
const WIDEST_NAME: usize = 40;
/// Below it a row has no room for a line of output.
const ROOM_FOR_OUTPUT: usize = 32;
/// How long an elapsed time is.
const ELAPSED: usize = 7;

pub(crate) struct Tree {
    style: Style,
    excerpts: Excerpts,
    /// Every line of output stays as well.
    verbose: bool,
    state: RunState,
    /// Columns of the longest name.
    width: usize,
    /// Stages that are to run.
    asked_for: usize,
    done: usize,
    /// In the order they began.
    running: Vec<Running>,
    ended: BTreeMap<String, String>,
    lines: Vec<String>,
}

struct Running {
    name: String,
    since: DateTime<Utc>,
    output: Output,
    /// Something newer than its last line of output.
    note: Option<String>,
}

impl Tree {
    pub(crate) fn new(style: Style, excerpts: Excerpts, verbose: bool) -> Self {
        Self {
            style,
            excerpts,
            verbose,
            state: RunState::default(),
            width: 8,
            asked_for: 0,
            done: 0,
            running: Vec::new(),
            ended: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    /// The terminal has another width now.
    pub(crate) const fn resized(&mut self, columns: Option<usize>) {
        self.excerpts.columns = columns;
    }

    /// Takes the lines that stay.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// How many lines wait to be taken.
    pub(crate) const fn waiting(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn event(&mut self, event: &Event) {
        // An event that cannot follow is still shown; the run itself judges it.
        let _ = self.state.apply(event);
        match &event.kind {
            EventKind::RunQueued { number, plan, .. } => self.queued(*number, plan),
            // Nobody wants to hear of it, also when it could not have run.
            EventKind::StageSkipped { stage, .. } | EventKind::StageBlocked { stage, .. }
                if self.is_left_out(stage) => {}
            EventKind::StageSkipped { stage, reason } => {
                self.end(stage, StageResult::Skipped, None, Some(reason));
            }
            EventKind::StageBlocked { stage, reason } => {
                self.end(stage, StageResult::Blocked, None, Some(reason));
            }
            EventKind::AttemptStarting { stage, attempt, not_before, .. } => {
                self.begin(event.at, stage, *attempt, *not_before);
            }
            EventKind::AttemptStarted { stage, .. } => {
                if let Some(running) = self.running(stage) {
                    running.note = None;
                }
            }
            EventKind::AttemptFinished { stage, attempt, result, reason, .. } => {
                let ended = told::ended(*attempt, *result, reason.as_deref());
                self.ended.insert(stage.clone(), ended);
            }
            EventKind::StageFinished { stage, result, reason, duration_ms, .. } => {
                self.end(stage, *result, Some(*duration_ms), reason.as_deref());
            }
            EventKind::CancelRequested { reason, by } => {
                let told = visible(&told::cancelled(&self.state, by, reason));
                self.lines.push(self.style.bold(&told));
            }
            EventKind::RunTimedOut { reason } => {
                self.lines.push(self.style.bold(&told::overdue(reason)));
            }
            EventKind::RunFinished { result, duration_ms } => self.summary(*result, *duration_ms),
            kind => {
                let Some((stage, note)) = told::note(kind) else { return };
                if self.verbose {
                    self.say(stage, &self.style.dim(&visible(&note)));
                }
                if let Some(running) = self.running(stage) {
                    running.note = Some(note);
                }
            }
        }
    }

    /// Why the run does not begin yet.
    pub(crate) fn waits(&mut self, line: &str) {
        self.lines.push(self.style.dim(&visible(line)));
    }

    pub(crate) fn frame(&mut self, frame: &Frame) {
        let (verbose, style) = (self.verbose, self.style);
        let Some(running) = self.running(&frame.stage) else { return };
        let (dim, mut lines) = (frame.stream == OutputStream::Engine, Vec::new());
        let shown = running.output.push(&readable(&frame.body), |line| {
            if verbose {
                let line = if style.colour { visible(line) } else { colourless(line) };
                lines.push(if dim { style.dim(&line) } else { line });
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = shown;
        running.note = None;
        for line in lines {
            self.say(&frame.stage, &line);
        }
    }

    /// Whether it is not in the part that was asked for.
    fn is_left_out(&self, stage: &str) -> bool {
        let planned = self.state.plan.as_deref().and_then(|plan| plan.stage(stage));
        planned.is_some_and(|planned| planned.reason == NOT_ASKED_FOR)
    }

    fn queued(&mut self, number: u64, plan: &Plan) {
        let asked_for = || plan.stages.iter().filter(|stage| stage.reason != NOT_ASKED_FOR);
        let widest = asked_for().map(|stage| columns(&visible(&stage.name))).max();
        self.width = widest.unwrap_or(8).min(WIDEST_NAME);
        self.asked_for = asked_for().count();
        let run = self.state.run.map(|run| run.short()).unwrap_or_default();
        self.lines.push(told::title(self.style, number, plan, &run));
        let forced = plan
            .stages
            .iter()
            .filter(|stage| stage.state == Decision::Run && stage.reason.starts_with(FORCED));
        for stage in forced {
            let told = visible(&format!("{}  {}", stage.name, stage.reason));
            self.lines.push(format!("  {}", self.style.dim(&told)));
        }
    }

    fn running(&mut self, stage: &str) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.name == stage)
    }

    fn begin(
        &mut self,
        at: DateTime<Utc>,
        stage: &str,
        attempt: u32,
        not_before: Option<DateTime<Utc>>,
    ) {
        if attempt > 1 {
            let ended = self.ended.remove(stage).unwrap_or_default();
            let pause = not_before.map_or(0, |until| (until - at).num_milliseconds());
            let told = visible(&told::repeated(&ended, attempt, pause));
            let line = format!("↻ {}  {}", self.aside(stage), self.style.dim(&told));
            self.lines.push(line);
        }
        let note = Some(match not_before.is_some_and(|until| until > at) {
            true => format!("waits to begin attempt {attempt}"),
            false => "starting".to_owned(),
        });
        match self.running(stage) {
            Some(running) => (running.output, running.note) = (Output::default(), note),
            None => {
                let (name, output) = (stage.to_owned(), Output::default());
                self.running.push(Running { name, since: at, output, note });
            }
        }
    }

    /// The line of a stage that is over, with what there is to say below it.
    fn end(
        &mut self,
        name: &str,
        result: StageResult,
        duration_ms: Option<u64>,
        reason: Option<&str>,
    ) {
        let at = self.running.iter().position(|running| running.name == name);
        let mut output = at.map(|at| self.running.remove(at).output);
        if let Some(rest) = output.as_mut().and_then(Output::flush)
            && self.verbose
        {
            self.say(name, &colourless(&rest));
        }
        self.done += 1;
        let style = self.style;
        let code = self.state.stage(name).and_then(|stage| stage.attempts.last()?.code.clone());
        let fails = result.is_failure();
        let mut reasons = reason.into_iter().flat_map(str::lines).map(visible);
        let mut words = Vec::new();
        if !matches!(result, StageResult::Passed | StageResult::Failed) {
            words.push(style.result(result.name()));
        }
        match (fails, code) {
            // Its reason stands below, with the code.
            (true, Some(_)) => {}
            _ => words.extend(reasons.next()),
        }
        let tests = self.state.stage(name).and_then(|stage| stage.tests.as_ref());
        words.extend(tests.map(|totals| style.dim(&told::tests(totals))));
        let took = duration_ms.map(text::duration).unwrap_or_default();
        let line = format!(
            "{} {}  {took:<ELAPSED$} {}",
            style.result_colour(result.name(), sign(result)),
            self.aside(name),
            words.join("  "),
        );
        self.lines.push(line.trim_end().to_owned());
        if fails {
            self.lines.extend(failure(
                style,
                &self.excerpts,
                &self.state,
                name,
                reason,
                output.as_ref(),
            ));
        } else {
            self.lines.extend(reasons.map(|line| format!("    {line}")));
        }
    }

    fn say(&mut self, stage: &str, line: &str) {
        let name = self.style.dim(&format!("{} │", self.aside(stage)));
        let line = format!("  {name} {line}");
        self.lines.push(line);
    }

    /// A name in its column, or beyond it: what stays is not cut.
    fn aside(&self, name: &str) -> String {
        let name = visible(name);
        if columns(&name) > self.width { name } else { pad(&name, self.width) }
    }

    fn summary(&mut self, result: RunResult, duration_ms: u64) {
        let style = self.style;
        self.running.clear();
        let mut lines = told::failing_tests(style, &self.state);
        lines.push(String::new());
        for (name, stage) in &self.state.stages {
            lines.extend(stage.artifacts.iter().map(|artifact| {
                let files = told::files_of(artifact.files, artifact.size);
                // Where nobody names it, it is called after its stage.
                let of = if artifact.name == *name { String::new() } else { format!(" of {name}") };
                visible(&format!("artifact `{}`{of}: {files}", artifact.name))
            }));
        }
        let run = self.state.run.map(|run| run.short()).unwrap_or_default();
        let failed =
            self.state.stages.iter().filter(
                |(_, stage)| matches!(stage.phase, Phase::Done(result) if result.is_failure()),
            );
        lines.extend(failed.filter(|(_, stage)| !stage.attempts.is_empty()).map(|(name, _)| {
            let name = visible(name);
            let sign = style.result_colour("failed", sign(StageResult::Failed));
            format!("{sign} {name}: `shipline logs {run} {}`", quoted(&name))
        }));
        let chain = critical_path(&self.state);
        if chain.len() > 1 {
            let links = chain.iter().map(|(name, ms)| format!("{name} {}", text::duration(*ms)));
            let links = visible(&links.collect::<Vec<_>>().join(" → "));
            lines.push(format!("{} {links}", style.dim("critical path:")));
        }
        lines.push(format!(
            "{} in {}  {}",
            style.bold(&style.result(result.name())),
            text::duration(duration_ms),
            style.dim(&told::counts(&self.state)),
        ));
        self.lines.extend(lines);
    }

    /// What is drawn again and again, as it is at `now`.
    pub(crate) fn rows(&self, now: DateTime<Utc>, size: Size) -> Vec<String> {
        if self.state.plan.is_none() || self.state.result.is_some() {
            return Vec::new();
        }
        // The last column stays free: some terminals go on in the next row from there.
        let width = size.columns.saturating_sub(1).max(1);
        // One row is that of the sums, and one of what stays is to be seen.
        let budget = size.rows.saturating_sub(2);
        let shown = match self.running.len() {
            all if all <= budget => all,
            _ => budget.saturating_sub(1),
        };
        let names = self.running[..shown].iter().map(|running| columns(&visible(&running.name)));
        let name_width = names.max().unwrap_or(0).min((width * 2 / 5).max(6));
        let mut rows: Vec<String> = self.running[..shown]
            .iter()
            .map(|running| self.row(running, now, width, name_width))
            .collect();
        let more = self.running.len() - shown;
        if more > 0 && budget > 0 {
            rows.push(fit(&self.style.dim(&format!("  and {more} more")), width));
        }
        rows.push(fit(&self.style.dim(&self.sums(now, width)), width));
        rows
    }

    fn row(
        &self,
        running: &Running,
        now: DateTime<Utc>,
        width: usize,
        name_width: usize,
    ) -> String {
        let elapsed = elapsed(running.since, now);
        let name = visible(&running.name);
        let sign = self.style.busy("▸");
        if width < ROOM_FOR_OUTPUT {
            let room = width.saturating_sub(3 + columns(&elapsed)).min(name_width.max(6));
            return fit(&format!("{sign} {} {elapsed}", pad(&name, room)), width);
        }
        let said = running.note.as_deref().unwrap_or_else(|| running.output.current());
        let said = colourless(said).replace('\t', " ");
        let head = format!("{sign} {}  {elapsed:<ELAPSED$} ", pad(&name, name_width));
        let room = width.saturating_sub(columns(&head));
        format!("{head}{}", self.style.dim(&fit(said.trim(), room)))
    }

    /// `  3 of 12 done, 2 running  1m 02s`
    fn sums(&self, now: DateTime<Utc>, width: usize) -> String {
        let took = self.state.started_at.map(|since| elapsed(since, now)).unwrap_or_default();
        let (done, all, running) = (self.done, self.asked_for, self.running.len());
        let ending = if self.state.cut_at().is_some() { ", ending" } else { "" };
        if width < ROOM_FOR_OUTPUT {
            return format!("  {done}/{all}  {took}");
        }
        format!("  {done} of {all} done, {running} running{ending}  {took}")
    }

    /// Milliseconds until the rows look otherwise, although nothing happens.
    pub(crate) fn next_look(&self, now: DateTime<Utc>) -> Option<u64> {
        let begins = self.running.iter().map(|running| running.since);
        let begins = begins.chain(self.state.started_at.filter(|_| self.state.result.is_none()));
        let waits = begins.map(|since| {
            let passed = u64::try_from((now - since).num_milliseconds()).unwrap_or(0);
            // As `text::duration` has it: tenths at first, then seconds.
            let step = if passed < 10_000 { 100 } else { 1000 };
            step - passed % step
        });
        waits.min()
    }
}

fn elapsed(since: DateTime<Utc>, now: DateTime<Utc>) -> String {
    text::duration(u64::try_from((now - since).num_milliseconds()).unwrap_or(0))
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
