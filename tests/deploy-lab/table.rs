//! The table: what was tried, what became of the requests meanwhile, and whether that is
//! enough.

use std::fmt;
use std::time::Duration;

use super::observer::Outcome;
use crate::harness::load::Report;

/// Something that is to be so.
pub struct Goal {
    text: String,
    /// What there is in its place.
    missed: Option<String>,
    is_of_time: bool,
}

impl Goal {
    pub fn new(text: impl Into<String>, is_met: bool, is: impl Into<String>) -> Self {
        Self { text: text.into(), missed: (!is_met).then(|| is.into()), is_of_time: false }
    }

    pub fn none_failed(report: &Report) -> Self {
        let failures: Vec<String> =
            report.failures.iter().map(|(what, count)| format!("{count} {what}")).collect();
        Self::new(
            "0 failed",
            report.failed == 0,
            format!("{} failed ({})", report.failed, failures.join("; ")),
        )
    }

    pub fn at_least(what: &str, count: u64, least: u64) -> Self {
        Self::new(format!("≥ {least} {what}"), count >= least, format!("{count} {what}"))
    }

    pub fn within(what: &str, is: Option<Duration>, most: Duration) -> Self {
        let shown = is.map_or_else(|| "unknown".to_owned(), time);
        let text = format!("{what} ≤ {}", time(most));
        let goal = Self::new(text, is.is_some_and(|is| is <= most), format!("{what} {shown}"));
        Self { is_of_time: true, ..goal }
    }

    pub fn kept(outcome: &Outcome) -> Self {
        let count = outcome.broken.len();
        Self::new("invariants kept", count == 0, format!("{count} invariants broken"))
    }

    pub fn is_met(&self) -> bool {
        self.missed.is_none()
    }

    /// A busy machine may miss it.
    pub fn is_of_time(&self) -> bool {
        self.is_of_time
    }

    pub fn missed(&self) -> Option<&str> {
        self.missed.as_deref()
    }
}

/// One experiment.
pub struct Row {
    pub what: String,
    pub on: &'static str,
    pub report: Report,
    pub deploy: Option<Duration>,
    pub restored: Option<Duration>,
    pub cut: Option<u64>,
    pub goals: Vec<Goal>,
    /// Broken invariants and the like, for whoever looks for the cause.
    pub notes: Vec<String>,
}

impl Row {
    pub fn new(what: impl Into<String>, on: &'static str, outcome: Outcome) -> Self {
        let goals = vec![Goal::none_failed(&outcome.report), Goal::kept(&outcome)];
        let seen = &outcome.seen;
        let mut notes = outcome.broken;
        notes.push(format!("{} looks, at most {:?} apart", seen.looks, seen.longest_gap));
        Self {
            what: what.into(),
            on,
            report: outcome.report,
            deploy: None,
            restored: None,
            cut: Some(seen.cut),
            goals,
            notes,
        }
    }

    /// Of what is not ours: shown, and held to nothing.
    pub fn reported(what: impl Into<String>, on: &'static str, report: Report) -> Self {
        Self {
            what: what.into(),
            on,
            report,
            deploy: None,
            restored: None,
            cut: None,
            goals: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    pub fn deploys(mut self, took: Duration) -> Self {
        self.deploy = Some(took);
        self
    }

    pub fn restores(mut self, took: Option<Duration>) -> Self {
        self.restored = took;
        self
    }

    /// Goals that are not met, with everything that was seen.
    pub fn complaint(&self) -> Option<String> {
        let missed: Vec<&str> = self.goals.iter().filter_map(Goal::missed).collect();
        (!missed.is_empty()).then(|| {
            format!(
                "{} on {}: {}\n{}",
                self.what,
                self.on,
                missed.join(", "),
                self.notes.join("\n")
            )
        })
    }

    fn cells(&self) -> [String; 12] {
        let report = &self.report;
        let time_of = |is: Option<Duration>| is.map_or_else(|| "–".to_owned(), time);
        let failed = match report.failed {
            0 => "0".to_owned(),
            failed => format!("{failed} ({})", report.failed_by_class()),
        };
        let goals: Vec<&str> = self.goals.iter().map(|goal| goal.text.as_str()).collect();
        let missed: Vec<&str> = self.goals.iter().filter_map(Goal::missed).collect();
        let met = match (goals.is_empty(), missed.is_empty()) {
            (true, _) => "–".to_owned(),
            (false, true) => "yes".to_owned(),
            (false, false) => format!("no: {}", missed.join(", ")),
        };
        [
            self.what.clone(),
            self.on.to_owned(),
            report.sent.to_string(),
            failed,
            time(report.latencies.percentile(50.0)),
            time(report.latencies.percentile(99.0)),
            time(report.slowest),
            time_of(self.deploy),
            time_of(self.restored),
            self.cut.map_or_else(|| "–".to_owned(), |cut| cut.to_string()),
            if goals.is_empty() { "–".to_owned() } else { goals.join(", ") },
            met,
        ]
    }
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    left_out: Vec<String>,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        eprintln!("deploy-lab: {}", row.cells().join(" | "));
        for note in &row.notes {
            eprintln!("deploy-lab:   {note}");
        }
        self.rows.push(row);
    }

    /// Says why something was not tried.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        eprintln!("deploy-lab: {what} is left out: {why}");
        self.left_out.push(format!("- left out: {what}: {why}"));
    }

    pub fn complaints(&self) -> Vec<String> {
        self.rows.iter().filter_map(Row::complaint).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "experiment",
            "on",
            "requests",
            "failed",
            "p50",
            "p99",
            "max",
            "deploy",
            "restored",
            "cut",
            "goal",
            "met",
        ];
        writeln!(f, "| {} |", head.join(" | "))?;
        writeln!(f, "|{}", " --- |".repeat(head.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.cells().join(" | ")))?;
        if self.left_out.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{}", self.left_out.join("\n"))
    }
}

pub fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.1} ms"),
        ..1000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", milliseconds / 1000.0),
    }
}
