use event::{FORMAT, FrameBody, RunId, Stream, TestTotals};
use pipeline::{Edge, EdgeReason, Origin, OriginKind, PlannedStage, Work};

use super::*;

/// A tree, and what is told to it.
struct Story {
    tree: Tree,
    seq: u64,
    now: DateTime<Utc>,
    began: BTreeMap<String, DateTime<Utc>>,
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_352_000, 0).expect("a time in range")
}

impl Story {
    /// Each stage with the one it needs, if any.
    fn of(stages: &[(&str, &str)]) -> Self {
        let planned = stages.iter().map(|(name, need)| PlannedStage {
            needs: [need]
                .into_iter()
                .filter(|need| !need.is_empty())
                .map(|need| Edge { stage: (*need).to_owned(), by: EdgeReason::Needs, must: None })
                .collect(),
            origins: [("run".to_owned(), origin())].into(),
            ..PlannedStage::new(name, Work::Run(Box::default()))
        });
        let plan = Plan {
            pipeline: "orders".to_owned(),
            sha: "1a2b3c4d5e6f".to_owned(),
            branch: Some("main".to_owned()),
            stages: planned.collect(),
            ..Plan::default()
        };
        let tree = Tree::new(Style { colour: false }, Excerpts::default(), false);
        let mut story = Self { tree, seq: 0, now: start(), began: BTreeMap::new() };
        story.tell(EventKind::RunQueued {
            number: 3,
            by: "local".to_owned(),
            plan: Box::new(plan),
        });
        story.tell(EventKind::RunStarted { by: "local".to_owned() });
        story
    }

    fn tell(&mut self, kind: EventKind) {
        self.seq += 1;
        let run = RunId::new(uuid::Uuid::from_u128(0x019c_a800_0000_7000_8000_0000_3f9a_0c1d));
        let (seq, at) = (self.seq, self.now);
        self.tree.event(&Event { format: FORMAT, seq, at, stream: Stream::Run(run), kind });
    }

    fn wait(&mut self, milliseconds: i64) {
        self.now += chrono::TimeDelta::milliseconds(milliseconds);
    }

    fn begin(&mut self, stage: &str, attempt: u32) {
        self.began.entry(stage.to_owned()).or_insert(self.now);
        let (name, not_before) = (String::new(), None);
        self.tell(EventKind::AttemptStarting {
            stage: stage.to_owned(),
            attempt,
            name,
            not_before,
        });
    }

    fn say(&mut self, stage: &str, text: &str) {
        self.tree.frame(&Frame {
            stage: stage.to_owned(),
            attempt: 1,
            stream: OutputStream::Stdout,
            offset: 0,
            body: FrameBody::Text(text.to_owned()),
        });
    }

    fn stop(&mut self, stage: &str, attempt: u32, result: StageResult, told: (&str, Option<&str>)) {
        let reason = Some(told.0.to_owned()).filter(|reason| !reason.is_empty());
        self.tell(EventKind::AttemptFinished {
            stage: stage.to_owned(),
            attempt,
            result,
            exit: None,
            reason,
            code: told.1.map(str::to_owned),
            outputs: event::Outputs::new(),
            repeat: false,
            peak: event::Peak::default(),
            reused: None,
            duration_ms: 0,
        });
    }

    fn end(&mut self, stage: &str, result: StageResult, told: (&str, Option<&str>)) {
        self.stop(stage, 1, result, told);
        let since = self.began[stage];
        self.tell(EventKind::StageFinished {
            stage: stage.to_owned(),
            result,
            reason: Some(told.0.to_owned()).filter(|reason| !reason.is_empty()),
            outputs: event::Outputs::new(),
            reused: None,
            duration_ms: u64::try_from((self.now - since).num_milliseconds()).expect("not before"),
        });
    }

    /// A stage that runs `milliseconds` and passes.
    fn pass(&mut self, stage: &str, milliseconds: i64) {
        self.begin(stage, 1);
        self.wait(milliseconds);
        self.end(stage, StageResult::Passed, ("", None));
    }

    fn finish(&mut self, result: RunResult) {
        let duration_ms = u64::try_from((self.now - start()).num_milliseconds());
        self.tell(EventKind::RunFinished { result, duration_ms: duration_ms.expect("not before") });
    }

    #[track_caller]
    fn lines(&mut self, expected: &[&str]) {
        assert_eq!(self.tree.take_lines(), expected);
    }

    #[track_caller]
    fn rows(&self, columns: usize, rows: usize, expected: &[&str]) {
        let drawn = self.tree.rows(self.now, Size { columns, rows });
        assert_eq!(drawn, expected);
        assert!(drawn.len() <= rows && drawn.iter().all(|row| super::columns(row) < columns));
    }
}

fn origin() -> Origin {
    Origin { file: ".shipline.yml".to_owned(), line: 4, column: 9, by: OriginKind::File }
}

#[test]
fn a_stage_is_a_row_while_it_runs_and_a_line_when_it_is_over() {
    let mut story = Story::of(&[("compile", ""), ("unit-test", "compile")]);
    story.lines(&["orders #3 main at 1a2b3c4d  run 3f9a0c1d"]);
    story.begin("compile", 1);
    story.rows(60, 24, &["▸ compile  0.0s    starting", "  0 of 2 done, 1 running  0.0s"]);
    story.wait(1200);
    story.say("compile", "\x1b[32mcc\x1b[0m -c main.c\nld\x1b]0;title\x07 ");
    story.rows(
        60,
        24,
        &["▸ compile  1.2s    ld\\u{1b}]0;title\\u{7}", "  0 of 2 done, 1 running  1.2s"],
    );
    story.say("compile", "测试测试测试测试测试测试测试测试测试测试测试测试");
    story.rows(36, 24, &["▸ compile  1.2s    ld\\u{1b}]0;titl…", "  0 of 2 done, 1 running  1.2s"]);
    story.rows(20, 24, &["▸ compile 1.2s", "  0/2  1.2s"]);
    story.end("compile", StageResult::Passed, ("", None));
    story.lines(&["✓ compile    1.2s"]);
    story.rows(60, 24, &["  1 of 2 done, 0 running  1.2s"]);
    assert_eq!(story.tree.next_look(story.now), Some(100), "the time of the run goes on");
    story.pass("unit-test", 9000);
    story.finish(RunResult::Passed);
    story.lines(&[
        "✓ unit-test  9.0s",
        "",
        "critical path: compile 1.2s → unit-test 9.0s",
        "passed in 10s  2 passed",
    ]);
    story.rows(60, 24, &[]);
    assert_eq!(story.tree.next_look(story.now), None);
}

#[test]
fn more_stages_than_the_terminal_has_rows_are_counted() {
    let names: Vec<String> = (10..40).map(|number| format!("s{number}")).collect();
    let stages: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let mut story = Story::of(&stages);
    stages.iter().for_each(|(name, _)| story.begin(name, 1));
    story.rows(
        40,
        6,
        &[
            "▸ s10  0.0s    starting",
            "▸ s11  0.0s    starting",
            "▸ s12  0.0s    starting",
            "  and 27 more",
            "  0 of 30 done, 30 running  0.0s",
        ],
    );
    story.rows(40, 3, &["  and 30 more", "  0 of 30 done, 30 running  0.0s"]);
    story.rows(40, 1, &["  0 of 30 done, 30 running  0.0s"]);
}

#[test]
fn a_failed_stage_shows_code_place_cause_help_and_its_last_lines() {
    let mut story = Story::of(&[("test[db=a:1]", ""), ("pack", "test[db=a:1]")]);
    story.tree.take_lines();
    story.begin("test[db=a:1]", 1);
    story.say("test[db=a:1]", "10%\r100%\nit is \x1b[2Jred\n");
    story.wait(61_000);
    let reason = "exit 127: a command of `mkae` is not found\nsecond line";
    story.end("test[db=a:1]", StageResult::Failed, (reason, Some("E091")));
    let (stage, reason) = ("pack".to_owned(), "`test` failed".to_owned());
    story.tell(EventKind::StageBlocked { stage, reason });
    story.lines(&[
        "✗ test[db=a:1]  1m 01s",
        "  error[E091]: exit 127: a command of `mkae` is not found",
        "  --> .shipline.yml:4:9",
        "   = second line",
        "   = help: `shipline explain E091` tells more",
        "  output, again with `shipline logs 3f9a0c1d 'test[db=a:1]'`",
        "  │ 100%",
        "  │ it is \\u{1b}[2Jred",
        "⊘ pack                  blocked  `test` failed",
    ]);
    story.finish(RunResult::Failed);
    story.lines(&[
        "",
        "✗ test[db=a:1]: `shipline logs 3f9a0c1d 'test[db=a:1]'`",
        "failed in 1m 01s  1 blocked, 1 failed",
    ]);
}

#[test]
fn of_much_output_thirty_lines_are_shown_and_where_the_rest_is() {
    let mut story = Story::of(&[("test", "")]);
    story.tree.take_lines();
    story.begin("test", 1);
    (1..=100).for_each(|number| story.say("test", &format!("line {number}\n")));
    story.end("test", StageResult::Failed, ("exit 3", None));
    let lines = story.tree.take_lines();
    assert_eq!(lines[0], "✗ test  0.0s    exit 3");
    assert_eq!(lines[1], "   --> .shipline.yml:4:9");
    assert_eq!(lines[2], "  last 30 of 100 lines, `shipline logs 3f9a0c1d test` has them all");
    assert_eq!((lines[3].as_str(), lines.len()), ("  │ line 71", 33));
}

#[test]
fn every_end_of_a_stage_has_a_sign_of_its_own() {
    let mut story = Story::of(&["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, "")));
    story.tree.take_lines();
    let mut plan = story.tree.state.plan.as_deref().expect("planned").clone();
    NOT_ASKED_FOR.clone_into(&mut plan.stages[1].reason);
    story.tree.state.plan = Some(plan.into());
    let skip = |stage: &str, reason: &str| EventKind::StageSkipped {
        stage: stage.to_owned(),
        reason: reason.to_owned(),
    };
    story.tell(skip("a", "`branch` is `main`"));
    story.tell(skip("b", NOT_ASKED_FOR));
    for (name, result, reason) in [
        ("c", StageResult::Warning, "exit 1"),
        ("d", StageResult::Unchanged, "taken from run 0badcafe"),
        ("e", StageResult::Cancelled, ""),
        ("f", StageResult::TimedOut, "no end after 2s"),
        ("g", StageResult::Passed, ""),
    ] {
        story.begin(name, 1);
        if name == "g" {
            let totals = TestTotals { tests: 12, skipped: 2, ..TestTotals::default() };
            story.tell(EventKind::ReportRead { stage: name.to_owned(), attempt: 1, totals });
        }
        story.end(name, result, (reason, None));
    }
    let lines = story.tree.take_lines();
    let ends: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    assert_eq!(
        ends,
        [
            "○ a          skipped  `branch` is `main`",
            "! c  0.0s    warning  exit 1",
            "= d  0.0s    unchanged  taken from run 0badcafe",
            "■ e  0.0s    cancelled",
            "✗ f  0.0s    timed-out  no end after 2s",
            "--> .shipline.yml:4:9",
            "✓ g  0.0s    12 tests, 2 skipped",
        ]
    );
}

#[test]
fn another_attempt_says_how_the_last_one_ended() {
    let mut story = Story::of(&[("test", "")]);
    story.tree.take_lines();
    story.begin("test", 1);
    story.say("test", "first\n");
    story.stop("test", 1, StageResult::Failed, ("exit 1", None));
    story.begin("test", 2);
    story.lines(&["↻ test  attempt 1 failed: exit 1; attempt 2 begins in 0.0s"]);
    story.rows(60, 9, &["▸ test  0.0s    starting", "  0 of 1 done, 1 running  0.0s"]);
}

#[test]
fn the_critical_path_is_the_chain_that_took_longest() {
    let mut story =
        Story::of(&[("a", ""), ("fast", "a"), ("slow", "a"), ("z", "fast"), ("off", "slow")]);
    story.pass("a", 100);
    ["fast", "slow"].iter().for_each(|name| story.begin(name, 1));
    story.wait(200);
    story.end("fast", StageResult::Passed, ("", None));
    story.begin("z", 1);
    story.wait(100);
    story.end("z", StageResult::Passed, ("", None));
    story.wait(700);
    story.end("slow", StageResult::Passed, ("", None));
    let skipped = EventKind::StageSkipped { stage: "off".to_owned(), reason: "off".to_owned() };
    story.tell(skipped);
    assert_eq!(critical_path(&story.tree.state), [("a", 100), ("slow", 1000)]);
}
