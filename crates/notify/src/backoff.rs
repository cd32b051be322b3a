//! When a delivery that failed is tried again.

use std::time::Duration;

/// Pause and how many times it is made: soon at first, since most faults are
/// short; then often enough that a mail server that was away for an hour gets
/// everything within minutes of its return; three days in all.
const PAUSES: [(u64, u32); 7] =
    [(10, 1), (30, 1), (60, 1), (120, 1), (300, 24), (1_800, 20), (7_200, 30)];

/// Returns how long to wait after `attempts` failures, or `None` to give up.
pub fn backoff(attempts: u32) -> Option<Duration> {
    let mut before = 0;
    for (seconds, times) in PAUSES {
        before += times;
        if attempts <= before {
            return Some(Duration::from_secs(seconds));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_tried_for_three_days_and_never_more_seldom_than_every_two_hours() {
        let pauses: Vec<Duration> = (1..).map_while(backoff).collect();
        let days = pauses.iter().sum::<Duration>().as_secs_f64() / 86_400.0;
        assert!((3.0..3.1).contains(&days), "{days} days");
        assert!(pauses.is_sorted());
        assert_eq!(pauses.first(), Some(&Duration::from_secs(10)));
        assert_eq!(pauses.last(), Some(&Duration::from_secs(7_200)));
        assert_eq!(backoff(u32::MAX), None);
    }

    #[test]
    fn after_an_outage_of_an_hour_the_next_try_is_within_five_minutes() {
        let mut waited = Duration::ZERO;
        let next = (1..).map_while(backoff).find(|pause| {
            waited += *pause;
            waited > Duration::from_secs(3_600)
        });
        assert_eq!(next, Some(Duration::from_secs(300)));
    }
}
