//! Programs nobody here wrote, from Debian's source packages. `make test-real` shows
//! what each took.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::configure;
use crate::harness::git::Repository;
use crate::harness::lab::{Lab, repository_root};
use crate::harness::registry::{ImageRegistry, PASSWORD};
use crate::kept_files::events;
use crate::local_run::{assert_gapless, output_of};

/// C with autotools.
#[test]
fn hello_is_configured_compiled_checked_and_packaged() {
    let program = Program::of("hello");
    let first = program.run();
    assert_eq!(
        first.results,
        results("checkout passed, configure passed, compile passed, check passed, package passed")
    );
    assert_eq!(first.tests("check"), 5);
    assert!(output_of(&first.lines, "package").ends_with("Hello, world!\n"));
    let archive = program.artifact("package/dist/hello.tar.gz");

    let second = program.run_after("README", "One more line.\n");
    assert_eq!(
        second.results,
        results(
            "checkout passed, configure passed, compile unchanged, check unchanged, package unchanged"
        )
    );
    assert_eq!(second.restored(), ["configure"]);
    assert!(output_of(&second.lines, "configure").contains("(cached)"));
    assert_eq!(second.tests("check"), 5);
    assert_eq!(program.artifact("package/dist/hello.tar.gz"), archive);
}

/// Python with pytest, its tests in a matrix.
#[test]
fn sortedcontainers_is_tested_and_packaged() {
    const WHEEL: &str = "package/dist/sortedcontainers-2.4.0-py3-none-any.whl";
    let program = Program::of("sortedcontainers");
    let first = program.run();
    assert_eq!(
        first.results,
        results(
            "checkout passed, doctest passed, unit-test[kind=coverage] passed, \
             unit-test[kind=stress] passed, package passed"
        )
    );
    let tests = ["doctest", "unit-test[kind=coverage]", "unit-test[kind=stress]"];
    assert_eq!(tests.map(|stage| first.tests(stage)), [67, 291, 6]);
    let wheel = program.artifact(WHEEL);
    program.artifact("package/dist/sortedcontainers-2.4.0.tar.gz");

    // It is read by the doctests, and by nothing else.
    let second = program.run_after("docs/introduction.rst", "\nOne more line.\n");
    assert_eq!(
        second.results,
        results(
            "checkout passed, doctest passed, unit-test[kind=coverage] unchanged, \
             unit-test[kind=stress] unchanged, package unchanged"
        )
    );
    assert_eq!(second.restored(), ["doctest"]);
    assert_eq!(tests.map(|stage| second.tests(stage)), [67, 291, 6]);
    assert_eq!(program.artifact(WHEEL), wheel);
}

/// A module and a program in Go.
#[test]
fn toml_is_tested_and_its_program_built() {
    let program = Program::of("golang-toml");
    let first = program.run();
    assert_eq!(first.results, results("checkout passed, unit-test passed, build passed"));
    assert!(first.tests("unit-test") > 600, "{}", first.tests("unit-test"));
    assert_eq!(first.restored(), ["build"], "from what the tests compiled");
    let mentions = |commit: &str| {
        let built = program.artifact("build/bin/tomlv");
        built.windows(commit.len()).any(|bytes| bytes == commit.as_bytes())
    };
    assert!(mentions(&program.head()));

    let second = program.run_after("README.md", "One more line.\n");
    assert_eq!(second.results, results("checkout passed, unit-test unchanged, build passed"));
    assert_eq!(second.tests("unit-test"), first.tests("unit-test"));
    assert_eq!(second.restored(), ["build"]);
    assert!(mentions(&program.head()));
}

/// Compiles, runs a part of redis' own test-suite, builds and pushes an image,
/// deploys two replicas, and speaks to each.
#[test]
fn redis_is_compiled_tested_pushed_and_deployed() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, PASSWORD);
    let repository = Repository::create(&lab.folder("git"));
    repository.copy(&source("redis"));
    let pipeline = part("redis/shipline.yml").replace("registry.example.net", &images.host());
    repository.write(".shipline.yml", &pipeline);
    repository.write("Dockerfile", &part("redis/Dockerfile"));
    repository.write(".dockerignore", "*\n!src/redis-server\n!src/redis-cli\n!redis.conf\n");
    repository.commit("redis");

    let ran = Ran::of(&lab, &repository.tree, "redis", &["--allow-side-effects"]);
    assert!(ran.results.values().all(|result| result == "passed"), "{:?}", ran.results);
    let status =
        lab.run(&repository.tree, &["status", "demo", "--format", "json"]).expect(0).json();
    let units = status["units"].as_array().expect("units");
    assert_eq!(units.len(), 2, "{status:#}");
    for unit in units {
        assert_eq!(ping(unit["address"].as_str().expect("a unit has an address")), "+PONG\r\n");
    }
}

/// A program's source and its pipeline in a repository of its own.
struct Program {
    name: &'static str,
    lab: Lab,
    repository: Repository,
}

impl Program {
    fn of(name: &'static str) -> Self {
        let lab = Lab::new();
        let repository = Repository::create(&lab.folder("git"));
        repository.copy(&source(name));
        repository.write(".shipline.yml", &part(&format!("{name}/shipline.yml")));
        repository.commit(name);
        let checked = lab.run(&repository.tree, &["check", "--format", "json"]).expect(0).json();
        assert_eq!(checked, Value::Array(Vec::new()), "{name}");
        Self { name, lab, repository }
    }

    fn run(&self) -> Ran {
        let ran = Ran::of(&self.lab, &self.repository.tree, self.name, &[]);
        assert_gapless(&ran.lines);
        ran
    }

    /// Runs once more, with a line more in a file and without the files of the run before.
    fn run_after(&self, path: &str, line: &str) -> Ran {
        std::fs::remove_dir_all(self.repository.tree.join(".shipline/out")).expect("removed");
        let text = std::fs::read_to_string(self.repository.tree.join(path)).expect("it is there");
        self.repository.write(path, &format!("{text}{line}"));
        self.repository.commit("a line more");
        self.run()
    }

    fn head(&self) -> String {
        let mut command = Command::new("git");
        command.current_dir(&self.repository.tree).args(["rev-parse", "HEAD"]);
        let output = command.output().expect("git can be started");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn artifact(&self, path: &str) -> Vec<u8> {
        let file = self.repository.tree.join(".shipline/out").join(path);
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(!bytes.is_empty(), "{path}");
        bytes
    }
}

/// The lines of a run, and the results of its stages.
struct Ran {
    lines: Vec<Value>,
    results: BTreeMap<String, String>,
}

impl Ran {
    fn of(lab: &Lab, tree: &Path, name: &str, more: &[&str]) -> Self {
        let began = Instant::now();
        let arguments = [&["run", "--format", "json"], more].concat();
        let lines = lab.run(tree, &arguments).expect(0).lines();
        println!("{name} took {:.1} s:", began.elapsed().as_secs_f64());
        let mut results = BTreeMap::new();
        for line in events(&lines, "stage.finished") {
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            println!("  {:<24} {:<10} {} ms", word("stage"), word("result"), line["duration_ms"]);
            results.insert(word("stage"), word("result"));
        }
        Self { lines, results }
    }

    /// The tests of the stage's report, of which none may have failed.
    fn tests(&self, stage: &str) -> u64 {
        let read = events(&self.lines, "report.read");
        let report = read.into_iter().find(|event| event["stage"] == stage);
        let report = report.unwrap_or_else(|| panic!("{stage} has no report"));
        assert_eq!(report["failed"], 0, "{report:#}");
        report["tests"].as_u64().expect("a number of tests")
    }

    /// The stages that found their cache.
    fn restored(&self) -> Vec<&str> {
        let events = events(&self.lines, "cache.restored");
        events.iter().filter_map(|event| event["stage"].as_str()).collect()
    }
}

fn results(text: &str) -> BTreeMap<String, String> {
    text.split(", ")
        .filter_map(|pair| pair.split_once(' '))
        .map(|(stage, result)| (stage.to_owned(), result.to_owned()))
        .collect()
}

/// A file of `tests/real`.
fn part(path: &str) -> String {
    let file = repository_root().join("tests/real").join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The unpacked source package; downloaded once into the build directory.
fn source(name: &str) -> PathBuf {
    let root = repository_root();
    let folder = root.join("target/real");
    let mut command = Command::new("bash");
    command.arg(root.join("tests/setup/debian-source.sh")).arg(name).arg(&folder);
    let output = command.output().expect("bash can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(name)
}

fn ping(address: &str) -> String {
    let mut stream =
        TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
    stream.write_all(b"PING\r\n").expect("redis takes a command");
    let mut answer = [0_u8; 7];
    stream.read_exact(&mut answer).expect("redis answers");
    String::from_utf8_lossy(&answer).into_owned()
}
