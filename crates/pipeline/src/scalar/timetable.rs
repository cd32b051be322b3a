//! When a schedule starts: a line of cron, and the time zone it is read in.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::{Misfit, Scalar};
use crate::plan::ValueKind;
use crate::suggest::closest;
use crate::yaml::Node;

const EXAMPLE: &str = "for example `0 3 * * 1-5`, which is 03:00 from Monday to Friday";

/// Minute, hour, day of the month, month and day of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CronLine(pub(crate) String);

/// The fields in their order, and what each of them counts.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12, or `JAN` to `DEC`"),
    ("day of the week", "0 to 7, or `SUN` to `SAT`"),
];

impl Scalar for CronLine {
    const KIND: ValueKind = ValueKind::Text;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            let count = fields.len();
            let what = "minute, hour, day of the month, month and day of the week";
            let label = format!("this has {count}; write {what}, {EXAMPLE}");
            return Err(Misfit::bad("takes a line of cron with 5 fields", label));
        }
        for (at, (name, range)) in FIELDS.iter().enumerate() {
            // A field is wrong when it is wrong among fields that cannot be.
            let mut alone = ["*"; 5];
            alone[at] = fields[at];
            if parsed(&alone.join(" ")).is_none() {
                let start = fields[at].as_ptr() as usize - text.as_ptr() as usize;
                let label = format!(
                    "no {name}: it is {range}; a list `1,3`, a range `1-5`, a step `*/5` and `*` are fine"
                );
                return Err(
                    Misfit::bad("is no line of cron", label).part(start..start + fields[at].len())
                );
            }
        }
        match parsed(&text) {
            Some(cron) if next(&cron, Tz::UTC, DateTime::UNIX_EPOCH).is_some() => Ok(Self(text)),
            Some(_) => Err(Misfit::bad("is a time that never comes", EXAMPLE)),
            None => Err(Misfit::bad("is no line of cron", EXAMPLE)),
        }
    }
}

impl CronLine {
    /// The first time after another one. Where the clock jumps, a time that is
    /// left out comes right after the gap, and one that comes twice counts once.
    pub(crate) fn next(&self, timezone: &str, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        next(&parsed(&self.0)?, timezone.parse().ok()?, after)
    }
}

fn parsed(line: &str) -> Option<Cron> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(line).ok()
}

fn next(cron: &Cron, timezone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let next = cron.find_next_occurrence(&after.with_timezone(&timezone), false).ok()?;
    Some(next.with_timezone(&Utc))
}

/// A name of the IANA list: `Asia/Shanghai`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeZone(pub(crate) String);

impl Scalar for TimeZone {
    const KIND: ValueKind = ValueKind::Text;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        if Tz::from_str(&text).is_ok() {
            return Ok(Self(text));
        }
        let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
        // People know the city.
        let city = |name: &&str| {
            let last = name.rsplit('/').next().unwrap_or(name);
            last.replace('_', " ").eq_ignore_ascii_case(&text.replace('_', " "))
        };
        let label = match closest(&text, names()).or_else(|| names().find(city)) {
            Some(close) => format!("did you mean `{close}`?"),
            None => "a name of the IANA list, for example `Asia/Shanghai` or `UTC`".to_owned(),
        };
        Err(Misfit::bad("is no time zone", label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(line: &str, timezone: &str, after: &str) -> String {
        let after = DateTime::parse_from_rfc3339(after).unwrap().to_utc();
        CronLine(line.to_owned()).next(timezone, after).unwrap().to_rfc3339()
    }

    #[test]
    fn the_next_time_is_that_of_the_time_zone() {
        let monday = "2026-03-02T00:00:00Z";
        assert_eq!(next_of("0 3 * * 1-5", "UTC", monday), "2026-03-02T03:00:00+00:00");
        assert_eq!(next_of("0 3 * * 1-5", "Asia/Shanghai", monday), "2026-03-02T19:00:00+00:00");
        // Exactly now is not after now.
        assert_eq!(
            next_of("0 3 * * *", "UTC", "2026-03-02T03:00:00Z"),
            "2026-03-03T03:00:00+00:00"
        );
        assert_eq!(next_of("0 0 29 2 *", "UTC", monday), "2028-02-29T00:00:00+00:00");
    }

    #[test]
    fn a_time_that_the_clock_jumps_over_comes_after_the_gap() {
        // Berlin goes from 02:00 to 03:00 on 29 March 2026.
        assert_eq!(
            next_of("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z"),
            "2026-03-29T01:00:00+00:00"
        );
    }
}
