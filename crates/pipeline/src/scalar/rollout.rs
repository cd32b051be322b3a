//! Scalars that say how a release is rolled out: words, sizes, shares, thresholds.

use super::{Misfit, Scalar, one_of, words};
use crate::Duration;
use crate::plan::{
    BatchSize, CanaryBy, Inconclusive, OnFailure, Per, RolloutOrder, StrategyKind, ValueKind,
};
use crate::yaml::{Node, Value};

words! {
    RolloutOrder: "order", "orders", Self::StartFirst, {
        "start-first" => Self::StartFirst,
        "stop-first" => Self::StopFirst,
    };
    OnFailure: "way to go on after a failure", "ways", Self::Rollback, {
        "rollback" => Self::Rollback,
        "stop" => Self::Stop,
        "hold" => Self::Hold,
    };
    CanaryBy: "choice of a canary", "choices", Self::Weight, {
        "weight" => Self::Weight,
        "header" => Self::Header,
        "tag" => Self::Tag,
        "label" => Self::Label,
    };
    Inconclusive: "answer to too few requests", "answers", Self::Fail, {
        "extend" => Self::Extend,
        "pass" => Self::Pass,
        "fail" => Self::Fail,
    };
    Per: "choice of what a check is made for", "choices", Self::Batch, {
        "batch" => Self::Batch,
        "unit" => Self::Unit,
    };
    Promotion: "way of promotion", "ways", Self::Manual, {
        "auto" => Self::Auto,
        "manual" => Self::Manual,
    };
    Reload: "way to take over a release", "ways", Self::None, {
        "php-fpm" => Self::PhpFpm,
        "tomcat" => Self::Tomcat,
        "systemd" => Self::Systemd,
        "node" => Self::Node,
        "none" => Self::None,
    };
}

impl Scalar for StrategyKind {
    const KIND: ValueKind = ValueKind::Word;
    const WORDS: &'static [&'static str] = &["rolling", "recreate"];

    fn unknown(_: &str) -> Self {
        Self::Rolling
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        match text.as_str() {
            "rolling" => Ok(Self::Rolling),
            "recreate" => Ok(Self::Recreate),
            "canary" => Err(Misfit::bad(
                "names no strategy",
                "a canary is described by the key `canary`, beside `strategy`",
            )),
            _ => Err(Misfit::bad(
                "names no strategy",
                one_of("strategies", &text, &["rolling", "recreate"]),
            )),
        }
    }
}

/// `promote` of an environment: how releases come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    Auto,
    Manual,
}

impl Promotion {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// `deploy.hosts.reload`: the profile of the service on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    PhpFpm,
    Tomcat,
    Systemd,
    Node,
    None,
}

impl Reload {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PhpFpm => "php-fpm",
            Self::Tomcat => "tomcat",
            Self::Systemd => "systemd",
            Self::Node => "node",
            Self::None => "none",
        }
    }
}

/// A batch is at least one unit.
impl Scalar for BatchSize {
    const KIND: ValueKind = ValueKind::BatchSize;

    fn unknown(_: &str) -> Self {
        Self::Units(1)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match size(node, "a number of units from 1 to 10000, or a share from 1% to 100%")? {
            Self::Units(0) | Self::Percent(0) => Err(Misfit::bad(
                "is a number of units from 1 to 10000, or a share from 1% to 100%",
                "out of range",
            )),
            size => Ok(size),
        }
    }
}

/// A number or share of units that may be none: `max-unavailable`, `max-surge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance(pub(crate) BatchSize);

impl Scalar for Allowance {
    const KIND: ValueKind = ValueKind::Allowance;

    fn unknown(_: &str) -> Self {
        Self(BatchSize::Units(1))
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        size(node, "a number of units from 0 to 10000, or a share from 0% to 100%").map(Self)
    }
}

fn size(node: &Node, expected: &str) -> Result<BatchSize, Misfit> {
    let range = || Misfit::bad(format!("is {expected}"), "out of range");
    match &node.value {
        Value::Int(value, _) => match u32::try_from(*value) {
            Ok(units @ ..=10_000) => Ok(BatchSize::Units(units)),
            _ => Err(range()),
        },
        Value::Text(text) => match text.strip_suffix('%').map(str::parse) {
            Some(Ok(percent @ ..=100)) => Ok(BatchSize::Percent(percent)),
            Some(Ok(_)) => Err(range()),
            _ => Err(Misfit::bad(format!("is {expected}"), "for example `2` or `25%`")),
        },
        Value::Float(..) => Err(Misfit::bad(format!("is {expected}"), "for example `2` or `25%`")),
        _ => Err(Misfit::wrong_type(expected, node).label("for example `2` or `25%`")),
    }
}

/// A number of units that may be none: `tolerate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tolerance(pub(crate) u32);

impl Scalar for Tolerance {
    const KIND: ValueKind = ValueKind::Tolerance;

    fn unknown(_: &str) -> Self {
        Self(0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        within(node, 0..=10_000).map(Self)
    }
}

/// A number of requests: `min-requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requests(pub(crate) u32);

impl Scalar for Requests {
    const KIND: ValueKind = ValueKind::Requests;

    fn unknown(_: &str) -> Self {
        Self(1)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        within(node, 1..=1_000_000_000).map(Self)
    }
}

/// A share of the traffic in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) u32);

impl Scalar for Weight {
    const KIND: ValueKind = ValueKind::Weight;

    fn unknown(_: &str) -> Self {
        Self(0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        if let Value::Text(text) = &node.value
            && let Some(number) = text.strip_suffix('%')
        {
            return Err(Misfit::wrong_type("a whole number", node)
                .label(format!("a weight is in percent anyway; write `{number}`")));
        }
        within(node, 0..=100).map(Self)
    }
}

fn within(node: &Node, range: std::ops::RangeInclusive<u32>) -> Result<u32, Misfit> {
    match &node.value {
        Value::Int(value, _) => {
            u32::try_from(*value).ok().filter(|value| range.contains(value)).ok_or_else(|| {
                let message = format!("is a number from {} to {}", range.start(), range.end());
                Misfit::bad(message, "out of range")
            })
        }
        _ => Err(Misfit::wrong_type("a whole number", node)),
    }
}

/// A duration that is not zero: one that something is repeated or cut off after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

impl Scalar for Interval {
    const KIND: ValueKind = ValueKind::Interval;

    fn unknown(_: &str) -> Self {
        Self(Duration::from_secs(1))
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let duration = Duration::read(node)?;
        if duration.std().is_zero() {
            return Err(Misfit::bad("takes a duration above zero", "for example `1s`"));
        }
        Ok(Self(duration))
    }
}

/// The limit of a metric, as it is written: `1%`, `400`, `0.5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Threshold(pub(crate) String);

impl Threshold {
    /// The number, and whether it is a share.
    pub(crate) fn number(&self) -> Option<(f64, bool)> {
        let (number, share) = match self.0.strip_suffix('%') {
            Some(number) => (number, true),
            None => (self.0.as_str(), false),
        };
        number.parse().ok().filter(|number: &f64| number.is_finite()).map(|number| (number, share))
    }
}

impl Scalar for Threshold {
    const KIND: ValueKind = ValueKind::Threshold;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let example = "for example `400`, `0.5` or `1%`";
        match (&node.value, node.scalar_text()) {
            (Value::Int(..) | Value::Float(..) | Value::Text(_), Some(text)) => {
                let threshold = Self(text.into_owned());
                // What Rust reads as a number beyond digits, `inf` and `1e3`, is no threshold.
                let plain = threshold.0.strip_suffix('%').unwrap_or(&threshold.0);
                let digits = plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                match threshold.number() {
                    Some(_) if digits => Ok(threshold),
                    _ => Err(Misfit::bad("is a number or a share in percent", example)),
                }
            }
            _ => Err(Misfit::wrong_type("a number or a share in percent", node).label(example)),
        }
    }
}
