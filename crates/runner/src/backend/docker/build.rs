//! An image from the workspace of a stage.
//!
//! The context goes from the engine's view of the workspace through us, where
//! `.dockerignore` is applied, back into the engine's builder: BuildKit, or the
//! classic builder where there is none.

use std::collections::HashMap;
use std::io;

use bollard::BollardRequest;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{BuildInfoAux, ImageId};
use bollard::query_parameters::{
    BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion,
    DownloadFromContainerOptionsBuilder, StartContainerOptions, TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use pipeline::BuildWork;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, is_passing, judge};
use super::archive;
use super::build_progress::Progress;
use super::container::mount;
use super::context::{Context, ContextError};
use super::engine::{Engine, fault, status, text};
use super::files;
use super::helper::{self, Helper};
use super::image::credentials;
use super::labels::{Kind, Labels};
use super::layer::{self, Attempt, Layers};
use super::reference::split_tag;
use super::retry::{Failure, Tries};
use super::session::{HUB, Session, SessionError};
use crate::backend::{BackendError, BuildSpec, Built, Chunk, FileEntry, RunContext};
use crate::files::look;
use crate::{Registry, WORKSPACE};

pub(super) async fn build(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    spec: &BuildSpec,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<Built, BackendError> {
    // Podman builds by itself, and has no BuildKit to speak to.
    let version =
        if engine.podman { BuilderVersion::BuilderV1 } else { BuilderVersion::BuilderBuildKit };
    build_with(version, engine, layers, run, spec, output, cancel).await
}

/// Begins with this builder.
pub(super) async fn build_with(
    mut version: BuilderVersion,
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    spec: &BuildSpec,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<Built, BackendError> {
    let attempt = Attempt::of_build(spec);
    let view = layer::view(engine, layers, run, &attempt).await?;
    // It is how the archive API sees the workspace. On Docker it never starts; on Podman a
    // container that does not run has no view mounted, so it waits for words that never come.
    let waits = engine.podman;
    let helper = Helper {
        name: spec.name.clone(),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts: vec![mount(view, WORKSPACE, true)],
        command: if waits { vec!["stage".to_owned()] } else { Vec::new() },
        capabilities: Vec::new(),
        stdin: waits,
    };
    let helper = helper::create(engine, helper).await?;
    if waits {
        let started = engine.docker.start_container(&helper, None::<StartContainerOptions>).await;
        started.map_err(|error| fault("the workspace cannot be mounted", &error))?;
    }
    let context = match Context::find(engine, &helper, &spec.work.context, &spec.work.file).await {
        Ok(context) => context,
        Err(ContextError::Backend(error)) => return Err(error),
        Err(ContextError::Missing { message, path }) => {
            let there = there_instead(engine, layers, run, spec, path).await;
            let message = message + &there;
            return Err(BackendError::User { code: Some("E097"), message });
        }
    };

    let labels = Labels::new(&run.instance, Kind::Image).map();
    let mut tries = Tries::default();
    let id = loop {
        if version == BuilderVersion::BuilderV1 && !spec.secrets.is_empty() {
            let message = "this engine builds without BuildKit, which alone can keep `secrets` \
                           out of an image: use Docker 18.09 or newer, with its BuildKit enabled; Podman has \
                           none";
            return Err(BackendError::Infrastructure {
                part: "docker",
                message: message.to_owned(),
            });
        }
        match try_build(engine, &helper, &context, &labels, version, spec, output).await {
            Ok(id) => break id,
            Err(BuildError::NoBuildKit) => version = BuilderVersion::BuilderV1,
            Err(BuildError::Failure(failure)) => tries.after(failure, "registry", cancel).await?,
        }
    };
    for tag in &spec.work.tags {
        let (repository, tag) = split_tag(tag);
        let options =
            TagImageOptionsBuilder::default().repo(repository).tag(tag.unwrap_or("latest")).build();
        engine.docker.tag_image(&id, Some(options)).await.map_err(|error| {
            match status(&error) {
                Some(400) => {
                    let message =
                        format!("`{repository}` of `build.tags` is no name: {}", text(&error));
                    BackendError::User { code: Some("E090"), message }
                }
                _ => fault(format!("the image cannot be tagged `{repository}`"), &error),
            }
        })?;
    }
    Ok(Built { id })
}

/// What there is where `path` is not: the mistake is known without it.
async fn there_instead(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    spec: &BuildSpec,
    path: String,
) -> String {
    let (told, found) = oneshot::channel();
    let choose = Box::new(move |entries: &[FileEntry]| {
        // Who asked waits for it.
        drop(told.send(look(path, entries).found()));
        Vec::new()
    });
    let (to, _) = mpsc::channel(1);
    if let Err(error) = files::read(engine, layers, run, &spec.view(), choose, to).await {
        tracing::debug!("what there is instead cannot be told: {error}");
    }
    found.await.unwrap_or_default()
}

/// The end of a step, or a Dockerfile that its builder does not read: like that of a command,
/// it has no code, and its last lines say what it is.
fn user(message: String) -> BackendError {
    BackendError::User { code: None, message }
}

/// Variables of the stage, and over them `args` of the build.
fn arguments(work: &BuildWork) -> HashMap<String, String> {
    let both = work.env.iter().chain(&work.args);
    both.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn options(
    spec: &BuildSpec,
    context: &Context,
    labels: &HashMap<String, String>,
    session: Option<&Session>,
) -> BuildImageOptions {
    let arguments = arguments(&spec.work);
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(&context.dockerfile)
        .labels(labels)
        .buildargs(&arguments)
        // What a failed step leaves would be nobody's.
        .rm(true)
        .forcerm(true);
    if let Some(target) = &spec.work.target {
        options = options.target(target);
    }
    if let Some(platform) = &spec.work.platform {
        options = options.platform(platform);
    }
    match session {
        Some(session) => options.session(&session.id).build(),
        None => options.build(),
    }
}

/// Asks BuildKit for what the library asked the classic builder for: for BuildKit it
/// would open a session of its own, which knows no secrets.
fn for_buildkit(mut request: BollardRequest) -> BollardRequest {
    let uri = request.uri().to_string();
    if let Some((path, query)) = uri.split_once('?') {
        let query = query.split('&').map(|pair| match pair {
            "version=1" => "version=2",
            pair => pair,
        });
        let query: Vec<&str> = query.collect();
        if let Ok(uri) = format!("{path}?{}", query.join("&")).parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}

enum BuildError {
    NoBuildKit,
    Failure(Failure),
}

impl From<BackendError> for BuildError {
    fn from(error: BackendError) -> Self {
        Self::Failure(Failure::Final(error))
    }
}

async fn try_build(
    engine: &Engine,
    helper: &str,
    context: &Context,
    labels: &HashMap<String, String>,
    version: BuilderVersion,
    spec: &BuildSpec,
    output: &mpsc::Sender<Chunk>,
) -> Result<String, BuildError> {
    let session = match version {
        BuilderVersion::BuilderV1 => None,
        BuilderVersion::BuilderBuildKit => Some(session(engine, spec, output).await?),
    };
    let options = options(spec, context, labels, session.as_ref());
    let (docker, auths) = match session {
        Some(_) => (engine.patient.clone().with_request_modifier(for_buildkit), None),
        None => (engine.patient.clone(), Some(auths(&spec.registries))),
    };
    let path = format!("{}/.", context.directory);
    let download = DownloadFromContainerOptionsBuilder::default().path(&path).build();
    let download = engine.patient.download_from_container(helper, Some(download));
    let (reader, pump) = archive::reader(download);
    let filter = context.filter.clone();
    let (body, filtering) = archive::write(move |builder| filter.copy(reader, builder));
    let building = async {
        let body = Some(bollard::body_try_stream(body));
        let mut steps = docker.build_image(options, auths, body);
        let mut progress = Progress::default();
        let mut id = None;
        while let Some(step) = steps.next().await {
            let step = match step {
                Ok(step) => step,
                Err(error) => return Err((error, progress)),
            };
            let chunks = match step.aux {
                Some(BuildInfoAux::BuildKit(status)) => progress.take(status),
                Some(BuildInfoAux::Default(ImageId { id: found })) => {
                    id = found.or(id);
                    Vec::new()
                }
                None => progress.classic(step.stream.or(step.status)),
            };
            for chunk in chunks {
                // Nobody listening is no reason to fail.
                drop(output.send(chunk).await);
            }
        }
        Ok(id)
    };
    let ((), filtered, built) = tokio::join!(pump, filtering, building);
    match built {
        Ok(Some(id)) => Ok(id),
        Ok(None) => {
            let message = "the build ended without an image".to_owned();
            Err(BackendError::Infrastructure { part: "docker", message }.into())
        }
        Err((error, progress)) => {
            // When the context broke, the builder only knows that it did.
            if let Ok(Err(broken)) = filtered
                && broken.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(match broken.kind() {
                    io::ErrorKind::Unsupported => {
                        BackendError::User { code: Some("E097"), message: broken.to_string() }
                    }
                    _ => BackendError::Infrastructure {
                        part: "workspace",
                        message: format!("the build context cannot be read: {broken}"),
                    },
                }
                .into());
            }
            let lacking = session.map(|session| session.lacking()).unwrap_or_default();
            let told = Told { spec, text: &context.text, progress: &progress, lacking: &lacking };
            Err(failure(&error, &told))
        }
    }
}

async fn session(
    engine: &Engine,
    spec: &BuildSpec,
    output: &mpsc::Sender<Chunk>,
) -> Result<Session, BuildError> {
    match Session::open(engine, &spec.secrets, &spec.registries, output).await {
        Ok(session) => Ok(session),
        Err(SessionError::Unknown) => Err(BuildError::NoBuildKit),
        Err(SessionError::Broken(why)) => Err(BackendError::Infrastructure {
            part: "docker",
            message: format!("the engine opens no session for the build: {why}"),
        }
        .into()),
    }
}

/// What is known of a build that failed.
struct Told<'a> {
    spec: &'a BuildSpec,
    /// Of the Dockerfile.
    text: &'a str,
    progress: &'a Progress,
    /// Secrets that it wanted and did not get.
    lacking: &'a [String],
}

impl Told<'_> {
    /// The failure of a step, or of the Dockerfile.
    fn failure(&self, said: &str) -> BackendError {
        let mut message = self.progress.failure(said, &self.spec.work.file, self.text);
        let foreign = self.spec.work.platform.as_ref();
        if let Some(platform) = foreign.filter(|_| message.contains("exec format error")) {
            message.push_str(&format!(
                "\n  the engine runs no programs for `{platform}`: it needs an emulator \
                 (binfmt_misc, QEMU), or a Dockerfile that only copies what was cross-compiled"
            ));
        }
        user(message)
    }
}

/// Whose fault a failed build is.
fn failure(error: &Error, told: &Told<'_>) -> BuildError {
    let said = text(error);
    let lower = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let engine_fault = matches!(status(error), Some(500..))
        || !matches!(
            error,
            Error::DockerStreamError { .. } | Error::DockerResponseServerError { .. }
        );
    if lower.contains("buildkit") && has(&["not supported", "not enabled", "disabled"]) {
        return BuildError::NoBuildKit;
    }
    if let Some(id) = told.lacking.iter().find(|id| said.contains(&format!("secret {id}"))) {
        let message = format!(
            "the Dockerfile requires the secret `{id}`, which the stage does not give it: add \
             `secrets: [{id}]`\n  {said}"
        );
        return BackendError::User { code: Some("E050"), message }.into();
    }
    if has(&["exit code:", "returned a non-zero code"]) {
        return told.failure(&said).into();
    }
    if lower.contains("no active session") {
        return fault("the engine lost the session of the build", error).into();
    }
    if is_passing(&said) {
        return BuildError::Failure(Failure::Passing(format!(
            "the build cannot get its base: {said}"
        )));
    }
    if let Some(platform) = told.spec.work.platform.as_ref().filter(|_| {
        has(&["no match for platform", "no matching manifest", "does not match the specified"])
    }) {
        let message = format!("the base image is not there for `{platform}`: {said}");
        return BackendError::User { code: Some("E090"), message }.into();
    }
    // Only of a base image; a file that COPY does not find is `not found` too.
    if has(&["pull access denied", "manifest unknown", "unauthorized", "authorization"])
        || (lower.contains(": not found") && has(&["/library/", "docker.io/", "/manifests/"]))
        || (judge(&said, None) == Answer::Refused && lower.contains("pull"))
    {
        return BackendError::User { code: Some("E090"), message: said }.into();
    }
    if engine_fault && !lower.contains("dockerfile") {
        return fault("the build broke", error).into();
    }
    told.failure(&said).into()
}

fn auths(registries: &[Registry]) -> HashMap<String, DockerCredentials> {
    let named = registries.iter().filter(|registry| !registry.username.is_empty());
    named
        .map(|registry| {
            let host = if registry.host == "docker.io" { HUB } else { &registry.host };
            (host.to_owned(), credentials(registry))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::LayerId;

    #[test]
    fn a_build_is_asked_of_buildkit_and_nothing_else_of_it_is_changed() {
        let asked = |uri: &str| {
            let body = bollard::body_full(bytes::Bytes::new());
            let request = hyper::Request::post(uri).body(body).unwrap();
            for_buildkit(request).uri().to_string()
        };
        assert_eq!(
            asked("http://d/build?t=version%3D1&version=1&session=0"),
            "http://d/build?t=version%3D1&version=2&session=0"
        );
        assert_eq!(asked("http://d/build"), "http://d/build");
    }

    #[test]
    fn arguments_of_a_build_are_its_args_over_the_variables_of_the_stage() {
        let texts = |texts: &[(&str, &str)]| {
            texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let work = BuildWork {
            env: texts(&[("A", "env"), ("B", "env")]),
            args: texts(&[("B", "args"), ("C", "args")]),
            ..BuildWork::default()
        };
        let expected: HashMap<_, _> = [("A", "env"), ("B", "args"), ("C", "args")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        assert_eq!(arguments(&work), expected);
    }

    #[test]
    fn a_failed_build_is_the_users_and_a_failed_network_is_not() {
        let spec = BuildSpec {
            stage: "image".to_owned(),
            attempt: 1,
            name: "shipline-0-image-1".to_owned(),
            work: BuildWork { platform: Some("linux/arm64".to_owned()), ..BuildWork::default() },
            layer: LayerId { run: crate::testing::run_id(), index: 1, attempt: 1 },
            lower: Vec::new(),
            merge: None,
            registries: Vec::new(),
            secrets: Vec::new(),
        };
        let judged = |said: &str| {
            let error = Error::DockerStreamError { error: said.to_owned() };
            let told = Told { spec: &spec, text: "", progress: &Progress::default(), lacking: &[] };
            match failure(&error, &told) {
                BuildError::NoBuildKit => "classic".to_owned(),
                BuildError::Failure(Failure::Passing(_) | Failure::Later(..)) => "again".to_owned(),
                BuildError::Failure(Failure::Final(BackendError::User { code, .. })) => {
                    code.unwrap_or("user").to_owned()
                }
                BuildError::Failure(Failure::Final(_)) => "engine".to_owned(),
            }
        };
        for (said, expected) in [
            ("executor failed running [/bin/sh -c curl x # timeout]: exit code: 7", "user"),
            ("dockerfile parse error line 1: unknown instruction: FROMM", "user"),
            ("failed to compute cache key: \"/x\" not found: not found", "user"),
            ("docker.io/library/nosuch:1: not found", "E090"),
            ("pull access denied, repository does not exist or may require authorization", "E090"),
            ("failed to do request: Head https://h/v2/: dial tcp: lookup h: no such host", "again"),
            ("no match for platform in manifest sha256:0: not found", "E090"),
            ("no active session for 0: context deadline exceeded", "engine"),
            ("buildkit is not supported by daemon", "classic"),
        ] {
            assert_eq!(judged(said), expected, "{said}");
        }
    }
}
