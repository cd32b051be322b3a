//! The container of a stage: made and started.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions,
};
use pipeline::{Resources, Shell};
use sha2::{Digest, Sha256};
use shipline_init::frame::{Request, Secret};
use tokio::io::AsyncWriteExt;
use tracing::{Instrument as _, debug_span};

use super::adopt;
use super::cache::Prepared;
use super::clean::{is_ours, remove_container};
use super::engine::{Engine, fault, status, text};
use super::handle::{Container, Limits};
use super::image::{self, Image};
use super::init;
use super::labels::{self, Kind, Labels};
use super::layer::Attempt;
use super::network;
use super::output::first;
use super::slot::Lease;
use crate::WORKSPACE;
use crate::backend::{AttemptSpec, BackendError, RunContext, SecretSpec};

pub(super) const MEMORY: u64 = 4 << 30;
const CPUS: f64 = 2.0;
pub(super) const PIDS: u32 = 512;
const SECRETS: &str = "rw,noexec,nosuid,nodev,mode=755,size=64m";
const TMP: &str = "rw,exec,nosuid,nodev,mode=1777,size=2g";
/// What installing packages and starting local servers needs; nothing that reaches the host.
pub(super) const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
];
/// How long PID 1 may take to say that it is there.
const READY: Duration = Duration::from_secs(60);

/// A volume at a place; never filled from the image.
pub(super) fn mount(volume: String, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}

/// Why a container was not started.
pub(super) enum StartError {
    /// The volume of `shipline-init` is empty or gone.
    Undelivered,
    /// The view was not mounted; the engine's words.
    Unmounted(String),
    /// The network that was made ahead is not there, or not the one that it should be.
    Network(String),
    Backend(BackendError),
}

impl From<BackendError> for StartError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

/// Makes and starts the container of an attempt, output attached first.
pub(super) async fn start(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: Image,
    view: String,
    caches: Prepared,
    lease: Option<Lease>,
) -> Result<Container, StartError> {
    let network = lease.as_ref().map(Lease::mode).or_else(|| network::of_attempt(spec));
    let attempt = Attempt::of(spec);
    let labels = attempt.labels(engine, run, Kind::Stage).with(labels::SPEC, hash(spec, &image));
    let labels = adopt::label(labels, run, &image, &caches);
    let body = body(engine, run, spec, &image, labels, Some(view), &caches, network);
    begin(engine, run, spec, image, body, caches, lease).await
}

/// Makes and starts the container of commands that have no workspace, on a network of
/// their own.
pub(super) async fn start_apart(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: Image,
    labels: Labels,
    network: String,
) -> Result<Container, StartError> {
    let caches = Prepared::default();
    let body = body(engine, run, spec, &image, labels, None, &caches, Some(network));
    begin(engine, run, spec, image, body, caches, None).await
}

async fn begin(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: Image,
    body: ContainerCreateBody,
    caches: Prepared,
    mut lease: Option<Lease>,
) -> Result<Container, StartError> {
    let id = create(engine, run, &spec.name, body).instrument(debug_span!("create")).await?;
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .build();
    let attached = engine.docker.attach_container(&id, Some(options));
    let attached = attached.instrument(debug_span!("attach")).await;
    let mut attached = attached.map_err(|error| attach_error(spec, &error))?;
    if let Some(lease) = &mut lease {
        let ready = lease.ready().instrument(debug_span!("network"));
        ready.await.map_err(StartError::Network)?;
    }
    let started = engine.docker.start_container(&id, None::<StartContainerOptions>);
    let started = started.instrument(debug_span!("start container")).await;
    started.map_err(|error| start_error(spec, &caches, &error, lease.as_ref()))?;
    let begun = tokio::time::timeout(READY, first(&mut attached.output));
    let begun = begun.instrument(debug_span!("first record")).await;
    let (ready, begun) = begun.map_err(|_| {
        let message = format!("`{}` was started, but does not answer", spec.name);
        BackendError::Infrastructure { part: "docker", message }
    })?;
    if let (Some(lease), Some(ready)) = (&lease, &ready) {
        // Before it is told what to do.
        lease.check(ready.network).map_err(StartError::Network)?;
    }

    let request = Request {
        commands: spec.commands.clone(),
        env: spec.env.clone(),
        user: spec.user.clone(),
        workdir: spec.workdir.clone(),
        workspace: WORKSPACE.to_owned(),
        caches: caches.places,
        secrets: spec.secrets.iter().map(secret).collect(),
        shell: shell(&spec.shell),
        as_argument: matches!(spec.shell, Shell::Command(_)),
        run: "/run".to_owned(),
    };
    // One that has ended already takes none, and its end is told elsewhere.
    if ready.is_some() {
        let sent = async {
            attached.input.write_all(&request.encode()).await?;
            attached.input.flush().await
        };
        sent.await.map_err(|error: std::io::Error| {
            let message = format!("`{}` does not take its commands: {error}", spec.name);
            BackendError::Infrastructure { part: "docker", message }
        })?;
    }
    let commands = told_commands(spec);
    let foreign = image::foreign(engine, &spec.image, &image).map(|error| error.to_string());
    let image = (image.digest, foreign);
    let limits = limits(&spec.resources);
    let container =
        Container::new(engine, id, image, limits, caches.restored, commands, attached, begun);
    Ok(container.on(lease))
}

/// The commands as they are told when they begin.
pub(super) fn told_commands(spec: &AttemptSpec) -> Vec<String> {
    match &spec.shell {
        Shell::Sh | Shell::Bash => spec.commands.clone(),
        // It gets them as one text, which is told as one.
        Shell::Command(_) => vec![spec.commands.join("\n")],
    }
}

fn secret(secret: &SecretSpec) -> Secret {
    let SecretSpec { name, value, env } = secret;
    Secret { name: name.clone(), value: value.clone(), env: env.clone() }
}

/// The shell as the language promises it; of one that is written out, every word.
fn shell(shell: &Shell) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match shell {
        Shell::Sh => words(&["sh", "-e"]),
        Shell::Bash => words(&["bash", "-eo", "pipefail"]),
        Shell::Command(command) => command.clone(),
    }
}

fn body(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: &Image,
    labels: Labels,
    view: Option<String>,
    caches: &Prepared,
    network: Option<String>,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(vec![init::IN_STAGE.to_owned()]),
        cmd: Some(adopt::command(run)),
        user: Some("0:0".to_owned()),
        working_dir: Some(WORKSPACE.to_owned()),
        labels: Some(labels.map()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..Default::default()
        }),
        host_config: Some(HostConfig {
            mounts: Some(
                view.map(|view| mount(view, WORKSPACE, false))
                    .into_iter()
                    .chain([mount(init::volume(), init::DIRECTORY, true)])
                    .chain(adopt::records(run, spec.layer))
                    .chain(caches.mounts.clone())
                    .collect(),
            ),
            tmpfs: Some(tmpfs(spec)),
            network_mode: network,
            log_config: Some(no_log()),
            ..confined(engine, &spec.resources)
        }),
        ..Default::default()
    }
}

/// What holds for every container that runs what is not ours: its limits, and nothing that
/// reaches the host.
pub(super) fn confined(engine: &Engine, resources: &Resources) -> HostConfig {
    let Limits { memory, pids } = limits(resources);
    let memory = i64::try_from(memory).unwrap_or(i64::MAX);
    HostConfig {
        memory: Some(memory),
        // Swapping would only make the limit slower to reach.
        memory_swap: Some(memory),
        nano_cpus: Some(nano_cpus(resources.cpu, engine.cpus)),
        pids_limit: Some(i64::from(pids)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        init: Some(false),
        auto_remove: Some(false),
        ..Default::default()
    }
}

/// Output comes by attach alone.
pub(super) fn no_log() -> HostConfigLogConfig {
    HostConfigLogConfig { typ: Some("none".to_owned()), config: None }
}

pub(super) fn limits(resources: &Resources) -> Limits {
    Limits { memory: resources.memory.unwrap_or(MEMORY), pids: resources.pids.unwrap_or(PIDS) }
}

/// `/tmp`, in memory.
pub(super) fn scratch() -> HashMap<String, String> {
    HashMap::from([("/tmp".to_owned(), TMP.to_owned())])
}

/// What is in memory: `/tmp`, and files of secrets, which must not reach a disk.
fn tmpfs(spec: &AttemptSpec) -> HashMap<String, String> {
    let mut tmpfs = scratch();
    if spec.secrets.iter().any(|secret| secret.env.is_none()) {
        tmpfs.insert("/run/secrets".to_owned(), SECRETS.to_owned());
    }
    tmpfs
}

/// An engine refuses more cores than its machine has.
#[expect(clippy::cast_possible_truncation, reason = "thousands of cores fit")]
#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 cores")]
pub(super) fn nano_cpus(asked: Option<f64>, of_engine: i64) -> i64 {
    (asked.unwrap_or(CPUS).min(of_engine as f64) * 1e9).round() as i64
}

/// Tells one specification from another, without telling what is in it.
fn hash(spec: &AttemptSpec, image: &Image) -> String {
    let layers: Vec<_> =
        [spec.layer].iter().chain(&spec.lower).map(|l| (l.index, l.attempt)).collect();
    let parts = serde_json::json!([
        image.id,
        spec.commands,
        spec.env,
        layers,
        spec.shell,
        spec.user,
        spec.workdir,
        spec.resources,
    ]);
    hex::encode(&Sha256::digest(parts.to_string())[..16])
}

/// The cache that has no directory to be mounted on, by the words of who mounts.
fn over_a_file<'a>(places: &'a [String], said: &str) -> Option<&'a str> {
    if !said.to_ascii_lowercase().contains("not a directory") {
        return None;
    }
    let named = |place: &&String| {
        said.contains(&format!("\"{place}\"")) || said.contains(&format!("{place}:"))
    };
    places.iter().find(named).map(String::as_str)
}

/// Creates it; where one of that name is there, it is ours from a former life.
pub(super) async fn create(
    engine: &Engine,
    run: &RunContext,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, BackendError> {
    let created = try_create(engine, run, name, body).await?;
    created.map_err(|error| fault(format!("`{name}` cannot be made"), &error))
}

/// As [`create`]; what the engine has against it is left to who knows what it is for.
pub(super) async fn try_create(
    engine: &Engine,
    run: &RunContext,
    name: &str,
    body: ContainerCreateBody,
) -> Result<Result<String, Error>, BackendError> {
    let options = || Some(CreateContainerOptionsBuilder::default().name(name).build());
    let created = match engine.create_container(options(), body.clone()).await {
        Err(error) if status(&error) == Some(409) => {
            if !is_ours(engine, name, &run.instance).await? {
                let message = format!("the name `{name}` is taken by a container that is not ours");
                return Err(BackendError::Infrastructure { part: "docker", message });
            }
            remove_container(engine, name).await?;
            engine.create_container(options(), body).await
        }
        result => result,
    };
    Ok(created.map(|created| created.id))
}

/// Podman mounts what a container needs when it is attached, not when it is started.
fn attach_error(spec: &AttemptSpec, error: &Error) -> StartError {
    let said = text(error);
    if said.contains("mounting volume") {
        return StartError::Unmounted(said);
    }
    StartError::Backend(fault(format!("`{}` cannot be attached", spec.name), error))
}

fn start_error(
    spec: &AttemptSpec,
    caches: &Prepared,
    error: &Error,
    lease: Option<&Lease>,
) -> StartError {
    let said = text(error);
    if let Some(cache) = over_a_file(&caches.places, &said) {
        let of = match cache.starts_with(WORKSPACE) {
            true => "the workspace".to_owned(),
            false => format!("image `{}`", spec.image),
        };
        let message =
            format!("the cache `{cache}` lies over a file of {of}, and a cache is a directory");
        return StartError::Backend(BackendError::User { code: Some("E091"), message });
    }
    // The one file that is named in our entrypoint.
    if said.contains(init::IN_STAGE) {
        return StartError::Undelivered;
    }
    if ["overlay", "mount local volume"].iter().all(|word| said.contains(word)) {
        return StartError::Unmounted(said);
    }
    if lease.is_some() {
        // Whatever it is: without the network of others it will be told for sure.
        return StartError::Network(said);
    }
    StartError::Backend(fault(format!("`{}` cannot be started", spec.name), error))
}
