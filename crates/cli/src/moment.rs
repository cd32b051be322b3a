//! Times as people type them.

use chrono::{DateTime, Local, NaiveTime, TimeDelta, Utc};
use pipeline::Duration;

/// The longest a command waits for a lock.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// Reads `--for` of a lock.
pub(crate) fn lock_time(text: &str) -> Result<Duration, String> {
    duration(text, "90m or 2h")
}

fn duration(text: &str, examples: &str) -> Result<Duration, String> {
    text.parse().map_err(|_| format!("`{text}` is no duration, such as {examples}"))
}

/// Reads `--lock-wait`.
pub(crate) fn lock_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text, "90s or 10m")?;
    if wait > LONGEST_WAIT {
        return Err(format!("at most {LONGEST_WAIT}"));
    }
    Ok(wait)
}

/// Reads `--every`.
pub(crate) fn pause(text: &str) -> Result<Duration, String> {
    let pause: Duration =
        text.parse().map_err(|_| format!("`{text}` is no duration, such as 30s or 5m"))?;
    if pause.std().is_zero() {
        return Err("looking needs a pause, such as 30s".to_owned());
    }
    Ok(pause)
}

/// Reads `--until`.
pub(crate) fn lock_end(text: &str) -> Result<DateTime<Utc>, String> {
    until(text, &Local::now())
}

/// The next time a clock on the wall shows `text`, or that very moment where it has a date.
fn until<Z: chrono::TimeZone>(text: &str, now: &DateTime<Z>) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    let time = NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| {
        format!("`{text}` is neither HH:MM nor a time such as 2026-08-11T18:00:00Z")
    })?;
    let today = now.naive_local().date();
    [0, 1]
        .into_iter()
        // An hour that a change of clocks leaves out is on no wall.
        .filter_map(|days| {
            (today + TimeDelta::days(days))
                .and_time(time)
                .and_local_timezone(now.timezone())
                .earliest()
        })
        .find(|moment| moment > now)
        .map(|moment| moment.with_timezone(&Utc))
        .ok_or_else(|| format!("{text} does not come within a day"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let now = at("2026-08-11T17:30:00Z");
        assert_eq!(until("18:00", &now), Ok(at("2026-08-11T18:00:00Z")));
        assert_eq!(until("17:30", &now), Ok(at("2026-08-12T17:30:00Z")));
        assert_eq!(until("2026-08-11T18:00:00+08:00", &now), Ok(at("2026-08-11T10:00:00Z")));
        assert!(until("6pm", &now).is_err());
        let there = now.with_timezone(&chrono::FixedOffset::east_opt(8 * 3600).expect("a zone"));
        assert_eq!(until("02:00", &there), Ok(at("2026-08-11T18:00:00Z")));
    }

    #[test]
    fn nobody_waits_for_longer_than_recovery_expects() {
        assert_eq!(lock_wait("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(pause("5s"), Ok(Duration::from_secs(5)));
        assert!(pause("0s").is_err() && pause("soon").is_err());
        assert!(lock_wait("31m").is_err() && lock_wait("ten").is_err());
    }

    #[test]
    fn what_is_no_duration_is_told_what_one_looks_like() {
        assert_eq!(lock_time("2x"), Err("`2x` is no duration, such as 90m or 2h".to_owned()));
        assert_eq!(lock_time("2h"), Ok(Duration::from_secs(7200)));
    }
}
