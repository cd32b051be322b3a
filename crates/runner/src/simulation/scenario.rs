//! What a seed makes: a plan, what its stages do, and what happens to it.

use std::collections::BTreeMap;
use std::time::Duration;

use pipeline::{
    AllowFailure, Concurrency, Decision, Edge, EdgeReason, OnNew, Plan, PlannedStage, Retry,
    RetryOn, RunOn,
};
use serde_json::json;

use super::random::Random;
use crate::backend::Exit;
use crate::backend::fake::{Script, ServiceScript};
use crate::testing::{checkout, plan, stage_of, stage_running};

/// Attempts of a stage that have a script of their own.
const SCRIPTS: usize = 4;

#[derive(Clone)]
pub(super) struct Scenario {
    pub(super) plan: Plan,
    pub(super) scripts: BTreeMap<String, Vec<Script>>,
    pub(super) services: BTreeMap<String, ServiceScript>,
    /// When people answer, and how; the others never do.
    pub(super) answers: BTreeMap<String, (Duration, bool)>,
    pub(super) concurrency: usize,
    /// When it is cancelled, and how long after that once more.
    pub(super) cancel: Option<(Duration, Option<Duration>)>,
    /// How often calls of the backend and the journal go wrong.
    pub(super) fault_percent: u64,
    /// How the process dies, again and again.
    pub(super) deaths: Vec<Death>,
    /// As on a server: who is started again goes on with what runs.
    pub(super) durable: bool,
    /// For what is drawn on the way.
    pub(super) random: Random,
}

/// When a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At an append of the journal, before it or after.
    Append(u64, bool),
    /// At a call of the backend, before its effect or after.
    Call(u64, bool),
    /// At an await of the dispatcher.
    Await(u64),
    After(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) when: When,
    /// Until it is started again.
    pub(super) away: Duration,
    /// The engine restarts meanwhile.
    pub(super) engine: bool,
}

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut scenario = Self {
            plan: plan(Vec::new()),
            scripts: BTreeMap::new(),
            services: BTreeMap::new(),
            answers: BTreeMap::new(),
            concurrency: usize::try_from(random.within(1, 9)).expect("a small number"),
            cancel: cancel(&mut random),
            fault_percent: *random.of(&[0, 0, 1, 3, 8]),
            deaths: deaths(&mut random),
            durable: seed % 2 == 1,
            random: random.fork(),
        };
        if random.chance(15) {
            scenario.plan.run_timeout = seconds(random.within(5, 400));
        }
        scenario.draw_stages(&mut random);
        scenario
    }

    fn draw_stages(&mut self, random: &mut Random) {
        let most = *random.of(&[4, 8, 8, 16, 40]);
        let count = random.within(1, most + 1);
        let shape = random.within(0, 4);
        let mut above = vec!["checkout".to_owned()];
        self.plan.stages.push(checkout());
        self.scripts.insert("checkout".to_owned(), vec![Script::exit(0)]);
        for index in 0..count {
            let name = format!("s{index}");
            let needs = needs(random, shape, &above);
            let cells = if random.chance(8) { random.within(2, 5) } else { 0 };
            if cells == 0 {
                let stage = self.stage(random, &name, &needs);
                self.plan.stages.push(stage);
            }
            for cell in 0..cells {
                let mut stage = self.stage(random, &format!("{name}[c={cell}]"), &needs);
                stage.stage.clone_from(&name);
                self.plan.stages.push(stage);
            }
            above.push(name);
        }
    }

    fn stage(&mut self, random: &mut Random, name: &str, needs: &[String]) -> PlannedStage {
        let mut stage = self.work(random, name);
        stage.needs = needs
            .iter()
            .map(|need| Edge {
                stage: need.clone(),
                by: EdgeReason::Needs,
                must: random.chance(20).then(|| "run".to_owned()),
            })
            .collect();
        stage.timeout = seconds(random.within(3, 120));
        stage.cancel_grace = seconds(*random.of(&[10, 10, 10, 1, 25]));
        if random.chance(20) {
            stage.run_on = *random.of(&[RunOn::Failure, RunOn::Always, RunOn::Always]);
        }
        if random.chance(18) {
            let codes = AllowFailure::ExitCodes(vec![1, 75]);
            stage.allow_failure = Some(random.of(&[AllowFailure::Any, codes]).clone());
        }
        if random.chance(30) {
            stage.retry = retry(random);
        }
        if random.chance(15) {
            let group = (*random.of(&["board", "lab"])).to_owned();
            let limit = if group == "board" { 1 } else { 2 };
            stage.concurrency = Some(Concurrency { group, limit, on_new: OnNew::Queue });
        }
        if random.chance(4) {
            stage.state = Decision::Skip;
            stage.reason = "its `when` says no".to_owned();
        }
        let scripts = (0..SCRIPTS).map(|_| script(random)).collect();
        self.scripts.insert(name.to_owned(), scripts);
        stage
    }

    fn work(&mut self, random: &mut Random, name: &str) -> PlannedStage {
        match random.within(0, 100) {
            0..5 => {
                if random.chance(80) {
                    let answer = (duration(random, 200), random.chance(75));
                    self.answers.insert(name.to_owned(), answer);
                }
                stage_of(name, &[], json!({"action": "approve", "by": ["jo"], "count": 1}))
            }
            5..10 => {
                let build = json!({"action": "build", "context": ".", "file": "Dockerfile"});
                stage_of(name, &[], build)
            }
            10..18 => {
                let service = format!("db-{name}");
                let script = if random.chance(80) { Script::hang() } else { script(random) };
                let ready_after = random.chance(90).then(|| duration(random, 20));
                self.services.insert(service.clone(), ServiceScript { script, ready_after });
                let ready = json!({"probe": {"tcp": 5432}, "timeout": "30s"});
                let services = json!({(service): {"image": "postgres:12", "ready": ready}});
                let work = json!({
                    "action": "run", "image": "busybox:1", "run": ["make"], "services": services,
                });
                stage_of(name, &[], work)
            }
            _ => stage_running(name, &[], &["make"]),
        }
    }
}

/// A chain, a fan, a lattice of three, or anything.
fn needs(random: &mut Random, shape: u64, above: &[String]) -> Vec<String> {
    let last = |count: usize| above[above.len().saturating_sub(count)..].to_vec();
    match shape {
        0 => last(1),
        1 => above[..1].to_vec(),
        2 => {
            // All of the row above.
            let row = (above.len() - 1) / 3;
            if row == 0 { above[..1].to_vec() } else { above[row * 3 - 2..=row * 3].to_vec() }
        }
        _ => {
            let count = random.within(0, 4);
            let mut needs: Vec<String> = (0..count).map(|_| random.of(above).clone()).collect();
            needs.sort();
            needs.dedup();
            needs
        }
    }
}

fn script(random: &mut Random) -> Script {
    let time = duration(random, 40);
    let script = match random.within(0, 100) {
        0..62 => Script::exit(0),
        62..72 => Script::exit(*random.of(&[1, 2, 75, 126, 127])),
        72..75 => Script::exit(*random.of(&[137, 139, 143])),
        75..79 => Script::out_of_memory(),
        79..83 => Script::hang(),
        83..87 => Script::hang().ignoring_term(),
        87..90 => Script::broken("the output broke off"),
        90..93 => Script::lost("the container vanished"),
        93..95 => return Script::refused("E090", "no such image"),
        95..97 => return Script::unstartable("the engine is full"),
        97..98 => Script::exit(0).ignoring_term(),
        _ => Script::ending(Exit { code: 0, oom_killed: true, ..Exit::default() }),
    };
    let script = if random.chance(50) { script.printing("one\ntwo") } else { script };
    script.after(time)
}

fn retry(random: &mut Random) -> Retry {
    let all = [
        RetryOn::Infrastructure,
        RetryOn::Timeout,
        RetryOn::ResourceLimit,
        RetryOn::Exit(vec![1, 75]),
    ];
    let on = all.into_iter().filter(|_| random.chance(50)).collect();
    let max = u32::try_from(random.within(0, 4)).expect("a small number");
    Retry { max, on, backoff: seconds(random.within(1, 10)) }
}

fn cancel(random: &mut Random) -> Option<(Duration, Option<Duration>)> {
    let cancel = random.chance(20).then(|| duration(random, 120))?;
    Some((cancel, random.chance(30).then(|| duration(random, 15))))
}

fn deaths(random: &mut Random) -> Vec<Death> {
    let count = if random.chance(50) { random.within(1, 6) } else { 0 };
    let deaths = (0..count).map(|_| Death {
        when: match random.within(0, 4) {
            0 => When::Append(random.within(1, 40), random.chance(50)),
            1 => When::Call(random.within(1, 60), random.chance(50)),
            2 => When::Await(random.within(1, 200)),
            _ => When::After(duration(random, 90)),
        },
        away: if random.chance(50) { Duration::ZERO } else { duration(random, 90) },
        engine: random.chance(15),
    });
    deaths.collect()
}

fn seconds(seconds: u64) -> pipeline::Duration {
    pipeline::Duration::from_secs(seconds)
}

/// To the millisecond; often none at all, so that much happens at the same time.
fn duration(random: &mut Random, seconds: u64) -> Duration {
    match random.within(0, 10) {
        0 | 1 => Duration::ZERO,
        2..5 => Duration::from_secs(random.within(0, seconds)),
        _ => Duration::from_millis(random.within(0, seconds * 1000)),
    }
}
