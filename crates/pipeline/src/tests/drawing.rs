//! A plan as people and other programs see it.
//!
//! `tests/drawings` holds one plan as each drawing; `SHIPLINE_UPDATE_CASES=1`
//! writes what came out.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    AllowFailure, Artifacts, ArtifactsOn, BuildWork, Cache, Decision, Edge, EdgeReason,
    PlannedStage, RunOn, RunWork, SecretUse, Style, TreeOptions, Work, plan_dot, plan_mermaid,
    plan_svg, plan_text,
};

fn run(name: &str, needs: &[&str]) -> PlannedStage {
    let work = RunWork { image: "debian:12".to_owned(), ..RunWork::default() };
    let needs = needs.iter().map(|need| edge(need, EdgeReason::Needs, false)).collect();
    PlannedStage { needs, ..PlannedStage::new(name, Work::Run(Box::new(work))) }
}

fn edge(stage: &str, by: EdgeReason, must: bool) -> Edge {
    Edge { stage: stage.to_owned(), by, must: must.then(|| "run".to_owned()) }
}

fn cell(stage: &str, axis: &str, value: &str, needs: &[&str]) -> PlannedStage {
    PlannedStage {
        name: format!("{stage}[{axis}={value}]"),
        stage: stage.to_owned(),
        matrix: BTreeMap::from([(axis.to_owned(), value.into())]),
        ..run(stage, needs)
    }
}

fn of(stages: Vec<PlannedStage>) -> Plan {
    Plan {
        pipeline: "orders".to_owned(),
        file: ".shipline.yml".to_owned(),
        branch: Some("main".to_owned()),
        sha: "0123456789abcdef".to_owned(),
        stages,
        ..Plan::default()
    }
}

/// A plan with every state and every reason to wait.
fn of_everything() -> Plan {
    let checkout = PlannedStage::new(
        "checkout",
        Work::Checkout {
            depth: Some(1),
            submodules: crate::Submodules::No,
            lfs: false,
            paths: Vec::new(),
        },
    );
    let compile = PlannedStage {
        cache: vec![Cache {
            key: "m2".to_owned(),
            restore: Vec::new(),
            paths: vec!["~/.m2".to_owned()],
        }],
        artifacts: Some(Artifacts {
            paths: vec!["target/*.jar".to_owned()],
            name: None,
            expire: crate::Duration::from_secs(86_400),
            on: ArtifactsOn::Success,
        }),
        ..run("compile", &["checkout"])
    };
    let lint = PlannedStage {
        allow_failure: Some(AllowFailure::ExitCodes(vec![1, 2])),
        reason: "`src/main.rs` matches `src/**`".to_owned(),
        ..run("lint", &["compile"])
    };
    let secret = |name: &str, present, env: Option<&str>, file| SecretUse {
        name: name.to_owned(),
        present,
        env: env.map(str::to_owned),
        file,
    };
    let sonar = PlannedStage {
        secrets: vec![
            secret("SONAR_TOKEN", true, None, false),
            secret("PROXY", false, Some("HTTP_PROXY"), false),
            secret("LICENCE", false, None, true),
        ],
        resources: crate::Resources { cpu: Some(1.5), memory: Some(6 << 30), pids: None },
        ..run("sonar", &["compile"])
    };
    let build = BuildWork {
        context: ".".to_owned(),
        file: "Dockerfile".to_owned(),
        ..BuildWork::default()
    };
    let image = PlannedStage {
        needs: vec![
            edge("unit-test", EdgeReason::Needs, false),
            edge("lint", EdgeReason::Needs, false),
            edge("sonar", EdgeReason::Before, false),
        ],
        ..PlannedStage::new("image", Work::Build(build))
    };
    let smoke = PlannedStage {
        needs: vec![edge("image", EdgeReason::Output, true)],
        deferred: vec!["image".to_owned()],
        ..run("smoke", &[])
    };
    let release = PlannedStage {
        state: Decision::Skip,
        reason: "branch `main` does not match `release/*`".to_owned(),
        needs: vec![edge("smoke", EdgeReason::Order, false)],
        ..run("release", &[])
    };
    let teardown = PlannedStage {
        run_on: RunOn::Always,
        needs: vec![edge("release", EdgeReason::Order, false)],
        ..run("teardown", &[])
    };
    of(vec![
        checkout,
        compile,
        cell("unit-test", "db", "mysql:8", &["compile"]),
        cell("unit-test", "db", "postgres:16", &["compile"]),
        lint,
        sonar,
        image,
        smoke,
        release,
        teardown,
    ])
}

/// Twenty stages, each after one to three above it.
fn of_twenty() -> Plan {
    let mut stages = vec![run("stage-0", &[])];
    for number in 1_usize..20 {
        let mut needs: Vec<String> = (0..=number % 3)
            .map(|step| format!("stage-{}", (number * number / 3 + step * 5) % number))
            .collect();
        needs.sort();
        needs.dedup();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        stages.push(run(&format!("stage-{number}"), &needs));
    }
    of(stages)
}

/// Five hundred: five rows of a hundred, joined at the end.
fn of_many() -> Plan {
    let mut stages = vec![run("start", &[])];
    let mut ends = Vec::new();
    for row in 0..100 {
        let mut last = "start".to_owned();
        for step in 0..5 {
            let name = format!("part-{row}-{step}");
            stages.push(run(&name, &[last.as_str()]));
            last = name;
        }
        ends.push(last);
    }
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    stages.push(run("finish", &ends));
    of(stages)
}

fn text(plan: &Plan) -> String {
    plan_text(plan, &TreeOptions::default())
}

#[test]
fn each_drawing_of_a_plan_is_as_it_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/drawings");
    let update = std::env::var_os("SHIPLINE_UPDATE_CASES").is_some();
    let (everything, twenty, one) = (of_everything(), of_twenty(), of(vec![run("only", &[])]));
    for (name, came) in [
        ("everything.txt", text(&everything)),
        ("everything.dot", plan_dot(&everything)),
        ("everything.mmd", plan_mermaid(&everything)),
        ("everything.svg", plan_svg(&everything)),
        ("twenty.txt", text(&twenty)),
        ("twenty.svg", plan_svg(&twenty)),
        ("one.svg", plan_svg(&one)),
    ] {
        let path = folder.join(name);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &came).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(expected == came, "{name} is different:\n{came}");
    }
}

#[test]
fn branches_are_indented_and_the_stage_that_joins_them_is_not() {
    assert_eq!(
        text(&of(vec![
            run("fetch", &[]),
            run("compile", &["fetch"]),
            run("test", &["compile"]),
            run("lint", &["compile"]),
            run("package", &["test", "lint"]),
            run("docs", &["fetch"]),
        ])),
        "orders (.shipline.yml): manual, branch main, commit 01234567
● fetch       run in debian:12
├─ ● compile  run in debian:12
│  ├─ ● test  run in debian:12
│  ├─ ● lint  run in debian:12
│  ● package  run in debian:12 · after test, lint
└─ ● docs     run in debian:12
6 stages, 0 skipped
"
    );
}

#[test]
fn a_need_that_another_need_implies_is_not_drawn() {
    let plan = of(vec![run("a", &[]), run("b", &["a"]), run("c", &["a", "b"])]);
    assert!(!plan_dot(&plan).contains("\"a\" -> \"c\""), "{}", plan_dot(&plan));
    assert!(!plan_mermaid(&plan).contains("s0 --> s2"));
    assert!(!plan_svg(&plan).contains("c after a"));
    // One that skips the stage tells something of its own.
    let mut plan = plan;
    plan.stages[2].needs[0] = edge("a", EdgeReason::Output, true);
    assert!(plan_dot(&plan).contains("\"a\" -> \"c\" [style=dashed, label=\"output, must run\""));
    assert!(text(&plan).contains("● c  run in debian:12 · after a (output, must run), b"));
}

#[test]
fn cells_that_differ_stand_alone_unless_they_are_many() {
    let cells = |count: usize| {
        let mut plan = of((0..count).map(|at| cell("test", "n", &at.to_string(), &[])).collect());
        plan.stages[0].state = Decision::Skip;
        plan.stages[0].reason = "`matrix.n` is 0".to_owned();
        plan
    };
    assert_eq!(
        text(&cells(2)),
        "orders (.shipline.yml): manual, branch main, commit 01234567
○ test[n=0]  skipped: `matrix.n` is 0 · run in debian:12
● test[n=1]  run in debian:12
2 stages, 1 skipped
"
    );
    let many = cells(12);
    assert_eq!(
        text(&many),
        "orders (.shipline.yml): manual, branch main, commit 01234567
◐ test ×12  run in debian:12 · n=0, 1, 2, 3, 4, 5, … 6 more · 11 run, 1 skipped
12 stages, 1 skipped; `--all` shows each cell of a matrix
"
    );
    let all = TreeOptions { all: true, ..TreeOptions::default() };
    assert_eq!(plan_text(&many, &all).lines().count(), 14);
    assert_eq!(plan_svg(&many).matches("<g class=\"mixed\"><title>").count(), 1);
}

#[test]
fn a_need_on_a_stage_is_one_on_each_of_its_cells() {
    let cells = |count: usize| (0..count).map(|at| cell("test", "n", &at.to_string(), &[]));
    let all = |stages: Vec<PlannedStage>| {
        plan_text(&of(stages), &TreeOptions { all: true, ..TreeOptions::default() })
    };
    let after = |need: &str| cells(2).chain([run("end", &[need])]).collect::<Vec<_>>();
    assert_eq!(
        all(after("test")),
        "orders (.shipline.yml): manual, branch main, commit 01234567
● test[n=0]  run in debian:12
● test[n=1]  run in debian:12
● end        run in debian:12 · after test
3 stages, 0 skipped
"
    );
    let one = all(after("test[n=0]"));
    assert!(
        one.contains("● test[n=0]  run in debian:12\n● end        run in debian:12\n"),
        "{one}"
    );
    // Each of many after each of many: told without drawing every line.
    let wide = cells(2_000).chain(cells(2_000).map(|cell| PlannedStage {
        name: cell.name.replace("test", "next"),
        stage: "next".to_owned(),
        ..PlannedStage { needs: vec![edge("test", EdgeReason::Needs, false)], ..cell }
    }));
    assert_eq!(all(wide.collect()).lines().count(), 4_002);
}

#[test]
fn a_matrix_of_which_cells_are_missing_is_told_by_its_cells() {
    let both = |os: &str, jdk: &str| {
        let mut cell = cell("t", "os", os, &[]);
        cell.name = format!("t[jdk={jdk},os={os}]");
        cell.matrix.insert("jdk".to_owned(), jdk.into());
        cell
    };
    let three = of(vec![both("a", "17"), both("a", "21"), both("b", "21")]);
    let three = text(&three);
    assert!(three.contains("t ×3  run in debian:12 · [jdk=17,os=a], [jdk=21,os=a]"), "{three}");
    let four = of(vec![both("a", "17"), both("a", "21"), both("b", "17"), both("b", "21")]);
    let four = text(&four);
    assert!(four.contains("t ×4  run in debian:12 · jdk=17, 21 × os=a, b"), "{four}");
}

#[test]
fn many_stages_are_told_in_part_and_the_text_says_how_to_see_all() {
    let mut stages = vec![run("start", &[])];
    stages.extend((0..300).map(|number| run(&format!("part-{number}"), &["start"])));
    let wide = text(&of(stages));
    let lines: Vec<&str> = wide.lines().collect();
    assert_eq!(lines.len(), 15, "{wide}");
    assert_eq!(lines[10], "├─ ⋮ 289 more  part-8 … part-296 · 289 run");
    assert_eq!(lines[14], "301 stages, 0 skipped; 289 not shown, `--all` shows every one");

    let mut chain = vec![run("stage-0", &[])];
    for number in 1..300 {
        chain.push(run(&format!("stage-{number}"), &[&format!("stage-{}", number - 1)]));
    }
    assert_eq!(text(&of(chain)).lines().count(), 13);

    let many = of_many();
    let told = text(&many);
    assert!(told.lines().count() <= 152, "{} lines", told.lines().count());
    let shown = told.lines().filter(|line| line.contains('●')).count();
    let hidden = many.stages.len() - shown;
    assert!(told.contains(&format!("; {hidden} not shown, `--all`")), "{told}");
    let all = plan_text(&many, &TreeOptions { all: true, ..TreeOptions::default() });
    assert_eq!(all.lines().count(), many.stages.len() + 2);
}

#[test]
fn a_narrow_terminal_gets_more_lines_and_no_longer_ones() {
    let plan = of_everything();
    let wide = text(&plan);
    for width in [40, 60, 80, 120] {
        let options = TreeOptions { width: Some(width), ..TreeOptions::default() };
        let narrow = plan_text(&plan, &options);
        let longest = narrow.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= width, "{longest} columns of {width}:\n{narrow}");
        let words = |text: &str| {
            let words = text.split_whitespace();
            words.filter(|word| !matches!(*word, "│" | "·")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words(&narrow), words(&wide), "every word is there, in the same order");
    }
}

#[test]
fn colours_say_nothing_that_the_words_do_not() {
    let plan = of_everything();
    let coloured = plan_text(&plan, &TreeOptions { style: Style::Coloured, ..Default::default() });
    assert!(coloured.contains("\u{1b}[31msecret PROXY as HTTP_PROXY (missing)\u{1b}[0m"));
    let mut plain = String::new();
    for (index, piece) in coloured.split("\u{1b}[").enumerate() {
        plain.push_str(if index == 0 { piece } else { piece.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, text(&plan));
}

#[test]
fn origins_stand_below_each_stage() {
    let plan = planned("image: rust:1.90\nstages: { build: make }", &on_main());
    let options = TreeOptions { origins: true, ..TreeOptions::default() };
    let told = plan_text(&plan, &options);
    assert!(told.contains("image = rust:1.90  <- .shipline.yml:1:8, defaults\n"), "{told}");
}

#[test]
fn origins_of_the_whole_run_stand_above_the_stages() {
    let text =
        "run-timeout: 2h\nconcurrency: { group: a }\nimage: rust:1.90\nstages: { build: make }";
    let plan = planned(text, &on_main());
    let options = TreeOptions { origins: true, ..TreeOptions::default() };
    let told = plan_text(&plan, &options);
    let lines: Vec<&str> = told.lines().skip(1).take(4).collect();
    assert_eq!(
        lines,
        [
            "  concurrency.group = a  <- .shipline.yml:2:23",
            "  concurrency.limit = 1  <- built in",
            "  concurrency.on-new = queue  <- built in",
            "  run-timeout = 2h  <- .shipline.yml:1:14",
        ]
    );
}

#[test]
fn hostile_texts_change_no_drawing() {
    let hostile = "a\"b\\N<script>&amp;\u{1b}[2J\n%%{init}`#;|end]\u{202e}";
    let mut plan = of(vec![run("end", &[]), run("b", &["end"])]);
    plan.branch = Some(hostile.to_owned());
    plan.pipeline = hostile.to_owned();
    plan.stages[1].reason = hostile.to_owned();
    plan.stages[1].state = Decision::Skip;
    if let Work::Run(work) = &mut plan.stages[0].work {
        work.image = hostile.to_owned();
    }
    for drawn in [text(&plan), plan_dot(&plan), plan_mermaid(&plan), plan_svg(&plan)] {
        assert!(!drawn.contains(['\u{1b}', '\u{202e}']), "{drawn}");
    }
    let dot = plan_dot(&plan);
    assert!(dot.starts_with("digraph \"a\\\"b\\\\N<script>&amp;amp;"), "{dot}");
    let mermaid = plan_mermaid(&plan);
    let label = mermaid.lines().nth(1).unwrap();
    assert_eq!(
        label,
        "  s0[\"● end<br/>run in a#34;b#92;N#60;script#62;#38;amp#59;#92;u#123;1b#125;#91;2J⏎#37;#37;#123;init#125;#96;#35;#59;#124;end#93;#92;u#123;202e#125;\"]:::run"
    );
    let svg = plan_svg(&plan);
    assert!(!svg.contains("<script"), "{svg}");
    well_formed(&svg);
}

#[test]
fn a_picture_of_500_stages_has_every_box_in_its_own_place() {
    let plan = of_many();
    let svg = plan_svg(&plan);
    well_formed(&svg);
    assert!(svg.len() < 1 << 20, "{} bytes", svg.len());
    let boxes = boxes(&svg);
    assert_eq!(boxes.len(), plan.stages.len());
    apart(&boxes);
    assert_eq!(svg, plan_svg(&plan), "the same plan gives the same bytes");
}

#[test]
fn a_long_chain_is_drawn_downwards() {
    let mut chain = vec![run("stage-0", &[])];
    for number in 1..40 {
        chain.push(run(&format!("stage-{number}"), &[&format!("stage-{}", number - 1)]));
    }
    let boxes = boxes(&plan_svg(&of(chain)));
    assert!(boxes.windows(2).all(|pair| pair[0][0] == pair[1][0] && pair[0][1] < pair[1][1]));
}

#[test]
fn a_picture_tells_in_words_what_it_shows() {
    let svg = plan_svg(&of_everything());
    for words in [
        "role=\"img\" aria-labelledby=\"shipline-plan-title shipline-plan-desc\"",
        "<title id=\"shipline-plan-title\">Plan of pipeline orders</title>",
        "10 stages: 8 run, 1 decided later, 1 skipped. checkout (runs). compile (runs) after checkout. unit-test ×2 (runs) after compile.",
        "smoke (decided later) after image. release (skipped) after smoke.",
        "@media (prefers-color-scheme:dark)",
    ] {
        assert!(svg.contains(words), "`{words}` is not in\n{svg}");
    }
    assert!(!svg.contains("<script") && !svg.contains("href"), "nothing runs, nothing is loaded");
}

/// Left, top, right and bottom of the box of each stage.
fn boxes(svg: &str) -> Vec<[i64; 4]> {
    let number = |rect: &str, name: &str| -> i64 {
        let (_, rest) = rect.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let rectangles = svg.split("<rect x=").skip(1).map(|rest| format!(" x={rest}"));
    rectangles
        .map(|rect| {
            let (x, y) = (number(&rect, "x"), number(&rect, "y"));
            [x, y, x + number(&rect, "width"), y + number(&rect, "height")]
        })
        .collect()
}

#[track_caller]
fn apart(boxes: &[[i64; 4]]) {
    for (index, one) in boxes.iter().enumerate() {
        for other in &boxes[index + 1..] {
            let beside = one[2] <= other[0] || other[2] <= one[0];
            let below = one[3] <= other[1] || other[3] <= one[1];
            assert!(beside || below, "{one:?} lies on {other:?}");
        }
    }
}

/// Every tag is closed in its order, and no text holds markup.
#[track_caller]
fn well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag has an end");
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{piece}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;"];
            assert!(known.iter().any(|known| entity.starts_with(known)), "&{entity}");
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
}

/// Up to forty stages, each after some of those above it.
fn any_plan() -> impl Strategy<Value = Plan> {
    proptest::collection::vec(proptest::collection::vec(0_usize..40, 0..4), 1..40).prop_map(|all| {
        let stages = all.iter().enumerate().map(|(index, needs)| {
            let above: BTreeSet<usize> =
                needs.iter().copied().filter(|need| *need < index).collect();
            let names: Vec<String> = above.iter().map(|need| format!("s{need}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            run(&format!("s{index}"), &names)
        });
        of(stages.collect())
    })
}

proptest! {
    #[test]
    fn a_line_comes_after_the_lines_of_all_its_needs(plan in any_plan()) {
        let all = TreeOptions { all: true, ..TreeOptions::default() };
        let told = plan_text(&plan, &all);
        let lines: Vec<&str> = told.lines().filter(|line| line.contains('●')).collect();
        let name = |line: &str| line.split_once("● ").unwrap().1.split(' ').next().unwrap().to_owned();
        let names: Vec<String> = lines.iter().map(|line| name(line)).collect();
        prop_assert_eq!(names.len(), plan.stages.len());
        for stage in &plan.stages {
            let own = names.iter().position(|name| *name == stage.name).unwrap();
            for need in &stage.needs {
                prop_assert!(names[..own].contains(&need.stage), "{}", told);
            }
        }
    }

    #[test]
    fn no_box_lies_on_another(plan in any_plan()) {
        let svg = plan_svg(&plan);
        well_formed(&svg);
        let boxes = boxes(&svg);
        prop_assert_eq!(boxes.len(), plan.stages.len());
        apart(&boxes);
    }
}
