//! Networks made ahead: most of what starting a container costs is its network.
//!
//! A slot is a container of ours (`shipline-init pause`) whose network stages use one after
//! the other, each in a namespace that nobody was in before: when a stage has ended, the
//! sandbox moves into a fresh one and takes the interface along. Which namespace a stage
//! really is in, it says itself before it is told its commands. Whatever goes wrong here,
//! the stage gets a network of its own from the engine, as one without slots does.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions,
};
use bytes::BytesMut;
use event::RunId;
use futures_util::StreamExt;
use shipline_init::frame::{Kind, Ready};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::clean::remove_container;
use super::container::no_log;
use super::engine::{Engine, text};
use super::init;
use super::labels::Kind as ObjectKind;
use super::layer::run_labels;
use super::output::{Attached, take_record};
use crate::backend::{AttemptSpec, Coming, RunContext};

/// Fewer stages do not pay for a slot.
const WORTH: usize = 3;
/// More stages at a time than this are no faster with slots.
const MOST: usize = 16;
/// How long a stage waits for a slot that is nearly there; starting without is not slower.
const WAIT: Duration = Duration::from_millis(500);
/// How long a sandbox may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
const MEMORY: i64 = 64 << 20;
const PIDS: i64 = 16;
/// A namespace is made and an interface moved; files that the engine put into all
/// containers of the network are made again what they were.
const CAPABILITIES: [&str; 5] = ["SYS_ADMIN", "NET_ADMIN", "CHOWN", "DAC_OVERRIDE", "FOWNER"];
/// The engine's own list but `/proc/sys`: a fresh namespace gets the settings of the former.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"];

/// The slots of all runs of this process.
#[derive(Default)]
pub(super) struct Slots {
    pools: Mutex<HashMap<RunId, Arc<Pool>>>,
}

impl Slots {
    /// Begins to make the first slot of a run, if it is worth it.
    pub(super) fn open(&self, engine: &Engine, run: &RunContext) {
        if !engine.of_root || run.coming.stages < WORTH {
            return;
        }
        let mut pools = self.pools.lock().expect("nobody panics with this lock");
        pools.entry(run.run).or_insert_with(|| {
            let pool = Arc::new(Pool::new(engine, run));
            if run.coming.sure >= WORTH {
                pool.grow(1);
            }
            pool
        });
    }

    /// Returns a network for an attempt that is about to start; `None`: it gets its own.
    pub(super) async fn lease(&self, run: RunId, spec: &AttemptSpec) -> Option<Lease> {
        if !spec.services.is_empty() {
            return None;
        }
        let pool = {
            let pools = self.pools.lock().expect("nobody panics with this lock");
            Arc::clone(pools.get(&run)?)
        };
        let soon = pool.take().await?;
        Some(Lease { pool, sandbox: soon.sandbox.clone(), soon: Some(soon), slot: None })
    }

    /// Makes no more for a run; what there is goes with the rest of it.
    pub(super) fn close(&self, run: RunId) {
        let pool = self.pools.lock().expect("nobody panics with this lock").remove(&run);
        if let Some(pool) = pool {
            pool.close();
        }
    }
}

#[cfg(test)]
impl Slots {
    /// Says how many are free.
    pub(super) fn free(&self, run: RunId) -> usize {
        let pool = self.pools.lock().unwrap().get(&run).cloned();
        pool.map_or(0, |pool| pool.with(|state| state.free.len()))
    }

    /// Makes the free ones expect their stages in another network.
    pub(super) fn confuse(&self, run: RunId) {
        let pool = self.pools.lock().unwrap().get(&run).cloned().unwrap();
        pool.with(|state| {
            for free in &mut state.free {
                let mut slot = free.slot.try_recv().expect("it was made");
                slot.network += 1;
                *free = Soon::now(slot);
            }
        });
    }
}

/// The slots of a run.
struct Pool {
    engine: Engine,
    run: RunContext,
    state: Mutex<State>,
    /// One is made at a time: the stages need the machine too.
    making: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
}

struct State {
    /// Stages that may still begin.
    left: usize,
    /// Slots there are, also those that are being made or used.
    count: usize,
    making: usize,
    /// Also those that are being made anew: a container may be created meanwhile.
    free: VecDeque<Soon>,
    waiting: VecDeque<oneshot::Sender<Soon>>,
    /// Nobody may make one any more: the run is over, or it does not work here.
    closed: bool,
}

impl Pool {
    fn new(engine: &Engine, run: &RunContext) -> Self {
        let state = State {
            left: run.coming.stages,
            count: 0,
            making: 0,
            free: VecDeque::new(),
            waiting: VecDeque::new(),
            closed: false,
        };
        Self {
            engine: engine.clone(),
            run: run.clone(),
            state: Mutex::new(state),
            making: Arc::new(Semaphore::new(1)),
            tasks: Mutex::default(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().expect("nobody panics with this lock"))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("nobody panics with this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Makes slots until there are `goal`.
    fn grow(self: &Arc<Self>, goal: usize) {
        let missing = self.with(|state| {
            let missing = if state.closed { 0 } else { goal.saturating_sub(state.count) };
            state.count += missing;
            state.making += missing;
            missing
        });
        for _ in 0..missing {
            let pool = Arc::clone(self);
            self.spawn(async move {
                let _turn = pool.making.acquire().await;
                match Slot::make(&pool.engine, &pool.run).await {
                    Ok(slot) => {
                        pool.with(|state| state.making -= 1);
                        pool.offer(Soon::now(slot));
                    }
                    Err((sandbox, error)) => {
                        tracing::info!("stages get networks of their own: {error}");
                        pool.with(|state| {
                            state.closed = true;
                            state.making -= 1;
                        });
                        pool.lost();
                        pool.remove(sandbox).await;
                    }
                }
            });
        }
    }

    /// Returns a slot that nobody uses.
    async fn take(self: &Arc<Self>) -> Option<Soon> {
        let (taken, goal) = self.with(|state| {
            let goal = goal(self.run.coming, state.left);
            state.left = state.left.saturating_sub(1);
            if let Some(soon) = state.free.pop_front() {
                return (Ok(Some(soon)), goal);
            }
            if state.making <= state.waiting.len() {
                return (Ok(None), goal);
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            (Err(receiver), goal)
        });
        self.grow(goal);
        match taken {
            Ok(soon) => soon,
            Err(mut receiver) => match timeout(WAIT, &mut receiver).await {
                Ok(soon) => soon.ok(),
                Err(_) => {
                    // One that came just now must not be lost.
                    receiver.close();
                    receiver.try_recv().ok()
                }
            },
        }
    }

    /// Gives a slot to whoever has waited longest.
    fn offer(&self, soon: Soon) {
        self.with(|state| {
            let mut soon = soon;
            while let Some(waiting) = state.waiting.pop_front() {
                match waiting.send(soon) {
                    Ok(()) => return,
                    Err(back) => soon = back,
                }
            }
            state.free.push_back(soon);
        });
    }

    /// Counts a slot that is no more; nobody has to wait for it.
    fn lost(&self) {
        self.with(|state| {
            state.count -= 1;
            state.waiting.truncate(state.making);
        });
    }

    /// Makes a used slot fresh again, or removes it when no stage will need it.
    fn renew(self: &Arc<Self>, mut slot: Slot) {
        let wanted = self.with(|state| !state.closed && state.count <= state.left);
        let pool = Arc::clone(self);
        if !wanted {
            self.spawn(async move {
                pool.lost();
                pool.remove(slot.sandbox).await;
            });
            return;
        }
        let (renewed, soon) = oneshot::channel();
        self.offer(Soon { sandbox: slot.sandbox.clone(), slot: soon });
        self.spawn(async move {
            if let Err(error) = slot.renew().await {
                tracing::info!("a network cannot be made anew: {error}");
                drop(renewed);
                pool.lost();
                pool.remove(slot.sandbox).await;
                return;
            }
            // Nobody wants it: the run is over.
            drop(renewed.send(slot));
        });
    }

    async fn remove(&self, sandbox: String) {
        if let Err(error) = remove_container(&self.engine, &sandbox).await {
            tracing::debug!("left to the clean-up: {error}");
        }
    }

    fn close(&self) {
        self.with(|state| {
            state.closed = true;
            state.waiting.clear();
            state.free.clear();
        });
        self.tasks.lock().expect("nobody panics with this lock").abort_all();
    }
}

/// How many slots are worth making when so many stages are left.
fn goal(coming: Coming, left: usize) -> usize {
    coming.at_once.min(left.div_ceil(2)).min(MOST)
}

/// A network that an attempt may use.
pub(super) struct Lease {
    pool: Arc<Pool>,
    sandbox: String,
    soon: Option<Soon>,
    /// Once something may have joined it.
    slot: Option<Slot>,
}

impl Lease {
    /// The engine's word for it.
    pub(super) fn mode(&self) -> String {
        format!("container:{}", self.sandbox)
    }

    /// Waits until nothing of a former stage is there; before, nothing may be started on it.
    pub(super) async fn ready(&mut self) -> Result<(), String> {
        if let Some(soon) = self.soon.take() {
            let slot = soon.slot.await;
            self.slot = Some(slot.map_err(|_| "it could not be made anew".to_owned())?);
        }
        Ok(())
    }

    /// Says why an attempt must not run in the network that it found itself in.
    pub(super) fn check(&self, network: Option<u64>) -> Result<(), String> {
        let expected = self.slot.as_ref().map(|slot| slot.network);
        if network == expected {
            return Ok(());
        }
        Err(format!("it began in the network {network:?} in place of {expected:?}"))
    }

    /// When nothing of the attempt runs any more.
    pub(super) fn give_back(mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.renew(slot);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(soon) = self.soon.take() {
            self.pool.offer(soon);
        } else if self.slot.take().is_some() {
            // Something of the attempt may still be there: it is left to the clean-up.
            self.pool.lost();
        }
    }
}

/// A slot that is free as soon as it comes; never, if it cannot be made anew.
struct Soon {
    sandbox: String,
    slot: oneshot::Receiver<Slot>,
}

impl Soon {
    fn now(slot: Slot) -> Self {
        let (sender, receiver) = oneshot::channel();
        let sandbox = slot.sandbox.clone();
        drop(sender.send(slot));
        Self { sandbox, slot: receiver }
    }
}

/// A sandbox, and the namespace it has made.
struct Slot {
    /// The container's name.
    sandbox: String,
    network: u64,
    output: Attached,
    buffer: BytesMut,
    input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Slot {
    /// Starts a sandbox; an error has its name, since it may be there.
    async fn make(engine: &Engine, run: &RunContext) -> Result<Self, (String, String)> {
        // One of a former life may still be used by a stage.
        let id = Uuid::now_v7().simple().to_string();
        let name = format!("shipline-{}-sandbox-{}", run.run.short(), &id[24..]);
        match Self::start(engine, run, name.clone()).await {
            Ok(slot) => Ok(slot),
            Err(error) => Err((name, error)),
        }
    }

    async fn start(engine: &Engine, run: &RunContext, name: String) -> Result<Self, String> {
        let said = |error: Error| text(&error);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        engine.create_container(Some(options), body(engine, run)).await.map_err(said)?;
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = engine.docker.attach_container(&name, Some(options)).await.map_err(said)?;
        let started = engine.docker.start_container(&name, None::<StartContainerOptions>).await;
        started.map_err(said)?;
        let (output, input) = (attached.output, attached.input);
        let mut slot = Self { sandbox: name, network: 0, output, buffer: BytesMut::new(), input };
        slot.network = slot.answer().await?;
        Ok(slot)
    }

    async fn renew(&mut self) -> Result<(), String> {
        let asked = async {
            self.input.write_all(b"\n").await?;
            self.input.flush().await
        };
        asked.await.map_err(|error: std::io::Error| error.to_string())?;
        let fresh = self.answer().await?;
        let former = std::mem::replace(&mut self.network, fresh);
        if former == self.network {
            return Err("it is the same as before".to_owned());
        }
        Ok(())
    }

    /// Waits for the namespace that the sandbox has made.
    async fn answer(&mut self) -> Result<u64, String> {
        let answer = async {
            loop {
                match take_record(&mut self.buffer)? {
                    Some((Kind::Ready, payload)) => {
                        let network = Ready::parse(&payload).and_then(|ready| ready.network);
                        return network.ok_or_else(|| "it does not say which".to_owned());
                    }
                    Some((_, payload)) => {
                        return Err(String::from_utf8_lossy(&payload).into_owned());
                    }
                    None => {}
                }
                match self.output.next().await {
                    Some(Ok(output)) => self.buffer.extend_from_slice(&output.into_bytes()),
                    Some(Err(error)) => return Err(text(&error)),
                    None => return Err("the sandbox has ended".to_owned()),
                }
            }
        };
        match timeout(ANSWER, answer).await {
            Ok(answer) => answer,
            Err(_) => Err("the sandbox does not answer".to_owned()),
        }
    }
}

fn body(engine: &Engine, run: &RunContext) -> ContainerCreateBody {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    ContainerCreateBody {
        image: Some(init::image()),
        entrypoint: Some(words(&[init::IN_HELPER, "pause"])),
        labels: Some(run_labels(engine, run, ObjectKind::Sandbox).map()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        host_config: Some(HostConfig {
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            pids_limit: Some(PIDS),
            cap_drop: Some(words(&["ALL"])),
            cap_add: Some(words(&CAPABILITIES)),
            readonly_paths: Some(words(&READ_ONLY)),
            security_opt: Some(words(&["no-new-privileges"])),
            log_config: Some(no_log()),
            init: Some(false),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_slots_are_made_as_pay() {
        let goal = |at_once, left| goal(Coming { stages: 100, sure: 100, at_once }, left);
        assert_eq!(goal(1, 20), 1, "a chain");
        assert_eq!(goal(4, 52), 4);
        assert_eq!(goal(4, 3), 2, "the last ones need no more");
        assert_eq!(goal(64, 500), MOST);
        assert_eq!(goal(4, 0), 0);
    }
}
