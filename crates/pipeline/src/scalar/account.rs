//! Who runs a stage, and where: users of a container, labels of a runner.

use super::{Misfit, Scalar};
use crate::name;
use crate::plan::ValueKind;
use crate::yaml::{Node, Value};

/// `root`, `1000`, `1000:1000`, `www-data:adm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User(pub(crate) String);

impl Scalar for User {
    const KIND: ValueKind = ValueKind::User;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = match &node.value {
            Value::Int(_, text) | Value::Text(text) => text,
            _ => return Err(Misfit::wrong_type("a user", node).label("for example `1000:1000`")),
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text.as_str(), None),
        };
        if is_account(user) && group.is_none_or(is_account) {
            return Ok(Self(text.clone()));
        }
        Err(Misfit::bad("is no user", "for example `root`, `1000`, `1000:1000` or `www-data`"))
    }
}

/// A number that user ids have, or a name as `useradd` takes it.
fn is_account(text: &str) -> bool {
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.len() <= 32
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    name || number && text.parse::<i32>().is_ok()
}

/// What a runner must have to take a stage: `arm64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunnerLabel(pub(crate) String);

impl Scalar for RunnerLabel {
    const KIND: ValueKind = ValueKind::RunnerLabel;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        let text = String::read(node)?;
        if name::is_label(&text) {
            return Ok(Self(text));
        }
        let label = "a label has letters, digits, `.`, `-` and `_`; for example `arm64`";
        Err(Misfit::bad("is no label of a runner", label))
    }
}
