//! What became of a load.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Answer, Failure};
use super::{Class, latency};

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: u64,
    /// Refused, reset, late, not 2xx, or with a short body.
    pub failed: u64,
    /// What the failures were, with their number.
    pub failures: BTreeMap<String, u64>,
    /// Sent and failed of each class.
    pub classes: BTreeMap<Class, (u64, u64)>,
    /// Answers by the version they carry.
    pub versions: BTreeMap<String, u64>,
    /// Since each was due.
    pub latencies: Latencies,
    pub slowest: Duration,
    /// Numbers of what must have happened exactly once, and of what may have.
    pub posted: Vec<u64>,
    pub maybe_posted: Vec<u64>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        class: Class,
        number: u64,
        answer: &Result<Answer, Failure>,
        due: Instant,
    ) {
        self.sent += 1;
        let of_class = self.classes.entry(class).or_default();
        of_class.0 += 1;
        let took = latency(answer, due);
        self.slowest = self.slowest.max(took);
        self.latencies.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        if class == Class::Post {
            let posted = if answer.is_ok() { &mut self.posted } else { &mut self.maybe_posted };
            posted.push(number);
        }
        match answer {
            Ok(answer) => *self.versions.entry(answer.version.clone()).or_default() += 1,
            Err(failure) => {
                of_class.1 += 1;
                self.failed += 1;
                *self.failures.entry(failure.what.clone()).or_default() += 1;
            }
        }
    }

    /// Of plain requests, each with how long it took and whether it was answered well.
    pub fn of_visits(visits: &[(Duration, bool)]) -> Self {
        let mut report = Self::default();
        for (took, is_well) in visits {
            report.sent += 1;
            report.slowest = report.slowest.max(*took);
            report.latencies.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            if !is_well {
                report.failed += 1;
                *report.failures.entry("no good answer".to_owned()).or_default() += 1;
            }
        }
        report
    }

    /// Adds what became of other requests.
    pub fn extend(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        self.latencies.0.extend(other.latencies.0);
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
    }

    /// Which classes failed how often, for people.
    pub fn failed_by_class(&self) -> String {
        let failed = self.classes.iter().filter(|(_, (_, failed))| *failed > 0);
        let failed: Vec<String> =
            failed.map(|(class, (_, failed))| format!("{} {failed}", class.name())).collect();
        failed.join(", ")
    }
}

/// In microseconds, in no order.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// So much of a hundred took no longer.
    pub fn percentile(&self, percent: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let place = (sorted.len() as f64 * percent / 100.0) as usize;
        let micros = sorted.get(place.min(last)).copied().unwrap_or_default();
        Duration::from_micros(u64::from(micros))
    }
}

/// A line for each request, if somebody wants it.
pub(super) struct Log(Option<Mutex<BufWriter<File>>>);

impl Log {
    pub(super) fn open(path: Option<&Path>) -> Self {
        Self(path.map(|path| {
            let mut file = BufWriter::new(File::create(path).expect("a log can be made"));
            let head = "due_ms,class,number,status,version,unit,latency_us,failure";
            writeln!(file, "{head}").expect("a log can be written");
            Mutex::new(file)
        }))
    }

    pub(super) fn write(
        &self,
        at: Duration,
        class: Class,
        number: u64,
        answer: &Result<Answer, Failure>,
        due: Instant,
    ) {
        let Some(file) = &self.0 else { return };
        let took = latency(answer, due).as_micros();
        let (status, version, unit, failure) = match answer {
            Ok(answer) => (Some(answer.status), &*answer.version, &*answer.unit, ""),
            Err(failure) => (failure.status, "", "", &*failure.what),
        };
        let status = status.map_or_else(String::new, |status| status.to_string());
        let (at, class) = (at.as_millis(), class.name());
        let mut file = file.lock().expect("no request panics");
        let line =
            writeln!(file, "{at},{class},{number},{status},{version},{unit},{took},{failure}");
        line.expect("a log can be written");
    }
}
