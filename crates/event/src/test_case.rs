//! What the tests of a stage came to.

use serde::{Deserialize, Serialize};

/// One test of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    pub name: String,
    /// The class, file or suite it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    pub result: TestResult,
    pub duration_ms: u64,
    /// Why it failed or was skipped, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestResult {
    Passed,
    /// What it asserts does not hold.
    Failed,
    /// It ended before it could tell.
    Error,
    Skipped,
}

impl TestResult {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }

    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Error)
    }
}

/// All tests of the reports of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestTotals {
    /// Reports that were read.
    pub files: u64,
    pub tests: u64,
    /// Failed, or ended with an error.
    pub failed: u64,
    pub skipped: u64,
    pub duration_ms: u64,
    /// The first of those that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<FailingTest>,
}

/// A test that failed, as far as people want to see it at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingTest {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// The first line of its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl TestTotals {
    /// Failing tests in an event; all of them are in the store.
    pub const TOLD: usize = 20;

    /// Sums up the tests of so many reports.
    pub fn of(files: u64, cases: &[TestCase]) -> Self {
        let count = |wanted: &dyn Fn(TestResult) -> bool| {
            cases.iter().filter(|case| wanted(case.result)).count() as u64
        };
        let failing = cases.iter().filter(|case| case.result.is_failure()).take(Self::TOLD);
        let failing = failing.map(|case| FailingTest {
            name: case.name.clone(),
            class: case.class.clone(),
            message: case
                .message
                .as_deref()
                .and_then(|message| message.lines().find(|line| !line.trim().is_empty()))
                .map(|line| line.trim().to_owned()),
        });
        Self {
            files,
            tests: cases.len() as u64,
            failed: count(&TestResult::is_failure),
            skipped: count(&|result| result == TestResult::Skipped),
            duration_ms: cases.iter().map(|case| case.duration_ms).sum(),
            failing: failing.collect(),
        }
    }
}
