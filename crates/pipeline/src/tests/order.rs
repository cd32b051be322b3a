//! Order, skip, failure: language.md §7.

use proptest::prelude::*;

use super::*;
use crate::{Decision, Fate, NeedResult, NeedState, RunOn, fate};

/// A row of the table: results of the needs `a`, `b` …, and the three verdicts.
/// `a!` is a need with `must: run`.
type Row = (&'static str, [&'static str; 3]);

/// The table of §7, row by row, then what several rows together give.
const TABLE: &[Row] = &[
    ("", ["run", "skipped: nothing failed", "run"]),
    ("a open", ["wait", "wait", "wait"]),
    ("a failed, b open", ["wait", "wait", "wait"]),
    ("a good", ["run", "skipped: nothing failed", "run"]),
    ("a good, b good", ["run", "skipped: nothing failed", "run"]),
    ("a! good", ["run", "skipped: nothing failed", "run"]),
    ("a good, b skipped", ["run", "skipped: nothing failed", "run"]),
    (
        "a good, b! skipped",
        ["skipped: `b` was skipped", "skipped: nothing failed", "skipped: `b` was skipped"],
    ),
    (
        "a! skipped, b! skipped",
        ["skipped: `a` was skipped", "skipped: nothing failed", "skipped: `a` was skipped"],
    ),
    ("a good, b failed", ["blocked: `b` failed", "run", "run"]),
    ("a failed, b failed", ["blocked: `a` failed", "run", "run"]),
    ("a skipped, b failed", ["blocked: `b` failed", "run", "run"]),
    ("a! failed", ["blocked: `a` failed", "run", "run"]),
    ("a blocked", ["blocked: `first` failed", "run", "run"]),
    ("a blocked, b failed", ["blocked: `b` failed", "run", "run"]),
    (
        "a failed, b! skipped",
        ["blocked: `a` failed", "skipped: `b` did not run", "skipped: `b` did not run"],
    ),
    (
        "a failed, b! blocked",
        ["blocked: `a` failed", "skipped: `b` did not run", "skipped: `b` did not run"],
    ),
    (
        "a! blocked",
        ["blocked: `first` failed", "skipped: `a` did not run", "skipped: `a` did not run"],
    ),
    ("a cancelled", ["cancelled: `a` was cancelled", "cancelled: `a` was cancelled", "run"]),
    ("a! cancelled", ["cancelled: `a` was cancelled", "cancelled: `a` was cancelled", "run"]),
    (
        "a failed, b cancelled",
        ["cancelled: `b` was cancelled", "cancelled: `b` was cancelled", "run"],
    ),
    (
        "a cancelled, b! skipped",
        [
            "cancelled: `a` was cancelled",
            "cancelled: `a` was cancelled",
            "skipped: `b` did not run",
        ],
    ),
    ("a unstarted", ["cancelled: `a` was cancelled", "cancelled: `a` was cancelled", "run"]),
    (
        "a! unstarted",
        [
            "cancelled: `a` was cancelled",
            "cancelled: `a` was cancelled",
            "skipped: `a` did not run",
        ],
    ),
];

fn need(text: &'static str) -> NeedState<'static> {
    let (name, result) = text.trim().split_once(' ').unwrap();
    let result = match result {
        "open" => NeedResult::Open,
        "good" => NeedResult::Good,
        "skipped" => NeedResult::Skipped,
        "failed" => NeedResult::Failed,
        "blocked" => NeedResult::Blocked("`first` failed"),
        "cancelled" => NeedResult::Cancelled,
        "unstarted" => NeedResult::Unstarted,
        other => panic!("no result: {other}"),
    };
    NeedState { name: name.trim_end_matches('!'), result, must_run: name.ends_with('!') }
}

fn verdict(run_on: RunOn, needs: &'static str) -> String {
    match fate(run_on, needs.split(',').filter(|need| !need.is_empty()).map(need)) {
        Fate::Wait => "wait".to_owned(),
        Fate::Run => "run".to_owned(),
        Fate::Skip(reason) => format!("skipped: {reason}"),
        Fate::Block(reason) => format!("blocked: {reason}"),
        Fate::Cancel(reason) => format!("cancelled: {reason}"),
    }
}

#[test]
fn the_results_of_the_needs_decide_as_the_table_says() {
    for (needs, verdicts) in TABLE {
        let came =
            [RunOn::Success, RunOn::Failure, RunOn::Always].map(|run_on| verdict(run_on, needs));
        assert_eq!(came, *verdicts, "needs: {needs}");
    }
}

/// How a stage ends, as far as others care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Good,
    Skipped,
    Failed,
    Blocked,
    /// While it ran.
    Cancelled,
    /// Before it could.
    Unstarted,
}

/// A stage of a random pipeline, and how its cells end when they run.
#[derive(Clone, Debug)]
struct RandomStage {
    /// `None`: all above. Other stages, and `must: run`.
    needs: Option<Vec<(usize, bool)>>,
    when: bool,
    run_on: RunOn,
    allow_failure: bool,
    /// Of each cell; a stage without a matrix has one.
    ends: Vec<End>,
}

fn random_stages() -> impl Strategy<Value = (End, Vec<RandomStage>)> {
    let end = || {
        prop_oneof![
            7 => Just(End::Good),
            3 => Just(End::Failed),
            1 => Just(End::Cancelled),
        ]
    };
    let run_on = prop_oneof![
        5 => Just(RunOn::Success),
        1 => Just(RunOn::Failure),
        2 => Just(RunOn::Always),
    ];
    let needs = proptest::collection::vec((any::<u16>(), any::<bool>(), 0_u8..20), 0..4);
    let stage = (
        proptest::option::weighted(0.5, needs),
        proptest::bool::weighted(0.8),
        run_on,
        proptest::bool::weighted(0.2),
        proptest::collection::vec(end(), 1..3),
    );
    let stages = proptest::collection::vec(stage, 1..14).prop_map(|stages| {
        let count = stages.len();
        let stages = stages.into_iter().enumerate();
        let one = |(at, (needs, when, run_on, allow_failure, ends)): (usize, _)| {
            let needs: Option<Vec<(u16, bool, u8)>> = needs;
            let needs = needs.map(|needs| {
                let mut all: Vec<(usize, bool)> = Vec::new();
                for (need, must, below) in needs {
                    // Seldom one further down, which may make a cycle.
                    let range = if below == 0 { count } else { at };
                    let need = usize::from(need).checked_rem(range);
                    let Some(need) = need.filter(|need| *need != at) else { continue };
                    if all.iter().all(|(known, _)| *known != need) {
                        all.push((need, must));
                    }
                }
                all
            });
            RandomStage { needs, when, run_on, allow_failure, ends }
        };
        stages.map(one).collect::<Vec<_>>()
    });
    (end(), stages)
}

fn written(stages: &[RandomStage]) -> String {
    let mut text = "image: debian:12\nstages:\n".to_owned();
    for (at, stage) in stages.iter().enumerate() {
        text.push_str(&format!("  s{at}:\n    run: make\n    run-on: {}\n", stage.run_on.name()));
        if let Some(needs) = &stage.needs {
            let needs = needs.iter().map(|(need, must)| match must {
                true => format!("{{ stage: s{need}, must: run }}"),
                false => format!("s{need}"),
            });
            text.push_str(&format!("    needs: [{}]\n", needs.collect::<Vec<_>>().join(", ")));
        }
        if !stage.when {
            text.push_str("    when: { branch: other }\n");
        }
        if stage.allow_failure {
            text.push_str("    allow-failure: true\n");
        }
        if stage.ends.len() > 1 {
            let cells = (0..stage.ends.len()).map(|cell| cell.to_string());
            let cells = cells.collect::<Vec<_>>().join(", ");
            text.push_str(&format!("    matrix: {{ cell: [{cells}] }}\n"));
        }
    }
    text
}

/// The table again, as slow and obvious as can be: `None` is run.
fn by_the_table(run_on: RunOn, needs: &[(End, bool)]) -> Option<End> {
    let any = |end: End| needs.iter().any(|(need, _)| *need == end);
    let must = |end: End| needs.contains(&(end, true));
    let something_failed = any(End::Failed) || any(End::Blocked);
    let something_cancelled = any(End::Cancelled) || any(End::Unstarted);
    let one_did_not_run = must(End::Skipped) || must(End::Blocked) || must(End::Unstarted);
    match run_on {
        RunOn::Success if something_cancelled => Some(End::Unstarted),
        RunOn::Success if something_failed => Some(End::Blocked),
        RunOn::Success if must(End::Skipped) => Some(End::Skipped),
        RunOn::Failure if something_cancelled => Some(End::Unstarted),
        RunOn::Failure if !something_failed => Some(End::Skipped),
        RunOn::Failure | RunOn::Always if one_did_not_run => Some(End::Skipped),
        _ => None,
    }
}

/// How every cell ends when every edge is there: without `needs`, one to
/// `checkout` and to each cell of each stage above.
fn slow_and_obvious(checkout: End, stages: &[RandomStage]) -> Vec<Vec<End>> {
    fn ends(
        at: usize,
        checkout: End,
        stages: &[RandomStage],
        known: &mut Vec<Option<Vec<End>>>,
    ) -> Vec<End> {
        if let Some(known) = &known[at] {
            return known.clone();
        }
        let stage = &stages[at];
        let mut needs = Vec::new();
        match &stage.needs {
            None => {
                needs.push((checkout, false));
                for above in 0..at {
                    let all = ends(above, checkout, stages, known);
                    needs.extend(all.into_iter().map(|end| (end, false)));
                }
            }
            Some(written) if written.is_empty() => needs.push((checkout, false)),
            Some(written) => {
                for (need, must) in written {
                    let all = ends(*need, checkout, stages, known);
                    needs.extend(all.into_iter().map(|end| (end, *must)));
                }
            }
        }
        let one = |end: &End| match by_the_table(stage.run_on, &needs) {
            Some(end) => end,
            None if !stage.when => End::Skipped,
            None if *end == End::Failed && stage.allow_failure => End::Good,
            None => *end,
        };
        let all: Vec<End> = stage.ends.iter().map(one).collect();
        known[at] = Some(all.clone());
        all
    }
    let mut known = vec![None; stages.len()];
    (0..stages.len()).map(|at| ends(at, checkout, stages, &mut known)).collect()
}

/// How every cell ends by the edges of the plan.
fn by_the_plan(plan: &Plan, checkout: End, stages: &[RandomStage]) -> Vec<Vec<End>> {
    let mut done: Vec<(&crate::PlannedStage, End)> = Vec::new();
    for planned in &plan.stages {
        let own = match planned.stage.strip_prefix('s') {
            None => checkout,
            Some(at) => {
                let stage = &stages[at.parse::<usize>().unwrap()];
                let cell = planned.matrix.get("cell").and_then(serde_json::Value::as_u64);
                let end = stage.ends[usize::try_from(cell.unwrap_or(0)).unwrap()];
                if end == End::Failed && stage.allow_failure { End::Good } else { end }
            }
        };
        let mut needs = Vec::new();
        for edge in &planned.needs {
            let before = needs.len();
            for (need, end) in &done {
                if edge.is_to(&need.name, &need.stage) {
                    let result = match end {
                        End::Good => NeedResult::Good,
                        End::Skipped => NeedResult::Skipped,
                        End::Failed => NeedResult::Failed,
                        End::Blocked => NeedResult::Blocked("`first` failed"),
                        End::Cancelled => NeedResult::Cancelled,
                        End::Unstarted => NeedResult::Unstarted,
                    };
                    needs.push(NeedState { name: &need.name, result, must_run: edge.must_run() });
                }
            }
            assert!(needs.len() > before, "{} waits for {}", planned.name, edge.stage);
        }
        let end = match fate(planned.run_on, needs) {
            Fate::Wait => panic!("{} waits for ever", planned.name),
            Fate::Skip(_) => End::Skipped,
            Fate::Block(_) => End::Blocked,
            Fate::Cancel(_) => End::Unstarted,
            Fate::Run if planned.state == Decision::Skip => End::Skipped,
            Fate::Run => own,
        };
        done.push((planned, end));
    }
    let ends = |at: usize| {
        let name = format!("s{at}");
        let cells = done.iter().filter(move |(planned, _)| planned.stage == name);
        cells.map(|(_, end)| *end).collect()
    };
    (0..stages.len()).map(ends).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_with_hidden_edges_ends_as_one_with_all_of_them((checkout, stages) in random_stages()) {
        let text = written(&stages);
        let (pipeline, found) = checked(&text, &Bundled);
        let Some(pipeline) = pipeline else {
            prop_assert!(lines(&found).starts_with("E021"), "{}", found);
            return Ok(());
        };
        let plan = plan(&pipeline, &on_main()).unwrap();
        prop_assert_eq!(
            by_the_plan(&plan, checkout, &stages),
            slow_and_obvious(checkout, &stages),
            "{}", text
        );
    }
}

/// `name <- need, need` of each stage but the checkout.
fn edges(text: &str) -> String {
    let plan = planned(&flush(text), &on_main());
    let line = |stage: &crate::PlannedStage| {
        let needs = stage.needs.iter().map(|edge| {
            let by = serde_json::to_string(&edge.by).unwrap();
            let must = if edge.must_run() { " must" } else { "" };
            format!("{} {}{must}", edge.stage, by.trim_matches('"'))
        });
        format!("{} <- {}", stage.name, needs.collect::<Vec<_>>().join(", "))
    };
    plan.stages.iter().skip(1).map(line).collect::<Vec<_>>().join("\n")
}

fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected), "\n{text}");
}

#[test]
fn a_cleanup_that_passes_hides_nothing_that_failed_above_it() {
    assert_eq!(
        edges(
            "
            image: debian:12
            stages:
              build: make
              test: make
              cleanup: { run: make, run-on: always }
              tell: { run: make, run-on: failure, needs: [cleanup, test] }
              publish: make
              announce: make
            "
        ),
        "build <- checkout order\n\
         test <- build order\n\
         cleanup <- test order\n\
         tell <- cleanup needs, test needs\n\
         publish <- test order, cleanup order, tell order\n\
         announce <- publish order"
    );
}

#[test]
fn a_stage_below_a_cleanup_waits_for_the_checkout_itself() {
    assert_eq!(
        edges(
            "
            image: debian:12
            stages:
              cleanup: { run: make, run-on: always }
              build: make
            "
        ),
        "cleanup <- checkout order\n\
         build <- checkout order, cleanup order"
    );
}

#[test]
fn reading_an_output_is_an_edge_that_must_run() {
    assert_eq!(
        edges(
            "
            image: debian:12
            stages:
              version: { run: make, outputs: [number] }
              build: make
              tag: { run: make, env: { V: \"${{ stages.version.outputs.number }}\" } }
              tell:
                run: make
                run-on: always
                env: { V: \"${{ default(stages.version.outputs.number, 'none') }}\", W: \"${{ stages.build.result }}\" }
              must: { run: make, run-on: always, env: { V: \"${{ stages.version.outputs.number }}\" } }
              if: { run: make, when: { if: \"stages.version.outputs.number == '1'\" } }
            "
        ),
        "version <- checkout order\n\
         build <- version order\n\
         tag <- build order, version output must\n\
         tell <- tag order\n\
         must <- tag order, tell order, version output must\n\
         if <- tag order, tell order, must order, version output must"
    );
}

#[test]
fn reading_one_cell_is_an_edge_to_that_cell() {
    assert_eq!(
        edges(
            "
            image: debian:12
            stages:
              test: { run: make, outputs: [n], matrix: { os: [a, b] } }
              sum: { run: make, env: { N: \"${{ stages.test.cells['os=b'].outputs.n }}\" } }
            "
        ),
        "test[os=a] <- checkout order\n\
         test[os=b] <- checkout order\n\
         sum <- test order, test[os=b] output must"
    );
}

#[test]
fn what_is_read_exists_and_is_among_the_needs() {
    says(
        "
        image: debian:12
        stages:
          version: { run: make, outputs: [number, name] }
          typed: { run: make, outputs: { count: int } }
          image: { build: {} }
          test: { run: make, outputs: [n], matrix: { os: [linux, mac] } }
          a: { run: make, env: { V: \"${{ stages.versoin.outputs.number }}\" } }
          b: { run: make, env: { V: \"${{ stages.version.outputs.numbr }}\" } }
          c: { run: make, env: { V: \"${{ stages.version.outputs.size }}\" } }
          d: { run: make, env: { V: \"${{ stages.typed.outputs.size }}\" } }
          e: { run: make, env: { V: \"${{ stages.image.outputs.digest }}\" } }
          f: { run: make, needs: [typed], env: { V: \"${{ stages.image.outputs.image }}\" } }
          g: { run: make, env: { V: \"${{ stages.g.result }}\" } }
          h: { run: make, env: { V: \"${{ stages.last.result }}\" } }
          i: { run: make, env: { V: \"${{ stages.test.outputs.n }}\" } }
          j: { run: make, env: { V: \"${{ stages.test.cells['os=linus'].outputs.n }}\" } }
          k: { run: make, env: { V: \"${{ stages.typed.cells['os=linux'].outputs.count }}\" } }
          last: make
        ",
        "
        E044 7:34 stage `a` reads `versoin`, which is not a stage | did you mean `version`?
        E044 8:34 stage `version` has no output `numbr` | did you mean `number`? | let `version` put it out, with the line: outputs: [name, number, numbr]
        E044 9:34 stage `version` has no output `size` | let `version` put it out, with the line: outputs: [name, number, size]
        E044 10:34 stage `typed` has no output `size` | let `typed` put it out, with the line: outputs: { count: int, size: string }
        E044 11:34 stage `image` has no output `digest`
        E044 12:50 stage `f` reads `image`, which it does not need | `image` may not be done when `f` starts | add it to the needs of `f`: needs: [typed, image]
        E044 13:34 stage `g` reads itself, and is not done while it runs | read another stage
        E044 14:34 stage `h` reads `last`, which it does not need | `last` stands below `h` | move `h` below `last`, or add to `h`: needs: [last]
        E044 15:34 stage `test` has a matrix, so every cell has its own outputs | name the cell, for example `stages.test.cells[\"os=linux\"].outputs.n`
        E044 16:34 stage `test` has no cell `os=linus` | did you mean `os=linux`?
        E044 17:34 stage `typed` has no matrix, and so no cells | read `stages.typed.outputs.count`",
    );
}

#[test]
fn a_condition_that_reads_stages_is_decided_when_they_have_finished() {
    let decided = |when: &str| {
        let text = format!(
            "image: debian:12\nstages:\n  a: {{ run: make, outputs: [x] }}\n  b: make\n  c:\n    when: {when}\n    run: make\n"
        );
        let plan = planned(&text, &on_main());
        let stage = plan.stage("c").unwrap().clone();
        let state = if stage.state == Decision::Run { "run" } else { "skip" };
        format!("{state} [{}]: {}", stage.deferred.join(", "), stage.reason)
    };
    assert_eq!(
        decided("{ if: \"stages.a.outputs.x == '1'\" }"),
        "run [a]: decided when `a` has finished"
    );
    assert_eq!(
        decided("{ if: \"stages.a.result == 'passed' && stages.b.result == 'passed'\" }"),
        "run [a, b]: decided when `a` and `b` have finished"
    );
    assert_eq!(decided("{ if: run.attempt > 1 }"), "run []: decided when the stage could start");
    // What is known is enough where it decides alone.
    assert_eq!(
        decided("{ branch: dev, if: \"stages.a.outputs.x == '1'\" }"),
        "skip []: branch `main` matches no pattern of `dev`"
    );
    assert_eq!(
        decided("[{ if: \"stages.a.outputs.x == '1'\" }, { event: push }]"),
        "run []: the event is `push`"
    );
    assert_eq!(
        decided(
            "[{ branch: dev, if: \"stages.b.result == 'failed'\" }, { branch: main, if: \"stages.a.outputs.x == '1'\" }]"
        ),
        "run [a]: decided when `a` has finished"
    );
}

#[test]
fn a_stage_with_run_on_says_when_it_runs() {
    let text = "
        image: debian:12
        stages:
          a: make
          b: { run: make, run-on: failure }
          c: { run: make, run-on: always, when: { branch: main } }
          d: { run: make, run-on: failure, when: { branch: dev } }
        ";
    let plan = planned(&flush(text), &on_main());
    let reasons: Vec<&str> = plan.stages.iter().map(|stage| stage.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "no condition",
            "no condition",
            "runs when something above fails",
            "runs whatever happens above; branch `main` matches `main`",
            "branch `main` matches no pattern of `dev`",
        ]
    );
}

#[test]
fn more_edges_than_a_plan_can_hold_are_refused() {
    let stage = |at: usize| format!("  s{at}: {{ run: make, run-on: always }}\n");
    let stages: String = (0..1500).map(stage).collect();
    let text = format!("image: debian:12\nstages:\n{stages}");
    assert_eq!(
        lines(&found_in(&text, &Bundled, &on_main())),
        "E061 1417:3 with stage `s1414` the pipeline has more than 1000000 edges, which is the limit | it waits for every stage above it | give stages with `run-on` their own `needs`, so that they do not wait for all above"
    );
}

#[test]
fn a_plan_is_the_same_in_every_process() {
    let text = include_str!("../../../../tests/cases/full-example/pipeline.yml");
    // Each check makes its own hash maps, and each hash map has its own seed.
    let bytes = || {
        let mut context = on_main();
        context.params.insert("target".to_owned(), "prod".into());
        context.place = Place::Server {
            environments: ["staging", "prod"]
                .map(|name| (name.to_owned(), environment(None)))
                .into(),
        };
        serde_json::to_string(&planned(text, &context)).unwrap()
    };
    let first = bytes();
    for _ in 0..8 {
        assert_eq!(bytes(), first);
    }
}

#[test]
fn who_reads_some_output_or_some_variable_reads_a_stage_that_must_run() {
    let said = |env: &str, needs: &str, value: &str| {
        let text = format!(
            "image: debian:12\n{env}stages:\n  a: {{ run: make, outputs: [x], env: {{ V: '' }}, when: {{ branch: release }} }}\n  b: {{ {needs}run: make, env: {{ A: \"${{{{ {value} }}}}\", V: '' }} }}\n"
        );
        let found = found_in(&text, &Bundled, &on_main());
        if found.has_errors() {
            return lines(&found);
        }
        let plan = planned(&text, &on_main());
        plan.stage("b").unwrap().reason.clone()
    };
    assert_eq!(said("", "", "stages.a.outputs['x' + '']"), "`a` was skipped");
    assert_eq!(said("", "", "string(size(stages.a.outputs))"), "`a` was skipped");
    assert_eq!(said("", "", "stages.a.result"), "no condition");
    assert_eq!(
        said("env: { V: \"${{ stages.a.outputs.x }}\" }\n", "needs: [], ", "env['V' + '']"),
        "E044 5:45 stage `b` reads `a`, which it does not need | `a` may not be done when `b` starts | add it to the needs of `b`: needs: [a]"
    );
}

#[test]
fn e041_a_stage_with_a_dash_is_read_with_brackets() {
    let text = "image: debian:12\nstages:\n  unit-test: { run: make, outputs: [x] }\n  b: { run: make, env: { A: \"${{ stages.unit-test.outputs.x }}\" } }\n";
    assert_eq!(
        lines(&checked(text, &Bundled).1),
        "E041 4:46 unknown name `test.outputs.x` | a name with a dash is written in brackets: `stages[\"unit-test\"]`"
    );
    let text = text.replace("stages.unit-test", "stages['unit-test']");
    assert_eq!(lines(&checked(&text, &Bundled).1), "");
}
