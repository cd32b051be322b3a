//! Numbers: of things, ports, cores, processes, exit codes.

use super::{Misfit, Scalar};
use crate::plan::ValueKind;
use crate::yaml::{Node, Value};

/// What the kernel can count at most.
const MOST_PROCESSES: i64 = 4_194_304;
/// More extra attempts hide a fault and do not cure it.
const MOST_RETRIES: i64 = 10;

/// A number of things, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

impl Scalar for Count {
    const KIND: ValueKind = ValueKind::Count;

    fn unknown(_: &str) -> Self {
        Self(1)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        whole(node, 1, 10_000, "is a number from 1 to 10000").map(Self)
    }
}

/// Of `pids`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processes(pub(crate) u32);

impl Scalar for Processes {
    const KIND: ValueKind = ValueKind::Processes;

    fn unknown(_: &str) -> Self {
        Self(1)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        whole(node, 1, MOST_PROCESSES, "takes a number of processes from 1 to 4194304").map(Self)
    }
}

/// Extra attempts; none is a number, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retries(pub(crate) u32);

impl Scalar for Retries {
    const KIND: ValueKind = ValueKind::Retries;

    fn unknown(_: &str) -> Self {
        Self(0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        whole(node, 0, MOST_RETRIES, "takes a number of extra attempts from 0 to 10").map(Self)
    }
}

/// What a command ends with when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode(pub(crate) u8);

impl Scalar for ExitCode {
    const KIND: ValueKind = ValueKind::Int;

    fn unknown(_: &str) -> Self {
        Self(1)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let range = "takes exit codes of failures, from 1 to 255";
        match (&node.value, u8::try_from(whole(node, 1, 255, range)?)) {
            (Value::Int(..), Ok(code)) => Ok(Self(code)),
            _ => Err(Misfit::bad(range, "out of range")),
        }
    }
}

fn whole(node: &Node, least: i64, most: i64, range: &str) -> Result<u32, Misfit> {
    match &node.value {
        Value::Int(value, _) => match u32::try_from(*value) {
            Ok(number) if (least..=most).contains(value) => Ok(number),
            _ => Err(Misfit::bad(range, "out of range")),
        },
        Value::Text(text) if text.parse::<u32>().is_ok() => {
            Err(Misfit::wrong_type("a whole number", node).label(format!("write `{text}`")))
        }
        Value::Float(value, _) if (1.0..1e6).contains(value) => {
            let misfit = Misfit::wrong_type("a whole number", node);
            Err(Misfit { message: "takes a whole number".to_owned(), ..misfit }
                .label(format!("write for example `{}`", value.ceil())))
        }
        _ => Err(Misfit::wrong_type("a whole number", node)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) u16);

impl Scalar for Port {
    const KIND: ValueKind = ValueKind::Port;

    fn unknown(_: &str) -> Self {
        Self(0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Int(value, _) => match u16::try_from(*value) {
                Ok(port @ 1..) => Ok(Self(port)),
                _ => Err(Misfit::bad("is a port from 1 to 65535", "not a port; for example 8080")),
            },
            _ => Err(Misfit::wrong_type("a port", node).label("for example 8080")),
        }
    }
}

/// The status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpStatus(pub(crate) u16);

impl Scalar for HttpStatus {
    const KIND: ValueKind = ValueKind::Int;

    fn unknown(_: &str) -> Self {
        Self(200)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Int(value, _) => match u16::try_from(*value) {
                Ok(status @ 100..=599) => Ok(Self(status)),
                _ => Err(Misfit::bad("is a status from 100 to 599", "for example 204")),
            },
            _ => Err(Misfit::wrong_type("the status of an answer", node).label("for example 204")),
        }
    }
}

/// A port, or `auto`: the first one that the image exposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpPort(pub(crate) Option<u16>);

impl Scalar for TcpPort {
    const KIND: ValueKind = ValueKind::TcpPort;
    const WORDS: &'static [&'static str] = &["auto"];

    fn unknown(_: &str) -> Self {
        Self(None)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) if text == "auto" => Ok(Self(None)),
            Value::Int(..) => Port::read(node).map(|port| Self(Some(port.0))),
            _ => Err(Misfit::wrong_type("a port or `auto`", node)
                .label("for example 5432; `auto` is the first port that the image exposes")),
        }
    }
}

/// A number of cores, also half ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cores(pub(crate) f64);

impl Scalar for Cores {
    const KIND: ValueKind = ValueKind::Cores;

    fn unknown(_: &str) -> Self {
        Self(1.0)
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let cores = match &node.value {
            // No file means more than fits into 32 bits.
            Value::Int(value, _) => f64::from(i32::try_from(*value).unwrap_or(-1)),
            Value::Float(value, _) => *value,
            Value::Text(text) => {
                let misfit = Misfit::wrong_type("a number of cores", node);
                let thousandth = text.strip_suffix('m').and_then(|text| text.parse::<u32>().ok());
                return Err(match (thousandth, text.parse::<f64>()) {
                    (Some(thousandth), _) => {
                        misfit.label(format!("write `{}`", f64::from(thousandth) / 1000.0))
                    }
                    (None, Ok(_)) => misfit.label(format!("write `{text}`, without quotes")),
                    (None, Err(_)) => misfit.label("for example `2` or `0.5`"),
                });
            }
            _ => {
                return Err(
                    Misfit::wrong_type("a number of cores", node).label("for example `2` or `0.5`")
                );
            }
        };
        if (0.01..=1024.0).contains(&cores) {
            Ok(Self(cores))
        } else {
            Err(Misfit::bad(
                "takes a number of cores from 0.01 to 1024",
                "out of range; for example `2` or `0.5`",
            ))
        }
    }
}
