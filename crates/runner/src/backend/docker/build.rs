//! An image from the workspace of a stage.
//!
//! The context goes from the engine's view of the workspace through us, where
//! `.dockerignore` is applied, back into the engine's builder: BuildKit, or the
//! classic builder where there is none.

use std::collections::HashMap;
use std::io;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{BuildInfoAux, ImageId};
use bollard::query_parameters::{
    BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion,
    DownloadFromContainerOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use pipeline::BuildWork;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{Answer, is_passing, judge};
use super::archive;
use super::build_progress::Progress;
use super::container::mount;
use super::context::Context;
use super::engine::{Engine, fault, status, text};
use super::helper::{self, Helper};
use super::image::credentials;
use super::labels::{Kind, Labels};
use super::layer::{self, Attempt, Layers};
use super::reference::split_tag;
use super::retry::{Failure, Tries};
use crate::backend::{BackendError, BuildSpec, Built, Chunk, RunContext};
use crate::{Registry, WORKSPACE};

/// Docker's own name for its default registry.
const HUB: &str = "https://index.docker.io/v1/";

pub(super) async fn build(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    spec: &BuildSpec,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<Built, BackendError> {
    build_with(BuilderVersion::BuilderBuildKit, engine, layers, run, spec, output, cancel).await
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
    // It never starts: it is how the archive API sees the workspace.
    let helper = Helper {
        name: spec.name.clone(),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts: vec![mount(view, WORKSPACE, true)],
        command: Vec::new(),
        capabilities: Vec::new(),
        stdin: false,
    };
    let helper = helper::create(engine, helper).await?;
    let context = Context::find(engine, &helper, &spec.work.context, &spec.work.file).await?;

    let labels = Labels::new(&run.instance, Kind::Image).map();
    let mut tries = Tries::default();
    let id = loop {
        let options = options(spec, &context, &labels, version);
        match try_build(engine, &helper, &context, options, spec, output).await {
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
                Some(400) => user(text(&error)),
                _ => fault(format!("the image cannot be tagged `{repository}`"), &error),
            }
        })?;
    }
    Ok(Built { id })
}

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
    version: BuilderVersion,
) -> BuildImageOptions {
    let arguments = arguments(&spec.work);
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(&context.dockerfile)
        .labels(labels)
        .buildargs(&arguments)
        // What a failed step leaves would be nobody's.
        .rm(true)
        .forcerm(true)
        .version(version);
    if let Some(target) = &spec.work.target {
        options = options.target(target);
    }
    if let Some(platform) = &spec.work.platform {
        options = options.platform(platform);
    }
    if matches!(version, BuilderVersion::BuilderBuildKit) {
        options.session(&Uuid::now_v7().to_string()).build()
    } else {
        options.build()
    }
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
    options: BuildImageOptions,
    spec: &BuildSpec,
    output: &mpsc::Sender<Chunk>,
) -> Result<String, BuildError> {
    let path = format!("{}/.", context.directory);
    let download = DownloadFromContainerOptionsBuilder::default().path(&path).build();
    let download = engine.patient.download_from_container(helper, Some(download));
    let (reader, pump) = archive::reader(download);
    let filter = context.filter.clone();
    let (body, filtering) = archive::write(move |builder| filter.copy(reader, builder));
    let building = async {
        let body = Some(bollard::body_try_stream(body));
        let auths = Some(auths(&spec.registries));
        let mut steps = engine.patient.build_image(options, auths, body);
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
                    io::ErrorKind::Unsupported => user(broken.to_string()),
                    _ => BackendError::Infrastructure {
                        part: "workspace",
                        message: format!("the build context cannot be read: {broken}"),
                    },
                }
                .into());
            }
            Err(failure(&error, &progress))
        }
    }
}

/// Whose fault a failed build is.
fn failure(error: &Error, progress: &Progress) -> BuildError {
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
    if has(&["exit code:", "returned a non-zero code"]) {
        return user(progress.with_last_lines(&said)).into();
    }
    if is_passing(&said) {
        return BuildError::Failure(Failure::Passing(format!(
            "the build cannot get its base: {said}"
        )));
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
    user(progress.with_last_lines(&said)).into()
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
        let judged = |said: &str| {
            let error = Error::DockerStreamError { error: said.to_owned() };
            match failure(&error, &Progress::default()) {
                BuildError::NoBuildKit => "classic".to_owned(),
                BuildError::Failure(Failure::Passing(_)) => "again".to_owned(),
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
            ("buildkit is not supported by daemon", "classic"),
        ] {
            assert_eq!(judged(said), expected, "{said}");
        }
    }
}
