//! Processes are killed, again and again, and nothing is lost: what ran ran once, every run
//! has its one end, what is kept is whole, and nothing is left on the engine.
//!
//! `make test` plays a short form; `FAULTS=200` is the number of kills of the long one, in
//! which the server also dies at every place there is. `SEED` is printed and plays it again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::Utc;
use event::{EventKind, StageResult};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::harness::audit::{Deaths, Told, assert_nothing_left, audit, read_all, stdout};
use crate::harness::git::Repository;
use crate::harness::lab::Lab;
use crate::harness::process::{Process, signal, wait_for};
use crate::harness::server::{Server, ServerParts};
use crate::harness::witness::{Decoys, EngineLog, Witness};

/// Kills of the short form.
const FEW: u32 = 4;
/// Until nothing of ours may be on the engine any more.
pub const CLEAN: Duration = Duration::from_secs(60);

/// Numbers of a seed that is told: SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub fn cast(test: &str) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| Utc::now().timestamp_subsec_nanos().into());
        eprintln!("{test}: SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    pub fn sleep(&mut self, below: Duration) {
        let millis = u64::try_from(below.as_millis()).expect("it is short");
        std::thread::sleep(Duration::from_millis(self.below(millis)));
    }
}

/// `None` is the short form.
pub fn faults() -> Option<u32> {
    std::env::var("FAULTS").ok().map(|faults| faults.parse().expect("FAULTS is a number"))
}

/// Five stages, a chain and a fan; each says when it begins and ends, and the last one
/// always ends with 7.
fn pipeline(witness: &Witness) -> String {
    let work = |stage: &str, needs: &str, end: &str| {
        format!(
            "  {stage}:\n    needs: [{needs}]\n    run:\n      - |\n        {say}\n        \
             say begin\n        seq 1 200\n        sleep 0.3\n        seq 201 400\n        \
             say end\n        {end}\n",
            say = witness.say(),
        )
    };
    let stages = [
        work("first", "", "true"),
        work("left", "first", "true"),
        work("right", "first", "true"),
        work("join", "left, right", "true"),
        work("last", "join", "exit 7"),
    ];
    format!("image: busybox:1\nstages:\n{}", stages.concat())
}

/// What each of its stages writes.
fn written() -> String {
    (1..=400).map(|number| format!("{number}\n")).collect()
}

/// Whether the verdict of this run is right. `may_be_lost`: its process was killed, and nobody
/// goes on with what that began.
fn wrong_end(told: &Told, may_be_lost: bool) -> Option<String> {
    let stages = told.stages();
    let ended = told.row.result.map(|result| result.to_string()).unwrap_or_default();
    let right = |(stage, (result, exit)): (&&str, &(StageResult, Option<i64>))| match *stage {
        "checkout" => *result == StageResult::Passed,
        "last" => (*result, *exit) == (StageResult::Failed, Some(7)),
        _ => (*result, *exit) == (StageResult::Passed, Some(0)),
    };
    if ended == "failed" && stages.iter().all(right) {
        return None;
    }
    // What ended before it died ended right, and nothing had begun of what is cancelled.
    let lost = |end: (&&str, &(StageResult, Option<i64>))| {
        matches!(end.1.0, StageResult::InfraError | StageResult::Blocked) || right(end)
    };
    let unbegun =
        |(_, (result, _)): (&&str, &(StageResult, Option<i64>))| *result == StageResult::Cancelled;
    let excused = match ended.as_str() {
        "infra-error" | "failed" => stages.iter().all(lost),
        "cancelled" => stages.iter().all(unbegun),
        _ => false,
    };
    if may_be_lost && excused {
        return None;
    }
    Some(format!("{}: it ended as `{ended}`, with {stages:?}", told.row.id.short()))
}

/// The server, its project and those who watch.
pub struct Place {
    // Dropped in this order.
    pub server: Server,
    _repository: Repository,
    pub decoys: Decoys,
    pub engine: EngineLog,
    pub witness: Witness,
    pub deaths: Deaths,
    pub instance: String,
    pub lab: Lab,
}

impl Place {
    pub fn new(pipeline: impl FnOnce(&Witness) -> String) -> Self {
        let lab = Lab::new();
        let witness = Witness::start();
        let parts = ServerParts {
            registry: None,
            mail: None,
            proxy: None,
            project: "app",
            environment: "test",
        };
        let server = Server::start(&lab, &parts);
        let repository = Repository::create(&lab.folder("git"));
        repository.write(".shipline.yml", &pipeline(&witness));
        repository.commit_and_push("first");
        let bare = repository.bare.display().to_string();
        let create = ["project", "create", "app", "--git", &bare, "--poll", "1h"];
        server.client(&lab, &create).expect(0);
        let instance = crate::harness::audit::instance(&server.data.join("state.db"));
        let engine = EngineLog::start(&instance, &lab.path().join("engine.log"));
        let decoys = Decoys::make(&instance);
        let deaths = Deaths::default();
        Self { server, _repository: repository, decoys, engine, witness, deaths, instance, lab }
    }

    /// Asks for a run; a server that dies meanwhile may have taken it or not.
    pub fn trigger(&self) -> bool {
        self.server.client(&self.lab, &["trigger", "app", "--ref", "main"]).code == 0
    }

    pub fn unfinished(&self) -> Option<usize> {
        let rows = self.server.client(&self.lab, &["runs", "--format", "json"]);
        if rows.code != 0 {
            return None;
        }
        let rows: Value = serde_json::from_str(&rows.stdout).ok()?;
        let rows = rows.as_array()?;
        Some(rows.iter().filter(|row| row["state"] != "finished").count())
    }

    pub fn kill(&mut self, dice: &mut Dice) {
        self.server.kill();
        let down = Utc::now();
        dice.sleep(Duration::from_millis(400));
        self.start_again(down);
    }

    pub fn start_again(&mut self, down: chrono::DateTime<Utc>) {
        let up = Utc::now();
        self.server.up(&self.lab);
        self.deaths.add(down, up);
    }

    /// Starts a server that dies at the place of that number, has it take up what there is, and
    /// a run more if `trigger`; returns whether it lives.
    fn lives_until(&mut self, place: u64, trigger: bool) -> bool {
        let up = Utc::now();
        let number = place.to_string();
        let mut lives = self.server.up_with(&self.lab, &[("SHIPLINE_CRASH_AT", &number)]);
        if lives && trigger {
            // Its answer may be the last thing it does not say.
            self.trigger();
        }
        let limit = Instant::now() + Duration::from_secs(60);
        while lives && Instant::now() < limit {
            if self.unfinished() == Some(0) {
                // What is removed after the end of a run has its places, too.
                std::thread::sleep(Duration::from_secs(1));
                lives = self.server.is_alive();
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            lives = self.server.is_alive();
        }
        if !lives {
            self.server.kill();
            // It is dead by now, and the next one soon lives.
            self.deaths.add(up, Utc::now());
        }
        lives
    }

    pub fn wait_for_all(&self, limit: Duration) {
        wait_for("all runs to end", limit, || {
            std::thread::sleep(Duration::from_millis(200));
            (self.unfinished()? == 0).then_some(())
        });
    }

    /// Stops the server and looks at everything.
    pub fn audit(mut self) -> Vec<Told> {
        self.wait_for_all(Duration::from_secs(180));
        self.server.terminate();
        let runs = read_all(&self.server.data.join("state.db"));
        assert_nothing_left(&self.instance, &runs, CLEAN);
        let mut broken = audit(&runs, &self.engine, &self.witness.said(), &self.deaths, true);
        broken.extend(runs.iter().flat_map(|told| {
            let output = self.server.data.join("runs").join(told.row.id.to_string()).join("output");
            wrong_output(told, &output, &written())
        }));
        broken.extend(runs.iter().filter_map(|told| wrong_end(told, false)));
        self.decoys.assert_untouched();
        assert_eq!(broken, [""; 0], "after {} kills", self.deaths.len());
        runs
    }
}

/// Every stage that passed has all that it wrote, byte by byte.
fn wrong_output(told: &Told, output: &Path, expected: &str) -> Vec<String> {
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    told.passed()
        .filter(|(stage, _)| *stage != "checkout")
        .filter_map(|(stage, attempt)| {
            let kept = stdout(output, stage, attempt);
            (digest(&kept) != digest(expected.as_bytes())).then(|| {
                format!(
                    "{}: {} bytes are kept of `{stage}`, it wrote {}",
                    told.row.id.short(),
                    kept.len(),
                    expected.len()
                )
            })
        })
        .collect()
}

#[test]
fn a_server_is_killed_at_random() {
    let mut dice = Dice::cast("a_server_is_killed_at_random");
    let mut place = Place::new(pipeline);
    let kills = faults().unwrap_or(FEW);
    for _ in 0..kills {
        while place.unfinished().unwrap_or(0) < 3 && place.trigger() {}
        dice.sleep(Duration::from_secs(4));
        place.kill(&mut dice);
    }
    let begun = Instant::now();
    let runs = place.audit();
    let whole =
        runs.iter().filter(|told| told.row.result.is_some_and(|r| r.to_string() == "failed"));
    eprintln!(
        "{kills} kills, {} runs, {} undisturbed, audited in {:?}",
        runs.len(),
        whole.count(),
        begun.elapsed()
    );
}

#[test]
fn a_server_dies_at_every_place() {
    let mut dice = Dice::cast("a_server_dies_at_every_place");
    let mut place = Place::new(pipeline);
    place.server.terminate();
    // One undisturbed life tells how many places there are.
    let log = place.lab.path().join("places");
    assert!(
        place.server.up_with(&place.lab, &[("SHIPLINE_CRASH_LOG", &log.display().to_string())])
    );
    assert!(place.trigger());
    place.wait_for_all(Duration::from_secs(60));
    place.server.terminate();
    let passed = std::fs::read_to_string(&log).expect("places were passed");
    let places: Vec<&str> = passed.lines().collect();
    assert!(places.len() > 50, "{passed}");
    for name in [
        "before commit",
        "after commit",
        "before start",
        "after start",
        "after wait",
        "before clean",
    ] {
        assert!(passed.contains(name), "`{name}` is a place of a run:\n{passed}");
    }
    // All of them, or some anywhere.
    let count = places.len() as u64;
    let chosen: BTreeSet<u64> = match faults() {
        Some(_) => (1..=count).collect(),
        None => (0..FEW).map(|_| 1 + dice.below(count)).collect(),
    };
    let (mut died, mut again) = (0, 0);
    for at in &chosen {
        if place.lives_until(*at, true) {
            // This life passed fewer places.
            place.server.terminate();
            place.server.up(&place.lab);
        } else {
            died += 1;
            // Whoever takes it up may die at that, too.
            if dice.below(2) == 0 && !place.lives_until(1 + dice.below(40), false) {
                again += 1;
            } else if place.server.is_alive() {
                place.server.terminate();
            }
            place.server.up(&place.lab);
        }
        place.wait_for_all(Duration::from_secs(120));
        place.server.terminate();
    }
    place.server.up(&place.lab);
    // Lives differ a little.
    assert!(died * 4 >= chosen.len() * 3, "of {} only {died} died", chosen.len());
    let runs = place.audit();
    eprintln!(
        "{count} places, died at {died} of {}, {again} times while it took up, {} runs",
        chosen.len(),
        runs.len()
    );
}

#[test]
fn a_run_of_a_laptop_is_killed_again_and_again() {
    let mut dice = Dice::cast("a_run_of_a_laptop_is_killed_again_and_again");
    let laptop = Laptop::new();
    let mut deaths = Deaths::default();
    let kills = faults().unwrap_or(FEW);
    let mut down = None;
    for kill in 0..kills {
        let between = kill % 2 == 0;
        // Between the end of a container and its record, or anywhere.
        let place = format!("after wait#{}", 1 + dice.below(5));
        let variables: &[(&str, &str)] =
            if between { &[("SHIPLINE_CRASH_AT", &place)] } else { &[] };
        let up = Utc::now();
        let mut run = laptop.begin(&["run"], variables);
        if let Some(down) = down {
            deaths.add(down, up);
        }
        if between {
            wait_for("its death", Duration::from_secs(60), || (!run.is_alive()).then_some(()));
            assert_eq!(run.wait(Duration::from_secs(1)), None, "killed: {}", run.text());
        } else {
            dice.sleep(Duration::from_millis(4000));
        }
        run.kill();
        down = Some(Utc::now());
    }
    let up = Utc::now();
    let last = laptop.lab.run(&laptop.folder, &["run"]).expect(1);
    deaths.add(down.expect("it was killed"), up);
    assert!(last.stdout.contains("exit 7"), "{}", last.stdout);
    laptop.audit(&deaths);
}

#[test]
fn a_cancelled_run_ends_those_that_listen_and_those_that_do_not() {
    // In each run so many of both kinds.
    const EACH: u32 = 5;
    let cancels = faults().unwrap_or(2 * EACH).div_ceil(2);
    let laptop = Laptop::with(|witness| {
        let mut text = "image: busybox:1\nstages:\n".to_owned();
        for number in 0..EACH {
            text.push_str(&format!(
                "  listens-{number}:\n    needs: []\n    run:\n      - |\n        {say}\n        \
                 trap 'say term; exit 3' TERM\n        say begin\n        \
                 while true; do sleep 0.2; done\n  stubborn-{number}:\n    needs: []\n    cancel-grace: 4s\n    \
                 run:\n      - |\n        {say}\n        trap '' TERM\n        say begin\n        \
                 while true; do sleep 0.2; done\n",
                say = witness.say()
            ));
        }
        text
    });
    let mut runs = 0;
    for _ in 0..cancels.div_ceil(2 * EACH).max(1) {
        let before = laptop.witness.said().len();
        let mut run = laptop.begin(&["run", "--jobs", "10"], &[]);
        wait_for("all stages to begin", Duration::from_secs(60), || {
            run.assert_alive();
            (laptop.witness.said().len() - before >= 2 * EACH as usize).then_some(())
        });
        signal(run.pid(), "INT");
        assert_eq!(run.wait(Duration::from_secs(30)), Some(130), "{}", run.text());
        runs += 1;
    }
    let said = laptop.witness.said();
    let heard = said.iter().filter(|said| said.word == "term").count();
    assert_eq!(heard, runs * EACH as usize, "each that listens is told");
    // The auditor knows when each had to be gone: its grace, and two seconds.
    let told = laptop.audit(&Deaths::default());
    assert_eq!(told.len(), runs);
    for told in &told {
        let ends = told.stages();
        assert!(
            ends.iter()
                .all(|(stage, (end, _))| *stage == "checkout" || *end == StageResult::Cancelled),
            "{ends:?}"
        );
    }
    eprintln!("{} cancels", runs * 2 * EACH as usize);
}

/// Somebody who runs pipelines on a machine of their own.
struct Laptop {
    engine: EngineLog,
    decoys: Decoys,
    witness: Witness,
    instance: String,
    folder: PathBuf,
    lab: Lab,
}

impl Laptop {
    fn new() -> Self {
        Self::with(pipeline)
    }

    fn with(pipeline: impl FnOnce(&Witness) -> String) -> Self {
        let lab = Lab::new();
        let witness = Witness::start();
        let repository = Repository::create(&lab.folder("git"));
        repository.write(".shipline.yml", &pipeline(&witness));
        repository.commit("first");
        let instance = lab.instance();
        let engine = EngineLog::start(&instance, &lab.path().join("engine.log"));
        let decoys = Decoys::make(&instance);
        Self { engine, decoys, witness, instance, folder: repository.tree, lab }
    }

    fn begin(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        let mut command = self.lab.shipline();
        command.current_dir(&self.folder).args(arguments).envs(variables.iter().copied());
        Process::start(&mut command, &self.lab.path().join("run.log"))
    }

    fn audit(&self, deaths: &Deaths) -> Vec<Told> {
        let runs = read_all(&self.lab.home().join("state.db"));
        assert_nothing_left(&self.instance, &runs, CLEAN);
        let mut broken = audit(&runs, &self.engine, &self.witness.said(), deaths, false);
        let cancelled = |told: &Told| {
            told.events.iter().any(|event| matches!(event.kind, EventKind::CancelRequested { .. }))
        };
        for told in runs.iter().filter(|told| !cancelled(told)) {
            let output = self.output(told);
            broken.extend(wrong_output(told, &output, &written()));
            broken.extend(wrong_end(told, deaths.len() > 0));
        }
        self.decoys.assert_untouched();
        assert_eq!(broken, [""; 0], "after {} kills", deaths.len());
        eprintln!("{} kills, {} runs", deaths.len(), runs.len());
        runs
    }

    fn output(&self, told: &Told) -> PathBuf {
        let id = told.row.id.to_string();
        let directories = std::fs::read_dir(self.lab.home().join("dirs")).expect("there is one");
        let directory = directories.filter_map(Result::ok).next().expect("there is one").path();
        directory.join("runs").join(id).join("output")
    }
}
