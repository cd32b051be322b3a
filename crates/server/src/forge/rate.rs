//! How many deliveries a project may send: a flood of one is not the others'.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Deliveries that may come at once.
const BURST: f64 = 2_000.0;
/// Deliveries per second that may go on for ever.
const PACE: f64 = 300.0;

/// A bucket of tokens for each project that sent something.
#[derive(Default)]
pub(crate) struct Rate {
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// Counts a delivery of `project` that came `now`, and returns whether it
    /// may come in. Projects are those of the store, so their number is bounded.
    pub(crate) fn admits(&self, project: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(project.to_owned()).or_insert(Bucket { tokens: BURST, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * PACE).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many of ten thousand deliveries in ten seconds come in.
    fn flood(rate: &Rate, project: &str, begin: Instant) -> usize {
        let deliveries = (0..10_000).map(|number| begin + Duration::from_millis(number));
        deliveries.filter(|at| rate.admits(project, *at)).count()
    }

    #[test]
    fn a_flood_is_cut_and_another_project_does_not_feel_it() {
        let rate = Rate::default();
        let begin = Instant::now();
        let admitted = flood(&rate, "orders", begin);
        assert!((4_900..=5_100).contains(&admitted), "{admitted}");
        assert!(rate.admits("web", begin + Duration::from_secs(10)));
        assert!(rate.admits("orders", begin + Duration::from_secs(11)), "it is not locked out");
    }

    #[test]
    fn two_hundred_a_second_are_never_refused() {
        let rate = Rate::default();
        let begin = Instant::now();
        let steady = (0..10_000).map(|number| begin + Duration::from_millis(5 * number));
        assert_eq!(steady.filter(|at| rate.admits("orders", *at)).count(), 10_000);
    }
}
