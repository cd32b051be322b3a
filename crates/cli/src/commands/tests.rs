//! `shipline tests`: what tests came to, over the last runs or in one.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use event::{RunOutcome, SameFiles, TestReport, TestSelection};
use serde_json::Value;
use store::TestFilter;

use super::trigger::word;
use crate::arguments::TestsArguments;
use crate::client::{Client, segment};
use crate::error::{CommandError, Context as _};
use crate::history;
use crate::home::Home;
use crate::local_environment::project_name;
use crate::terminal::Style;
use crate::text;

/// Signs of runs in a line; the newest are shown.
const SIGNS: usize = 20;

const NONE: &str =
    "no tests were reported; `reports: { junit: GLOB }` of a stage reads what its tests write\n";

pub(super) async fn tests(arguments: &TestsArguments) -> Result<u8, CommandError> {
    let client = Client::of(&arguments.place.server)?;
    if let Some(run) = &arguments.run {
        let all = match client {
            Some(client) => client.get(&format!("/api/v1/runs/{}/tests", segment(run))).await?,
            None => history::tests_of_run(&Home::from_environment()?.store().await?, run).await?,
        };
        let wanted = chosen(all, arguments);
        super::show(arguments.format, &wanted, run_text)?;
        return Ok(0);
    }
    let project = project_name(&arguments.place).await?;
    let mut report = match &client {
        Some(client) => client.get(&report_path(&project, arguments)).await?,
        None => {
            let store = Home::from_environment()?.store().await?;
            let report = store.test_report(
                filter(&project, arguments),
                selection(arguments),
                SameFiles::Run,
            );
            value(report.await.environment("cannot read the tests")?)?
        }
    };
    // A test that is meant alone is told run by run.
    if let Some((class, name)) = the_one(arguments, &report) {
        report["outcomes"] = match &client {
            Some(client) => client.get(&outcomes_path(&project, &class, &name, arguments)).await?,
            None => {
                let store = Home::from_environment()?.store().await?;
                history::test_outcomes(&store, filter(&project, arguments), &class, &name).await?
            }
        };
    }
    super::show(arguments.format, &report, |report| report_text(report, Utc::now()))?;
    Ok(0)
}

fn filter<'a>(project: &'a str, arguments: &'a TestsArguments) -> TestFilter<'a> {
    TestFilter {
        project,
        branch: arguments.branch.as_deref(),
        stage: arguments.stage.as_deref(),
        text: arguments.test.as_deref(),
        runs: arguments.last,
    }
}

fn selection(arguments: &TestsArguments) -> TestSelection {
    TestSelection {
        failed: arguments.failed,
        flaky: arguments.flaky,
        slowest: arguments.slowest,
        limit: arguments.limit as usize,
    }
}

fn report_path(project: &str, arguments: &TestsArguments) -> String {
    let TestsArguments { test, failed, flaky, slowest, limit, .. } = arguments;
    let mut path = format!(
        "/api/v1/projects/{}/tests?failed={failed}&flaky={flaky}&slowest={slowest}&limit={limit}",
        segment(project)
    );
    if let Some(test) = test {
        path.push_str(&format!("&test={}", segment(test)));
    }
    path + &of_runs(arguments)
}

fn outcomes_path(project: &str, class: &str, name: &str, arguments: &TestsArguments) -> String {
    let path = format!("/api/v1/projects/{}/tests/outcomes", segment(project));
    format!("{path}?class={}&name={}{}", segment(class), segment(name), of_runs(arguments))
}

/// Which runs and stages are looked at.
fn of_runs(arguments: &TestsArguments) -> String {
    let mut query = format!("&runs={}", arguments.last);
    for (key, value) in [("branch", &arguments.branch), ("stage", &arguments.stage)] {
        if let Some(value) = value {
            query.push_str(&format!("&{key}={}", segment(value)));
        }
    }
    query
}

/// Class and name of the test that is named, if it is one, whatever stages it runs in.
fn the_one(arguments: &TestsArguments, report: &Value) -> Option<(String, String)> {
    arguments.test.as_ref()?;
    let mut found = report["histories"].as_array()?.iter();
    let named = |test: &Value| (class(test).to_owned(), word(test, "name"));
    let first = named(found.next()?);
    found.all(|other| named(other) == first).then_some(first)
}

/// The tests of a run that are asked for, in the order that is asked for.
fn chosen(all: Value, arguments: &TestsArguments) -> Value {
    let Value::Array(mut all) = all else { return all };
    all.retain(|test| {
        let of_stage = arguments.stage.as_ref().is_none_or(|wanted| {
            let stage = word(test, "stage");
            stage == *wanted || stage.starts_with(&format!("{wanted}["))
        });
        let named = arguments.test.as_ref().is_none_or(|part| title(test).contains(part));
        of_stage && named && (!arguments.failed || has_failed(test))
    });
    all.sort_by_key(|test| match arguments.slowest {
        true => (false, Reverse(took(test))),
        // In the order of the reports.
        false => (!has_failed(test), Reverse(0)),
    });
    all.truncate(arguments.limit as usize);
    Value::Array(all)
}

fn has_failed(test: &Value) -> bool {
    matches!(test["result"].as_str(), Some("failed" | "error"))
}

fn took(test: &Value) -> u64 {
    test["duration_ms"].as_u64().unwrap_or_default()
}

/// `Class name`, as a filter has it.
fn title(test: &Value) -> String {
    match class(test) {
        "" => word(test, "name"),
        class => format!("{class} {}", word(test, "name")),
    }
}

fn class(test: &Value) -> &str {
    test["class"].as_str().unwrap_or_default()
}

fn run_text(tests: &Value) -> String {
    let tests: Vec<&Value> = tests.as_array().into_iter().flatten().collect();
    if tests.is_empty() {
        return "the run has no such tests\n".to_owned();
    }
    let rows: Vec<Vec<String>> = tests
        .iter()
        .map(|test| {
            vec![
                word(test, "result"),
                text::duration(took(test)),
                word(test, "stage"),
                test["attempt"].to_string(),
                text::plain(&(title(test) + &because(test))),
            ]
        })
        .collect();
    text::table(&["RESULT", "TOOK", "STAGE", "ATTEMPT", "TEST"], &rows)
}

/// The first line of what a test said.
fn because(test: &Value) -> String {
    let lines = test["message"].as_str().unwrap_or_default().lines();
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    line.map(|line| format!(": {line}")).unwrap_or_default()
}

fn report_text(report: &Value, now: DateTime<Utc>) -> String {
    let Ok(read) = serde_json::from_value::<TestReport>(report.clone()) else {
        return format!("{report:#}\n");
    };
    if read.tests == 0 {
        return NONE.to_owned();
    }
    let rows: Vec<Vec<String>> = read
        .histories
        .iter()
        .map(|test| {
            let flaky = if test.flaky { ", flaky" } else { "" };
            let class = if test.class.is_empty() { "" } else { &format!("{} ", test.class) };
            vec![
                format!("{}{flaky}", test.result.name()),
                text::duration(test.median_ms),
                format!("{} of {}", test.failed, test.runs),
                signs(&test.outcomes),
                test.stage.clone(),
                text::plain(&format!("{class}{}", test.name)),
            ]
        })
        .collect();
    let mut shown = String::new();
    if !rows.is_empty() {
        shown = text::table(&["RESULT", "MEDIAN", "FAILED", "LAST RUNS", "STAGE", "TEST"], &rows);
        shown.push('\n');
    }
    shown.push_str(&outcomes_text(&report["outcomes"], now));
    shown.push_str(&foot(&read));
    shown
}

/// The oldest first, as time goes.
fn signs(outcomes: &[RunOutcome]) -> String {
    let sign = |outcome: &RunOutcome| match outcome {
        RunOutcome::Passed => '✓',
        RunOutcome::Failed => '✗',
        RunOutcome::Skipped => '○',
        RunOutcome::Mixed => '~',
    };
    outcomes.iter().take(SIGNS).rev().map(sign).collect()
}

fn outcomes_text(outcomes: &Value, now: DateTime<Utc>) -> String {
    let style = Style::of_stdout();
    let rows: Vec<Vec<String>> = outcomes
        .as_array()
        .into_iter()
        .flatten()
        .map(|past| {
            let queued = past["queued_at"].as_str().and_then(|text| text.parse().ok());
            let sha = word(past, "sha");
            vec![
                word(past, "short"),
                format!("#{}", past["number"]),
                word(past, "branch"),
                if sha.is_empty() { "-" } else { sha.get(..8).unwrap_or(&sha) }.to_owned(),
                queued.map_or_else(|| "-".to_owned(), |then| text::age(then, now)),
                word(past, "stage"),
                past["attempt"].to_string(),
                text::duration(took(past)),
                style.result(&word(past, "result")) + &text::plain(&because(past)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header =
        ["RUN", "NUMBER", "BRANCH", "COMMIT", "QUEUED", "STAGE", "ATTEMPT", "TOOK", "RESULT"];
    text::table(&header, &rows) + "\n"
}

/// `412 tests of the last 20 runs: 1 failed, 2 flaky`
fn foot(report: &TestReport) -> String {
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let TestReport { runs, tests, failed, flaky, histories } = report;
    let of = match runs {
        1 => "the last run".to_owned(),
        runs => format!("the last {runs} runs"),
    };
    let mut foot =
        format!("{tests} test{} of {of}: {failed} failed, {flaky} flaky", plural(*tests));
    if (histories.len() as u64) < *tests {
        foot.push_str(&format!("; {} shown", histories.len()));
    }
    foot + "\n"
}

fn value(view: impl serde::Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(view).environment("a report is no JSON")
}

#[cfg(test)]
mod reports {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn arguments(line: &str) -> TestsArguments {
        let parsed = Arguments::try_parse_from(line.split(' ')).expect("it can be read");
        match parsed.command {
            Command::Tests(arguments) => arguments,
            other => panic!("another command: {other:?}"),
        }
    }

    fn report() -> Value {
        json!({
            "runs": 3, "tests": 5, "failed": 1, "flaky": 1,
            "histories": [
                { "class": "Sum", "name": "adds", "stage": "unit[db=x]", "result": "failed",
                  "duration_ms": 90, "median_ms": 1200, "flaky": false, "runs": 3, "failed": 1,
                  "outcomes": ["failed", "passed", "skipped"] },
                { "name": "x\u{1b}[2J", "stage": "lint", "result": "passed",
                  "duration_ms": 3, "median_ms": 3, "flaky": true, "runs": 2, "failed": 1,
                  "outcomes": ["mixed", "passed"] },
            ],
        })
    }

    #[test]
    fn a_test_is_a_line_with_its_last_runs() {
        assert_eq!(
            report_text(&report(), Utc::now()),
            "RESULT         MEDIAN  FAILED  LAST RUNS  STAGE       TEST\n\
             failed         1.2s    1 of 3  ○✓✗        unit[db=x]  Sum adds\n\
             passed, flaky  0.0s    1 of 2  ✓~         lint        x\\u{1b}[2J\n\
             \n\
             5 tests of the last 3 runs: 1 failed, 1 flaky; 2 shown\n"
        );
        assert_eq!(report_text(&json!(TestReport::default()), Utc::now()), NONE);
    }

    #[test]
    fn one_test_is_told_run_by_run() {
        let mut report = report();
        report["histories"].as_array_mut().expect("a list").truncate(1);
        let named = |line: &str| the_one(&arguments(line), &report);
        assert_eq!(named("shipline tests adds"), Some(("Sum".to_owned(), "adds".to_owned())));
        assert_eq!(named("shipline tests --failed"), None);
        report["outcomes"] = json!([{
            "short": "3f9a0c1d", "number": 7, "branch": null, "sha": "0123456789",
            "queued_at": "2026-08-11T11:58:00Z", "stage": "unit[db=x]", "attempt": 2,
            "result": "failed", "duration_ms": 90, "message": "\n 1 is not 2\nat a.c:3",
        }]);
        let told = report_text(&report, "2026-08-11T12:00:00Z".parse().expect("a time"));
        let line = "3f9a0c1d  #7      -       01234567  2m ago  unit[db=x]  2        0.0s  \
                    failed: 1 is not 2";
        assert!(told.contains(line), "{told}");
    }

    #[test]
    fn a_server_is_asked_for_exactly_what_was_typed() {
        let typed = arguments("shipline tests a&b --stage unit[db=x] --branch f/x --flaky");
        assert_eq!(
            report_path("orders", &typed),
            "/api/v1/projects/orders/tests?failed=false&flaky=true&slowest=false&limit=50\
             &test=a%26b&runs=20&branch=f%2Fx&stage=unit%5Bdb%3Dx%5D"
        );
        assert_eq!(
            outcomes_path("orders", "", "a b", &arguments("shipline tests a --last 3")),
            "/api/v1/projects/orders/tests/outcomes?class=&name=a%20b&runs=3"
        );
    }

    #[test]
    fn of_a_run_those_that_failed_come_first() {
        let test = |name: &str, stage: &str, result: &str, duration_ms: u64| {
            json!({ "name": name, "stage": stage, "attempt": 1, "result": result,
                    "duration_ms": duration_ms, "message": "why\nmore" })
        };
        let all = json!([
            test("a", "unit[n=1]", "passed", 1),
            test("b", "unit[n=1]", "error", 2),
            test("c", "unity", "passed", 9),
        ]);
        let names = |line: &str| -> String {
            let chosen = chosen(all.clone(), &arguments(line));
            chosen.as_array().expect("a list").iter().map(|test| word(test, "name")).collect()
        };
        assert_eq!(names("shipline tests --run 1"), "bac");
        assert_eq!(names("shipline tests --run 1 --slowest --limit 2"), "cb");
        assert_eq!(names("shipline tests --run 1 --stage unit"), "ba");
        assert_eq!(names("shipline tests --run 1 --failed"), "b");
        let failed = chosen(all.clone(), &arguments("shipline tests b --run 1"));
        let told = run_text(&failed);
        assert!(told.ends_with("error   0.0s  unit[n=1]  1        b: why\n"), "{told}");
    }
}
