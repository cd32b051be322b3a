//! The base layer: a tree of files, streamed to the engine.
//!
//! The engine's owner reads the tree; no stage container takes part.

use std::io;
use std::path::Path;

use bollard::query_parameters::UploadToContainerOptionsBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span};

use super::archive;
use super::clean::{remove_container, remove_volume};
use super::container::mount;
use super::copied;
use super::direct;
use super::engine::{Engine, fault};
use super::helper::{self, Helper};
use super::labels::{Kind, Part, volume};
use super::layer::{Attempt, Layers, base};
use super::tree::{Count, Files};
use crate::Workspace;
use crate::backend::{BackendError, Chunk, LayerId, RunContext};
use crate::git::{self, GitError, Sha};
use crate::size;

const STAGE: &str = "checkout";
/// Where the helper has the volume.
const LAYER: &str = "/layer";

/// Where to an archive is unpacked, and the folder of it that everything is in.
fn place(podman: bool) -> (&'static str, &'static Path) {
    if podman {
        // It unpacks into a volume only if it is asked for a path of it.
        (LAYER, Path::new("."))
    } else {
        // An archive cannot change the mode of the directory it is unpacked into, but
        // that of one below.
        ("/", Path::new("layer"))
    }
}

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
            let (files, untold) = until(cancel, of_tree(directory)).await?;
            if let Some(error) = untold {
                let line = format!("ignored files stay out, even tracked ones: {error}");
                say(output, line).await;
            }
            if directory.join(".git").is_file() {
                let line = "`.git` leads out of this directory: git will not work inside stages";
                say(output, line.to_owned()).await;
            }
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

/// The digest of what a checkout of a directory would bring. A commit is not looked into:
/// its repository is made anew for each checkout.
pub(super) async fn digest(workspace: &Workspace) -> Result<Option<String>, BackendError> {
    let Workspace::Tree(directory) = workspace else { return Ok(None) };
    let (files, _) = of_tree(directory).await;
    let digest = tokio::task::spawn_blocking(move || files.digest());
    let digest = digest.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    digest.map(Some).map_err(|error| local(directory, &error))
}

/// The files of a directory, and why it is not known which of them Git tracks.
async fn of_tree(directory: &Path) -> (Files, Option<GitError>) {
    let tracked = git::tracked_files(directory).instrument(debug_span!("tracked files")).await;
    let (tracked, untold) = match tracked {
        Ok(tracked) => (tracked, None),
        Err(GitError::NotInstalled) => (Vec::new(), None),
        Err(error) => (Vec::new(), Some(error)),
    };
    (Files { root: directory.to_owned(), tracked, ignore: true }, untold)
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
        merge: None,
    };
    if engine.layering.copies() {
        say(output, copied::NOTE.to_owned()).await;
    }
    if run.durable {
        // A process that died may have left half of it.
        remove_container(engine, &name).await?;
        remove_volume(engine, &volume(layer, Part::Upper)).await?;
    }
    let volume = base(engine, layers, run, &attempt).await?;
    let (uploaded, written) = match direct::place(engine, &volume) {
        Some(place) => {
            let (body, writing) =
                archive::write(move |builder| files.write(builder, Path::new(".")));
            let unpacked = until(cancel, direct::unpack(body, place.clone()));
            let unpacked = unpacked.instrument(debug_span!("unpack")).await;
            // When it has ended, however it did, the writer ends too.
            (unpacked.map(|done| done.map_err(|error| local(&place, &error))), writing.await)
        }
        None => {
            let helper = Helper {
                name: name.clone(),
                labels: attempt.labels(engine, run, Kind::Helper),
                mounts: vec![mount(volume, LAYER, false)],
                command: Vec::new(),
                capabilities: Vec::new(),
                stdin: false,
            };
            let helper = helper::create(engine, helper).instrument(debug_span!("helper")).await?;
            let (path, folder) = place(engine.podman);
            let (body, writing) = archive::write(move |builder| files.write(builder, folder));
            let options = UploadToContainerOptionsBuilder::default().path(path).build();
            let body = bollard::body_try_stream(body);
            let uploading = engine.patient.upload_to_container(&helper, Some(options), body);
            let uploaded = until(cancel, uploading).instrument(debug_span!("upload")).await;
            let what = "the workspace cannot be uploaded";
            let uploaded = uploaded.map(|done| done.map_err(|error| fault(what, &error)));
            let written = writing.await;
            // It goes with what is left of the attempt once the layer is sealed.
            if !matches!((&uploaded, &written), (Ok(Ok(())), Ok(Ok(_)))) {
                remove_container(engine, &helper).await?;
            }
            (uploaded, written)
        }
    };

    let count = match written {
        Ok(Ok(count)) => count,
        // The engine's answer says more than that nobody took the rest.
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            uploaded?.ok();
            return Err(local(&root, &error));
        }
        _ => Count::default(),
    };
    uploaded??;
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
