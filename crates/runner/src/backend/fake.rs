//! A backend that plays scripts: nothing runs, time may be paused.
//!
//! A stage plays its [`Script`], or, without one, what its commands look like:
//! `echo`, also into a file, `cat`, `sleep`, `exit`, `true`, `false` and `trap '' TERM`. The fake watches
//! over the contract of [`Backend`]: what breaks it is in [`FakeBackend::violations`].

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use event::{OutputStream, RunId};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use files::{AttemptFiles, Files, Tree};

use super::{
    AttemptSpec, Backend, BackendError, BuildSpec, Built, Choose, Chunk, Exit, Handle, Kept,
    LayerId, Piece, PushSpec, Pushed, Restored, RunContext, View,
};
use crate::Workspace;

/// What a stage does, act by act; at the end it exits with 0.
#[derive(Clone, Debug, Default)]
pub struct Script {
    acts: Vec<Act>,
}

#[derive(Clone, Debug)]
enum Act {
    Print(OutputStream, Bytes),
    /// Appends to `$SHIPLINE_OUTPUT`.
    PutOut(Bytes),
    Write(String, Bytes),
    /// Prints a file; without it the stage ends with 1.
    Cat(String),
    /// So many bytes, in lines of 64.
    Fill(u64),
    Sleep(Duration),
    Hang,
    IgnoreTerm,
    Exit(Exit),
    /// The engine fails while the stage runs.
    Break(String),
    /// The attempt cannot even be started.
    Refuse {
        user: Option<&'static str>,
        message: String,
    },
    Panic,
}

impl Script {
    pub fn exit(code: i64) -> Self {
        Self::default().then(Act::Exit(Exit { code, ..Exit::default() }))
    }

    /// Runs until it is stopped.
    pub fn hang() -> Self {
        Self::default().then(Act::Hang)
    }

    /// The image or the command is not what the user thought.
    pub fn refused(code: &'static str, message: &str) -> Self {
        Self::default().then(Act::Refuse { user: Some(code), message: message.to_owned() })
    }

    /// The engine cannot start it.
    pub fn unstartable(message: &str) -> Self {
        Self::default().then(Act::Refuse { user: None, message: message.to_owned() })
    }

    /// The engine fails while it runs.
    pub fn broken(message: &str) -> Self {
        Self::default().then(Act::Break(message.to_owned()))
    }

    /// The engine restarts, or the container vanishes.
    pub fn lost(reason: &str) -> Self {
        let lost = Some(reason.to_owned());
        Self::default().then(Act::Exit(Exit { code: 137, lost, ..Exit::default() }))
    }

    pub fn out_of_memory() -> Self {
        Self::default().then(Act::Exit(Exit { code: 137, oom_killed: true, ..Exit::default() }))
    }

    /// The backend has a bug.
    pub fn panicking() -> Self {
        Self::default().then(Act::Panic)
    }

    pub fn after(self, time: Duration) -> Self {
        self.first(Act::Sleep(time))
    }

    pub fn printing(self, text: &str) -> Self {
        self.first(Act::Print(OutputStream::Stdout, Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Lines of `$SHIPLINE_OUTPUT`.
    pub fn putting_out(self, lines: &str) -> Self {
        self.first(Act::PutOut(Bytes::copy_from_slice(lines.as_bytes())))
    }

    /// Writes a file, of the workspace unless its path is absolute or in `~`.
    pub fn writing(self, path: &str, contents: &str) -> Self {
        self.first(Act::Write(path.to_owned(), Bytes::copy_from_slice(contents.as_bytes())))
    }

    pub fn printing_bytes(self, amount: u64) -> Self {
        self.first(Act::Fill(amount))
    }

    pub fn ignoring_term(self) -> Self {
        self.first(Act::IgnoreTerm)
    }

    fn first(mut self, act: Act) -> Self {
        self.acts.insert(0, act);
        self
    }

    fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// Returns what `commands` look like; what is not known does nothing.
    fn of_commands(commands: &[String]) -> Self {
        let words =
            |text: &str| Bytes::from(format!("{}\n", text.trim().trim_matches(['"', '\''])));
        let print = |stream, text: &str| Act::Print(stream, words(text));
        let acts = commands.iter().flat_map(|command| command.lines()).filter_map(|line| {
            let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            match word {
                "echo" => Some(match rest.strip_suffix(">&2") {
                    Some(text) => print(OutputStream::Stderr, text),
                    None => match rest.rsplit_once(" >") {
                        Some((text, path)) => Act::Write(path.trim().to_owned(), words(text)),
                        None => print(OutputStream::Stdout, rest),
                    },
                }),
                "cat" => Some(Act::Cat(rest.to_owned())),
                // `infinity` and what is no number lasts for ever.
                "sleep" => {
                    let time =
                        rest.parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
                    Some(time.map_or(Act::Hang, Act::Sleep))
                }
                "exit" | "false" => {
                    let code = rest.parse().unwrap_or(i64::from(word == "false"));
                    Some(Act::Exit(Exit { code, ..Exit::default() }))
                }
                "trap" => Some(Act::IgnoreTerm),
                _ => None,
            }
        });
        Self { acts: acts.collect() }
    }
}

/// See the module.
#[derive(Clone, Default)]
pub struct FakeBackend {
    /// Of each attempt; the last one of all further ones.
    scripts: BTreeMap<String, Vec<Script>>,
    unprepared: Option<String>,
    unclean: Option<String>,
    workspace: Tree,
    world: Arc<Mutex<World>>,
}

#[derive(Debug, Default)]
struct World {
    prepared: bool,
    /// The next `prepare` fails.
    away: bool,
    files: Files,
    sealed: BTreeSet<LayerId>,
    running: BTreeSet<String>,
    peak: usize,
    started: Vec<String>,
    specs: Vec<AttemptSpec>,
    calls: Vec<String>,
    violations: Vec<String>,
    /// Of every attempt that was started.
    kills: Vec<CancellationToken>,
    cleaned_away: Vec<String>,
}

impl FakeBackend {
    /// Lets `stage`, whatever it does, play `script`.
    pub fn with(mut self, stage: &str, script: Script) -> Self {
        self.scripts.insert(stage.to_owned(), vec![script]);
        self
    }

    /// Lets each attempt of `stage` play a script of its own.
    pub fn with_attempts(mut self, stage: &str, scripts: Vec<Script>) -> Self {
        self.scripts.insert(stage.to_owned(), scripts);
        self
    }

    fn script(&self, stage: &str, attempt: u32) -> Option<Script> {
        let scripts = self.scripts.get(stage)?;
        let at = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
        scripts.get(at).or(scripts.last()).cloned()
    }

    /// Lets every checkout bring these files, paths and contents.
    pub fn with_files(mut self, files: &[(&str, &str)]) -> Self {
        let files = files.iter();
        self.workspace.extend(files.map(|(path, contents)| {
            ((*path).to_owned(), Bytes::copy_from_slice(contents.as_bytes()))
        }));
        self
    }

    /// Lets `prepare` fail.
    pub fn with_unreachable_engine(mut self, message: &str) -> Self {
        self.unprepared = Some(message.to_owned());
        self
    }

    /// Lets `prepare` fail once.
    pub fn with_engine_that_comes_back(self) -> Self {
        self.lock().away = true;
        self
    }

    /// Lets `clean` fail.
    pub fn with_failing_clean(mut self, message: &str) -> Self {
        self.unclean = Some(message.to_owned());
        self
    }

    /// The calls, in order, as `start compile`, `stop compile 10s`, `clean`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Names of the attempts that were started, in order.
    pub fn started(&self) -> Vec<String> {
        self.lock().started.clone()
    }

    /// The most attempts that ran at once.
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    /// What runs now.
    pub fn running(&self) -> BTreeSet<String> {
        self.lock().running.clone()
    }

    /// What still ran when it was cleaned up.
    pub fn cleaned_away(&self) -> Vec<String> {
        self.lock().cleaned_away.clone()
    }

    /// What the attempts were started with, in order.
    pub fn specs(&self) -> Vec<AttemptSpec> {
        self.lock().specs.clone()
    }

    /// Calls that the contract of [`Backend`] forbids.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Begins an attempt; the guard ends it.
    fn enter(&self, call: String, name: &str, lower: &[LayerId]) -> Result<Running, BackendError> {
        let mut world = self.lock();
        world.calls.push(call);
        if !world.prepared {
            world.violations.push(format!("{name} began before `prepare`"));
        }
        let unsealed = lower.iter().find(|layer| !world.sealed.contains(layer)).copied();
        if let Some(layer) = unsealed {
            world.violations.push(format!("{name} stands on layer {layer:?}, which is not sealed"));
            return Err(infrastructure("a lower layer is not sealed"));
        }
        if !world.running.insert(name.to_owned()) {
            world.violations.push(format!("{name} began while it was running"));
        }
        world.started.push(name.to_owned());
        world.peak = world.peak.max(world.running.len());
        Ok(Running { world: self.world.clone(), name: name.to_owned() })
    }

    /// Plays the script of a stage that has no container.
    async fn play(
        &self,
        (stage, attempt): (&str, u32),
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let script = self.script(stage, attempt).unwrap_or_default();
        refuse(&script)?;
        let (forward, mut chunks) = mpsc::channel(1);
        let kill = CancellationToken::new();
        let files = AttemptFiles::default();
        let play = play(&script, &files, forward, cancel, &kill);
        let forward = async {
            while let Some(Ok(chunk)) = chunks.recv().await {
                // Nobody listening any more is not the stage's problem.
                let _ = output.send(chunk).await;
            }
        };
        match tokio::join!(play, forward).0 {
            Ended::Exit(exit) if exit.code == 0 => Ok(()),
            Ended::Exit(_) if cancel.is_cancelled() => Err(BackendError::Cancelled),
            Ended::Exit(exit) => {
                Err(BackendError::User { code: None, message: format!("exit {}", exit.code) })
            }
            Ended::Broken(message) => Err(infrastructure(&message)),
        }
    }
}

#[async_trait]
impl Backend for FakeBackend {
    async fn prepare(&self, _: &RunContext) -> Result<(), BackendError> {
        let mut world = self.lock();
        world.calls.push("prepare".to_owned());
        if let Some(message) = &self.unprepared {
            return Err(infrastructure(message));
        }
        if std::mem::take(&mut world.away) {
            return Err(infrastructure("connection refused"));
        }
        world.prepared = true;
        Ok(())
    }

    async fn checkout(
        &self,
        _: &RunContext,
        layer: LayerId,
        _: &Workspace,
        _: Option<u32>,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let _running = self.enter("checkout".to_owned(), "checkout", &[])?;
        self.lock().files.check_out(layer, &self.workspace);
        self.play(("checkout", layer.attempt), output, cancel).await
    }

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        _: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let script = self.script(&attempt.stage, attempt.attempt);
        let script = script.unwrap_or_else(|| Script::of_commands(&attempt.commands));
        refuse(&script)?;
        let running =
            self.enter(format!("start {}", attempt.stage), &attempt.name, &attempt.lower)?;
        let (output, chunks) = mpsc::channel(1);
        let (ended, exit) = watch::channel(None);
        let (term, kill) = (CancellationToken::new(), CancellationToken::new());
        let (files, restored) = {
            let mut world = self.lock();
            world.kills.push(kill.clone());
            world.specs.push(attempt.clone());
            world.files.begin(run, attempt)
        };
        let mut stage = JoinSet::new();
        let (heard_term, heard_kill) = (term.clone(), kill.clone());
        stage.spawn(async move {
            let end = play(&script, &files, output, &heard_term, &heard_kill).await;
            drop(running);
            ended.send_replace(Some(end));
        });
        Ok(Box::new(FakeHandle {
            stage: attempt.stage.clone(),
            world: self.world.clone(),
            output: Mutex::new(Some(chunks)),
            exit,
            restored,
            term,
            kill,
            _stage: stage,
        }))
    }

    async fn read(
        &self,
        _: &RunContext,
        view: &View,
        choose: Choose,
        to: mpsc::Sender<Piece>,
    ) -> Result<(), BackendError> {
        let files = {
            let mut world = self.lock();
            world.calls.push(format!("read {}", view.stage));
            world.files.list(view)
        };
        let entries: Vec<_> = files.iter().map(|(entry, _)| entry.clone()).collect();
        for position in choose(&entries) {
            let (entry, contents) = files[position].clone();
            // Whoever does not want the rest has a reason of their own.
            let _ = to.send(Piece::File(entry)).await;
            let _ = to.send(Piece::Bytes(contents)).await;
        }
        Ok(())
    }

    async fn keep(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cache: usize,
        restored: Option<&Restored>,
    ) -> Result<Kept, BackendError> {
        let mut world = self.lock();
        world.calls.push(format!("keep {} {cache}", attempt.stage));
        Ok(world.files.keep(run, attempt, cache, restored))
    }

    async fn seal(&self, _: &RunContext, layer: LayerId) -> Result<(), BackendError> {
        let mut world = self.lock();
        world.calls.push(format!("seal {}.{}", layer.index, layer.attempt));
        world.sealed.insert(layer);
        Ok(())
    }

    async fn build(
        &self,
        _: &RunContext,
        attempt: &BuildSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Built, BackendError> {
        let _running =
            self.enter(format!("build {}", attempt.stage), &attempt.name, &attempt.lower)?;
        self.play((&attempt.stage, attempt.attempt), output, cancel).await?;
        Ok(Built { id: format!("sha256:{:0>64}", hex::encode(&attempt.stage)) })
    }

    async fn push(
        &self,
        _: &RunContext,
        attempt: &PushSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Pushed, BackendError> {
        let call = format!("push {} as {}", attempt.image, attempt.tags.join(" "));
        let _running = self.enter(call, &attempt.stage, &[])?;
        self.play((&attempt.stage, attempt.attempt), output, cancel).await?;
        let digest = format!("sha256:{:0>64}", hex::encode(&attempt.stage));
        let repository = attempt.tags.first().map_or("", |tag| repository(tag));
        Ok(Pushed { reference: format!("{repository}@{digest}"), digest })
    }

    async fn clean(&self, _: &RunContext) -> Result<(), BackendError> {
        let mut world = self.lock();
        world.calls.push("clean".to_owned());
        if let Some(message) = &self.unclean {
            return Err(infrastructure(message));
        }
        world.prepared = false;
        world.sealed.clear();
        world.files.clean();
        world.kills.drain(..).for_each(|kill| kill.cancel());
        let running = std::mem::take(&mut world.running);
        world.cleaned_away.extend(running);
        Ok(())
    }

    async fn sweep(&self, _: &str, _: &[RunId]) -> Result<usize, BackendError> {
        self.lock().calls.push("sweep".to_owned());
        Ok(0)
    }
}

/// An attempt that counts as running until it is dropped.
struct Running {
    world: Arc<Mutex<World>>,
    name: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.world).running.remove(&self.name);
    }
}

struct FakeHandle {
    stage: String,
    world: Arc<Mutex<World>>,
    output: Mutex<Option<mpsc::Receiver<Result<Chunk, BackendError>>>>,
    exit: watch::Receiver<Option<Ended>>,
    restored: Vec<Option<Restored>>,
    term: CancellationToken,
    kill: CancellationToken,
    /// Ends with the handle.
    _stage: JoinSet<()>,
}

#[async_trait]
impl Handle for FakeHandle {
    fn image_digest(&self) -> Option<String> {
        Some(format!("id:sha256:{:0>64}", hex::encode(&self.stage)))
    }

    fn restored(&self) -> &[Option<Restored>] {
        &self.restored
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let chunks = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        if chunks.is_none() {
            lock(&self.world)
                .violations
                .push(format!("the output of {} was asked for twice", self.stage));
        }
        stream::unfold(chunks, |chunks| async move {
            let mut chunks = chunks?;
            chunks.recv().await.map(|chunk| (chunk, Some(chunks)))
        })
        .boxed()
    }

    async fn wait(&self) -> Result<Exit, BackendError> {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        match ended.ok().and_then(|ended| ended.clone()) {
            Some(Ended::Exit(exit)) => Ok(exit),
            Some(Ended::Broken(message)) => Err(infrastructure(&message)),
            None => Err(infrastructure("the fake stage vanished")),
        }
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        lock(&self.world).calls.push(format!("stop {} {}s", self.stage, grace.as_secs()));
        self.term.cancel();
        let mut exit = self.exit.clone();
        tokio::select! {
            _ = exit.wait_for(Option::is_some) => {}
            () = sleep(grace) => self.kill.cancel(),
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Ended {
    Exit(Exit),
    Broken(String),
}

async fn play(
    script: &Script,
    files: &AttemptFiles,
    output: mpsc::Sender<Result<Chunk, BackendError>>,
    term: &CancellationToken,
    kill: &CancellationToken,
) -> Ended {
    let mut hears_term = true;
    let mut outputs = Vec::new();
    for act in &script.acts {
        let done = async {
            match act {
                Act::Print(stream, bytes) => {
                    // Printing to nobody is no reason to end.
                    let _ = output.send(Ok(Chunk { stream: *stream, bytes: bytes.clone() })).await;
                }
                Act::Fill(amount) => fill(&output, *amount).await,
                Act::Sleep(time) => sleep(*time).await,
                Act::Hang => std::future::pending().await,
                Act::IgnoreTerm
                | Act::PutOut(_)
                | Act::Write(..)
                | Act::Cat(_)
                | Act::Exit(_)
                | Act::Break(_)
                | Act::Refuse { .. }
                | Act::Panic => {}
            }
        };
        tokio::select! {
            biased;
            () = kill.cancelled() => return exit(137),
            () = term.cancelled(), if hears_term => return exit(143),
            () = done => {}
        }
        match act {
            Act::IgnoreTerm => hears_term = false,
            Act::Write(path, contents) => files.write(path, contents.clone()),
            Act::Cat(path) => match files.read(path) {
                Some(bytes) => {
                    let chunk = Chunk { stream: OutputStream::Stdout, bytes };
                    let _ = output.send(Ok(chunk)).await;
                }
                None => return exit(1),
            },
            Act::PutOut(lines) => outputs.extend_from_slice(lines),
            Act::Exit(exit) => return Ended::Exit(Exit { outputs, ..exit.clone() }),
            Act::Break(message) => return Ended::Broken(message.clone()),
            _ => {}
        }
    }
    Ended::Exit(Exit { outputs, ..Exit::default() })
}

async fn fill(output: &mpsc::Sender<Result<Chunk, BackendError>>, amount: u64) {
    let block: Bytes = format!("{}\n", "x".repeat(63)).repeat(1024).into();
    let mut left = usize::try_from(amount).unwrap_or(usize::MAX);
    while left > 0 {
        let bytes = block.slice(..left.min(block.len()));
        left -= bytes.len();
        let _ = output.send(Ok(Chunk { stream: OutputStream::Stdout, bytes })).await;
    }
}

const fn exit(code: i64) -> Ended {
    Ended::Exit(Exit { code, oom_killed: false, lost: None, outputs: Vec::new() })
}

fn refuse(script: &Script) -> Result<(), BackendError> {
    for act in &script.acts {
        match act {
            Act::Refuse { user: None, message } => return Err(infrastructure(message)),
            Act::Refuse { user, message } => {
                return Err(BackendError::User { code: *user, message: message.clone() });
            }
            Act::Panic => panic!("as the script says"),
            _ => {}
        }
    }
    Ok(())
}

fn infrastructure(message: &str) -> BackendError {
    BackendError::Infrastructure { part: "fake", message: message.to_owned() }
}

/// Returns a reference without its tag.
fn repository(tag: &str) -> &str {
    match tag.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => tag,
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
