//! Random graphs, played in random order, against a slow and obvious model of the
//! table in language.md §7.

use pipeline::{Alternative, Condition, Origin, OriginKind, Test};
use proptest::collection::vec;
use proptest::option;

use super::*;

/// A stage of a random graph.
#[derive(Clone, Debug)]
struct Random {
    /// Indices of stages before it, and whether they must run.
    needs: Vec<(usize, bool)>,
    run_on: RunOn,
    /// Its `when` is false already.
    skip: bool,
    /// The result of the stage before it that its `when` waits for.
    when: Option<(usize, StageResult)>,
    allowed: Option<AllowFailure>,
    /// What its attempt comes to, if there is one.
    result: StageResult,
    exit: Option<i64>,
}

/// What each stage comes to, read off the table row by row.
fn model(graph: &[Random], cells: usize) -> Vec<StageResult> {
    let mut results: Vec<StageResult> = Vec::new();
    for stage in graph {
        let needs: Vec<(StageResult, bool)> = stage
            .needs
            .iter()
            // A need on one of the cells is one on all of them.
            .flat_map(|(need, must)| {
                let all = if *need < cells { 0..cells } else { *need..*need + 1 };
                all.map(|need| (results[need], *must)).collect::<Vec<_>>()
            })
            .collect();
        let any = |row: &dyn Fn(StageResult, bool) -> bool| {
            needs.iter().any(|(result, must)| row(*result, *must))
        };
        let failed = any(&|result, _| result.is_failure());
        let blocked = any(&|result, _| result == StageResult::Blocked);
        let skipped = any(&|result, must| must && result == StageResult::Skipped);
        let missing = any(&|result, must| {
            must && matches!(result, StageResult::Skipped | StageResult::Blocked)
        });
        let end = match stage.run_on {
            RunOn::Success if failed || blocked => Some(StageResult::Blocked),
            RunOn::Success if skipped => Some(StageResult::Skipped),
            RunOn::Failure if !failed && !blocked => Some(StageResult::Skipped),
            RunOn::Failure if missing => Some(StageResult::Skipped),
            RunOn::Always if (failed || blocked) && missing => Some(StageResult::Skipped),
            RunOn::Always if !failed && !blocked && skipped => Some(StageResult::Skipped),
            _ if stage.skip => Some(StageResult::Skipped),
            _ => match stage.when {
                Some((read, wanted)) if results[read] != wanted => Some(StageResult::Skipped),
                _ => None,
            },
        };
        results.push(end.unwrap_or_else(|| match (&stage.allowed, stage.result, stage.exit) {
            (
                Some(AllowFailure::Any),
                StageResult::Failed | StageResult::TimedOut | StageResult::ResourceLimit,
                _,
            ) => StageResult::Warning,
            (Some(AllowFailure::ExitCodes(codes)), StageResult::Failed, Some(exit))
                if codes.iter().any(|code| i64::from(*code) == exit) =>
            {
                StageResult::Warning
            }
            (_, result, _) => result,
        }));
    }
    results
}

fn result() -> impl Strategy<Value = StageResult> {
    prop_oneof![
        5 => Just(StageResult::Passed),
        3 => Just(StageResult::Failed),
        1 => Just(StageResult::TimedOut),
        1 => Just(StageResult::InfraError),
        1 => Just(StageResult::Unchanged),
    ]
}

fn run_on() -> impl Strategy<Value = RunOn> {
    prop_oneof![3 => Just(RunOn::Success), 1 => Just(RunOn::Failure), 1 => Just(RunOn::Always)]
}

fn wanted() -> impl Strategy<Value = StageResult> {
    use StageResult::{Blocked, Failed, Passed, Skipped, Warning};
    proptest::sample::select(vec![Passed, Failed, Skipped, Blocked, Warning])
}

fn random() -> impl Strategy<Value = Random> {
    let allowed = prop_oneof![
        3 => Just(None),
        1 => Just(Some(AllowFailure::Any)),
        1 => Just(Some(AllowFailure::ExitCodes(vec![1]))),
    ];
    let needs = vec((any::<usize>(), proptest::bool::weighted(0.3)), 0..4);
    let when = option::weighted(0.2, (any::<usize>(), wanted()));
    let skip = proptest::bool::weighted(0.1);
    (needs, run_on(), skip, when, allowed, result(), 1_i64..3).prop_map(
        |(needs, run_on, skip, when, allowed, result, exit)| Random {
            needs,
            run_on,
            skip,
            when,
            allowed,
            result,
            exit: (result == StageResult::Failed).then_some(exit),
        },
    )
}

/// Graphs of up to 24 stages, each with up to four needs above it. The first `cells`
/// of them are the cells of one stage.
fn graph() -> impl Strategy<Value = (Vec<Random>, usize)> {
    (vec(random(), 1..24), 0_usize..6).prop_map(|(mut graph, cells)| {
        let cells = cells.min(graph.len());
        for (index, stage) in graph.iter_mut().enumerate() {
            if index == 0 || index < cells {
                stage.needs.clear();
                stage.when = None;
            }
            for (need, _) in &mut stage.needs {
                *need %= index;
            }
            // What a `when` reads is among the needs, and must not have been skipped
            // for that reason alone.
            let read = stage.when.and_then(|(_, wanted)| Some((stage.needs.first()?.0, wanted)));
            stage.when = read;
        }
        (graph, cells)
    })
}

fn name(index: usize, cells: usize) -> String {
    if index < cells { format!("m[c={index}]") } else { format!("s{index}") }
}

fn planned(graph: &[Random], cells: usize) -> Vec<PlannedStage> {
    let stages = graph.iter().enumerate().map(|(index, random)| {
        let mut planned = stage(&name(index, cells), &[]);
        if index < cells {
            planned.stage = "m".to_owned();
        }
        for (need, must) in &random.needs {
            planned.needs.push(pipeline::Edge {
                stage: if *need < cells { "m".to_owned() } else { name(*need, cells) },
                by: pipeline::EdgeReason::Needs,
                must: must.then(|| "run".to_owned()),
            });
        }
        planned.run_on = random.run_on;
        planned.allow_failure = random.allowed.clone();
        if let Some((read, wanted)) = &random.when {
            defer(&mut planned, &name(*read, cells), *wanted);
        }
        if random.skip { skipped(planned) } else { planned }
    });
    stages.collect()
}

/// `when: { if: stages["READ"].result == "WANTED" }`, as a plan has it.
fn defer(stage: &mut PlannedStage, read: &str, wanted: StageResult) {
    let (read_stage, cell) = match read.split_once('[') {
        Some((of, cell)) => (of, Some(cell.trim_end_matches(']'))),
        None => (read, None),
    };
    let source = match cell {
        Some(cell) => format!("stages.{read_stage}.cells[\"{cell}\"].result == \"{wanted}\""),
        None => format!("stages.{read_stage}.result == \"{wanted}\""),
    };
    stage.deferred = vec![read.to_owned()];
    let origin =
        Origin { file: ".shipline.yml".to_owned(), line: 1, column: 1, by: OriginKind::File };
    let test = Test {
        key: "if".to_owned(),
        wants: source.clone(),
        saw: "not known yet".to_owned(),
        holds: None,
        reason: String::new(),
        origin,
        expression: Some(pipeline::PendingPart::Expression { source, file: 0 }),
    };
    stage.condition = Some(Condition { any: vec![Alternative { all: vec![test] }] });
}

/// Ends what runs in a random order, until nothing does.
fn play_to_end(
    play: &mut Play,
    graph: &[Random],
    cells: usize,
    order: &[usize],
    cancel_at: &[usize],
) {
    play.start();
    for (step, pick) in order.iter().cycle().enumerate() {
        if play.state.result.is_some() {
            return;
        }
        if cancel_at.contains(&step) {
            play.cancel();
            continue;
        }
        let running: Vec<String> = play.running().into_iter().map(str::to_owned).collect();
        assert!(!running.is_empty(), "nothing runs and nothing ends: {}", play.told());
        assert!(running.len() <= play.schedule.concurrency);
        let stage = &running[pick % running.len()];
        let index = (0..graph.len()).find(|index| name(*index, cells) == *stage).unwrap();
        let cleans_up = graph[index].run_on == RunOn::Always && !play.state.killed;
        if play.state.cancel.is_some() && !cleans_up {
            play.finish(stage, StageResult::Cancelled);
        } else {
            play.finish_with(stage, graph[index].result, graph[index].exit);
        }
    }
}

proptest! {
    #[test]
    fn a_run_comes_to_what_the_table_says_whatever_ends_first(
        (graph, cells) in graph(),
        concurrency in 1_usize..5,
        order in vec(any::<usize>(), 1..64),
    ) {
        let mut play = Play::new(planned(&graph, cells), concurrency, SideEffects::Allowed);
        play_to_end(&mut play, &graph, cells, &order, &[]);
        check_history(&graph, cells, &play.events);
        let came: Vec<StageResult> = (0..graph.len())
            .map(|index| play.state.result_of(&name(index, cells)).unwrap())
            .collect();
        prop_assert_eq!(came, model(&graph, cells), "{}", play.told());
    }

    #[test]
    fn a_cancelled_run_ends_once_and_begins_only_what_cleans_up(
        (graph, cells) in graph(),
        concurrency in 1_usize..5,
        order in vec(any::<usize>(), 1..64),
        cancel_at in vec(0_usize..12, 1..3),
    ) {
        let mut play = Play::new(planned(&graph, cells), concurrency, SideEffects::Allowed);
        play_to_end(&mut play, &graph, cells, &order, &cancel_at);
        check_history(&graph, cells, &play.events);
        if play.state.cancel.is_some() {
            prop_assert_eq!(play.state.result, Some(RunResult::Cancelled));
        }
    }
}

/// Gapless, one end per stage, the end of the run last, needs before starts, and
/// after a cancellation only starts of what cleans up.
fn check_history(graph: &[Random], cells: usize, events: &[Event]) {
    let mut ended: BTreeMap<String, usize> = BTreeMap::new();
    let mut cancels = 0;
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event.seq, position as u64 + 1);
        assert_eq!(event.kind.is_terminal(), position + 1 == events.len());
        match &event.kind {
            EventKind::AttemptStarting { stage, .. } => {
                let index = (0..graph.len()).find(|index| name(*index, cells) == *stage).unwrap();
                for (need, _) in &graph[index].needs {
                    assert!(ended.contains_key(&name(*need, cells)), "{stage} began too early");
                }
                let may = cancels == 0 || cancels == 1 && graph[index].run_on == RunOn::Always;
                assert!(may, "{stage} began after the run was cancelled");
            }
            EventKind::StageFinished { stage, .. }
            | EventKind::StageSkipped { stage, .. }
            | EventKind::StageBlocked { stage, .. } => {
                *ended.entry(stage.clone()).or_default() += 1;
            }
            EventKind::CancelRequested { .. } => cancels += 1,
            _ => {}
        }
    }
    assert_eq!(ended.len(), graph.len());
    assert!(ended.values().all(|times| *times == 1));
}

/// Each of 5,000 cells needs each of 5,000 others, and every one of them ends.
#[test]
fn ten_thousand_stages_are_decided_one_after_the_other() {
    let of = |stage: &str, needs: &[&str]| -> Vec<PlannedStage> {
        let cells = (0..5_000).map(|number| PlannedStage {
            stage: stage.to_owned(),
            ..super::stage(&format!("{stage}[n={number}]"), needs)
        });
        cells.collect()
    };
    let stages = [of("test", &[]), of("pack", &["test"])].concat();
    let mut play = Play::new(stages, 5_000, SideEffects::Allowed);
    assert_eq!(
        (0..10_000).map(|index| play.schedule.node(index).needs.len()).sum::<usize>(),
        5_000
    );
    play.start();
    // All but the last twenty of each half at once: what is slow is one fact, not many.
    for half in ["test", "pack"] {
        for number in 0..4_980 {
            play.fold(finished(&format!("{half}[n={number}]")));
        }
        for number in 4_980..5_000 {
            play.finish(&format!("{half}[n={number}]"), StageResult::Passed);
        }
    }
    assert_eq!(play.state.result, Some(RunResult::Passed));
}

fn finished(stage: &str) -> EventKind {
    EventKind::AttemptFinished {
        stage: stage.to_owned(),
        attempt: 1,
        result: StageResult::Passed,
        exit: Some(0),
        reason: None,
        code: None,
        outputs: Outputs::new(),
        peak: event::Peak::default(),
        repeat: false,
        reused: None,
        duration_ms: 1,
    }
}
