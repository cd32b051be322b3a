//! How the source is fetched: a number or a word, a switch or a word.

use super::{Misfit, Scalar};
use crate::plan::{Submodules, ValueKind};
use crate::yaml::{Node, Value};

/// Commits of the history; `None` is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth(pub(crate) Option<u32>);

impl Scalar for Depth {
    const KIND: ValueKind = ValueKind::Word;

    fn unknown(_: &str) -> Self {
        Self(Some(1))
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        const WHAT: &str = "takes a number of commits from 1 to 1000000, or `full`";
        match &node.value {
            Value::Text(text) if text == "full" => Ok(Self(None)),
            Value::Int(value, _) => match u32::try_from(*value) {
                Ok(depth @ 1..=1_000_000) => Ok(Self(Some(depth))),
                _ => Err(Misfit::bad(WHAT, "for the whole history write `full`")),
            },
            Value::Text(_) => Err(Misfit::bad(WHAT, "for example `1`")),
            _ => {
                Err(Misfit::wrong_type("a number of commits, or `full`", node)
                    .label("for example `1`"))
            }
        }
    }
}

impl Scalar for Submodules {
    const KIND: ValueKind = ValueKind::Word;

    fn unknown(_: &str) -> Self {
        Self::No
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) if text == "recursive" => Ok(Self::Recursive),
            Value::Bool(true) => Ok(Self::Yes),
            Value::Bool(false) => Ok(Self::No),
            Value::Text(text) => {
                // `yes` and `no` have their own words.
                let told = bool::read(node).err().and_then(|misfit| misfit.label);
                let close = crate::suggest::closest(text, ["recursive"]);
                let close = close.map(|close| format!("did you mean `{close}`?"));
                let label = told.or(close).unwrap_or_else(|| "for example `true`".to_owned());
                Err(Misfit::bad("takes true, false or `recursive`", label))
            }
            _ => Err(Misfit::wrong_type("true, false or `recursive`", node)),
        }
    }
}
