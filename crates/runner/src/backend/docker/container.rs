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
use pipeline::Shell;
use sha2::{Digest, Sha256};
use shipline_init::frame::{Request, Secret};
use tokio::io::AsyncWriteExt;

use super::cache::Prepared;
use super::clean::{is_ours, remove_container};
use super::engine::{Engine, fault, status, text};
use super::handle::Container;
use super::image::Image;
use super::init;
use super::labels::{self, Kind};
use super::layer::Attempt;
use super::output::first;
use crate::WORKSPACE;
use crate::backend::{AttemptSpec, BackendError, RunContext, SecretSpec};

const MEMORY: u64 = 4 << 30;
const CPUS: f64 = 2.0;
const PIDS: u32 = 512;
const SECRETS: &str = "rw,noexec,nosuid,nodev,mode=755,size=64m";
const TMP: &str = "rw,exec,nosuid,nodev,mode=1777,size=2g";
/// What installing packages and starting local servers needs; nothing that reaches the host.
const CAPABILITIES: [&str; 9] = [
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
) -> Result<Container, StartError> {
    let body = body(engine, run, spec, &image, view, &caches);
    let id = create(engine, run, &spec.name, body).await?;
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .build();
    let attached = engine.docker.attach_container(&id, Some(options)).await;
    let mut attached =
        attached.map_err(|error| fault(format!("`{}` cannot be attached", spec.name), &error))?;
    let started = engine.docker.start_container(&id, None::<StartContainerOptions>).await;
    started.map_err(|error| start_error(spec, &error))?;

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
    let sent = async {
        attached.input.write_all(&request.encode()).await?;
        attached.input.flush().await
    };
    sent.await.map_err(|error| {
        let message = format!("`{}` does not take its commands: {error}", spec.name);
        BackendError::Infrastructure { part: "docker", message }
    })?;
    let begun = tokio::time::timeout(READY, first(&mut attached.output)).await;
    let begun = begun.map_err(|_| {
        let message = format!("`{}` was started, but does not answer", spec.name);
        BackendError::Infrastructure { part: "docker", message }
    })?;
    let commands = match &spec.shell {
        Shell::Sh | Shell::Bash => spec.commands.clone(),
        // It gets them as one text, which is told as one.
        Shell::Command(_) => vec![spec.commands.join("\n")],
    };
    Ok(Container::new(engine, id, image.digest, caches.restored, commands, attached, begun))
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
    view: String,
    caches: &Prepared,
) -> ContainerCreateBody {
    let attempt = Attempt::of(spec);
    let memory = i64::try_from(spec.resources.memory.unwrap_or(MEMORY)).unwrap_or(i64::MAX);
    let labels = attempt.labels(engine, run, Kind::Stage).with(labels::SPEC, hash(spec, image));
    ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(vec![init::IN_STAGE.to_owned()]),
        cmd: Some(vec!["stage".to_owned()]),
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
                [mount(view, WORKSPACE, false), mount(init::volume(), init::DIRECTORY, true)]
                    .into_iter()
                    .chain(caches.mounts.clone())
                    .collect(),
            ),
            tmpfs: Some(tmpfs(spec)),
            memory: Some(memory),
            // Swapping would only make the limit slower to reach.
            memory_swap: Some(memory),
            nano_cpus: Some(nano_cpus(spec.resources.cpu, engine.cpus)),
            pids_limit: Some(i64::from(spec.resources.pids.unwrap_or(PIDS))),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            init: Some(false),
            auto_remove: Some(false),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What is in memory: `/tmp`, and files of secrets, which must not reach a disk.
fn tmpfs(spec: &AttemptSpec) -> HashMap<String, String> {
    let mut tmpfs = HashMap::from([("/tmp".to_owned(), TMP.to_owned())]);
    if spec.secrets.iter().any(|secret| secret.env.is_none()) {
        tmpfs.insert("/run/secrets".to_owned(), SECRETS.to_owned());
    }
    tmpfs
}

/// An engine refuses more cores than its machine has.
#[expect(clippy::cast_possible_truncation, reason = "thousands of cores fit")]
#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 cores")]
fn nano_cpus(asked: Option<f64>, of_engine: i64) -> i64 {
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

/// Creates it; where one of that name is there, it is ours from a former life.
async fn create(
    engine: &Engine,
    run: &RunContext,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, BackendError> {
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
    Ok(created.map_err(|error| fault(format!("`{name}` cannot be made"), &error))?.id)
}

fn start_error(spec: &AttemptSpec, error: &Error) -> StartError {
    let said = text(error);
    // The one file that is named in our entrypoint.
    if said.contains(init::IN_STAGE) {
        return StartError::Undelivered;
    }
    if ["overlay", "mount local volume"].iter().all(|word| said.contains(word)) {
        return StartError::Unmounted(said);
    }
    StartError::Backend(fault(format!("`{}` cannot be started", spec.name), error))
}
