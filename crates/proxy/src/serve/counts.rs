//! What became of the requests of one release.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::control::{Latency, ReleaseCounts};

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

/// Bounds of the histogram: from what a small request takes to what a drain allows.
const BOUNDS_MS: [u64; 14] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

#[derive(Debug, Default)]
pub struct Counts {
    classes: [AtomicU64; CLASSES.len()],
    latency_us: AtomicU64,
    /// One more than there are bounds: the last is of what took longer than all.
    latency: [AtomicU64; BOUNDS_MS.len() + 1],
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
            let bucket = BOUNDS_MS.partition_point(|bound| bound * 1000 < micros);
            self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn read(&self, in_flight: u64) -> ReleaseCounts {
        let status = CLASSES.iter().zip(&self.classes).filter_map(|(class, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| ((*class).to_owned(), count))
        });
        ReleaseCounts {
            status: status.collect(),
            latency_ms_total: self.latency_us.load(Ordering::Relaxed) / 1000,
            latency: Latency {
                le_ms: BOUNDS_MS.to_vec(),
                counts: self.latency.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            },
            in_flight,
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
        let read = counts.read(7);
        let status: Vec<String> =
            read.status.iter().map(|(class, count)| format!("{class}={count}")).collect();
        assert_eq!(status.join(" "), "1xx=1 2xx=2 5xx=2 cut=1 error=1 gone=1");
        assert_eq!(read.latency_ms_total, 80);
        assert_eq!(read.latency.count(), 4);
        assert_eq!((read.requests(), read.in_flight), (8, 7));
    }

    #[test]
    fn an_answer_is_in_the_bucket_whose_bound_it_does_not_pass() {
        for (took_us, bucket) in
            [(0, 0), (1_000, 0), (1_001, 1), (20_000, 4), (30_000_000, 13), (30_000_001, 14)]
        {
            let counts = Counts::default();
            counts.record(Outcome::Answered(200), Duration::from_micros(took_us));
            let latency = counts.read(0).latency;
            assert_eq!(
                latency.counts.iter().position(|count| *count > 0),
                Some(bucket),
                "{took_us}"
            );
            assert_eq!(latency.counts.len(), latency.le_ms.len() + 1);
        }
    }
}
