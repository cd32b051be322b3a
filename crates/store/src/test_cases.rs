//! Tests of stages as rows, for what a run shows and for their history.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use event::{
    RunId, SameFiles, TestCase, TestHistory, TestOutcome, TestReport, TestReporter, TestResult,
    TestSelection,
};
use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::columns::{integer, read_count, read_parsed, read_time, read_word};
use crate::{Store, StoreError};

/// Tests of the stage that is asked for, and of its cells.
macro_rules! of_stage {
    () => {
        "($3 is null or tests.stage = $3 or substr(tests.stage, 1, length($3) + 1) = $3 || '[')"
    };
}

/// A statement that knows the newest runs of a project that reported tests as `recent`.
macro_rules! of_recent {
    ($($rest:tt)*) => {
        concat!(
            "with recent as (
               select id from runs
               where project = $1 and ($2 is null or branch = $2)
                 and exists (select 1 from tests where tests.run = runs.id and ",
            of_stage!(),
            ") order by id desc limit $4) ",
            $($rest)*
        )
    };
}

/// A test of one attempt of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRow {
    pub stage: String,
    pub attempt: u32,
    pub case: TestCase,
}

/// What a test came to in a former run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastTest {
    pub run: RunId,
    pub number: u64,
    pub branch: Option<String>,
    pub sha: String,
    pub queued_at: DateTime<Utc>,
    pub stage: String,
    pub attempt: u32,
    pub result: TestResult,
    pub duration_ms: u64,
    pub message: Option<String>,
}

/// Which tests a report is of.
#[derive(Clone, Copy, Debug)]
pub struct TestFilter<'a> {
    pub project: &'a str,
    pub branch: Option<&'a str>,
    /// A stage, with all cells of its matrix, or one cell.
    pub stage: Option<&'a str>,
    /// A part of class and name, as they are shown: `Class name`.
    pub text: Option<&'a str>,
    /// So many of the newest runs that reported tests.
    pub runs: u32,
}

impl Store {
    /// Keeps the tests of an attempt, in place of those kept of it before.
    pub async fn keep_tests(
        &self,
        run: RunId,
        stage: &str,
        attempt: u32,
        cases: &[TestCase],
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("delete from tests where run = $1 and stage = $2 and attempt = $3")
            .bind(run.to_string())
            .bind(stage)
            .bind(i64::from(attempt))
            .execute(&mut *transaction)
            .await?;
        for (position, case) in (0_i64..).zip(cases) {
            sqlx::query(
                "insert into tests
                   (run, stage, attempt, position, class, name, result, duration_ms, message)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(run.to_string())
            .bind(stage)
            .bind(i64::from(attempt))
            .bind(position)
            .bind(&case.class)
            .bind(&case.name)
            .bind(case.result.name())
            .bind(integer(case.duration_ms))
            .bind(&case.message)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The tests of a run, by stage, attempt, and the order of their reports.
    pub async fn tests(&self, run: RunId) -> Result<Vec<TestRow>, StoreError> {
        let rows =
            sqlx::query("select * from tests where run = $1 order by stage, attempt, position")
                .bind(run.to_string())
                .fetch_all(self.reader())
                .await?;
        rows.iter().map(|row| Ok(read(row)?)).collect()
    }

    /// What one test came to in the last runs, newest first; the filter's text is not asked for.
    pub async fn test_history(
        &self,
        filter: TestFilter<'_>,
        class: &str,
        name: &str,
    ) -> Result<Vec<PastTest>, StoreError> {
        let rows = sqlx::query(of_recent!(
            "select tests.*, runs.number, runs.branch, runs.sha, runs.queued_at
             from tests join runs on runs.id = tests.run
             where tests.run in (select id from recent) and name = $5 and class = $6 and ",
            of_stage!(),
            " order by tests.run desc, stage, attempt desc, position"
        ))
        .bind(filter.project)
        .bind(filter.branch)
        .bind(filter.stage)
        .bind(i64::from(filter.runs))
        .bind(name)
        .bind(class)
        .fetch_all(self.reader())
        .await?;
        let past = |row: &SqliteRow| {
            let TestRow { stage, attempt, case } = read(row)?;
            let TestCase { result, duration_ms, message, name: _, class: _ } = case;
            Ok(PastTest {
                run: read_parsed(row, "run")?,
                number: read_count(row, "number")?,
                branch: row.try_get("branch")?,
                sha: row.try_get("sha")?,
                queued_at: read_time(row, "queued_at")?,
                stage,
                attempt,
                result,
                duration_ms,
                message,
            })
        };
        rows.iter().map(past).collect()
    }

    /// Sums up the tests of the last runs. What the newest report of a stage does not have
    /// any more is left out.
    pub async fn test_report(
        &self,
        filter: TestFilter<'_>,
        selection: TestSelection,
        same: SameFiles,
    ) -> Result<TestReport, StoreError> {
        let newest = self.newest_reports(filter).await?;
        let runs = self.reporting_runs(filter).await?;
        let mut rows = sqlx::query(of_recent!(
            "select class, name, stage, attempt, run, tests.result, duration_ms, runs.sha
             from tests join runs on runs.id = tests.run
             where tests.run in (select id from recent)
               and ($5 is null or instr(class || ' ' || name, $5) > 0) and ",
            of_stage!(),
            " order by class, name, stage, run desc, attempt desc"
        ))
        .bind(filter.project)
        .bind(filter.branch)
        .bind(filter.stage)
        .bind(i64::from(filter.runs))
        .bind(filter.text)
        .fetch(self.reader());
        let mut reporter = TestReporter::new(selection, runs);
        let mut outcomes: Vec<TestOutcome> = Vec::new();
        let mut test = None;
        let mut close = |test: Option<(String, String, String)>, outcomes: &[TestOutcome]| {
            let Some((class, name, stage)) = test else { return };
            let last = outcomes.first().map(|outcome| outcome.run);
            if last.is_some() && last == newest.get(&stage).copied() {
                let history = TestHistory::of(class, name, stage, outcomes, same);
                history.into_iter().for_each(|history| reporter.add(history));
            }
        };
        while let Some(row) = rows.try_next().await? {
            let text = |column: &str| row.try_get::<String, _>(column);
            let next = (text("class")?, text("name")?, text("stage")?);
            if test.as_ref() != Some(&next) {
                close(test.replace(next), &outcomes);
                outcomes.clear();
            }
            outcomes.push(outcome(&row)?);
        }
        close(test, &outcomes);
        Ok(reporter.finish())
    }

    async fn reporting_runs(&self, filter: TestFilter<'_>) -> Result<u64, StoreError> {
        let row = sqlx::query(of_recent!("select count(*) as runs from recent"))
            .bind(filter.project)
            .bind(filter.branch)
            .bind(filter.stage)
            .bind(i64::from(filter.runs))
            .fetch_one(self.reader())
            .await?;
        Ok(read_count(&row, "runs")?)
    }

    /// The newest run in which each stage reported.
    async fn newest_reports(
        &self,
        filter: TestFilter<'_>,
    ) -> Result<BTreeMap<String, RunId>, StoreError> {
        let rows = sqlx::query(of_recent!(
            "select stage, max(run) as run from tests
             where run in (select id from recent) and ",
            of_stage!(),
            " group by stage"
        ))
        .bind(filter.project)
        .bind(filter.branch)
        .bind(filter.stage)
        .bind(i64::from(filter.runs))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(|row| Ok((row.try_get("stage")?, read_parsed(row, "run")?))).collect()
    }
}

fn outcome(row: &SqliteRow) -> Result<TestOutcome, sqlx::Error> {
    Ok(TestOutcome {
        run: read_parsed(row, "run")?,
        attempt: attempt(row)?,
        sha: row.try_get("sha")?,
        result: read_word(row, "result")?,
        duration_ms: read_count(row, "duration_ms")?,
    })
}

fn attempt(row: &SqliteRow) -> Result<u32, sqlx::Error> {
    Ok(u32::try_from(read_count(row, "attempt")?).unwrap_or(u32::MAX))
}

fn read(row: &SqliteRow) -> Result<TestRow, sqlx::Error> {
    Ok(TestRow {
        stage: row.try_get("stage")?,
        attempt: attempt(row)?,
        case: TestCase {
            name: row.try_get("name")?,
            class: row.try_get("class")?,
            result: read_word(row, "result")?,
            duration_ms: read_count(row, "duration_ms")?,
            message: row.try_get("message")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, at};

    fn case(name: &str, result: TestResult) -> TestCase {
        let message = result.is_failure().then(|| "no".to_owned());
        TestCase { name: name.into(), class: "C".into(), result, duration_ms: 12, message }
    }

    #[tokio::test]
    async fn tests_of_an_attempt_are_kept_once_and_in_order() {
        let sample = Sample::new().await;
        let run = sample.run("orders", "main", at(0)).await.id;
        let keep = async |attempt, cases: &[TestCase]| {
            sample.store.keep_tests(run, "unit", attempt, cases).await.expect("kept");
        };
        keep(1, &[case("b", TestResult::Passed), case("a", TestResult::Passed)]).await;
        keep(1, &[case("b", TestResult::Failed), case("a", TestResult::Skipped)]).await;
        keep(2, &[case("b", TestResult::Passed)]).await;
        let rows = sample.store.tests(run).await.expect("rows");
        let told: Vec<_> =
            rows.iter().map(|row| (row.attempt, row.case.name.as_str(), row.case.result)).collect();
        assert_eq!(
            told,
            [
                (1, "b", TestResult::Failed),
                (1, "a", TestResult::Skipped),
                (2, "b", TestResult::Passed)
            ]
        );
        assert_eq!(rows[0].case, case("b", TestResult::Failed));
    }

    #[tokio::test]
    async fn the_history_of_a_test_is_of_its_project_and_begins_with_the_newest() {
        let sample = Sample::new().await;
        let results = [TestResult::Passed, TestResult::Error, TestResult::Passed];
        for (minute, result) in (0..).zip(results) {
            let run = sample.run("orders", "main", at(minute)).await.id;
            let cases = [case("a", result), case("other", TestResult::Failed)];
            sample.store.keep_tests(run, "unit", 1, &cases).await.expect("kept");
        }
        let foreign = sample.run("other", "main", at(9)).await.id;
        let cases = [case("a", TestResult::Failed)];
        sample.store.keep_tests(foreign, "unit", 1, &cases).await.expect("kept");
        let filter =
            TestFilter { project: "orders", branch: None, stage: None, text: None, runs: 2 };
        let past = sample.store.test_history(filter, "C", "a").await.expect("rows");
        let told: Vec<(u64, TestResult)> =
            past.iter().map(|past| (past.number, past.result)).collect();
        assert_eq!(told, [(3, TestResult::Passed), (2, TestResult::Error)]);
        assert_eq!((past[1].message.as_deref(), past[1].queued_at), (Some("no"), at(1)));
    }

    /// What `text` and the rest of a filter find, as `class name stage: result`.
    async fn report(sample: &Sample, filter: TestFilter<'_>) -> (TestReport, Vec<String>) {
        let everything = TestSelection { failed: false, flaky: false, slowest: false, limit: 10 };
        let report = sample.store.test_report(filter, everything, SameFiles::Commit).await;
        let report = report.expect("rows");
        let told = report.histories.iter().map(|test| {
            let flaky = if test.flaky { " flaky" } else { "" };
            format!("{} {} {} of {}{flaky}", test.name, test.stage, test.failed, test.runs)
        });
        let told = told.collect();
        (report, told)
    }

    #[tokio::test]
    async fn the_last_runs_are_summed_up_by_test_and_stage() {
        let sample = Sample::new().await;
        let (passed, failed) = (TestResult::Passed, TestResult::Failed);
        for (minute, (branch, result)) in
            (0..).zip([("main", passed), ("main", failed), ("other", failed), ("main", passed)])
        {
            let run = sample.run("orders", branch, at(minute)).await.id;
            let keep = async |stage, attempt, cases: &[TestCase]| {
                sample.store.keep_tests(run, stage, attempt, cases).await.expect("kept");
            };
            let gone = case("gone", failed);
            let cases = [case("a", result), case("b", passed)];
            keep("unit[db=x]", 1, &cases).await;
            keep("unit[db=y]", 1, &[case("a", passed)]).await;
            // The last report does not have it any more.
            keep("lint", 1, if minute < 3 { &cases[..] } else { &cases[1..] }).await;
            keep("unity", 1, std::slice::from_ref(&gone)).await;
            keep("unity", 2, &[gone]).await;
        }
        sample.run("orders", "main", at(8)).await;
        let all = TestFilter { project: "orders", branch: None, stage: None, text: None, runs: 20 };
        let (whole, told) = report(&sample, all).await;
        assert_eq!((whole.runs, whole.tests, whole.failed, whole.flaky), (4, 5, 1, 1));
        let expected = [
            "gone unity 4 of 4",
            "a unit[db=x] 2 of 4 flaky",
            "a unit[db=y] 0 of 4",
            "b lint 0 of 4",
            "b unit[db=x] 0 of 4",
        ];
        assert_eq!(told, expected);
        let main = TestFilter { branch: Some("main"), stage: Some("unit"), ..all };
        let (_, told) = report(&sample, TestFilter { text: Some("C a"), ..main }).await;
        assert_eq!(told, ["a unit[db=x] 1 of 3 flaky", "a unit[db=y] 0 of 3"]);
        let (few, told) = report(&sample, TestFilter { runs: 1, ..main }).await;
        assert_eq!((few.runs, told.len(), few.flaky), (1, 3, 0));
        let (none, told) = report(&sample, TestFilter { project: "other", ..all }).await;
        assert_eq!((none, told), (TestReport::default(), Vec::new()));
    }
}
