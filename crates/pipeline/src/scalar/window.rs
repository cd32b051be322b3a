//! `windows` of an environment: when something may be deployed.

use super::{Misfit, Scalar};
use crate::plan::ValueKind;
use crate::yaml::Node;

const EXAMPLE: &str = "for example `Mon-Thu 10:00-17:00 Asia/Shanghai`";
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Days, hours and a time zone: `Mon-Thu 10:00-17:00 Asia/Shanghai`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) String);

impl Scalar for Window {
    const KIND: ValueKind = ValueKind::Text;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        let parts: Vec<&str> = text.split(' ').collect();
        let [days, hours, zone] = parts.as_slice() else {
            let label = format!("days, hours and a time zone, each after one space; {EXAMPLE}");
            return Err(Misfit::bad("is no window", label));
        };
        let at = |skipped: &[&str]| skipped.iter().map(|part| part.len() + 1).sum::<usize>();
        if !is_days(days) {
            let label = format!("days are `Mon` to `Sun`, as `Mon-Thu` or `Mon,Wed`; {EXAMPLE}");
            return Err(Misfit::bad("is no window", label).part(0..days.len()));
        }
        let hours_at = at(&[*days]);
        match hours.split_once('-').map(|(from, to)| (minutes(from), minutes(to))) {
            Some((Some(from), Some(to))) if from < to => {}
            Some((Some(_), Some(_))) => {
                let label = "it ends before it begins; a window over midnight is two";
                return Err(
                    Misfit::bad("is no window", label).part(hours_at..hours_at + hours.len())
                );
            }
            _ => {
                let label = format!("hours are `HH:MM-HH:MM`, up to `24:00`; {EXAMPLE}");
                return Err(
                    Misfit::bad("is no window", label).part(hours_at..hours_at + hours.len())
                );
            }
        }
        if !is_zone(zone) {
            let zone_at = at(&[*days, *hours]);
            let label = "a time zone is `UTC` or `Area/City`; for example `Asia/Shanghai`";
            return Err(Misfit::bad("is no window", label).part(zone_at..text.len()));
        }
        Ok(Self(text))
    }
}

fn is_days(text: &str) -> bool {
    let day = |text: &str| DAYS.iter().position(|day| *day == text);
    text.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => matches!((day(from), day(to)), (Some(from), Some(to)) if from < to),
        None => day(part).is_some(),
    })
}

/// Minutes after midnight.
fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| match text.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9'] => text.parse::<u32>().ok(),
        _ => None,
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60 || hour == 24 && minute == 0).then_some(hour * 60 + minute)
}

fn is_zone(text: &str) -> bool {
    let word = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte))
    };
    text == "UTC" || text.contains('/') && text.split('/').all(word)
}
