//! The pictures of the documentation: a real run on a terminal, drawn.
//!
//! Times, ids and commits are other ones each time, so they are replaced by those of a
//! run that nobody made; everything else is as it was.

use std::path::Path;

use super::git::Repository;
use super::lab::{Lab, repository_root};
use super::picture::{Cell, Row, draw, rows, trim};
use super::pty::Pty;

const COLUMNS: u16 = 88;
const ROWS: u16 = 40;
const RUN: &str = "3f9a0c1d";
const COMMIT: &str = "1a2b3c4d";

/// Each stage ends at a time of its own, so that they always end in this order.
const PIPELINE: &str = r#"name: orders
image: busybox:1
stages:
  compile:
    run: sh ci/compile.sh
    artifacts: { paths: [orders] }
  lint:
    needs: [compile]
    allow-failure: true
    run: echo 'store.c:41 unused variable'; exit 1
  unit-test:
    needs: [compile]
    matrix: { db: [mysql, postgres] }
    run: sh ci/test.sh "$SHIPLINE_MATRIX_DB"
    reports: { junit: report.xml }
  image: { needs: [unit-test], run: echo pushed }
  publish: { needs: [compile], when: { branch: release }, run: echo published }
"#;

const COMPILE: &str = r#"for file in main route store; do echo "cc -O2 -c $file.c"; done
echo 'ld -o orders'
echo binary >orders
sleep 1
"#;

const TEST: &str = r#"report() {
  echo "<testsuite><testcase classname='store' name='transfer'/>$1</testsuite>" >report.xml
}
echo "test store::transfer on $1 ... ok"
sleep 4
report
[ "$1" = mysql ] && exit
sleep 2
printf 'test store::rollback on %s ... \033[31mFAILED\033[0m\n' "$1"
echo '  store.c:88: expected 100, found 90'
report "<testcase classname='store' name='rollback'><failure>expected 100, found 90</failure></testcase>"
exit 1
"#;

/// How long things took in the run that nobody made, by the word before.
const TIMES: [(&str, &str); 7] = [
    ("checkout", "0.2s"),
    ("compile", "1.4s"),
    ("lint", "0.5s"),
    ("unit-test[db=mysql]", "4.6s"),
    ("unit-test[db=postgres]", "6.7s"),
    ("running", "3.1s"),
    ("in", "8.3s"),
];

/// How long the tests have been running in the picture of them.
const STILL_RUNNING: &str = "1.4s";

/// Runs the pipeline, and returns the name and text of each picture.
pub fn take(lab: &Lab) -> Vec<(&'static str, String)> {
    let repository = Repository::create(&lab.folder("git"));
    repository.write(".shipline.yml", PIPELINE);
    repository.write("ci/compile.sh", COMPILE);
    repository.write("ci/test.sh", TEST);
    repository.commit("first");
    let mut command = lab.shipline();
    command.current_dir(&repository.tree).arg("run").env_remove("NO_COLOR");
    let mut pty = Pty::start(&command, COLUMNS, ROWS);
    pty.wait_for("both tests", |screen| {
        let rows = screen.matches("▸ unit-test[").count();
        rows == 2 && screen.matches("... ok").count() == 2 && screen.contains("! lint")
    });
    let running = pty.look(rows);
    assert_eq!(pty.wait(), 1, "{}", pty.everything());
    let failed = pty.look(rows);
    let known = identities(lab, &repository.tree);
    let picture = |shown: Vec<Row>| {
        let shown: Vec<Row> = shown.into_iter().map(|row| normalised(row, &known)).collect();
        draw("shipline run", &shown, COLUMNS)
    };
    vec![("running.svg", picture(running)), ("failed.svg", picture(failed))]
}

pub fn folder() -> std::path::PathBuf {
    repository_root().join("docs/pictures")
}

/// What is another one each time, and what stands for it; both are as long.
fn identities(lab: &Lab, tree: &Path) -> Vec<(String, &'static str)> {
    let row = lab.run(tree, &["runs", "--format", "json"]).expect(0).json()[0].clone();
    let word = |field: &str| row[field].as_str().and_then(|text| text.get(..8)).map(str::to_owned);
    vec![
        (word("short").expect("a run has an id"), RUN),
        (word("sha").expect("a run has a commit"), COMMIT),
    ]
}

fn normalised(mut row: Row, identities: &[(String, &str)]) -> Row {
    for (from, to) in identities {
        while let Some(at) = find(&row, from) {
            for (cell, letter) in row[at..].iter_mut().zip(to.chars()) {
                cell.text = letter.to_string();
            }
        }
    }
    let runs = row.first().is_some_and(|cell| cell.text == "▸");
    let mut at = 0;
    let mut before = String::new();
    while at < row.len() {
        let end =
            row[at..].iter().position(|cell| cell.text == " ").map_or(row.len(), |to| at + to);
        let word: String = row[at..end].iter().map(|cell| cell.text.as_str()).collect();
        if word.is_empty() {
            at += 1;
            continue;
        }
        if is_duration(&word) {
            let time = if runs { STILL_RUNNING } else { time_after(&before) };
            at = replace(&mut row, at..end, time);
        } else {
            at = end;
        }
        before = word;
    }
    trim(&mut row);
    row
}

/// Puts another duration there; the space behind it becomes larger or smaller.
fn replace(row: &mut Row, place: std::ops::Range<usize>, text: &str) -> usize {
    let look = row[place.start].clone();
    let new: Vec<Cell> =
        text.chars().map(|letter| Cell { text: letter.to_string(), ..look.clone() }).collect();
    let (start, old) = (place.start, place.len());
    row.splice(place, new.iter().cloned());
    let end = start + new.len();
    let blank = Cell { text: " ".to_owned(), ..look };
    for _ in new.len()..old {
        row.insert(end, blank.clone());
    }
    for _ in old..new.len() {
        if row.get(end).is_some_and(|cell| cell.text == " ") {
            row.remove(end);
        }
    }
    end
}

fn find(row: &Row, text: &str) -> Option<usize> {
    let letters: Vec<String> = text.chars().map(String::from).collect();
    row.windows(letters.len())
        .position(|cells| cells.iter().map(|cell| &cell.text).eq(letters.iter()))
}

fn is_duration(word: &str) -> bool {
    word.strip_suffix('s').is_some_and(|number| number.parse::<f64>().is_ok())
}

fn time_after(word: &str) -> &'static str {
    let known = TIMES.iter().find(|(name, _)| *name == word);
    known.map_or("1.0s", |(_, time)| time)
}
