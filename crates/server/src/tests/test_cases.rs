//! Tests of reports: kept by runs, summed up over them.

use axum::http::StatusCode;
use runner::backend::fake::{FakeBackend, Script};
use serde_json::json;

use super::Lab;
use crate::outbox::Post;

const PIPELINE: &str = "image: busybox:1\nstages:\n  unit: { run: make test, allow-failure: true, \
                        reports: { junit: report.xml } }\n";
const REPORT: &str = "<testsuite><testcase classname='Sum' name='adds' time='0.2'/>\
                      <testcase classname='Sum' name='parts' time='0.1'>\
                      <failure message='1 is not 2'/></testcase></testsuite>";

#[tokio::test]
async fn tests_of_runs_are_listed_and_summed_up() {
    let script = Script::exit(1).writing("report.xml", REPORT);
    let mut lab = Lab::with(FakeBackend::default().with("unit", script), Post::default()).await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", PIPELINE)]);
    lab.start();
    lab.look("orders").await;
    let run = lab.run().await;
    let id = run["run"].as_str().expect("an id").to_owned();
    lab.finish(&id).await;

    let tests = lab.get(&format!("/api/v1/runs/{id}/tests")).await.json();
    assert_eq!(
        tests[1],
        json!({ "stage": "unit", "attempt": 1, "class": "Sum", "name": "parts", "result": "failed",
                "duration_ms": 100, "message": "1 is not 2" })
    );
    let path = "/api/v1/projects/orders/tests";
    let report = lab.get(&format!("{path}?stage=unit&branch=main&runs=5&limit=1")).await.json();
    assert_eq!(
        report,
        json!({ "runs": 1, "tests": 2, "failed": 1, "flaky": 0, "histories": [{
            "class": "Sum", "name": "parts", "stage": "unit", "result": "failed",
            "duration_ms": 100, "median_ms": 100, "flaky": false, "runs": 1, "failed": 1,
            "outcomes": ["failed"],
        }] })
    );
    let slowest = lab.get(&format!("{path}?slowest=true")).await.json();
    assert_eq!(slowest["histories"][0]["name"], "adds");
    let outcomes = lab.get(&format!("{path}/outcomes?class=Sum&name=parts")).await.json();
    let told = ["run", "number", "branch", "result", "message"].map(|field| &outcomes[0][field]);
    assert_eq!(json!(told), json!([id, 1, "main", "failed", "1 is not 2"]), "{outcomes}");
    for (path, status) in [
        (format!("{path}/outcomes"), StatusCode::BAD_REQUEST),
        (format!("{path}?runs=many"), StatusCode::BAD_REQUEST),
        ("/api/v1/projects/nobody/tests".to_owned(), StatusCode::NOT_FOUND),
        ("/api/v1/runs/01234567/tests".to_owned(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(lab.get(&path).await.status, status, "{path}");
    }
    lab.stop().await;
}
