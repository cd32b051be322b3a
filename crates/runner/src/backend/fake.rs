//! A backend that plays scripts: nothing runs, time may be paused.
//!
//! A stage plays its [`Script`], or, without one, what its commands look like:
//! `echo`, also into a file, `cat`, `sleep`, `exit`, `true`, `false` and `trap '' TERM`. The fake watches
//! over the contract of [`Backend`]: what breaks it is in [`FakeBackend::violations`].

mod files;
mod handle;
mod script;
mod services;
mod surviving;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use event::RunId;
use pipeline::Resources;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use files::{AttemptFiles, Tree};
use handle::{FakeHandle, Said};
use script::{Ended, play, refuse};
use surviving::{Records, Survivor};
use world::{Owner, Running, World, lock, witness};

use super::{
    Adopted, AttemptSpec, Backend, BackendError, BuildSpec, Built, CheckSpec, Choose, Chunk, Exit,
    Handle, Joined, Kept, LayerId, Left, Piece, PushSpec, Pushed, Released, Restored, RunContext,
    Services, Usage, View,
};
use crate::{Registry, Workspace};

pub use script::Script;
pub use services::ServiceScript;

pub use world::Witnessed;

/// The stage whose script checks play.
pub const CHECK: &str = "check";

/// See the module.
#[derive(Clone, Default)]
pub struct FakeBackend {
    /// Of each attempt; the last one of all further ones.
    scripts: BTreeMap<String, Vec<Script>>,
    services: BTreeMap<String, ServiceScript>,
    unprepared: Option<String>,
    unclean: Option<String>,
    workspace: Tree,
    world: Arc<Mutex<World>>,
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

    /// Lets every service of this name play `script`.
    pub fn with_service(mut self, name: &str, script: ServiceScript) -> Self {
        self.services.insert(name.to_owned(), script);
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
        self.lock().running.keys().cloned().collect()
    }

    /// Attempts whose services run now.
    pub fn serving(&self) -> BTreeSet<String> {
        self.lock().serving.keys().cloned().collect()
    }

    /// The containers of attempts, in the order they were started.
    pub fn witnessed(&self) -> Vec<Witnessed> {
        self.lock().witnessed.clone()
    }

    /// Puts a container of another instance on the engine.
    pub fn with_stranger(self, name: &str, run: RunId) -> Self {
        let owner = Owner { instance: "stranger".to_owned(), run };
        self.lock().running.insert(name.to_owned(), owner);
        self
    }

    /// The engine restarts: what ran is gone, what lies on disk is not.
    pub fn restart(&self) {
        let mut world = self.lock();
        world.survivors.lose();
        world.kills.drain(..).for_each(|(_, kill)| kill.cancel());
        world.serving.clear();
        world.prepared = false;
    }

    /// Tells the time from now on as a clock that says `wall` now.
    pub fn with_clock(self, wall: DateTime<Utc>) -> Self {
        self.lock().survivors.clock = Some((Instant::now(), wall));
        self
    }

    /// What still ran when it was cleaned up.
    pub fn cleaned_away(&self) -> Vec<String> {
        self.lock().cleaned_away.clone()
    }

    /// What the attempts were started with, in order.
    pub fn specs(&self) -> Vec<AttemptSpec> {
        self.lock().specs.clone()
    }

    /// What was tested, in order.
    pub fn checks(&self) -> Vec<CheckSpec> {
        self.lock().checks.clone()
    }

    pub fn builds(&self) -> Vec<BuildSpec> {
        self.lock().builds.clone()
    }

    pub fn pushes(&self) -> Vec<PushSpec> {
        self.lock().pushes.clone()
    }

    /// Calls that the contract of [`Backend`] forbids.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Begins an attempt; the guard ends it.
    fn enter(
        &self,
        run: &RunContext,
        call: String,
        name: &str,
        lower: &[LayerId],
    ) -> Result<Running, BackendError> {
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
        if world.running.insert(name.to_owned(), Owner::of(run)).is_some() {
            world.violations.push(format!("{name} began while it was running"));
        }
        world.started.push(name.to_owned());
        world.peak = world.peak.max(world.running.len());
        Ok(Running { world: self.world.clone(), name: name.to_owned() })
    }

    /// Plays the script of something that has no container.
    async fn play(
        &self,
        script: Script,
        files: AttemptFiles,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        refuse(&script)?;
        let (forward, mut chunks) = mpsc::channel(1);
        let kill = CancellationToken::new();
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

    async fn base(&self, _: &Workspace) -> Result<Option<String>, BackendError> {
        Ok(Some(hex::encode(Sha256::digest(format!("{:?}", self.workspace)))))
    }

    async fn checkout(
        &self,
        run: &RunContext,
        layer: LayerId,
        _: &Workspace,
        _: Option<u32>,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let _running = self.enter(run, "checkout".to_owned(), "checkout", &[])?;
        self.lock().files.check_out(layer, &self.workspace);
        let script = self.script("checkout", layer.attempt).unwrap_or_default();
        self.play(script, AttemptFiles::default(), output, cancel).await
    }

    async fn serve(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        _: &CancellationToken,
    ) -> Result<Box<dyn Services>, BackendError> {
        let durable = run.durable;
        Ok(Box::new(services::serve(&self.world, &self.services, attempt, durable)))
    }

    async fn adopt(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
    ) -> Result<Adopted, BackendError> {
        let mut world = self.lock();
        world.calls.push(format!("adopt {}", attempt.stage));
        if !world.prepared || !run.durable {
            world.violations.push(format!("{} is adopted out of turn", attempt.name));
        }
        let found = world.survivors.containers.get(&attempt.name);
        let Some(found) = found.filter(|found| found.owner == Owner::of(run)).cloned() else {
            // Its services are started anew.
            world.serving.remove(&attempt.name);
            world.survivors.services.remove(&attempt.name);
            return Ok(Adopted::Absent);
        };
        let seen = world.witnessed.iter().rfind(|seen| seen.name == attempt.name);
        let ended = seen.and_then(|seen| seen.ended);
        let (started, ended) = (world.survivors.wall(found.started), ended);
        let ended = ended.map(|ended| world.survivors.wall(ended));
        drop(world);
        let services: Option<Box<dyn Services>> = match attempt.services.as_slice() {
            [] => None,
            _ => Some(Box::new(services::rejoin(&self.world, attempt))),
        };
        let handle = Box::new(FakeHandle {
            stage: attempt.stage.clone(),
            name: attempt.name.clone(),
            world: self.world.clone(),
            output: Mutex::new(Some(Said::Recorded(found.records))),
            exit: found.exit,
            restored: found.restored,
            term: found.term,
            kill: found.kill,
        });
        Ok(Adopted::Joined(Joined { handle, services, started, ended }))
    }

    async fn release(&self, _: &RunContext, attempt: &Released) {
        let mut world = self.lock();
        world.calls.push(format!("release {}", attempt.name));
        if let Some(container) = world.survivors.containers.remove(&attempt.name) {
            container.kill.cancel();
        }
        world.survivors.services.remove(&attempt.name);
        world.serving.remove(&attempt.name);
    }

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        _: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let script = self.script(&attempt.stage, attempt.attempt);
        let script =
            script.unwrap_or_else(|| Script::of_commands(&attempt.commands, &variables(attempt)));
        refuse(&script)?;
        self.lock().files.refuse(attempt)?;
        let running =
            self.enter(run, format!("start {}", attempt.stage), &attempt.name, &attempt.lower)?;
        let (output, chunks) = mpsc::channel(1);
        let (ended, exit) = watch::channel(None);
        let (term, kill) = (CancellationToken::new(), CancellationToken::new());
        let (files, restored) = {
            let mut world = self.lock();
            if !attempt.services.is_empty() && !world.serving.contains_key(&attempt.name) {
                world.violations.push(format!("{} is started without its services", attempt.name));
            }
            world.kills.push((run.run, kill.clone()));
            world.specs.push(attempt.clone());
            world.witnessed.push(Witnessed {
                name: attempt.name.clone(),
                stage: attempt.stage.clone(),
                attempt: attempt.attempt,
                begun: Instant::now(),
                ended: None,
                exit: None,
                stopped: None,
            });
            world.files.begin(run, attempt)
        };
        let said = if run.durable {
            let records = Records::of(chunks);
            let survivor = Survivor {
                owner: Owner::of(run),
                records: records.clone(),
                exit: exit.clone(),
                restored: restored.clone(),
                term: term.clone(),
                kill: kill.clone(),
                started: Instant::now(),
                lost: Arc::default(),
            };
            self.lock().survivors.containers.insert(attempt.name.clone(), survivor);
            Said::Recorded(records)
        } else {
            Said::Live(chunks)
        };
        let (heard_term, heard_kill) = (term.clone(), kill.clone());
        let (world, name) = (self.world.clone(), attempt.name.clone());
        let limits = attempt.resources.clone();
        // As on a real engine, it runs on when nobody holds its handle any more.
        tokio::spawn(async move {
            let end = play(&script, &files, output, &heard_term, &heard_kill).await;
            let survivor = lock(&world).survivors.containers.get(&name).cloned();
            let end = survivor.map_or(end.clone(), |survivor| survivor.end(end));
            let end = within(end, &limits);
            drop(running);
            let exit = match &end {
                Ended::Exit(exit) => Some(exit.clone()),
                Ended::Broken(_) => None,
            };
            witness(&world, &name, |seen| {
                seen.ended = Some(Instant::now());
                seen.exit = exit;
            });
            ended.send_replace(Some(end));
        });
        Ok(Box::new(FakeHandle {
            stage: attempt.stage.clone(),
            name: attempt.name.clone(),
            world: self.world.clone(),
            output: Mutex::new(Some(said)),
            exit,
            restored,
            term,
            kill,
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
        run: &RunContext,
        attempt: &BuildSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Built, BackendError> {
        let _running =
            self.enter(run, format!("build {}", attempt.stage), &attempt.name, &attempt.lower)?;
        let dockerfile = {
            let mut world = self.lock();
            world.builds.push(attempt.clone());
            world.files.compare(&attempt.lower, attempt.merge.as_ref())?;
            world.files.dockerfile(attempt)?
        };
        let script = self.script(&attempt.stage, attempt.attempt);
        let script =
            script.unwrap_or_else(|| Script::of_dockerfile(&dockerfile.unwrap_or_default()));
        self.play(script, AttemptFiles::of_build(&attempt.secrets), output, cancel).await?;
        Ok(Built { id: image_of(&attempt.stage) })
    }

    async fn push(
        &self,
        run: &RunContext,
        attempt: &PushSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Pushed, BackendError> {
        let call = format!("push {} as {}", attempt.image, attempt.tags.join(" "));
        let _running = self.enter(run, call, &attempt.stage, &[])?;
        {
            let mut world = self.lock();
            world.pushes.push(attempt.clone());
            let mut built = world.builds.iter().map(|build| image_of(&build.stage));
            if attempt.image.starts_with("sha256:") && !built.any(|image| image == attempt.image) {
                let message = format!("image `{}` is not on the engine", attempt.image);
                return Err(BackendError::User { code: Some("E090"), message });
            }
        }
        let script = self.script(&attempt.stage, attempt.attempt).unwrap_or_default();
        self.play(script, AttemptFiles::default(), output, cancel).await?;
        let digest = format!("sha256:{:0>64}", hex::encode(&attempt.stage));
        let repository = attempt.tags.first().map_or("", |tag| repository(tag));
        Ok(Pushed { reference: format!("{repository}@{digest}"), digest })
    }

    async fn image(
        &self,
        reference: &str,
        _: Option<&Registry>,
        _: bool,
        _: &CancellationToken,
    ) -> Result<String, BackendError> {
        Ok(format!("{reference}@sha256:{:0>64}", hex::encode(reference)))
    }

    async fn place(&self, _: &RunContext, stage: &str, _: LayerId, _: &[LayerId]) {
        self.lock().calls.push(format!("place {stage}"));
    }

    async fn still_has(&self, left: &Left) -> Result<bool, BackendError> {
        Ok(match left {
            Left::Layer(layer) => self.lock().sealed.contains(layer),
            Left::Image(image) => image.starts_with("sha256:"),
        })
    }

    async fn remove_layers(
        &self,
        _: &str,
        of: &(dyn Fn(RunId) -> bool + Sync),
        except: &[LayerId],
    ) -> Result<usize, BackendError> {
        let mut world = self.lock();
        let before = world.sealed.len();
        world.sealed.retain(|layer| !of(layer.run) || except.contains(layer));
        Ok(before - world.sealed.len())
    }

    async fn check(
        &self,
        check: &CheckSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Exit, BackendError> {
        let script = self.script(CHECK, 1);
        let script = script.unwrap_or_else(|| Script::of_commands(&check.commands, &check.env));
        {
            let mut world = self.lock();
            world.calls.push(format!("check {}", check.image));
            world.checks.push(check.clone());
        }
        refuse(&script)?;
        let (forward, mut chunks) = mpsc::channel(1);
        let (files, kill) = (AttemptFiles::default(), CancellationToken::new());
        let playing = play(&script, &files, forward, cancel, &kill);
        let forwarding = async {
            while let Some(Ok(chunk)) = chunks.recv().await {
                let _ = output.send(chunk).await;
            }
        };
        match tokio::join!(playing, forwarding).0 {
            _ if cancel.is_cancelled() => Err(BackendError::Cancelled),
            Ended::Exit(exit) => Ok(exit),
            Ended::Broken(message) => Err(infrastructure(&message)),
        }
    }

    async fn sweep_checks(&self, _: &str) -> Result<usize, BackendError> {
        self.lock().calls.push("sweep checks".to_owned());
        Ok(0)
    }

    async fn clean(&self, run: &RunContext) -> Result<(), BackendError> {
        let mut world = self.lock();
        world.calls.push("clean".to_owned());
        if let Some(message) = &self.unclean {
            return Err(infrastructure(message));
        }
        world.prepared = false;
        if !run.keep_layers {
            world.sealed.retain(|layer| layer.run != run.run);
            world.files.clean(run.run);
        }
        let (own, owner) = (run.run, Owner::of(run));
        world.survivors.remove(|of| *of == owner, |of| of == own);
        world.remove(|of| *of == owner, |of| of == own);
        Ok(())
    }

    async fn sweep(&self, instance: &str, alive: &[RunId]) -> Result<usize, BackendError> {
        let mut world = self.lock();
        world.calls.push("sweep".to_owned());
        let dead = |run: RunId| !alive.contains(&run);
        world.survivors.remove(|of| of.instance == instance && dead(of.run), dead);
        Ok(world.remove(|of| of.instance == instance && dead(of.run), dead))
    }
}

/// All that an attempt has as variables.
fn variables(attempt: &AttemptSpec) -> BTreeMap<String, String> {
    let secrets = attempt.secrets.iter();
    let secrets = secrets.filter_map(|secret| Some((secret.env.clone()?, secret.value.clone())));
    attempt.env.clone().into_iter().chain(secrets).collect()
}

/// Tells the limits that an attempt had.
fn within(end: Ended, limits: &Resources) -> Ended {
    match end {
        Ended::Exit(mut exit) => {
            let Usage { memory, pids, .. } = &mut exit.usage;
            memory.limit = memory.limit.or(limits.memory);
            pids.limit = pids.limit.or(limits.pids.map(u64::from));
            Ended::Exit(exit)
        }
        broken @ Ended::Broken(_) => broken,
    }
}

/// What a stage builds.
fn image_of(stage: &str) -> String {
    format!("sha256:{:0>64}", hex::encode(stage))
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
