//! What became of the requests of one release.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::control::ReleaseCounts;

/// How a request ended, as the release that got it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was passed on; its status.
    Answered(u16),
    /// The unit gave no answer, or only a part of one.
    Error,
    /// The client went away before it had its answer.
    Gone,
    /// A drain ended before the request did.
    Cut,
    /// Another attempt took over; this one says nothing about the release.
    Unused,
}

const CLASSES: [&str; 8] = ["1xx", "2xx", "3xx", "4xx", "5xx", "error", "gone", "cut"];

#[derive(Debug, Default)]
pub struct Counts {
    classes: [AtomicU64; CLASSES.len()],
    latency_us: AtomicU64,
}

impl Counts {
    pub fn record(&self, outcome: Outcome, took: Duration) {
        let class = match outcome {
            Outcome::Answered(status) => usize::from((status / 100).clamp(1, 5)) - 1,
            Outcome::Error => 5,
            Outcome::Gone => 6,
            Outcome::Cut => 7,
            Outcome::Unused => return,
        };
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        // An upgraded connection lasts as long as its users like; that is no latency.
        if matches!(outcome, Outcome::Answered(status) if status >= 200) {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.latency_us.fetch_add(micros, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> ReleaseCounts {
        let status = CLASSES.iter().zip(&self.classes).filter_map(|(class, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| ((*class).to_owned(), count))
        });
        ReleaseCounts {
            status: status.collect(),
            latency_ms_total: self.latency_us.load(Ordering::Relaxed) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class_and_only_whole_ones_have_a_latency() {
        let counts = Counts::default();
        let took = Duration::from_millis(20);
        for outcome in [
            Outcome::Answered(200),
            Outcome::Answered(204),
            Outcome::Answered(503),
            Outcome::Answered(101),
            Outcome::Answered(999),
            Outcome::Error,
            Outcome::Gone,
            Outcome::Cut,
            Outcome::Unused,
        ] {
            counts.record(outcome, took);
        }
        let read = counts.read();
        let status: Vec<String> =
            read.status.iter().map(|(class, count)| format!("{class}={count}")).collect();
        assert_eq!(status.join(" "), "1xx=1 2xx=2 5xx=2 cut=1 error=1 gone=1");
        assert_eq!(read.latency_ms_total, 80);
    }
}
