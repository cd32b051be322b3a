//! Durations as the language writes them: `90s`, `20m`, `1h30m`, `14d`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time that always carries its unit in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("`{0}` has no unit")]
    NoUnit(String),
    #[error("`{0}` is not a duration")]
    Syntax(String),
    #[error("`{0}` is longer than 10 years")]
    TooLong(String),
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const LONGEST_MS: u64 = 3_650 * 86_400_000;

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    pub const fn std(self) -> std::time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let syntax = || DurationError::Syntax(text.to_owned());
        let mut rest = text;
        let mut total: u64 = 0;
        let mut previous = u64::MAX;
        if rest.is_empty() {
            return Err(syntax());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let amount: u64 = rest[..digits].parse().map_err(|_| syntax())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            if rest.is_empty() {
                return Err(DurationError::NoUnit(text.to_owned()));
            }
            let (_, scale) =
                UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(syntax)?;
            // `30m1h` and `1h1h` are slips, not durations.
            if *scale >= previous {
                return Err(syntax());
            }
            previous = *scale;
            rest = &rest[letters..];
            total = amount
                .checked_mul(*scale)
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST_MS)
                .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in UNITS {
            if left >= scale {
                write!(f, "{}{unit}", left / scale)?;
                left %= scale;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units_and_print_as_they_were_written() {
        for text in ["90s", "20m", "1h30m", "14d", "250ms", "1d2h3m4s5ms"] {
            let duration: Duration = text.parse().expect(text);
            assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        }
        assert_eq!(
            "90s".parse::<Duration>().unwrap_or(Duration::from_secs(0)).to_string(),
            "1m30s"
        );
    }

    #[test]
    fn what_is_not_a_duration_is_told_apart() {
        assert_eq!("20".parse::<Duration>(), Err(DurationError::NoUnit("20".into())));
        for text in ["", "m", "1x", "-1s", "1e9s", "30m1h", "1h1h", "1 h"] {
            assert!(matches!(text.parse::<Duration>(), Err(DurationError::Syntax(_))), "{text}");
        }
        assert!(matches!("99999d".parse::<Duration>(), Err(DurationError::TooLong(_))));
    }
}
