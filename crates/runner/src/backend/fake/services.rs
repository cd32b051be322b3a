//! Services of the fake: scripts that play beside a stage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use event::OutputStream;
use futures_util::future::select_all;
use futures_util::stream::{self, BoxStream, StreamExt};
use pipeline::ReadyProbe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::files::AttemptFiles;
use super::infrastructure;
use super::script::{Ended, Script, play};
use super::world::{World, lock};
use crate::backend::{
    AttemptSpec, BackendError, Chunk, LAST_LINES, ServiceEnd, ServiceError, ServiceFailure,
    ServiceReady, ServiceSpec, Services,
};

/// What a service does; by itself it is what its command looks like, ready at once.
#[derive(Clone, Debug)]
pub struct ServiceScript {
    pub script: Script,
    /// `None`: never.
    pub ready_after: Option<Duration>,
}

impl ServiceScript {
    fn of(spec: &ServiceSpec) -> Self {
        let script = match spec.command.last() {
            Some(command) => Script::of_commands(std::slice::from_ref(command), &spec.env),
            None => Script::hang(),
        };
        let never = matches!(
            &spec.ready.probe,
            Some(ReadyProbe::Command(words)) if words.last().is_some_and(|word| word == "false")
        );
        Self { script, ready_after: (!never).then_some(Duration::ZERO) }
    }
}

pub(super) struct FakeServices {
    attempt: String,
    world: Arc<Mutex<World>>,
    services: Vec<Playing>,
    /// Of a run that is not durable: its services end with its process.
    _scripts: JoinSet<()>,
}

#[derive(Clone, Debug)]
pub(super) struct Playing {
    spec: ServiceSpec,
    started: Instant,
    ready_after: Option<Duration>,
    said: Arc<Mutex<Vec<u8>>>,
    ended: watch::Receiver<Option<Ended>>,
}

/// Begins to play the services of an attempt.
pub(super) fn serve(
    world: &Arc<Mutex<World>>,
    scripts: &BTreeMap<String, ServiceScript>,
    attempt: &AttemptSpec,
    durable: bool,
) -> FakeServices {
    let kill = CancellationToken::new();
    {
        let mut world = lock(world);
        world.calls.push(format!("serve {}", attempt.stage));
        world.kills.push((attempt.layer.run, kill.clone()));
        if !world.prepared {
            world.violations.push(format!("{} is served before `prepare`", attempt.name));
        }
        let (name, run) = (attempt.name.clone(), attempt.layer.run);
        if attempt.services.is_empty() || world.serving.insert(name, run).is_some() {
            world.violations.push(format!("{} is served without need", attempt.name));
        }
    }
    let mut playing = JoinSet::new();
    let services = attempt.services.iter().map(|spec| {
        let script = scripts.get(&spec.name).cloned();
        let ServiceScript { script, ready_after } =
            script.unwrap_or_else(|| ServiceScript::of(spec));
        let (end, ended) = watch::channel(None);
        let said = Arc::new(Mutex::new(Vec::new()));
        let (keep, kill) = (Arc::clone(&said), kill.clone());
        let play = async move {
            let (output, mut chunks) = mpsc::channel::<Result<Chunk, BackendError>>(1);
            let (files, term) = (AttemptFiles::default(), CancellationToken::new());
            let hear = async {
                while let Some(Ok(chunk)) = chunks.recv().await {
                    keep.lock().expect("nobody panics with this lock").extend(chunk.bytes);
                }
            };
            let (ended, ()) = tokio::join!(play(&script, &files, output, &term, &kill), hear);
            end.send_replace(Some(ended));
        };
        if durable {
            tokio::spawn(play);
        } else {
            playing.spawn(play);
        }
        Playing { spec: spec.clone(), started: Instant::now(), ready_after, said, ended }
    });
    let services: Vec<Playing> = services.collect();
    if durable {
        let kept = (attempt.layer.run, services.clone());
        lock(world).survivors.services.insert(attempt.name.clone(), kept);
    }
    FakeServices {
        attempt: attempt.name.clone(),
        world: Arc::clone(world),
        services,
        _scripts: playing,
    }
}

/// The services of an attempt that another process began; of those that are gone nothing is
/// heard any more.
pub(super) fn rejoin(world: &Arc<Mutex<World>>, attempt: &AttemptSpec) -> FakeServices {
    let found = lock(world).survivors.services.get(&attempt.name).cloned();
    let gone = || {
        let services = attempt.services.iter().map(|spec| {
            let vanished = Ended::Broken("the fake service vanished".to_owned());
            let ended = watch::channel(Some(vanished)).1;
            let (said, ready_after) = (Arc::default(), None);
            Playing { spec: spec.clone(), started: Instant::now(), ready_after, said, ended }
        });
        services.collect()
    };
    FakeServices {
        attempt: attempt.name.clone(),
        world: Arc::clone(world),
        services: found.map_or_else(gone, |(_, services)| services),
        _scripts: JoinSet::new(),
    }
}

#[async_trait]
impl Services for FakeServices {
    async fn ready(&self, told: &mpsc::Sender<ServiceReady>) -> Result<(), ServiceError> {
        for service in &self.services {
            service.ready().await?;
            let ready = ServiceReady {
                name: service.spec.name.clone(),
                image_digest: format!("id:sha256:{:0>64}", hex::encode(&service.spec.name)),
                after: service.started.elapsed(),
            };
            let _ = told.send(ready).await;
        }
        Ok(())
    }

    async fn ended(&self) -> ServiceError {
        let ends = self.services.iter().map(|service| Box::pin(service.end(None)));
        select_all(ends).await.0
    }

    async fn gone(&self) -> Option<ServiceError> {
        let gone = self.services.iter().find(|service| service.ended.borrow().is_some())?;
        Some(gone.end(None).await)
    }

    fn output(&self, service: &str) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let found = self.services.iter().find(|found| found.spec.name == service);
        let said = found.map_or_else(Vec::new, Playing::said);
        let chunk = Chunk { stream: OutputStream::Stdout, bytes: Bytes::from(said) };
        stream::iter([Ok(chunk)]).boxed()
    }

    fn stop(&self) {
        let mut world = lock(&self.world);
        world.serving.remove(&self.attempt);
    }
}

impl Playing {
    async fn ready(&self) -> Result<(), ServiceError> {
        let deadline = self.started + self.spec.ready.timeout.std();
        let probe = || "probe".to_owned();
        let answered = async {
            match self.ready_after {
                Some(after) => sleep_until(self.started + after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            end = self.end(Some(probe())) => Err(end),
            answered = timeout_at(deadline, answered) => answered.map_err(|_| {
                let (within, said) = (self.spec.ready.timeout.std(), None);
                self.failure(ServiceEnd::NotReady { within, probe: probe(), said })
            }),
        }
    }

    async fn end(&self, probe: Option<String>) -> ServiceError {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        match ended {
            Some(Ended::Exit(exit)) => {
                let (code, limit) = (exit.code, self.spec.resources.memory.unwrap_or_default());
                let out_of_memory = exit.oom_killed.then_some(limit);
                self.failure(ServiceEnd::Exited { code, out_of_memory, probe })
            }
            Some(Ended::Broken(message)) => infrastructure(&message).into(),
            None => infrastructure("the fake service vanished").into(),
        }
    }

    fn failure(&self, end: ServiceEnd) -> ServiceError {
        let text = String::from_utf8_lossy(&self.said()).into_owned();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        ServiceError::Failed(ServiceFailure {
            service: self.spec.name.clone(),
            image: self.spec.image.clone(),
            end,
            last_lines: lines[lines.len().saturating_sub(LAST_LINES)..].to_vec(),
        })
    }

    fn said(&self) -> Vec<u8> {
        self.said.lock().expect("nobody panics with this lock").clone()
    }
}
