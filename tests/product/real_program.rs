//! A program nobody here wrote: Debian's redis, from its source package.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::faults::configure;
use crate::harness::git::Repository;
use crate::harness::lab::{Lab, repository_root};
use crate::harness::registry::{ImageRegistry, PASSWORD};

/// Compiles, runs a part of redis' own test-suite, builds and pushes an image,
/// deploys two replicas, and speaks to each. `make test-real` shows its times.
#[test]
fn redis_is_compiled_tested_pushed_and_deployed() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, PASSWORD);
    let repository = Repository::create(&lab.folder("git"));
    repository.copy(&source());
    let real = repository_root().join("tests/real/redis");
    let pipeline =
        std::fs::read_to_string(real.join("shipline.yml")).expect("the pipeline is there");
    repository.write(".shipline.yml", &pipeline.replace("registry.example.net", &images.host()));
    let dockerfile =
        std::fs::read_to_string(real.join("Dockerfile")).expect("the Dockerfile is there");
    repository.write("Dockerfile", &dockerfile);
    repository.write(".dockerignore", "*\n!src/redis-server\n!src/redis-cli\n!redis.conf\n");
    repository.commit("redis");

    let began = Instant::now();
    let lines = lab
        .run(&repository.tree, &["run", "--allow-side-effects", "--format", "json"])
        .expect(0)
        .lines();
    println!("redis took {:.0} s:", began.elapsed().as_secs_f64());
    for line in lines.iter().filter(|line| line["kind"] == "stage.finished") {
        println!("  {:<10} {} ms", line["stage"].as_str().unwrap_or_default(), line["duration_ms"]);
        assert_eq!(line["result"], "passed", "{line:#}");
    }
    let status =
        lab.run(&repository.tree, &["status", "demo", "--format", "json"]).expect(0).json();
    let units = status["units"].as_array().expect("units");
    assert_eq!(units.len(), 2, "{status:#}");
    for unit in units {
        assert_eq!(ping(unit["address"].as_str().expect("a unit has an address")), "+PONG\r\n");
    }
}

/// The unpacked source package; downloaded once into the build directory.
fn source() -> std::path::PathBuf {
    let root = repository_root();
    let folder = root.join("target/real");
    let status = Command::new("bash").arg(root.join("tests/setup/redis.sh")).arg(&folder).status();
    assert!(status.is_ok_and(|status| status.success()), "redis.sh failed");
    folder.join("redis")
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
