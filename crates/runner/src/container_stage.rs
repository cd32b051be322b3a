//! Stages with a layer: the checkout, and commands in a container.

use std::pin::pin;
use std::time::Duration;

use event::{Outputs, StageResult};
use pipeline::RunWork;
use tokio::time::{Instant, sleep};

use crate::artifacts::with_artifacts;
use crate::backend::{AttemptSpec, BackendError, Exit, Handle};
use crate::caches;
use crate::environment::{WORKSPACE, variables};
use crate::executor::{Attempt, beside, late};
use crate::limit::{Cause, Ended, GRACE, Limit};
use crate::outputs;
use crate::reports;
use crate::secrets;
use crate::verdict::{Verdict, is_allowed, judge};

/// How long an attempt may take to be gone after it was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fills the base layer.
pub(crate) async fn checkout(
    attempt: &mut Attempt<'_>,
    depth: Option<u32>,
) -> Result<Verdict, Verdict> {
    attempt.report_started(None).await;
    let (shared, layer) = (attempt.shared, attempt.assignment.layer());
    attempt
        .supervise(|output, token| async move {
            let (context, workspace) = (&shared.context, &shared.workspace);
            shared.backend.checkout(context, layer, workspace, depth, &output, &token).await
        })
        .await?;
    attempt.seal().await?;
    Ok(Verdict::passed(Outputs::new()))
}

/// Runs commands in a container.
pub(crate) async fn run(attempt: &mut Attempt<'_>, work: &RunWork) -> Result<Verdict, Verdict> {
    let spec = spec(attempt, work)?;
    for name in secrets::unmasked(&spec.secrets) {
        let line = format!("W052: secret `{name}` is shorter than 8 characters and not masked");
        attempt.log.say(line).await;
    }
    let handle = start(attempt, &spec).await?;
    // The time of the stage begins when its container runs, not while its image is pulled.
    attempt.limit.deadline = Instant::now() + attempt.stage.timeout.std();
    attempt.report_started(handle.image_digest()).await;
    caches::tell(attempt, &spec, handle.restored()).await;

    let limit = attempt.limit.clone();
    let (exit, cause) = beside(
        &limit,
        supervise(handle.as_ref(), &limit, attempt.stage.cancel_grace.std()),
        attempt.log.pump_stream(handle.output()),
        |(_, cause)| cause.is_some(),
    )
    .await;
    let cut = cause.map(|cause| attempt.cut(cause));
    let exit_outputs = match &exit {
        Some(Ok(exit)) => Some(exit.outputs.clone()),
        _ => None,
    };
    let verdict = match exit {
        Some(Ok(exit)) => judge(&exit, cut, &work.image, &work.run),
        Some(Err(error)) => match cut {
            Some(cut) => Verdict::cut(cut),
            None => Verdict::of_error(&error),
        },
        None => Verdict::infrastructure(format!(
            "the container could not be stopped within {} seconds",
            PATIENCE.as_secs()
        )),
    };
    let verdict = with_outputs(attempt, work, verdict, exit_outputs.as_deref());
    let verdict = with_reports(attempt, work, verdict, &spec).await;
    let verdict = with_artifacts(attempt, verdict, &spec.view()).await;
    let allowed = is_allowed(attempt.stage.allow_failure.as_ref(), verdict.result, verdict.exit);
    if verdict.result == StageResult::Passed {
        caches::keep(attempt, &spec, handle.restored()).await;
    }
    // What an allowed failure wrote is there for those that need it.
    if verdict.result == StageResult::Passed || allowed {
        attempt.seal().await?;
    }
    Ok(verdict)
}

/// Adds what the stage put out. What is wrong with it fails a stage that passed,
/// and is no news of one that failed.
fn with_outputs(
    attempt: &Attempt<'_>,
    work: &RunWork,
    verdict: Verdict,
    written: Option<&[u8]>,
) -> Verdict {
    // A secret may be in it like in any other text.
    let read = written.map_or_else(
        || Ok(Outputs::new()),
        |written| outputs::read(written, &work.outputs, |text| attempt.shared.masker.text(text)),
    );
    match read {
        Ok(outputs) => Verdict { outputs, ..verdict },
        Err(reason) if verdict.result == StageResult::Passed => {
            Verdict { exit: verdict.exit, ..Verdict::failed(Some("E096"), reason) }
        }
        Err(_) => verdict,
    }
}

/// Reads the reports of a stage whose command has ended by itself or by its deadline.
async fn with_reports(
    attempt: &mut Attempt<'_>,
    work: &RunWork,
    verdict: Verdict,
    spec: &AttemptSpec,
) -> Verdict {
    let Some(reports) = &work.reports else { return verdict };
    if matches!(verdict.result, StageResult::InfraError | StageResult::Cancelled) {
        return verdict;
    }
    match reports::read(attempt, reports, &spec.view()).await {
        Ok(()) => verdict,
        Err(wrong) => attempt.with_wrong(verdict, wrong).await,
    }
}

fn spec(attempt: &Attempt<'_>, work: &RunWork) -> Result<AttemptSpec, Verdict> {
    let (shared, assignment, stage) = (attempt.shared, attempt.assignment, attempt.stage);
    Ok(AttemptSpec {
        stage: stage.name.clone(),
        attempt: assignment.attempt,
        name: assignment.name.clone(),
        image: work.image.clone(),
        registry: shared.registries.for_reference(&work.image).cloned(),
        pull: work.pull,
        commands: work.run.clone(),
        shell: work.shell.clone(),
        user: work.user.clone(),
        workdir: directory(work.workdir.as_deref()),
        resources: stage.resources.clone(),
        env: variables(&shared.identity, &shared.plan, stage, assignment.attempt, &work.env),
        layer: assignment.layer(),
        lower: assignment.lower.clone(),
        caches: caches::specs(stage)?,
        secrets: secrets::of_stage(shared, stage)?,
    })
}

async fn start(attempt: &Attempt<'_>, spec: &AttemptSpec) -> Result<Box<dyn Handle>, Verdict> {
    let shared = attempt.shared;
    let started = attempt.limit.on(GRACE, |token| async move {
        shared.backend.start(&shared.context, spec, &token).await
    });
    match started.await {
        Ended::Done(Ok(handle)) | Ended::Late(Ok(handle), _) => Ok(handle),
        Ended::Done(Err(error)) => Err(Verdict::of_error(&error)),
        Ended::Late(Err(_), cause) | Ended::GivenUp(cause) => {
            Err(late("the container did not start", attempt.stage, cause))
        }
    }
}

/// Where the commands start: a path of the workspace, unless it is absolute.
fn directory(workdir: Option<&str>) -> String {
    match workdir {
        None | Some("." | "") => WORKSPACE.to_owned(),
        Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
        Some(relative) => format!("{WORKSPACE}/{relative}"),
    }
}

/// Waits for the end of the attempt, and brings it about when the limit is
/// reached. Without an exit it could not be stopped.
async fn supervise(
    handle: &dyn Handle,
    limit: &Limit,
    grace: Duration,
) -> (Option<Result<Exit, BackendError>>, Option<Cause>) {
    let mut wait = pin!(handle.wait());
    let cause = tokio::select! {
        biased;
        exit = &mut wait => return (Some(exit), None),
        cause = limit.reached() => cause,
    };
    let mut stop = pin!(stop(handle, limit, grace));
    let mut patience = pin!(sleep(grace + PATIENCE));
    let mut stopping = true;
    loop {
        tokio::select! {
            biased;
            exit = &mut wait => return (Some(exit), Some(cause)),
            () = &mut stop, if stopping => stopping = false,
            () = &mut patience => return (None, Some(cause)),
        }
    }
}

async fn stop(handle: &dyn Handle, limit: &Limit, grace: Duration) {
    let stopped = tokio::select! {
        biased;
        stopped = handle.stop(grace), if !limit.halt.is_cancelled() => stopped,
        () = limit.halt.cancelled() => handle.stop(Duration::ZERO).await,
    };
    if let Err(error) = stopped {
        // Whether it is gone is seen by waiting for it.
        tracing::warn!("a container could not be told to stop: {error}");
    }
}
