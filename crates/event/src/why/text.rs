//! The trace as people read it: what became of the stage, then everything that
//! had a say, then the way to the first cause.

use std::fmt;

use pipeline::{Condition, EdgeReason, Origin, RunOn, Test};

use super::Peak;
use super::{Link, Need, State, Try, Why};

/// Needs that are listed; of more, those that went well are counted.
const NEEDS: usize = 20;

impl State {
    /// After the name of a stage, before a colon.
    const fn verb(self) -> &'static str {
        match self {
            Self::WouldRun => "would run",
            Self::WouldBeSkipped => "would be skipped",
            Self::Open => "is open",
            Self::Waiting => "waits",
            Self::Running => "is running",
            Self::Done(result) => result.name(),
        }
    }

    const fn is_well(self) -> bool {
        match self {
            Self::WouldRun | Self::Running => true,
            Self::WouldBeSkipped | Self::Open | Self::Waiting => false,
            Self::Done(result) => result.is_good(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.stage, told(self.state, self.reason.as_deref()))?;
        if let Some(run) = &self.run {
            write!(f, "  (run {} of {})", run.short(), self.pipeline)?;
        }
        writeln!(f)?;
        self.attempts(f)?;
        self.needs(f)?;
        if let Some(condition) = &self.condition {
            when(f, condition)?;
        }
        if let Some(undecided) = &self.undecided {
            writeln!(f, "\n{undecided}")?;
        }
        if !self.chain.is_empty() {
            writeln!(f, "\nfirst cause")?;
            for (depth, link) in self.chain.iter().enumerate() {
                write_link(f, depth, link)?;
            }
        }
        Ok(())
    }
}

impl Why {
    fn attempts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Try { number, result, exit, code, reason, peak } in &self.attempts {
            let result = result.map_or("is running", crate::StageResult::name);
            write!(f, "  attempt {number}: {result}")?;
            match (exit, reason) {
                // The reason of a command that failed is its exit.
                (Some(exit), Some(reason)) if says_exit(reason, *exit) => {}
                (Some(exit), _) => write!(f, ", exit {exit}")?,
                (None, _) => {}
            }
            if let Some(reason) = reason {
                write!(f, ", {}", indented(reason, 4))?;
            }
            if let Some(code) = code {
                write!(f, " [{code}]")?;
            }
            writeln!(f)?;
            if let Some(peak) = used(*peak) {
                writeln!(f, "    used {peak}")?;
            }
        }
        Ok(())
    }

    fn needs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = match self.run_on {
            RunOn::Success => "none of which may fail",
            RunOn::Failure => "one of which must fail (`run-on: failure`)",
            RunOn::Always => "however they end (`run-on: always`)",
        };
        if self.needs.is_empty() {
            return writeln!(f, "\nneeds nothing");
        }
        writeln!(f, "\nneeds, {on}")?;
        let mut listed: Vec<&Need> = self.needs.iter().collect();
        if listed.len() > NEEDS {
            listed.sort_by_key(|need| need.state.is_well());
            listed.truncate(NEEDS);
        }
        let width = listed.iter().map(|need| need.stage.chars().count()).max().unwrap_or(0);
        for Need { stage, by, must_run, state, reason } in &listed {
            let by = reason_of_edge(*by);
            let must = if *must_run { ", must run" } else { "" };
            // Why it runs, or passed, is its own affair.
            let reason = reason.as_deref().filter(|_| !state.is_well());
            writeln!(f, "  {stage:<width$}  {}  ({by}{must})", told(*state, reason))?;
        }
        match self.needs.len() - listed.len() {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

/// Whether a reason begins with the exit: `exit 139 (SIGSEGV, …)`.
fn says_exit(reason: &str, exit: i64) -> bool {
    let rest = reason.strip_prefix(&format!("exit {exit}"));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// `at most 1024 MiB of memory and 12 processes`
fn used(peak: Peak) -> Option<String> {
    let memory = peak.memory_peak.map(|bytes| format!("{} MiB of memory", bytes.div_ceil(1 << 20)));
    let processes = peak.pids_peak.map(|count| match count {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    });
    let words: Vec<String> = memory.into_iter().chain(processes).collect();
    (!words.is_empty()).then(|| format!("at most {}", words.join(" and ")))
}

/// `skipped: REASON`, on one line where it is one.
fn told(state: State, reason: Option<&str>) -> String {
    match reason {
        None | Some("") => state.verb().to_owned(),
        Some(reason) => format!("{}: {}", state.verb(), indented(reason, 4)),
    }
}

fn indented(text: &str, by: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(by)))
}

const fn reason_of_edge(by: EdgeReason) -> &'static str {
    match by {
        EdgeReason::Order => "order of the file",
        EdgeReason::Needs => "needs",
        EdgeReason::Output => "reads it",
        EdgeReason::Before => "before",
    }
}

fn when(f: &mut fmt::Formatter<'_>, condition: &Condition) -> fmt::Result {
    match condition.any.as_slice() {
        [] => return writeln!(f, "\nwhen is off"),
        [_] => writeln!(f, "\nwhen, all of these must hold")?,
        _ => writeln!(f, "\nwhen, the tests of one number must hold")?,
    }
    for (index, alternative) in condition.any.iter().enumerate() {
        let number =
            if condition.any.len() > 1 { format!("{}  ", index + 1) } else { String::new() };
        if alternative.all.is_empty() {
            writeln!(f, "  {number}yes   no condition")?;
        }
        for test in &alternative.all {
            write_test(f, &number, test)?;
        }
    }
    Ok(())
}

fn write_test(f: &mut fmt::Formatter<'_>, number: &str, test: &Test) -> fmt::Result {
    let Test { key, wants, saw, holds, reason, origin, .. } = test;
    let holds = match holds {
        Some(true) => "yes",
        Some(false) => "no",
        None => "open",
    };
    writeln!(f, "  {number}{holds:<4}  {}{}", indented(reason, 8), at(Some(origin)))?;
    let indent = " ".repeat(8 + number.len());
    writeln!(f, "{indent}{key} wants {}, saw {}", indented(wants, 8), indented(saw, 8))
}

fn write_link(f: &mut fmt::Formatter<'_>, depth: usize, link: &Link) -> fmt::Result {
    let Link { stage, state, reason, origin } = link;
    let arrow = if depth == 0 { "" } else { "<- " };
    let indent = " ".repeat(2 + 3 * depth.saturating_sub(1));
    writeln!(f, "{indent}{arrow}{stage} {}{}", told(*state, reason.as_deref()), at(origin.as_ref()))
}

fn at(origin: Option<&Origin>) -> String {
    match origin {
        Some(Origin { file, line, column, .. }) if !file.is_empty() => {
            format!("  {file}:{line}:{column}")
        }
        _ => String::new(),
    }
}
