//! Services beside stages, as a user sees them.

use crate::harness::lab::{Lab, docker};
use crate::local_run::{repository, result_of};

#[test]
fn a_stage_tests_against_each_database_of_its_matrix_by_name() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        r#"image: shipline-test/postgres:12
stages:
  test:
    matrix: { db: ["shipline-test/postgres:12"], user: [ann, bob] }
    services:
      db:
        image: ${{ matrix.db }}
        env: { POSTGRES_USER: "${{ matrix.user }}", POSTGRES_PASSWORD: swordfish }
        ready: { cmd: pg_isready -h localhost }
      cache: shipline-test/redis:12
    env: { PGPASSWORD: swordfish }
    run:
      - psql -h db -U ${{ matrix.user }} -d postgres -tAc 'create table t (n int); insert into t values (42); select n from t'
      - bash -c 'exec 3<>/dev/tcp/cache/6379; printf "PING\r\n" >&3; head -n 1 <&3'
"#,
    );
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(0);
    let lines = ran.lines();
    let cells: Vec<String> = ["ann", "bob"]
        .iter()
        .map(|user| format!("test[db=shipline-test/postgres:12,user={user}]"))
        .collect();
    for cell in &cells {
        assert_eq!(result_of(&lines, cell), "passed");
        let mut ready: Vec<&str> = lines
            .iter()
            .filter(|line| line["kind"] == "service.ready" && line["stage"] == cell.as_str())
            .filter_map(|line| line["name"].as_str())
            .collect();
        ready.sort_unstable();
        assert_eq!(ready, ["cache", "db"]);
        let said: String = lines
            .iter()
            .filter(|line| line["stream"] == "stdout" && line["stage"] == cell.as_str())
            .filter_map(|line| line["text"].as_str())
            .collect();
        assert!(said.contains("42\n+PONG"), "{said}");
    }
    let run = lines[0]["run"].as_str().expect("a run has an id");
    let log = lab.run(&folder, &["logs", run, &format!("{}/db", cells[0])]).expect(0).stdout;
    assert!(log.contains("database system is ready to accept connections"), "{log}");
    let networks =
        docker(&["network", "ls", "--filter", &format!("label=shipline.run={run}"), "-q"]);
    assert_eq!(networks, "");
}

#[test]
fn a_service_that_ends_fails_its_stage_with_e094_and_its_last_lines() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  test:\n    services:\n      db: shipline-test/postgres:12\n    run: make\n",
    );
    let ran = lab.run(&folder, &["run"]).expect(1);
    assert!(
        ran.stdout.contains("service `db` of image `shipline-test/postgres:12` exited with"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("(.shipline.yml:5:11)"), "{}", ran.stdout);
    assert!(ran.stdout.contains("a password is needed: set POSTGRES_PASSWORD"), "{}", ran.stdout);
    assert!(ran.stdout.contains("`shipline explain E094` tells more"), "{}", ran.stdout);
    lab.run(&folder, &["explain", "E094"]).expect(0);
}
