//! Durations, and what may not be nothing: timeouts.

use super::{Misfit, Scalar};
use crate::Duration;
use crate::codes::Code;
use crate::duration::DurationError;
use crate::plan::ValueKind;
use crate::yaml::{Node, Value};

/// How long people may take to decide.
const LONGEST_APPROVAL: Duration = Duration::from_secs(30 * 86_400);

impl Scalar for Duration {
    const KIND: ValueKind = ValueKind::Duration;

    fn unknown(_: &str) -> Self {
        Self::from_secs(0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) => text.parse().map_err(|error| match error {
                DurationError::NoUnit(_) => without_unit(format!("write `{text}m` or `{text}s`")),
                DurationError::TooLong(_) => Misfit::bad("is at most 3650d long", "too long"),
                DurationError::Syntax(_) => Misfit::bad("takes a duration", label(text)),
            }),
            Value::Int(0, _) => Err(without_unit("write `0s`")),
            Value::Int(1.., text) => Err(without_unit(format!("write `{text}m` or `{text}s`"))),
            // `0.5` minutes has a form; `1e99` and `.nan` have none.
            Value::Float(value, _) if (0.001..1e6).contains(value) => {
                let of = |seconds: f64| std::time::Duration::from_secs_f64(value * seconds);
                let millis = |time: std::time::Duration| {
                    Self::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
                };
                let (minutes, seconds) = (millis(of(60.0)), millis(of(1.0)));
                Err(without_unit(format!("write `{minutes}` for minutes, `{seconds}` for seconds")))
            }
            Value::Int(..) => Err(Misfit::bad(
                "takes a duration",
                "a duration is not negative; for example `20m`",
            )),
            Value::Float(..) => Err(Misfit::bad("takes a duration", "for example `20m`")),
            _ => Err(Misfit::wrong_type("a duration", node).label("for example `20m`")),
        }
    }
}

/// What to write instead of a text that is no duration.
fn label(text: &str) -> String {
    match corrected(text) {
        Some(meant) => format!("write `{meant}`"),
        None => "units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`".to_owned(),
    }
}

/// Units as people say them: `30 minutes`, `1h 30m`, `2 weeks`, `1.5h`.
fn corrected(text: &str) -> Option<Duration> {
    const DAY: f64 = 86_400_000.0;
    let mut rest = text.trim();
    let mut total = 0.0;
    let mut previous = f64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let milliseconds = match rest[..letters].to_ascii_lowercase().as_str() {
            "ms" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7.0 * DAY,
            _ => return None,
        };
        if milliseconds >= previous {
            return None;
        }
        previous = milliseconds;
        total += amount * milliseconds;
        rest = rest[letters..].trim_start();
    }
    // Beyond that it is a slip of another kind.
    (1.0..3_650.0 * DAY).contains(&total).then(|| Duration::from_millis(total.round() as u64))
}

fn without_unit(label: impl Into<String>) -> Misfit {
    Misfit {
        code: Code::E012,
        message: "takes a duration, and a number alone has no unit".to_owned(),
        label: Some(label.into()),
        part: None,
    }
}

/// A duration after which something is given up, so that zero makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

impl Scalar for Timeout {
    const KIND: ValueKind = ValueKind::Timeout;

    fn unknown(_: &str) -> Self {
        Self(Duration::from_secs(1))
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let nothing = || Misfit::bad("takes a duration longer than zero", "for example `20m`");
        match (Duration::read(node), &node.value) {
            (_, Value::Int(0, _)) => Err(nothing()),
            (Ok(duration), _) if duration == Duration::from_secs(0) => Err(nothing()),
            (read, _) => read.map(Self),
        }
    }
}

/// A timeout of an approval: people are not waited for forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApprovalTimeout(pub(crate) Duration);

impl Scalar for ApprovalTimeout {
    const KIND: ValueKind = ValueKind::ApprovalTimeout;

    fn unknown(_: &str) -> Self {
        Self(Duration::from_secs(1))
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match Timeout::read(node)?.0 {
            timeout if timeout > LONGEST_APPROVAL => {
                Err(Misfit::bad("of an approval is at most 30d", "too long; for example `7d`"))
            }
            timeout => Ok(Self(timeout)),
        }
    }
}
