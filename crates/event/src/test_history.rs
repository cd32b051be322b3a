//! What tests came to over the last runs: which fail, which cannot be trusted, which are slow.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{RunId, TestResult};

/// What a test came to in one attempt of its stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    pub run: RunId,
    pub attempt: u32,
    /// The commit of the run; empty outside a repository.
    pub sha: String,
    pub result: TestResult,
    pub duration_ms: u64,
}

/// What shows that two outcomes are of the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameFiles {
    /// The same commit: a server runs nothing else.
    Commit,
    /// The same run alone: on a laptop files are edited on top of a commit.
    Run,
}

/// All attempts of a run, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    Passed,
    Failed,
    Skipped,
    /// It passed in one attempt and failed in another.
    Mixed,
}

/// One test of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestHistory {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    pub name: String,
    pub stage: String,
    /// Of its newest outcome.
    pub result: TestResult,
    pub duration_ms: u64,
    /// Of the attempts in which it was not skipped.
    pub median_ms: u64,
    /// It passed and failed on the same files.
    pub flaky: bool,
    /// Runs that reported it, and those of them in which it failed.
    pub runs: u64,
    pub failed: u64,
    /// A word for each run, newest first.
    pub outcomes: Vec<RunOutcome>,
}

impl TestHistory {
    /// Sums up the outcomes of a test, newest first; without one there is no history.
    pub fn of(
        class: String,
        name: String,
        stage: String,
        outcomes: &[TestOutcome],
        same: SameFiles,
    ) -> Option<Self> {
        let by_attempt =
            outcomes.chunk_by(|one, other| (one.run, one.attempt) == (other.run, other.attempt));
        let outcomes: Vec<TestOutcome> = by_attempt.filter_map(joined).collect();
        let newest = outcomes.first()?;
        let words: Vec<RunOutcome> =
            outcomes.chunk_by(|one, other| one.run == other.run).map(word).collect();
        let failed = |word: &&RunOutcome| matches!(word, RunOutcome::Failed | RunOutcome::Mixed);
        Some(Self {
            class,
            name,
            stage,
            result: newest.result,
            duration_ms: newest.duration_ms,
            median_ms: median(&outcomes),
            flaky: is_flaky(&outcomes, same),
            runs: words.len() as u64,
            failed: words.iter().filter(failed).count() as u64,
            outcomes: words,
        })
    }
}

/// Tests of one name in one attempt are one, as cases of a test with parameters often are: it
/// failed where one of them did.
fn joined(cases: &[TestOutcome]) -> Option<TestOutcome> {
    let worst = |result| match result {
        TestResult::Skipped => 0,
        TestResult::Passed => 1,
        TestResult::Failed => 2,
        TestResult::Error => 3,
    };
    let worst = cases.iter().max_by_key(|case| worst(case.result))?;
    let duration_ms = cases.iter().map(|case| case.duration_ms).sum();
    Some(TestOutcome { duration_ms, ..worst.clone() })
}

fn word(attempts: &[TestOutcome]) -> RunOutcome {
    let any = |wanted: fn(TestResult) -> bool| attempts.iter().any(|one| wanted(one.result));
    match (any(|result| result == TestResult::Passed), any(TestResult::is_failure)) {
        (true, true) => RunOutcome::Mixed,
        (true, false) => RunOutcome::Passed,
        (false, true) => RunOutcome::Failed,
        (false, false) => RunOutcome::Skipped,
    }
}

/// What files are known by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Files<'a> {
    Commit(&'a str),
    Run(RunId),
}

fn is_flaky(outcomes: &[TestOutcome], same: SameFiles) -> bool {
    // Whether it passed there, and whether it failed.
    let mut seen: BTreeMap<Files<'_>, (bool, bool)> = BTreeMap::new();
    for outcome in outcomes {
        let files = match same {
            SameFiles::Commit if !outcome.sha.is_empty() => Files::Commit(&outcome.sha),
            SameFiles::Commit | SameFiles::Run => Files::Run(outcome.run),
        };
        let (passed, failed) = seen.entry(files).or_default();
        *passed |= outcome.result == TestResult::Passed;
        *failed |= outcome.result.is_failure();
    }
    seen.values().any(|(passed, failed)| *passed && *failed)
}

fn median(outcomes: &[TestOutcome]) -> u64 {
    let ran = outcomes.iter().filter(|outcome| outcome.result != TestResult::Skipped);
    let mut times: Vec<u64> = ran.map(|outcome| outcome.duration_ms).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Which tests somebody wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestSelection {
    /// Those that failed the last time.
    pub failed: bool,
    pub flaky: bool,
    /// The slowest first, in place of those that failed.
    pub slowest: bool,
    pub limit: usize,
}

impl TestSelection {
    fn wants(&self, history: &TestHistory) -> bool {
        (!self.failed || history.result.is_failure()) && (!self.flaky || history.flaky)
    }

    fn compare(&self, one: &TestHistory, other: &TestHistory) -> Ordering {
        let trouble = |history: &TestHistory| match self.slowest {
            true => (false, false),
            false => (history.result.is_failure(), history.flaky),
        };
        let key = |history: &TestHistory| Reverse((trouble(history), history.median_ms));
        key(one)
            .cmp(&key(other))
            .then_with(|| one.class.cmp(&other.class))
            .then_with(|| one.name.cmp(&other.name))
            .then_with(|| one.stage.cmp(&other.stage))
    }
}

/// The tests of the last runs of a project: numbers of all, and those that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// That were looked at.
    pub runs: u64,
    /// Of stages: a test that two stages run is two.
    pub tests: u64,
    /// The last time.
    pub failed: u64,
    pub flaky: u64,
    pub histories: Vec<TestHistory>,
}

/// Counts histories as they come and keeps the best of them, however many come.
pub struct TestReporter {
    selection: TestSelection,
    report: TestReport,
}

impl TestReporter {
    pub fn new(selection: TestSelection, runs: u64) -> Self {
        Self { selection, report: TestReport { runs, ..TestReport::default() } }
    }

    pub fn add(&mut self, history: TestHistory) {
        let report = &mut self.report;
        report.tests += 1;
        report.failed += u64::from(history.result.is_failure());
        report.flaky += u64::from(history.flaky);
        if !self.selection.wants(&history) {
            return;
        }
        report.histories.push(history);
        if report.histories.len() >= 2 * self.selection.limit.max(512) {
            self.trim();
        }
    }

    pub fn finish(mut self) -> TestReport {
        self.trim();
        self.report
    }

    fn trim(&mut self) {
        self.report.histories.sort_by(|one, other| self.selection.compare(one, other));
        self.report.histories.truncate(self.selection.limit);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use TestResult::{Error, Failed, Passed, Skipped};

    fn outcome(run: u128, sha: &str, result: TestResult, duration_ms: u64) -> TestOutcome {
        let run = RunId::new(Uuid::from_u128(run));
        TestOutcome { run, attempt: 1, sha: sha.to_owned(), result, duration_ms }
    }

    fn first_of_two(outcome: TestOutcome) -> [TestOutcome; 2] {
        let passed = TestOutcome { attempt: 2, result: Passed, ..outcome.clone() };
        [passed, outcome]
    }

    fn history(name: &str, outcomes: &[TestOutcome], same: SameFiles) -> TestHistory {
        let (class, stage) = ("Sum".to_owned(), "unit".to_owned());
        TestHistory::of(class, name.to_owned(), stage, outcomes, same).expect("an outcome")
    }

    #[test]
    fn a_run_is_one_word_whatever_its_attempts() {
        let outcomes = [
            outcome(4, "d", Skipped, 0),
            TestOutcome { attempt: 2, ..outcome(3, "c", Passed, 30) },
            outcome(3, "c", Failed, 10),
            outcome(2, "b", Error, 20),
            outcome(1, "a", Passed, 90),
        ];
        let history = history("adds", &outcomes, SameFiles::Run);
        let words =
            [RunOutcome::Skipped, RunOutcome::Mixed, RunOutcome::Failed, RunOutcome::Passed];
        assert_eq!(history.outcomes, words);
        assert_eq!((history.runs, history.failed, history.result), (4, 2, Skipped));
        assert_eq!(history.median_ms, 30, "what was skipped took no time");
        assert!(
            TestHistory::of(String::new(), String::new(), String::new(), &[], SameFiles::Run)
                .is_none()
        );
    }

    #[test]
    fn flaky_is_what_passed_and_failed_on_the_same_files() {
        let flaky = |outcomes: &[TestOutcome], same| history("adds", outcomes, same).flaky;
        let mended = [outcome(2, "b", Passed, 1), outcome(1, "a", Failed, 1)];
        assert!(!flaky(&mended, SameFiles::Commit));
        let again = [outcome(2, "a", Passed, 1), outcome(1, "a", Error, 1)];
        assert!(flaky(&again, SameFiles::Commit));
        assert!(!flaky(&again, SameFiles::Run), "the file may have been edited in between");
        let retried = first_of_two(outcome(1, "", Failed, 1));
        assert!(flaky(&retried, SameFiles::Run) && flaky(&retried, SameFiles::Commit));
        let nowhere = [outcome(2, "", Passed, 1), outcome(1, "", Failed, 1)];
        assert!(!flaky(&nowhere, SameFiles::Commit), "no commit is no same commit");
        let skipped = [outcome(1, "a", Skipped, 1), outcome(1, "a", Failed, 1)];
        assert!(!flaky(&skipped, SameFiles::Commit));
    }

    #[test]
    fn cases_of_one_name_are_one_test() {
        let cases = [outcome(1, "a", Passed, 2), outcome(1, "a", Failed, 3)];
        let history = history("adds", &cases, SameFiles::Run);
        assert_eq!((history.result, history.duration_ms, history.flaky), (Failed, 5, false));
        assert_eq!(history.outcomes, [RunOutcome::Failed]);
    }

    #[test]
    fn trouble_comes_first_or_what_is_slow_and_the_rest_is_counted() {
        let all = [
            history("fast", &[outcome(1, "a", Passed, 1)], SameFiles::Run),
            history("slow", &[outcome(1, "a", Passed, 900)], SameFiles::Run),
            history("broken", &[outcome(1, "a", Failed, 5)], SameFiles::Run),
            history("flaky", &first_of_two(outcome(1, "a", Failed, 5)), SameFiles::Run),
        ];
        let everything = TestSelection { failed: false, flaky: false, slowest: false, limit: 3 };
        let report = |selection: TestSelection| {
            let mut reporter = TestReporter::new(selection, 7);
            all.iter().for_each(|history| reporter.add(history.clone()));
            reporter.finish()
        };
        let names = |selection| -> Vec<String> {
            report(selection).histories.into_iter().map(|history| history.name).collect()
        };
        assert_eq!(names(everything), ["broken", "flaky", "slow"]);
        assert_eq!(
            names(TestSelection { slowest: true, ..everything }),
            ["slow", "broken", "flaky"]
        );
        assert_eq!(names(TestSelection { failed: true, ..everything }), ["broken"]);
        assert_eq!(names(TestSelection { flaky: true, ..everything }), ["flaky"]);
        assert_eq!(names(TestSelection { flaky: true, failed: true, ..everything }), [""; 0]);
        let TestReport { runs, tests, failed, flaky, .. } = report(everything);
        assert_eq!((runs, tests, failed, flaky), (7, 4, 1, 1));
    }

    #[test]
    fn of_many_tests_the_best_are_kept() {
        let selection = TestSelection { failed: false, flaky: false, slowest: true, limit: 2 };
        let mut reporter = TestReporter::new(selection, 1);
        for number in 0..5_000 {
            let outcomes = [outcome(1, "a", Passed, number % 4_999)];
            reporter.add(history(&number.to_string(), &outcomes, SameFiles::Run));
            assert!(reporter.report.histories.len() < 1_100, "memory is bounded");
        }
        let report = reporter.finish();
        let times: Vec<u64> = report.histories.iter().map(|history| history.median_ms).collect();
        assert_eq!((report.tests, times), (5_000, vec![4_998, 4_997]));
    }
}
