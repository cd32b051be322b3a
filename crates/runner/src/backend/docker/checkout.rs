//! The base layer: a tree of files, streamed to the engine.
//!
//! The engine's owner reads the tree; no stage container takes part.

use std::io;
use std::path::Path;

use bollard::query_parameters::UploadToContainerOptionsBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::archive;
use super::clean::remove_container;
use super::container::mount;
use super::engine::{Engine, fault};
use super::helper::{self, Helper};
use super::labels::Kind;
use super::layer::{Attempt, Layers, base};
use super::tree::{Count, Files, LAYER};
use crate::Workspace;
use crate::backend::{BackendError, Chunk, LayerId, RunContext};
use crate::git::{self, GitError, Sha};
use crate::size;

const STAGE: &str = "checkout";

pub(super) async fn checkout(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    layer: LayerId,
    workspace: &Workspace,
    depth: Option<u32>,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<(), BackendError> {
    match workspace {
        Workspace::Tree(directory) => {
            let tracked = until(cancel, git::tracked_files(directory)).await?;
            let tracked = match tracked {
                Ok(tracked) => tracked,
                Err(GitError::NotInstalled) => Vec::new(),
                Err(error) => {
                    say(output, format!("ignored files stay out, even tracked ones: {error}"))
                        .await;
                    Vec::new()
                }
            };
            if directory.join(".git").is_file() {
                let line = "`.git` leads out of this directory: git will not work inside stages";
                say(output, line.to_owned()).await;
            }
            let files = Files { root: directory.clone(), tracked, ignore: true };
            upload(engine, layers, run, layer, files, output, cancel).await
        }
        Workspace::Commit { mirror, sha } => {
            let sha = Sha::parse(sha).map_err(|error| user(error.to_string()))?;
            // Beside the mirror: the same disk, and no place that the environment names.
            let beside = mirror.parent().unwrap_or(Path::new("/"));
            let directory =
                tempfile::Builder::new().prefix(git::CHECKOUT_PREFIX).tempdir_in(beside);
            let directory = directory.map_err(|error| local(beside, &error))?;
            until(cancel, git::clone_commit(mirror, &sha, depth, directory.path()))
                .await?
                .map_err(git_error)?;
            let files =
                Files { root: directory.path().to_owned(), tracked: Vec::new(), ignore: false };
            let uploaded = upload(engine, layers, run, layer, files, output, cancel).await;
            // A large tree takes its time to remove.
            let removed = tokio::task::spawn_blocking(move || directory.close()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!("a checkout could not be removed: {error}");
            }
            uploaded
        }
    }
}

async fn until<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, BackendError> {
    tokio::select! {
        done = work => Ok(done),
        () = cancel.cancelled() => Err(BackendError::Cancelled),
    }
}

async fn upload(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    layer: LayerId,
    files: Files,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<(), BackendError> {
    let root = files.root.clone();
    let name = format!("shipline-{}-{STAGE}-{}", run.run.short(), layer.attempt);
    let attempt = Attempt {
        stage: STAGE,
        attempt: layer.attempt.max(1),
        container: &name,
        layer,
        lower: &[],
    };
    let volume = base(engine, layers, run, &attempt).await?;
    let helper = Helper {
        name: name.clone(),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts: vec![mount(volume, &format!("/{LAYER}"), false)],
        command: Vec::new(),
        capabilities: Vec::new(),
        stdin: false,
    };
    let helper = helper::create(engine, helper).await?;
    let (body, writing) = archive::write(move |builder| files.write(builder));
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let body = bollard::body_try_stream(body);
    let uploading = engine.patient.upload_to_container(&helper, Some(options), body);
    let uploaded = until(cancel, uploading).await;
    // When the upload has ended, however it did, the writer ends too.
    let written = writing.await;
    let removed = remove_container(engine, &helper).await;

    let count = match written {
        Ok(Ok(count)) => count,
        // The engine's answer says more than that nobody took the rest.
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            uploaded?.ok();
            return Err(local(&root, &error));
        }
        _ => Count::default(),
    };
    uploaded?.map_err(|error| fault("the workspace cannot be uploaded", &error))?;
    removed?;
    let plural = if count.files == 1 { "" } else { "s" };
    let mut line = format!("{} file{plural}, {}", count.files, size::text(count.bytes));
    if count.left_out > 0 {
        line.push_str(&format!("; {} sockets, pipes or devices left out", count.left_out));
    }
    say(output, line).await;
    Ok(())
}

async fn say(output: &mpsc::Sender<Chunk>, line: String) {
    // Nobody listening is no reason to fail.
    drop(output.send(Chunk::engine(line)).await);
}

fn user(message: String) -> BackendError {
    BackendError::User { code: None, message }
}

fn local(path: &Path, error: &io::Error) -> BackendError {
    let message = format!("{}: {error}", path.display());
    BackendError::Infrastructure { part: "workspace", message }
}

fn git_error(error: GitError) -> BackendError {
    match error {
        GitError::Gone { .. } => user(error.to_string()),
        error => BackendError::Infrastructure { part: "git", message: error.to_string() },
    }
}
