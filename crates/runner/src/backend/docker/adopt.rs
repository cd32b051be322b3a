//! Attempts that another process began and did not see to their end.
//!
//! PID 1 of a durable run writes its records to a volume of the attempt as well. Who comes
//! after the process that listened reads them from the start, through a helper that follows
//! the file until the container has stopped. The record that says the request was read is
//! written before anything of the stage runs, so it is known of every attempt whether it may
//! be started.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as Status, Mount};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
};
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde_json::json;
use shipline_init::frame::{self, HEADER};
use tokio::io::AsyncWriteExt;

use super::DockerBackend;
use super::cache::Prepared;
use super::clean::{remove_container, remove_volume};
use super::container::{self, mount};
use super::copied::{self, OnCopy};
use super::engine::{Engine, fault, is_missing};
use super::handle::Container;
use super::helper::{self, Helper, exit_code};
use super::image::{self, Image};
use super::labels::{self, Kind, Labels, Part, volume};
use super::layer::{Attempt, create_volume};
use super::network;
use super::service;
use crate::OUTPUT_LIMIT;
use crate::backend::{
    Adopted, AttemptSpec, BackendError, Handle, Joined, LayerId, Released, Restored, RunContext,
    Services,
};

const DIRECTORY: &str = "/.shipline-records";
const FILE: &str = "/.shipline-records/records";
/// What the records of an attempt may take besides the output that is kept of it.
const AROUND: u64 = 1 << 20;
/// How long PID 1 may take to say whether it was asked for anything.
const ANSWER: Duration = Duration::from_secs(60);

/// What PID 1 of a stage is told to do.
pub(super) fn command(run: &RunContext) -> Vec<String> {
    let mut command = vec!["stage".to_owned()];
    if run.durable {
        command.extend([FILE.to_owned(), (OUTPUT_LIMIT + AROUND).to_string()]);
    }
    command
}

/// Where the records of an attempt go.
pub(super) fn records(run: &RunContext, layer: LayerId) -> Option<Mount> {
    run.durable.then(|| mount(volume(layer, Part::Records), DIRECTORY, false))
}

/// Makes that place.
pub(super) async fn prepare(
    engine: &Engine,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<(), BackendError> {
    if !run.durable {
        return Ok(());
    }
    let labels = attempt.labels(engine, run, Kind::Layer);
    create_volume(engine, volume(attempt.layer, Part::Records), labels, None).await
}

/// What is known of an attempt only while it is started.
pub(super) fn label(labels: Labels, run: &RunContext, image: &Image, caches: &Prepared) -> Labels {
    if !run.durable {
        return labels;
    }
    let restored = caches.restored.iter().map(|restored| {
        restored.as_ref().map(|Restored { key, own }| json!({ "key": key, "own": own }))
    });
    let restored = serde_json::Value::from_iter(restored);
    labels.with(labels::IMAGE, &image.digest).with(labels::RESTORED, restored)
}

fn parse_restored(text: &str) -> Option<Vec<Option<Restored>>> {
    let restored: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let restored = restored.into_iter().map(|restored| {
        Some(Restored {
            key: restored["key"].as_str()?.to_owned(),
            own: restored["own"].as_bool()?,
        })
    });
    Some(restored.collect())
}

/// A container as it was found.
struct Found {
    id: String,
    image: String,
    labels: HashMap<String, String>,
    status: Option<Status>,
    started: Option<DateTime<Utc>>,
    ended: Option<DateTime<Utc>>,
}

impl Found {
    fn of(found: ContainerInspectResponse) -> Self {
        let state = found.state.unwrap_or_default();
        let time = |text: Option<&str>| -> Option<DateTime<Utc>> {
            let time = DateTime::parse_from_rfc3339(text?).ok()?.with_timezone(&Utc);
            // What has not happened happened in the year 1.
            (time.timestamp() > 0).then_some(time)
        };
        let runs = state.running == Some(true);
        Self {
            id: found.id.unwrap_or_default(),
            image: found.image.unwrap_or_default(),
            labels: found.config.and_then(|config| config.labels).unwrap_or_default(),
            status: state.status,
            started: time(state.started_at.as_deref()),
            ended: time(state.finished_at.as_deref()).filter(|_| !runs),
        }
    }

    fn is_of(&self, run: &RunContext) -> bool {
        let label = |name| self.labels.get(name).map(String::as_str);
        label(labels::INSTANCE) == Some(&*run.instance)
            && label(labels::RUN) == Some(&*run.run.to_string())
    }

    fn never_started(&self) -> bool {
        self.started.is_none() || self.status == Some(Status::CREATED)
    }
}

async fn find(engine: &Engine, name: &str) -> Result<Option<Found>, BackendError> {
    match engine.docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(Some(Found::of(found))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(fault(format!("`{name}` cannot be looked at"), &error)),
    }
}

/// What the records say of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It was read; something of the stage may have run.
    Yes,
    /// It never came.
    No,
}

/// A helper that prints the records of an attempt.
struct Listener {
    attached: AttachContainerResults,
    heard: BytesMut,
    /// Bytes of `heard` whose records were looked at.
    seen: usize,
    complaint: Vec<u8>,
}

fn helper_name(attempt: &str) -> String {
    format!("{attempt}-records")
}

impl Listener {
    async fn start(
        engine: &Engine,
        run: &RunContext,
        spec: &AttemptSpec,
    ) -> Result<Self, BackendError> {
        let failed = |error| fault("the records of a stage cannot be read", &error);
        let helper = Helper {
            name: helper_name(&spec.name),
            labels: Attempt::of(spec).labels(engine, run, Kind::Helper),
            mounts: vec![mount(volume(spec.layer, Part::Records), DIRECTORY, true)],
            command: ["records", FILE].map(str::to_owned).into(),
            capabilities: vec!["DAC_OVERRIDE"],
            stdin: true,
        };
        let name = helper::create(engine, helper).await?;
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached =
            engine.docker.attach_container(&name, Some(options)).await.map_err(failed)?;
        let options = None::<StartContainerOptions>;
        engine.docker.start_container(&name, options).await.map_err(failed)?;
        Ok(Self { attached, heard: BytesMut::new(), seen: 0, complaint: Vec::new() })
    }

    /// Says that the container has stopped.
    async fn tell_over(&mut self) {
        // A helper that is gone has told all it ever will.
        drop(self.attached.input.write_all(b"\n").await);
        drop(self.attached.input.flush().await);
    }

    /// Reads until it is known whether the request was read; an `Err` says why that is not
    /// to be found out.
    async fn asked(&mut self) -> Result<Asked, String> {
        loop {
            while let Some(head) = self.heard[self.seen..].first_chunk::<HEADER>() {
                let (kind, length) = frame::parse_header(*head)?;
                match kind {
                    frame::Kind::Accepted => return Ok(Asked::Yes),
                    frame::Kind::Exit => return Ok(Asked::No),
                    // What comes before either is short.
                    _ if self.heard.len() < self.seen + HEADER + length => break,
                    _ => self.seen += HEADER + length,
                }
            }
            match self.attached.output.next().await {
                Some(Ok(LogOutput::StdErr { message })) => self.complaint.extend(message),
                Some(Ok(output)) => self.heard.extend_from_slice(&output.into_bytes()),
                Some(Err(error)) => return Err(error.to_string()),
                None if self.complaint.is_empty() => return Ok(Asked::No),
                None => return Err(String::from_utf8_lossy(&self.complaint).trim().to_owned()),
            }
        }
    }
}

/// Finds out whether anything of a container was asked for, which it says soon after its start.
async fn asked(engine: &Engine, listener: &mut Listener, found: &Found) -> Result<Asked, String> {
    if found.ended.is_none() {
        let stopped = async { drop(exit_code(engine, &found.id).await) };
        let asked = async {
            tokio::select! {
                biased;
                asked = listener.asked() => Some(asked),
                () = stopped => None,
            }
        };
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Some(asked)) => return asked,
            Ok(None) => {}
            Err(_) => return Err("its PID 1 does not answer".to_owned()),
        }
    }
    listener.tell_over().await;
    listener.asked().await
}

impl DockerBackend {
    pub(super) async fn adopt_attempt(
        &self,
        run: &RunContext,
        spec: &AttemptSpec,
    ) -> Result<Adopted, BackendError> {
        let engine = &self.engine;
        let found = find(engine, &spec.name).await?;
        let Some(found) = found.filter(|found| found.is_of(run)) else {
            return Ok(Adopted::Absent);
        };
        if found.never_started() {
            remove_container(engine, &found.id).await?;
            return Ok(Adopted::NeverBegan);
        }
        let Some(image_digest) = found.labels.get(labels::IMAGE).cloned() else {
            remove_container(engine, &found.id).await?;
            let why = "shipline was stopped while this stage ran, and it keeps no records";
            return Ok(Adopted::Lost(why.to_owned()));
        };
        self.delivery.ensure(engine, &run.instance).await?;
        let mut listener = Listener::start(engine, run, spec).await?;
        match asked(engine, &mut listener, &found).await {
            Ok(Asked::Yes) => {}
            Ok(Asked::No) => {
                remove_container(engine, &found.id).await?;
                remove_container(engine, &helper_name(&spec.name)).await?;
                return Ok(Adopted::NeverBegan);
            }
            Err(why) => {
                remove_container(engine, &found.id).await?;
                let why = format!("the records of this stage cannot be read: {why}");
                return Ok(Adopted::Lost(why));
            }
        }
        self.place_again(run, spec).await?;
        let services: Option<Box<dyn Services>> = match spec.services.as_slice() {
            [] => None,
            _ => Some(Box::new(service::rejoin(engine, spec, &self.behind).await?)),
        };
        let started = found.started.unwrap_or_else(Utc::now);
        let ended = found.ended;
        let handle = self.listen(run, spec, found, image_digest, listener).await?;
        Ok(Adopted::Joined(Joined { handle, services, started, ended }))
    }

    /// Notes the layer, whose view must not be made a second time.
    async fn place_again(&self, run: &RunContext, spec: &AttemptSpec) -> Result<(), BackendError> {
        let engine = &self.engine;
        let view = volume(spec.layer, Part::Merged);
        let view = engine.volumes.inspect_volume(&view).await;
        let view = view.map_err(|error| fault("the workspace of a stage is gone", &error))?;
        if !view.options.contains_key("o") {
            // This engine has refused an overlay before.
            engine.layering.refused();
        }
        let placed = super::join::read(engine, spec.layer).await?;
        let placed = super::lineage::Layer { container: Some(spec.name.clone()), ..placed };
        self.layers.with(run.run, |known| {
            known.lineage.add(spec.layer, placed);
            known.made.insert(spec.layer);
        });
        Ok(())
    }

    async fn listen(
        &self,
        run: &RunContext,
        spec: &AttemptSpec,
        found: Found,
        image_digest: String,
        listener: Listener,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let engine = &self.engine;
        let restored = found.labels.get(labels::RESTORED);
        let restored = restored.and_then(|text| parse_restored(text)).unwrap_or_default();
        let image = image::find(engine, &found.image).await?.unwrap_or_default();
        let foreign = image::foreign(engine, &spec.image, &image).map(|error| error.to_string());
        let container = Container::new(
            engine,
            found.id,
            (image_digest, foreign),
            container::limits(&spec.resources),
            restored,
            container::told_commands(spec),
            listener.attached,
            listener.heard,
        );
        let container = container.adopted(found.ended.is_some());
        if !engine.layering.copies() {
            return Ok(Box::new(container));
        }
        let attempt = Attempt::of(spec);
        // Half of what it changed may be there already.
        copied::empty_layer(engine, &self.layers, run, &attempt).await?;
        Ok(Box::new(OnCopy::new(engine, run, &attempt, container, false)))
    }

    /// Removes what an attempt ran in, behind the run.
    pub(super) fn release_attempt(&self, released: &Released) {
        let (engine, attempt) = (self.engine.clone(), released.clone());
        let mut behind = self.behind.lock().expect("nobody panics with this lock");
        while behind.try_join_next().is_some() {}
        behind.spawn(async move {
            let Released { name, layer, services } = attempt;
            let services_of = services.iter().map(|service| format!("{name}.{service}"));
            let containers = [name.clone(), helper_name(&name)].into_iter().chain(services_of);
            for container in containers {
                if let Err(error) = remove_container(&engine, &container).await {
                    tracing::debug!("left to the clean-up: {error}");
                }
            }
            for part in [Part::Merged, Part::Work, Part::Records] {
                if let Err(error) = remove_volume(&engine, &volume(layer, part)).await {
                    tracing::debug!("left to the clean-up: {error}");
                }
            }
            if !services.is_empty() {
                network::remove(&engine, &name).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_caches_began_as_is_read_back_from_the_label() {
        let restored = vec![Some(Restored { key: "k \"1\"".to_owned(), own: true }), None];
        let caches = Prepared { restored: restored.clone(), ..Prepared::default() };
        let run = RunContext { durable: true, ..RunContext::aside("test") };
        let labels = label(Labels::new("test", Kind::Stage), &run, &Image::default(), &caches);
        assert_eq!(parse_restored(&labels.map()[labels::RESTORED]), Some(restored));
    }
}
