//! The table: what was done, how long it took, against what, and whether that is enough.

use std::fmt;
use std::time::Duration;

use crate::measure::{Contestant, Sample};

/// Those whose time stands beside ours, in the order of the columns.
pub const BESIDE: [&str; 4] = ["engine API", "`docker run`", "act", "gitlab-ci-local"];
/// Ours.
pub const OWN: &str = "shipline";

/// Something that is to be no more than so much.
pub struct Goal {
    text: String,
    is: f64,
    most: f64,
    /// As the table shows it.
    shown: String,
}

impl Goal {
    /// A ratio to another's time.
    pub fn ratio(own: Sample, other: Option<Sample>, most: f64, of: &str) -> Self {
        let is = other.map_or(f64::NAN, |other| own.wall.as_secs_f64() / other.wall.as_secs_f64());
        Self { text: format!("≤ {most} × {of}"), is, most, shown: format!("{is:.2} ×") }
    }

    pub fn time(what: &str, is: Duration, most: Duration) -> Self {
        let text = format!("{what} ≤ {}", time(most)).trim().to_owned();
        Self { text, is: is.as_secs_f64(), most: most.as_secs_f64(), shown: time(is) }
    }

    pub fn memory(is: Option<u64>, most: u64) -> Self {
        let is = is.unwrap_or(u64::MAX);
        let text = format!("≤ {} MiB", most >> 20);
        Self { text, is: is as f64, most: most as f64, shown: format!("{} MiB", is >> 20) }
    }

    /// Something that is counted and must be all there.
    pub fn all(what: &str, found: u64, of: u64) -> Self {
        let text = format!("{of} of {of} {what}");
        // All is no more than nothing missing.
        Self { text, is: found.abs_diff(of) as f64, most: 0.0, shown: format!("{found} {what}") }
    }

    fn is_met(&self) -> bool {
        self.is <= self.most
    }
}

#[derive(Default)]
pub struct Table {
    rows: Vec<String>,
}

impl Table {
    /// Adds what contestants did; the first of them is ours.
    pub fn add(&mut self, work: &str, contestants: &[Contestant<'_>], goals: &[Goal]) {
        let find = |name: &str| contestants.iter().find(|contestant| contestant.name == name);
        let own = find(OWN).and_then(Contestant::median).unwrap_or_default();
        let mut cells = vec![work.to_owned(), time(own.wall)];
        for name in BESIDE {
            cells.push(match find(name) {
                None => "–".to_owned(),
                Some(contestant) => match contestant.median() {
                    None => "fails".to_owned(),
                    Some(sample) => {
                        let ratio = own.wall.as_secs_f64() / sample.wall.as_secs_f64();
                        format!("{} ({ratio:.2})", time(sample.wall))
                    }
                },
            });
        }
        cells.push(own.cpu.map_or_else(|| "–".to_owned(), time));
        cells.push(
            own.memory.map_or_else(|| "–".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
        );
        let texts: Vec<&str> = goals.iter().map(|goal| goal.text.as_str()).collect();
        cells.push(texts.join(", "));
        let missed: Vec<&str> =
            goals.iter().filter(|goal| !goal.is_met()).map(|goal| goal.shown.as_str()).collect();
        cells.push(match (goals.is_empty(), missed.is_empty()) {
            (true, _) => "–".to_owned(),
            (false, true) => "yes".to_owned(),
            (false, false) => format!("no: {}", missed.join(", ")),
        });
        for contestant in contestants {
            if let Some(error) = &contestant.failed {
                eprintln!("bench: {} failed: {error}", contestant.name);
            }
        }
        eprintln!("bench: {}", cells.join(" | "));
        self.rows.push(format!("| {} |", cells.join(" | ")));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["work", "`shipline`"].into_iter().chain(BESIDE);
        let head: Vec<&str> = head.chain(["own CPU", "memory", "goal", "met"]).collect();
        writeln!(f, "| {} |", head.join(" | "))?;
        writeln!(f, "|{}", " --- |".repeat(head.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

pub fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    match milliseconds {
        ..100.0 => format!("{milliseconds:.1} ms"),
        ..1000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.2} s", milliseconds / 1000.0),
    }
}
