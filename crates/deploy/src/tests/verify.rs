//! Tests of behaviour after admission. Real time: they ask real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event::{DeploymentState, EventKind};
use pipeline::{OnFailure, Per};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::world::{World, key, release, spec};
use crate::{
    CheckLine, CheckRunner, CheckSettings, Commands, HttpStep, Ran, Reach, RunStep, Spec,
    TargetError, VerifyStep,
};

/// Answers every GET with the status that its path is bound to.
struct Answers {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Answers {
    async fn start(statuses: &'static [(&'static str, u16)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let Ok(read) = stream.read(&mut request).await else { continue };
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let status = statuses.iter().find(|(known, _)| *known == path);
                let status = status.map_or(404, |(_, status)| *status);
                told.lock().unwrap().push(path);
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Ends with the code of `exits` for each run, in turn, and with 0 after that.
#[derive(Default)]
struct FakeRunner {
    exits: Mutex<Vec<i64>>,
    /// What it was told, and what its containers were to reach.
    env: Mutex<Vec<BTreeMap<String, String>>>,
    reaches: Mutex<Vec<Vec<Reach>>>,
    /// Why no image can be had.
    no_image: Mutex<Option<String>>,
    /// Why nothing can be run.
    broken: Mutex<Option<String>>,
    /// Ends only when it is cancelled.
    hangs: AtomicBool,
    running: AtomicU32,
    cleared: AtomicU32,
}

impl FakeRunner {
    fn new() -> Arc<Self> {
        Arc::default()
    }
}

#[async_trait]
impl CheckRunner for FakeRunner {
    async fn prepare(&self, _image: &str, _cancel: &CancellationToken) -> Result<(), TargetError> {
        match &*self.no_image.lock().unwrap() {
            Some(message) => Err(TargetError::Refused { message: message.clone() }),
            None => Ok(()),
        }
    }

    async fn run(
        &self,
        commands: &Commands<'_>,
        output: &mpsc::Sender<CheckLine>,
        cancel: &CancellationToken,
    ) -> Result<Ran, TargetError> {
        self.env.lock().unwrap().push(commands.env.clone());
        self.reaches.lock().unwrap().push(commands.reaches.clone());
        if let Some(message) = self.broken.lock().unwrap().clone() {
            return Err(TargetError::Infrastructure { part: "docker".to_owned(), message });
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            cancel.cancelled().await;
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        let line = CheckLine { text: "3 of 4 pages".to_owned(), echo: false };
        output.send(line).await.unwrap();
        let exit = self.exits.lock().unwrap().pop().unwrap_or(0);
        Ok(Ran { exit })
    }

    async fn clear(&self) -> Result<(), TargetError> {
        self.cleared.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn http(address: impl Into<String>) -> VerifyStep {
    VerifyStep::Http(HttpStep {
        suite: None,
        once: false,
        http: address.into(),
        status: Vec::new(),
        body: None,
        json: BTreeMap::new(),
        latency: None,
        timeout: pipeline::Duration::from_secs(5),
    })
}

fn commands() -> VerifyStep {
    VerifyStep::Run(RunStep {
        suite: Some("smoke".to_owned()),
        once: false,
        per: Per::Batch,
        image: "debian:12".to_owned(),
        run: vec!["smoke-test".to_owned()],
        timeout: pipeline::Duration::from_secs(5),
    })
}

fn verified(number: u128, replicas: u32, verify: Vec<VerifyStep>) -> Spec {
    let env = BTreeMap::from([("TOKEN".to_owned(), "x".to_owned())]);
    let checks = CheckSettings { env, ..CheckSettings::default() };
    Spec { verify, checks, ..spec(number, replicas, 1) }
}

async fn world(answers: &Answers) -> World {
    let world = World::new();
    world.target.answers_at(answers.address);
    let deployed = world.deploy(spec(1, 2, 1)).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    world.target.take_mutations();
    world
}

#[tokio::test]
async fn each_unit_is_asked_at_its_own_address_and_all_through_the_switch() {
    let answers = Answers::start(&[("/unit", 200), ("/front", 204)]).await;
    let world = world(&answers).await;
    let front = http(format!("http://{}/front", answers.address));
    let deployed = world.deploy(verified(2, 2, vec![http("/unit"), front])).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    // Two batches of one unit each.
    assert_eq!(answers.take_asked(), ["/unit", "/front", "/unit", "/front"]);
    let lines = world.lines();
    assert!(
        lines.iter().any(|line| line.starts_with("verify  ") && line.ends_with("1 of 1 checks")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_unit_that_answers_wrongly_takes_everything_back_or_is_tolerated() {
    let answers = Answers::start(&[("/unit", 500)]).await;
    let world = world(&answers).await;
    let bad = verified(2, 2, vec![http("/unit")]);
    let deployed = world.deploy(bad.clone()).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    assert_eq!(deployed.caught_before_admit, Some(false));
    assert!(deployed.reason.unwrap().ends_with("/unit: answered 500"));
    assert_eq!(world.show(), "0:1 1:1");

    let mut tolerant = bad;
    tolerant.strategy.tolerate = 2;
    let deployed = world.deploy(tolerant).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded);
    assert_eq!(world.traffic(), "0:1 1:1");
}

#[tokio::test]
async fn a_batch_that_fails_through_the_switch_is_taken_back_also_where_the_rest_stays() {
    let answers = Answers::start(&[]).await;
    let mut world = world(&answers).await;
    // The first batch passes, the second does not.
    let runner = FakeRunner::new();
    *runner.exits.lock().unwrap() = vec![7, 0];
    world.runner = Some(Arc::clone(&runner) as Arc<dyn CheckRunner>);
    let mut wanted = verified(2, 2, vec![commands()]);
    wanted.strategy.on_failure = OnFailure::Stop;
    let deployed = world.deploy(wanted).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Failed);
    assert_eq!(world.traffic(), "0:2 1:1");
    let reason = deployed.reason.unwrap();
    let said = "smoke 0/1: the check in `debian:12` ended with 7, last line: `3 of 4 pages`";
    assert!(reason.contains(said), "{reason}");
    let lines = world.lines();
    assert!(lines.contains(&"  | 3 of 4 pages".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("smoke 1/1")), "{lines:?}");

    let env = runner.env.lock().unwrap().clone();
    assert_eq!(env[0]["TOKEN"], "x");
    assert_eq!(env[0]["SHIPLINE_RELEASE"], release(2).to_string());
    assert_eq!((&*env[0]["SHIPLINE_SLOTS"], &*env[1]["SHIPLINE_SLOTS"]), ("0", "0 1"));
    let reaches = runner.reaches.lock().unwrap().clone();
    assert_eq!(reaches[0].len(), 1, "nothing is exposed, and no unit is tested by itself");
    let units = |at: usize| reaches[at][0].value(|address| address);
    let address = answers.address.to_string();
    assert_eq!((units(0), units(1)), (address.clone(), format!("{address} {address}")));

    let tested = tested(&world, deployed.deployment);
    let exits: Vec<_> = tested
        .iter()
        .map(|event| match event {
            EventKind::DeploymentTested { suite, exit, lines, .. } => {
                (suite.as_deref(), *exit, lines.len())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(exits, [(Some("smoke"), Some(0), 1), (Some("smoke"), Some(7), 1)]);
}

fn tested(world: &World, deployment: event::DeploymentId) -> Vec<EventKind> {
    let events = world.ledger.events(deployment).into_iter();
    events.filter(|event| matches!(event, EventKind::DeploymentTested { .. })).collect()
}

fn per_unit(step: VerifyStep) -> VerifyStep {
    match step {
        VerifyStep::Run(step) => VerifyStep::Run(RunStep { per: Per::Unit, ..step }),
        other => other,
    }
}

#[tokio::test]
async fn commands_of_a_unit_are_told_that_unit_and_where_it_is() {
    let answers = Answers::start(&[]).await;
    let mut world = world(&answers).await;
    let runner = FakeRunner::new();
    world.runner = Some(Arc::clone(&runner) as Arc<dyn CheckRunner>);
    let deployed = world.deploy(verified(2, 2, vec![per_unit(commands())])).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    let env = runner.env.lock().unwrap().clone();
    let told: Vec<_> = env.iter().map(|env| &*env["SHIPLINE_SLOTS"]).collect();
    assert_eq!(told, ["0", "1"]);
    assert!(env[1]["SHIPLINE_UNIT"].starts_with("web-prod-1-"), "{env:?}");
    let reaches = runner.reaches.lock().unwrap().clone();
    let url = reaches[1].iter().find(|reach| reach.variable == "SHIPLINE_UNIT_URL").unwrap();
    assert_eq!(url.value(|address| address), format!("http://{}", answers.address));
    assert!(world.lines().contains(&"  | 1: 3 of 4 pages".to_owned()));
}

#[tokio::test]
async fn a_check_that_cannot_be_run_is_no_fault_of_the_release() {
    let answers = Answers::start(&[]).await;
    let mut world = world(&answers).await;
    let runner = FakeRunner::new();
    world.runner = Some(Arc::clone(&runner) as Arc<dyn CheckRunner>);
    *runner.no_image.lock().unwrap() = Some("not found".to_owned());
    let deployed = world.deploy(verified(2, 2, vec![commands()])).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Failed);
    let reason = deployed.reason.unwrap();
    assert_eq!(reason, "the image `debian:12` of a check cannot be had: not found");
    assert_eq!(world.target.take_mutations(), []);

    *runner.no_image.lock().unwrap() = None;
    *runner.broken.lock().unwrap() = Some("the engine is away".to_owned());
    let deployed = world.deploy(verified(2, 2, vec![commands()])).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    let said = "docker: suite `smoke` could not be run in `debian:12`: the engine is away";
    assert!(reason.contains(said), "{reason}");
    assert_eq!(world.traffic(), "0:1 1:1");
}

#[tokio::test]
async fn a_check_whose_time_is_over_is_ended_and_has_failed() {
    let answers = Answers::start(&[]).await;
    let mut world = world(&answers).await;
    let runner = FakeRunner::new();
    runner.hangs.store(true, Ordering::Relaxed);
    world.runner = Some(Arc::clone(&runner) as Arc<dyn CheckRunner>);
    let mut wanted = verified(2, 1, vec![commands()]);
    let VerifyStep::Run(step) = &mut wanted.verify[0] else { panic!() };
    step.timeout = "1s".parse().unwrap();
    let deployed = world.deploy(wanted).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::RolledBack);
    let reason = deployed.reason.unwrap();
    assert!(reason.contains("smoke 0/1: the check in `debian:12` took over 1 s"), "{reason}");
    assert_eq!(runner.running.load(Ordering::Relaxed), 0, "it was told to end");
}

#[tokio::test]
async fn after_a_crash_what_serves_is_checked_again() {
    let answers = Answers::start(&[]).await;
    // The engine dies while the check of the last batch runs.
    for (exit, state, traffic) in
        [(0, DeploymentState::Succeeded, "0:2"), (1, DeploymentState::RolledBack, "0:1")]
    {
        let mut world = World::new();
        world.target.answers_at(answers.address);
        world.deploy(spec(1, 1, 1)).await.unwrap();
        let runner = FakeRunner::new();
        runner.hangs.store(true, Ordering::Relaxed);
        world.runner = Some(Arc::clone(&runner) as Arc<dyn CheckRunner>);
        let runs = async {
            while runner.running.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = world.deploy(verified(2, 1, vec![commands()])) => panic!("{ended:?}"),
            () = runs => {}
        }
        runner.hangs.store(false, Ordering::Relaxed);
        *runner.exits.lock().unwrap() = vec![exit];
        world.ledger.expire(&key());
        let ended = world.recover().await;
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].state, state, "{:?}", ended[0].reason);
        assert_eq!(world.traffic(), traffic);
        assert_eq!(runner.env.lock().unwrap().len(), 2, "it was run again");
        assert_eq!(runner.cleared.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn commands_that_nothing_can_run_are_found_before_anything_is_changed() {
    let answers = Answers::start(&[]).await;
    let world = world(&answers).await;
    let deployed = world.deploy(verified(2, 2, vec![commands()])).await.unwrap();
    assert_eq!(deployed.state, DeploymentState::Failed);
    assert!(deployed.reason.unwrap().ends_with("[verify]"));
    assert_eq!(world.target.take_mutations(), []);
}
