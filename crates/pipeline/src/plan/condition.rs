//! A stage's `when` as it was decided: every test, what it wanted and what it saw.
//!
//! Recorded in the plan, so that `why` can tell it long after. Tests that read
//! `stages` or `run` are decided when the stage could start ([`Test::holds`] is
//! `None` until then).

use serde::{Deserialize, Serialize};

use super::Origin;
use super::pending::PendingPart;

/// The alternatives of a `when`; one of them must hold. None at all is `when: off`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub any: Vec<Alternative>,
}

/// The tests of one map of `when`; all of them must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    pub all: Vec<Test>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// `branch`, `changed`, `if` …
    pub key: String,
    /// As it is written: `main`, or the source of an expression.
    pub wants: String,
    /// The value it saw; for a deferred test, the words "not known yet".
    pub saw: String,
    /// `None`: decided when `deferred` stages have finished.
    pub holds: Option<bool>,
    /// Half a sentence: "branch `main` matches `main`".
    pub reason: String,
    pub origin: Origin,
    /// The expression of a deferred test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<PendingPart>,
}
