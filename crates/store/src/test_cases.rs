//! Tests of stages as rows, for what a run shows and for their history.

use event::{RunId, TestCase, TestResult};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::columns::{integer, read_count, read_parsed, read_word};
use crate::{Store, StoreError};

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
    pub stage: String,
    pub attempt: u32,
    pub result: TestResult,
    pub duration_ms: u64,
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

    /// What a test of a project came to, newest run first.
    pub async fn test_history(
        &self,
        project: &str,
        class: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<PastTest>, StoreError> {
        let rows = sqlx::query(
            "select tests.* from tests join runs on runs.id = tests.run
             where tests.name = $1 and tests.class = $2 and runs.project = $3
             order by tests.run desc, tests.attempt desc, tests.position limit $4",
        )
        .bind(name)
        .bind(class)
        .bind(project)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let past = |row: &SqliteRow| {
            let TestRow { stage, attempt, case } = read(row)?;
            let TestCase { result, duration_ms, .. } = case;
            Ok(PastTest { run: read_parsed(row, "run")?, stage, attempt, result, duration_ms })
        };
        rows.iter().map(past).collect()
    }
}

fn read(row: &SqliteRow) -> Result<TestRow, sqlx::Error> {
    Ok(TestRow {
        stage: row.try_get("stage")?,
        attempt: u32::try_from(read_count(row, "attempt")?).unwrap_or(u32::MAX),
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
        let past = sample.store.test_history("orders", "C", "a", 2).await.expect("rows");
        let told: Vec<TestResult> = past.iter().map(|past| past.result).collect();
        assert_eq!(told, [TestResult::Passed, TestResult::Error]);
    }
}
