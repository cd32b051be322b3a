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

/// What a `when` says, as far as its tests are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `None`: a test is deferred, and the others do not decide without it.
    pub holds: Option<bool>,
    /// Half a sentence.
    pub reason: String,
}

impl Condition {
    /// Puts the tests together. An alternative that fails anywhere needs nothing
    /// more, and one that holds makes the others idle.
    pub fn verdict(&self) -> Verdict {
        if self.any.is_empty() {
            return Verdict { holds: Some(false), reason: "`when` is off".to_owned() };
        }
        let mut failed: Vec<&str> = Vec::new();
        let mut open = None;
        for alternative in &self.any {
            match alternative.holds() {
                Some(true) => return Verdict { holds: Some(true), reason: alternative.reason() },
                None => open = open.or_else(|| alternative.undecided()),
                Some(false) => {
                    let test = alternative.all.iter().find(|test| test.holds == Some(false));
                    failed.extend(test.map(|test| test.reason.as_str()));
                }
            }
        }
        match open {
            Some(test) => Verdict { holds: None, reason: test.reason.clone() },
            None => Verdict { holds: Some(false), reason: failed.join("; ") },
        }
    }
}

impl Alternative {
    /// All of its tests together.
    pub fn holds(&self) -> Option<bool> {
        let mut all = Some(true);
        for test in &self.all {
            match test.holds {
                Some(false) => return Some(false),
                Some(true) => {}
                None => all = None,
            }
        }
        all
    }

    fn undecided(&self) -> Option<&Test> {
        self.all.iter().find(|test| test.holds.is_none())
    }

    /// Why it holds.
    fn reason(&self) -> String {
        let reasons: Vec<&str> = self.all.iter().map(|test| test.reason.as_str()).collect();
        if reasons.is_empty() { "no condition".to_owned() } else { reasons.join(", and ") }
    }
}
