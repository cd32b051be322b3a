//! Tests of reports: of one run, and over the last runs of a project.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use event::{RunId, SameFiles, TestCase, TestReport, TestResult, TestSelection};
use serde::{Deserialize, Serialize};
use store::{PastTest, TestFilter, TestRow};

use super::runs::{WhichRun, find};
use super::{Asked, LARGEST_PAGE, Named, page, project};
use crate::app::App;
use crate::problem::Problem;

/// Runs that are looked at, unless asked otherwise.
const RUNS: u32 = 20;

/// A test of an attempt of a run.
#[derive(Clone, Debug, Serialize)]
pub struct TestView {
    pub stage: String,
    pub attempt: u32,
    #[serde(flatten)]
    pub case: TestCase,
}

impl From<TestRow> for TestView {
    fn from(TestRow { stage, attempt, case }: TestRow) -> Self {
        Self { stage, attempt, case }
    }
}

/// What a test came to in one attempt of a former run.
#[derive(Clone, Debug, Serialize)]
pub struct PastTestView {
    pub run: RunId,
    pub short: String,
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

impl From<PastTest> for PastTestView {
    fn from(past: PastTest) -> Self {
        Self {
            run: past.run,
            short: past.run.short(),
            number: past.number,
            branch: past.branch,
            sha: past.sha,
            queued_at: past.queued_at,
            stage: past.stage,
            attempt: past.attempt,
            result: past.result,
            duration_ms: past.duration_ms,
            message: past.message,
        }
    }
}

pub(crate) async fn of_run(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    Asked(which): Asked<WhichRun>,
) -> Result<Json<Vec<TestView>>, Problem> {
    let row = find(&app, &id, which.project.as_deref()).await?;
    let rows = app.store.tests(row.id).await?;
    Ok(Json(rows.into_iter().map(TestView::from).collect()))
}

#[derive(Deserialize)]
pub(crate) struct WhichTests {
    branch: Option<String>,
    stage: Option<String>,
    /// A part of class and name.
    test: Option<String>,
    /// So many of the newest runs with reports.
    runs: Option<u32>,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    flaky: bool,
    #[serde(default)]
    slowest: bool,
    limit: Option<u32>,
}

/// The tests of the last runs, summed up.
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
    Asked(asked): Asked<WhichTests>,
) -> Result<Json<TestReport>, Problem> {
    let project = project(&app, &name).await?;
    let filter = TestFilter {
        project: &project.name,
        branch: asked.branch.as_deref(),
        stage: asked.stage.as_deref(),
        text: asked.test.as_deref(),
        runs: runs(asked.runs),
    };
    let selection = TestSelection {
        failed: asked.failed,
        flaky: asked.flaky,
        slowest: asked.slowest,
        limit: page(asked.limit) as usize,
    };
    Ok(Json(app.store.test_report(filter, selection, SameFiles::Commit).await?))
}

#[derive(Deserialize)]
pub(crate) struct WhichTest {
    name: String,
    #[serde(default)]
    class: String,
    branch: Option<String>,
    stage: Option<String>,
    runs: Option<u32>,
}

/// What one test came to, run by run.
pub(crate) async fn outcomes(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
    Asked(asked): Asked<WhichTest>,
) -> Result<Json<Vec<PastTestView>>, Problem> {
    let project = project(&app, &name).await?;
    let filter = TestFilter {
        project: &project.name,
        branch: asked.branch.as_deref(),
        stage: asked.stage.as_deref(),
        text: None,
        runs: runs(asked.runs),
    };
    let rows = app.store.test_history(filter, &asked.class, &asked.name).await?;
    Ok(Json(rows.into_iter().map(PastTestView::from).collect()))
}

fn runs(asked: Option<u32>) -> u32 {
    asked.unwrap_or(RUNS).clamp(1, LARGEST_PAGE)
}
