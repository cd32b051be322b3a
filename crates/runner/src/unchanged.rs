//! Stages with `inputs`: one whose digest is that of a former pass does not run.
//!
//! The digest is over the work as it is written with all values in place, the image as the
//! engine has it, the stage's own variables and parameters, its secrets, its cell, and the
//! matching files of the workspace it would begin with. What a run tells of itself, such as
//! its number and commit, is no part of it.
//!
//! A second digest has, in place of those files, the layers that the workspace is made of:
//! sealed ones do not change, so whoever stands on the same ones reads the same files, and
//! they need not be looked at. For that the base has to be the same layer, too: a checkout
//! that would bring what a former one has brought stands for that one.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use event::{Artifact, EventKind, Reused, StageResult};
use pipeline::Work;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::artifacts::artifact_path;
use crate::backend::Left;
use crate::executor::Attempt;
use crate::files;
use crate::image_stage::{IMAGE, text};
use crate::limit::{Ended, GRACE};
use crate::results::{FormerPass, ResultKey};
use crate::secrets;
use crate::verdict::Verdict;
use crate::{Results, Workspace};

/// Raised when the digest means something else.
const VERSION: u32 = 1;

/// What is known of a stage before it runs.
pub(crate) enum Before {
    /// It has no inputs, or nobody remembers results.
    Nothing,
    Unknown(Keys),
    /// It stands for a former pass.
    Unchanged(Verdict),
}

/// What a pass will be known by.
pub(crate) struct Keys {
    /// By what is read.
    read: ResultKey,
    /// By the layers below; of a checkout there are none.
    layers: Option<ResultKey>,
}

/// Looks for a former pass of the stage; an `Err` ends the attempt.
pub(crate) async fn before(attempt: &mut Attempt<'_>) -> Result<Before, Verdict> {
    let (shared, stage) = (attempt.shared, attempt.stage);
    let Some(results) = shared.results.clone() else { return Ok(Before::Nothing) };
    if let Work::Checkout { depth, .. } = &stage.work {
        let Some(read) = checkout_key(attempt, *depth).await else { return Ok(Before::Nothing) };
        return Ok(match look(attempt, &results, &read).await? {
            Some(verdict) => Before::Unchanged(verdict),
            None => Before::Unknown(Keys { read, layers: None }),
        });
    }
    if stage.inputs.is_empty() {
        return Ok(Before::Nothing);
    }
    let parts = parts(attempt).await?;
    let layers = layers_key(attempt, &parts);
    if let Some(layers) = &layers
        && let Some(verdict) = look(attempt, &results, layers).await?
    {
        return Ok(Before::Unchanged(verdict));
    }
    let Some(files) = files(attempt).await? else { return Ok(Before::Nothing) };
    let read = key(attempt, &parts, &json!(files));
    Ok(match look(attempt, &results, &read).await? {
        Some(verdict) => {
            if let (Some(layers), Some(reused)) = (&layers, verdict.reused) {
                remember(&results, layers, reused).await;
            }
            Before::Unchanged(verdict)
        }
        None => Before::Unknown(Keys { read, layers }),
    })
}

/// Looks for the pass that is known by `key`; one that is gone is forgotten.
async fn look(
    attempt: &mut Attempt<'_>,
    results: &Arc<dyn Results>,
    key: &ResultKey,
) -> Result<Option<Verdict>, Verdict> {
    if !attempt.shared.reuse {
        return Ok(None);
    }
    let found = match results.find(key).await {
        Ok(found) => found,
        Err(error) => {
            // Running it again is always right.
            tracing::warn!("results of former runs cannot be read: {error}");
            None
        }
    };
    let Some(found) = found else { return Ok(None) };
    if is_there(attempt, &found).await?
        && let Some(verdict) = restore(attempt, found).await
    {
        return Ok(Some(verdict));
    }
    if let Err(error) = results.forget(key).await {
        tracing::warn!("a result of a former run cannot be forgotten: {error}");
    }
    Ok(None)
}

/// Notes a pass.
pub(crate) async fn after(attempt: &Attempt<'_>, keys: &Keys, verdict: &Verdict) {
    let Some(results) = &attempt.shared.results else { return };
    if verdict.result != StageResult::Passed {
        return;
    }
    let pass = attempt.assignment.layer().into();
    if let Work::Checkout { depth, .. } = &attempt.stage.work {
        // What changed while it was brought is not what it is known by.
        if checkout_key(attempt, *depth).await.as_ref() != Some(&keys.read) {
            return;
        }
    }
    remember(results, &keys.read, pass).await;
    if let Some(layers) = &keys.layers {
        remember(results, layers, pass).await;
    }
}

async fn remember(results: &Arc<dyn Results>, key: &ResultKey, pass: Reused) {
    if let Err(error) = results.remember(key, pass).await {
        tracing::warn!("a result cannot be remembered: {error}");
    }
}

/// What a checkout is known by, if a stage of the run asks what has changed.
async fn checkout_key(attempt: &Attempt<'_>, depth: Option<u32>) -> Option<ResultKey> {
    let shared = attempt.shared;
    if shared.plan.stages.iter().all(|stage| stage.inputs.is_empty()) {
        return None;
    }
    let digest = async { shared.backend.base(&shared.workspace).await };
    let digest = tokio::select! {
        digest = digest => digest,
        _ = attempt.limit.reached() => return None,
    };
    match digest {
        Ok(digest) => Some(key(attempt, &[json!("checkout"), json!(depth)], &json!(digest?))),
        Err(error) => {
            // The checkout itself will say what is wrong, if it meets it too.
            tracing::debug!("the workspace cannot be told from others: {error}");
            None
        }
    }
}

/// What a stage is known by that stands on certain layers. Those of a commit that was
/// checked out are of one run alone.
fn layers_key(attempt: &Attempt<'_>, parts: &[Value]) -> Option<ResultKey> {
    let Workspace::Tree(_) = &attempt.shared.workspace else { return None };
    let stage = attempt.stage;
    let lower = attempt.assignment.lower.iter();
    let lower: Vec<Value> =
        lower.map(|layer| json!([layer.run, layer.index, layer.attempt])).collect();
    Some(key(attempt, parts, &json!([lower, stage.merge, stage.inputs])))
}

fn key(attempt: &Attempt<'_>, parts: &[Value], files: &Value) -> ResultKey {
    let shared = attempt.shared;
    let parts: Vec<&Value> = parts.iter().chain([files]).collect();
    ResultKey {
        project: shared.identity.project.clone(),
        trusted: shared.plan.trusted,
        stage: attempt.stage.name.clone(),
        digest: hex::encode(Sha256::digest(json!(parts).to_string())),
    }
}

/// The digest of the files that the stage reads; `None` if there are none.
async fn files(attempt: &mut Attempt<'_>) -> Result<Option<String>, Verdict> {
    let (shared, stage) = (attempt.shared, attempt.stage);
    let view = attempt.assignment.view(stage);
    let limit = attempt.limit.clone();
    let files = limit.on(GRACE, |_| files::inputs(shared, &view, &stage.inputs));
    let files = match files.await {
        Ended::Done(files) | Ended::Late(files, _) => {
            files.map_err(|error| Verdict::of_error(&error))?
        }
        Ended::GivenUp(cause) => return Err(Verdict::cut(attempt.cut(cause))),
    };
    match files {
        Ok(files) => Ok(Some(files)),
        Err(nothing) => {
            let line = format!("{nothing} of `inputs`, so no former result is looked for");
            attempt.log.say(line).await;
            Ok(None)
        }
    }
}

/// All that the result depends on, but for files.
async fn parts(attempt: &Attempt<'_>) -> Result<Vec<Value>, Verdict> {
    let (shared, stage) = (attempt.shared, attempt.stage);
    let image = match &stage.work {
        Work::Run(work) => {
            let registry = shared.registries.for_reference(&work.image);
            let limit = attempt.limit.clone();
            let image = limit.on(GRACE, |token| async move {
                shared.backend.image(&work.image, registry, work.pull, &token).await
            });
            match image.await {
                Ended::Done(image) | Ended::Late(image, _) => {
                    Some(image.map_err(|error| Verdict::of_error(&error))?)
                }
                Ended::GivenUp(cause) => return Err(Verdict::cut(attempt.cut(cause))),
            }
        }
        _ => None,
    };
    let secrets = secrets::of_stage(shared, stage)?;
    let secrets: Vec<_> = secrets
        .iter()
        .map(|secret| json!([secret.name, secret.env, hex::encode(Sha256::digest(&secret.value))]))
        .collect();
    let artifacts = stage.artifacts.as_ref().map(|artifacts| (&artifacts.paths, &artifacts.name));
    Ok(vec![
        json!(VERSION),
        json!(stage.work),
        json!(image),
        json!(stage.matrix),
        json!(shared.plan.params),
        json!(artifacts),
        json!(secrets),
    ])
}

/// Whether what the pass left has not been removed since.
async fn is_there(attempt: &Attempt<'_>, pass: &FormerPass) -> Result<bool, Verdict> {
    let shared = attempt.shared;
    let left = match &attempt.stage.work {
        Work::Build(_) => match text(&pass.outputs, IMAGE) {
            Some(image) => Left::Image(image),
            None => return Ok(false),
        },
        _ => Left::Layer(pass.reused.into()),
    };
    let has = shared.backend.still_has(&left).await;
    has.map_err(|error| Verdict::of_error(&error))
}

/// Takes over what the pass published; `None` when that is gone.
async fn restore(attempt: &mut Attempt<'_>, pass: FormerPass) -> Option<Verdict> {
    let shared = attempt.shared;
    let (from, to) = (pass.archives.clone(), shared.artifacts.clone());
    let archives: Vec<String> =
        pass.artifacts.iter().map(|artifact| artifact.sha256.clone()).collect();
    let copied = tokio::task::spawn_blocking(move || {
        archives.iter().try_for_each(|archive| copy(&from, &to, archive))
    });
    if let Err(error) = copied.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        tracing::debug!("artifacts of a former run are not there: {error}");
        return None;
    }
    let (stage, number) = (attempt.stage.name.clone(), attempt.assignment.attempt);
    attempt.report_started(None).await;
    let lower = &attempt.assignment.lower;
    shared.backend.place(&shared.context, &stage, pass.reused.into(), lower).await;
    if let Some(totals) = pass.tests {
        let read = EventKind::ReportRead { stage: stage.clone(), attempt: number, totals };
        shared.report(read).await;
    }
    let expire = attempt.stage.artifacts.as_ref().map(|artifacts| artifacts.expire.std());
    let expire = chrono::Duration::from_std(expire.unwrap_or_default());
    let expires_at = shared.clock.now() + expire.unwrap_or(chrono::Duration::MAX);
    for Artifact { name, size, sha256, files, .. } in pass.artifacts {
        let stored = EventKind::ArtifactStored {
            stage: stage.clone(),
            attempt: number,
            name,
            size,
            sha256,
            files,
            expires_at,
        };
        shared.report(stored).await;
    }
    let run = pass.reused.run.short();
    let what = match &attempt.stage.work {
        Work::Checkout { .. } => "the files",
        _ => "its inputs",
    };
    attempt.log.say(format!("unchanged: {what} are those of run {run}")).await;
    Some(Verdict::unchanged(what, pass.reused, pass.outputs))
}

/// Archives are named by what is in them and never written again: one of another run is as
/// good as a copy.
fn copy(from: &Path, to: &Path, archive: &str) -> io::Result<()> {
    let (from, place) = (artifact_path(from, archive), artifact_path(to, archive));
    if place.exists() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    match fs::hard_link(&from, &place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        // Another file system, or one without links.
        Err(_) => fs::copy(&from, &place).map(drop),
        Ok(()) => Ok(()),
    }
}
