//! Services of stages: reached by name, asked until they are ready, few rights, gone with
//! their stage.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use pipeline::{Ready, ReadyProbe, Resources};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, IMAGE, RegistryServer};
use crate::backend::docker::network;
use crate::backend::docker::{DockerBackend, Subnet};
use crate::backend::{
    AttemptSpec, Backend, BackendError, ServiceError, ServiceFailure, ServiceReady, ServiceSpec,
    Services,
};

const POSTGRES: &str = "shipline-test/postgres:12";
const REDIS: &str = "shipline-test/redis:12";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn service(name: &str, image: &str, probe: Option<ReadyProbe>) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        image: image.to_owned(),
        registry: None,
        env: BTreeMap::new(),
        command: Vec::new(),
        resources: Resources::default(),
        ready: Ready { probe, timeout: pipeline::Duration::from_secs(60) },
    }
}

/// A service of busybox that runs `script`.
fn script(name: &str, script: &str, probe: Option<ReadyProbe>) -> ServiceSpec {
    ServiceSpec { command: words(&["sh", "-c", script]), ..service(name, IMAGE, probe) }
}

fn command(command: &[&str]) -> Option<ReadyProbe> {
    Some(ReadyProbe::Command(words(command)))
}

impl Bench {
    fn with_services(
        &self,
        index: u32,
        services: Vec<ServiceSpec>,
        commands: &[&str],
    ) -> AttemptSpec {
        AttemptSpec { services, ..self.attempt(index, commands) }
    }

    async fn serve(
        &self,
        attempt: &AttemptSpec,
    ) -> (Box<dyn Services>, Result<Vec<ServiceReady>, ServiceError>) {
        let cancel = CancellationToken::new();
        let services = self.backend.serve(&self.run, attempt, &cancel).await.unwrap();
        let (told, mut heard) = mpsc::channel(16);
        let ready = services.ready(&told).await;
        drop(told);
        let mut all = Vec::new();
        while let Some(one) = heard.recv().await {
            all.push(one);
        }
        (services, ready.map(|()| all))
    }

    async fn fails(&self, index: u32, service: ServiceSpec) -> ServiceFailure {
        let attempt = self.with_services(index, vec![service], &[]);
        let (services, ready) = self.serve(&attempt).await;
        services.stop();
        match ready {
            Err(ServiceError::Failed(failure)) => failure,
            other => panic!("it does not fail: {other:?}"),
        }
    }
}

fn inspect(container: &str, format: &str) -> String {
    let output = Command::new("docker").args(["inspect", "--format", format, container]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_stage_talks_to_postgresql_and_redis_by_their_names() {
    let bench = Bench::with(&[]).await;
    let mut db = service("db", POSTGRES, command(&["pg_isready", "-h", "localhost"]));
    db.env.insert("POSTGRES_PASSWORD".to_owned(), "swordfish".to_owned());
    let cache = service("cache", REDIS, None);
    let mut attempt = bench.with_services(
        1,
        vec![db, cache],
        &[
            "psql -h db -U postgres -tAc 'select 40 + 2'",
            "bash -c 'exec 3<>/dev/tcp/cache/6379; printf \"PING\\r\\n\" >&3; head -n 1 <&3'",
        ],
    );
    attempt.image = POSTGRES.to_owned();
    attempt.env.insert("PGPASSWORD".to_owned(), "swordfish".to_owned());
    let (services, ready) = bench.serve(&attempt).await;
    let mut ready = ready.unwrap();
    ready.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(ready.iter().map(|ready| &*ready.name).collect::<Vec<_>>(), ["cache", "db"]);
    assert!(ready[1].image_digest.starts_with("id:sha256:"));
    // Its health check has an interval of 30 s, which nobody waits for.
    assert!(ready[0].after < Duration::from_secs(20), "{:?}", ready[0].after);
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!((ran.stdout().as_str(), ran.exit.code), ("42\n+PONG\r\n", 0), "{}", ran.all());
    assert!(services.gone().await.is_none());
    services.stop();
}

#[tokio::test]
async fn a_service_belongs_to_its_stage_alone_and_goes_with_it() {
    let bench = Bench::with(&[]).await;
    let listening = "echo hello >/tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let http = ReadyProbe::Http { path: "/index.html".to_owned(), port: 8080 };
    let web = script("web", listening, Some(http));
    let attempt = bench.with_services(1, vec![web], &["wget -qO- http://web:8080/index.html"]);
    let (services, ready) = bench.serve(&attempt).await;
    ready.unwrap();

    let name = format!("{}.web", attempt.name);
    let shown = inspect(
        &attempt.name,
        "{{(index .IPAM.Config 0).Subnet}} {{index .Labels \"shipline.kind\"}} {{index .Labels \"shipline.stage\"}}",
    );
    let (subnet, labels) = shown.split_once(' ').unwrap();
    assert!(subnet.starts_with("10.213.") && subnet.ends_with("/28"), "{subnet}");
    assert_eq!(labels, "network s1");
    let address = inspect(&name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let other = bench
        .stage(
            2,
            &[0],
            &[&format!(
                "wget -T 2 -qO- http://web:8080/ || echo no name; wget -T 2 -qO- http://{address}:8080/ || echo no way"
            )],
        )
        .await;
    assert_eq!(other.stdout(), "no name\nno way\n");

    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!((ran.stdout().as_str(), ran.exit.code), ("hello\n", 0), "{}", ran.all());
    services.stop();
    let gone = async {
        let left = |objects: &[String]| {
            objects.iter().any(|object| object.starts_with("Network") || object.contains(&name))
        };
        while left(&bench.objects().await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("long before the run ends");
}

#[tokio::test]
async fn a_service_has_few_rights_and_the_limits_it_asks_for() {
    let bench = Bench::with(&[]).await;
    let show = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; sleep 600";
    let mut shown = script("shown", show, command(&["true"]));
    shown.resources = Resources { cpu: Some(0.5), memory: Some(32 << 20), pids: Some(33) };
    let attempt = bench.with_services(1, vec![shown], &[]);
    let (services, ready) = bench.serve(&attempt).await;
    ready.unwrap();
    let name = format!("{}.shown", attempt.name);
    let logs = Command::new("docker").args(["logs", &name]).output().unwrap().stdout;
    assert_eq!(
        String::from_utf8(logs).unwrap(),
        "CapEff:\t00000000000404fb\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    let limits = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.LogConfig.Type}}";
    assert_eq!(inspect(&name, limits), "500000000 33554432 33 local");
    services.stop();
}

#[tokio::test]
async fn what_is_asked_is_the_port_of_the_image_where_nobody_says_more() {
    let bench = Bench::with(&[]).await;
    // It opens its port late: ready means that it has.
    let mut db = service("db", POSTGRES, Some(ReadyProbe::Tcp(None)));
    db.env.insert("POSTGRES_PASSWORD".to_owned(), "swordfish".to_owned());
    let plain = script("plain", "sleep 600", None);
    let attempt = bench.with_services(1, vec![db, plain], &[]);
    let (services, ready) = bench.serve(&attempt).await;
    let ready = ready.unwrap();
    assert_eq!(ready[0].name, "plain", "without a port it is ready once it was started");
    assert_eq!(ready[1].name, "db");
    services.stop();

    let blind = bench.fails(2, script("blind", "sleep 600", Some(ReadyProbe::Tcp(None)))).await;
    let expected = "service `blind` of image `busybox:1` cannot be asked `tcp auto`: its image exposes no port; write the number, as `tcp: 5432`";
    assert_eq!(blind.to_string(), expected);
}

#[tokio::test]
async fn a_service_that_is_not_ready_says_what_it_answered() {
    let bench = Bench::with(&[]).await;
    let short = |service: ServiceSpec| ServiceSpec {
        ready: Ready { timeout: pipeline::Duration::from_secs(2), ..service.ready },
        ..service
    };
    let closed =
        short(script("closed", "echo starting; sleep 600", Some(ReadyProbe::Tcp(Some(81)))));
    let failed = bench.fails(1, closed).await;
    assert_eq!(
        failed.to_string(),
        "service `closed` of image `busybox:1` was not ready within 2s: `tcp 81` says: connection refused"
    );
    assert_eq!(failed.last_lines, ["starting"]);

    let http = ReadyProbe::Http { path: "/none".to_owned(), port: 80 };
    let failed = bench.fails(2, short(script("web", "httpd -f -h /etc", Some(http)))).await;
    assert!(failed.to_string().ends_with("`http /none of port 80` says: HTTP 404"), "{failed}");

    let says = short(script("says", "sleep 600", command(&["sh", "-c", "echo no table; exit 4"])));
    let failed = bench.fails(3, says).await;
    assert!(
        failed.to_string().ends_with("`cmd echo no table; exit 4` says: exit 4, no table"),
        "{failed}"
    );

    let begun = Instant::now();
    let failed = bench.fails(4, script("typo", "sleep 600", command(&["pg_isredy"]))).await;
    assert!(
        failed
            .to_string()
            .ends_with("cannot be asked `cmd pg_isredy`: `pg_isredy` is not in the image"),
        "{failed}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked until its time is over");
}

#[tokio::test]
async fn a_service_that_ends_is_told_with_its_last_twenty_lines() {
    let bench = Bench::with(&[]).await;
    let lines = "i=1; while [ $i -le 50 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; echo last >&2; exit 7";
    let failed = bench.fails(1, script("brief", lines, Some(ReadyProbe::Tcp(Some(80))))).await;
    assert_eq!(
        failed.to_string(),
        "service `brief` of image `busybox:1` exited with 7 before it was ready (`tcp 80`)"
    );
    assert_eq!(failed.last_lines.len(), 20);
    assert!(failed.last_lines.contains(&"line 50".to_owned()));
    assert!(failed.last_lines.contains(&"last".to_owned()));

    let hungry = "awk 'BEGIN { s = \"0123456789abcdef\"; while (1) s = s s }'";
    let mut hungry = script("hungry", hungry, Some(ReadyProbe::Tcp(Some(80))));
    hungry.resources.memory = Some(32 << 20);
    let failed = bench.fails(2, hungry).await;
    assert!(
        failed.to_string().contains("exited with 137, out of memory (it may have 32.0 MiB)"),
        "{failed}"
    );
}

#[tokio::test]
async fn a_service_removed_from_outside_is_no_fault_of_anybody_here() {
    let bench = Bench::with(&[]).await;
    let attempt = bench.with_services(1, vec![script("db", "sleep 600", None)], &[]);
    let (services, ready) = bench.serve(&attempt).await;
    ready.unwrap();
    let name = format!("{}.db", attempt.name);
    let remove = async {
        tokio::process::Command::new("docker").args(["rm", "-f", &name]).output().await.unwrap()
    };
    let (ended, _) = tokio::join!(services.ended(), remove);
    assert!(
        matches!(&ended, ServiceError::Backend(BackendError::Infrastructure { message, .. })
            if message == "service `db` was removed from outside"),
        "{ended:?}"
    );
    services.stop();
}

#[tokio::test]
async fn what_is_wrong_with_image_and_command_of_a_service_is_the_users() {
    let bench = Bench::with(&[]).await;
    let server = RegistryServer::start();
    let serve = async |index, service: ServiceSpec| {
        let attempt = bench.with_services(index, vec![service], &[]);
        let cancel = CancellationToken::new();
        match bench.backend.serve(&bench.run, &attempt, &cancel).await {
            Err(BackendError::User { code, message }) => (code.unwrap(), message),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it cannot be served"),
        }
    };
    let image = format!("{}/team/nothing:1", server.registry.host);
    let missing =
        ServiceSpec { registry: Some(server.registry.clone()), ..service("db", &image, None) };
    let (code, message) = serve(1, missing).await;
    assert_eq!(code, "E090");
    assert!(message.contains(&image) && message.contains("manifest unknown"), "{message}");

    let mut typo = service("db", IMAGE, None);
    typo.command = words(&["no-such-server"]);
    let (code, message) = serve(2, typo).await;
    assert_eq!(code, "E094");
    assert!(
        message.starts_with("service `db` of image `busybox:1` cannot be started: ")
            && message.contains("no-such-server"),
        "{message}"
    );
    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.objects().await, [""; 0], "of what failed half-way nothing is left");
}

#[tokio::test]
async fn cleaning_up_takes_services_and_their_network_at_any_time() {
    let bench = Bench::with(&[]).await;
    let slow = || script("db", "sleep 600", command(&["false"]));
    let attempt = bench.with_services(1, vec![slow()], &["true"]);
    let cancel = CancellationToken::new();
    let services = bench.backend.serve(&bench.run, &attempt, &cancel).await.unwrap();
    assert_eq!(bench.objects().await.len(), 4, "layer, service, network and the empty layer");
    // Also of a process that died: another begins the same attempt again.
    let again = bench.backend.serve(&bench.run, &attempt, &cancel).await.unwrap();
    assert_eq!(bench.objects().await.len(), 4);
    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.objects().await, [""; 0]);
    services.stop();
    again.stop();

    let attempt = bench.with_services(2, vec![slow()], &["true"]);
    drop(bench.backend.serve(&bench.run, &attempt, &cancel).await.unwrap());
    assert!(bench.backend.sweep(&bench.run.instance, &[]).await.unwrap() >= 2);
    assert_eq!(bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn runners_that_share_an_engine_do_not_take_each_others_subnets() {
    let bench = Bench::empty().await;
    // Room for four.
    let range: Subnet = "10.212.0.0/26".parse().unwrap();
    let attempts: Vec<AttemptSpec> = (1..=5)
        .map(|index| bench.with_services(index, vec![script("db", "true", None)], &[]))
        .collect();
    let mut creating = tokio::task::JoinSet::new();
    for attempt in &attempts[..4] {
        let (run, attempt) = (bench.run.clone(), attempt.clone());
        creating.spawn(async move {
            let backend = DockerBackend::connect(None).await.unwrap().with_subnets(range);
            network::create(&backend.engine, &run, &attempt).await.unwrap();
        });
    }
    creating.join_all().await;
    let mut subnets: Vec<String> = attempts[..4]
        .iter()
        .map(|attempt| inspect(&attempt.name, "{{(index .IPAM.Config 0).Subnet}}"))
        .collect();
    subnets.sort();
    assert_eq!(subnets, ["10.212.0.0/28", "10.212.0.16/28", "10.212.0.32/28", "10.212.0.48/28"]);
    let backend = DockerBackend::connect(None).await.unwrap().with_subnets(range);
    let refused = network::create(&backend.engine, &bench.run, &attempts[4]).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "docker: no /28 of 10.212.0.0/26 is free for the network of `s5`: `[runner] subnets` of the configuration is where they come from"
    );
}
