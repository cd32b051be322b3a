//! Names of deployments, for people: `shop_prod_v1.4_feature-pay_20260811-1111_jdoe`.
//!
//! Each field is reduced to `[a-z0-9.-]`, so that `_` only separates and a name can
//! be read again; it is a legal name of a file everywhere. Identity is the id.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDateTime, Timelike as _};

const TIME: &str = "%Y%m%d-%H%M";
/// What stands for a field of which nothing is left.
const NOTHING: &str = "none";
/// Bytes of a field at most, in their order: a name stays below 255 bytes.
const LIMITS: [usize; 5] = [48, 32, 48, 48, 32];

/// The parts of a name, reduced already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentName {
    project: String,
    environment: String,
    version: String,
    branch: String,
    /// To the minute, in the zone of whoever names.
    at: NaiveDateTime,
    committer: String,
    /// Counted from 1 among those that are otherwise the same.
    number: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a deployment: PROJECT_ENVIRONMENT_VERSION_BRANCH_TIME_COMMITTER")]
pub struct NameError(String);

impl DeploymentName {
    /// `at` is local time where the name is given.
    pub fn new(
        project: &str,
        environment: &str,
        version: &str,
        branch: Option<&str>,
        at: NaiveDateTime,
        committer: &str,
    ) -> Self {
        let fields = [project, environment, version, branch.unwrap_or_default(), committer];
        let mut fields = fields.iter().zip(LIMITS).map(|(field, limit)| reduced(field, limit));
        let mut next = || fields.next().unwrap_or_default();
        Self {
            project: next(),
            environment: next(),
            version: next(),
            branch: next(),
            at: to_the_minute(at),
            committer: without_number(next()),
            number: 1,
        }
    }

    /// Returns the first name of this kind that is not taken: `.2` is added to the
    /// second one of a minute, and so on.
    #[must_use]
    pub fn unlike(self, is_taken: impl Fn(&str) -> bool) -> Self {
        let mut name = self;
        while is_taken(&name.to_string()) {
            name.number += 1;
        }
        name
    }
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, environment, version, branch, at, committer, number } = self;
        let at = at.format(TIME);
        write!(f, "{project}_{environment}_{version}_{branch}_{at}_{committer}")?;
        if *number > 1 {
            write!(f, ".{number}")?;
        }
        Ok(())
    }
}

impl FromStr for DeploymentName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let wrong = || NameError(name.to_owned());
        let fields: Vec<&str> = name.split('_').collect();
        let [project, environment, version, branch, at, last] = fields[..] else {
            return Err(wrong());
        };
        let at = NaiveDateTime::parse_from_str(at, TIME).map_err(|_| wrong())?;
        let (committer, number) = match number_of(last) {
            Some((committer, number)) => (committer, number.parse().map_err(|_| wrong())?),
            None => (last, 1),
        };
        let parsed = Self {
            number,
            ..Self::new(project, environment, version, Some(branch), at, committer)
        };
        // What `new` had to change was never given as a name.
        if parsed.to_string() == name { Ok(parsed) } else { Err(wrong()) }
    }
}

/// Reduces a field to small letters, digits, `.` and `-`, which neither begins nor
/// ends with one of the two.
fn reduced(field: &str, limit: usize) -> String {
    let mut reduced = String::with_capacity(field.len());
    for character in field.chars() {
        match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9' | '.') => reduced.push(kept),
            _ if reduced.ends_with('-') => {}
            _ => reduced.push('-'),
        }
        if reduced.len() >= limit {
            break;
        }
    }
    let edges = ['-', '.'];
    match reduced.trim_matches(edges) {
        "" => NOTHING.to_owned(),
        kept => kept.to_owned(),
    }
}

/// Cuts `name.7` in two.
fn number_of(field: &str) -> Option<(&str, &str)> {
    let (name, number) = field.rsplit_once('.')?;
    let counts = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    counts.then_some((name, number))
}

/// The last field must not look as if it was the seventh of its minute.
fn without_number(field: String) -> String {
    match number_of(&field) {
        Some((name, number)) => {
            let name = name.trim_end_matches(['-', '.']);
            without_number(format!("{name}-{number}"))
        }
        None => field,
    }
}

fn to_the_minute(at: NaiveDateTime) -> NaiveDateTime {
    at.with_second(0).and_then(|at| at.with_nanosecond(0)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    fn at(minute: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 8, 11).unwrap().and_hms_opt(11, minute, 42).unwrap()
    }

    fn name(version: &str, branch: Option<&str>, committer: &str) -> String {
        DeploymentName::new("rainbow", "prod", version, branch, at(11), committer).to_string()
    }

    #[test]
    fn a_name_says_what_where_when_and_by_whom() {
        assert_eq!(
            name("v1.1.1", Some("feature/pay"), "jdoe"),
            "rainbow_prod_v1.1.1_feature-pay_20260811-1111_jdoe"
        );
    }

    #[test]
    fn whatever_is_no_letter_digit_or_dot_becomes_a_dash() {
        assert_eq!(
            name("V2_β (hot)", Some("..//Jos\u{e9}\\x:"), "Jane Doe <j@x.y>"),
            "rainbow_prod_v2-hot_jos-x_20260811-1111_jane-doe-j-x.y"
        );
        assert_eq!(name("", None, "__"), "rainbow_prod_none_none_20260811-1111_none");
    }

    #[test]
    fn the_second_of_a_minute_is_numbered() {
        let first = DeploymentName::new("web", "prod", "v1", None, at(11), "bot.7");
        let taken =
            ["web_prod_v1_none_20260811-1111_bot-7", "web_prod_v1_none_20260811-1111_bot-7.2"];
        let third = first.clone().unlike(|name| taken.contains(&name));
        assert_eq!(first.to_string(), taken[0]);
        assert_eq!(third.to_string(), "web_prod_v1_none_20260811-1111_bot-7.3");
        assert_eq!(third.to_string().parse(), Ok(third));
    }

    #[test]
    fn other_text_is_no_name() {
        for text in ["", "a_b", "a_b_c_d_e_f", "a_b_c_d_20261311-1111_f", "A_b_c_d_20261111-1111_f"]
        {
            assert_eq!(text.parse::<DeploymentName>(), Err(NameError(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn every_name_can_be_read_again_and_be_a_file(
            project in ".{0,80}", version in ".{0,80}", branch in proptest::option::of(".{0,80}"),
            committer in ".{0,80}", minute in 0u32..60, number in 1u32..20,
        ) {
            let name = DeploymentName::new(
                &project, "prod", &version, branch.as_deref(), at(minute), &committer,
            );
            let name = DeploymentName { number, ..name };
            let text = name.to_string();
            prop_assert!(text.len() < 255);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            prop_assert!(!text.ends_with('.'));
            prop_assert_eq!(text.parse(), Ok(name));
        }
    }
}
