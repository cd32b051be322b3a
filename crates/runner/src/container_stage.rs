//! Stages with a layer: the checkout, and commands in a container.

use std::pin::pin;
use std::time::Duration;

use event::{Outputs, StageResult};
use pipeline::RunWork;
use tokio::time::{Instant, sleep};

use crate::backend::{AttemptSpec, BackendError, Exit, Handle};
use crate::environment::variables;
use crate::executor::{Attempt, beside};
use crate::limit::{Cause, Ended, GRACE, Limit};
use crate::verdict::{Verdict, judge};

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
    let handle = start(attempt, work).await?;
    // The time of the stage begins when its container runs, not while its image is pulled.
    attempt.limit.deadline = Instant::now() + attempt.stage.timeout.std();
    attempt.report_started(handle.image_digest()).await;

    let limit = attempt.limit.clone();
    let (exit, cause) = beside(
        &limit,
        supervise(handle.as_ref(), &limit),
        attempt.log.pump_stream(handle.output()),
        |(_, cause)| cause.is_some(),
    )
    .await;
    let cut = cause.map(|cause| attempt.cut(cause));
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
    if verdict.result == StageResult::Passed {
        attempt.seal().await?;
    }
    Ok(verdict)
}

async fn start(attempt: &Attempt<'_>, work: &RunWork) -> Result<Box<dyn Handle>, Verdict> {
    let (shared, assignment, stage) = (attempt.shared, attempt.assignment, attempt.stage);
    let spec = AttemptSpec {
        stage: stage.name.clone(),
        attempt: assignment.attempt,
        name: assignment.name.clone(),
        image: work.image.clone(),
        registry: shared.registries.for_reference(&work.image).cloned(),
        commands: work.run.clone(),
        env: variables(&shared.identity, &shared.plan, stage, assignment.attempt, &work.env),
        layer: assignment.layer(),
        lower: assignment.lower.clone(),
    };
    let spec = &spec;
    let started = attempt.limit.on(GRACE, |token| async move {
        shared.backend.start(&shared.context, spec, &token).await
    });
    match started.await {
        Ended::Done(Ok(handle)) | Ended::Late(Ok(handle), _) => Ok(handle),
        Ended::Done(Err(error)) => Err(Verdict::of_error(&error)),
        Ended::Late(Err(_), cause) | Ended::GivenUp(cause) => {
            Err(attempt.late("the container did not start", cause))
        }
    }
}

/// Waits for the end of the attempt, and brings it about when the limit is
/// reached. Without an exit it could not be stopped.
async fn supervise(
    handle: &dyn Handle,
    limit: &Limit,
) -> (Option<Result<Exit, BackendError>>, Option<Cause>) {
    let mut wait = pin!(handle.wait());
    let cause = tokio::select! {
        biased;
        exit = &mut wait => return (Some(exit), None),
        cause = limit.reached() => cause,
    };
    let mut stop = pin!(stop(handle, limit));
    let mut patience = pin!(sleep(GRACE + PATIENCE));
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

async fn stop(handle: &dyn Handle, limit: &Limit) {
    let stopped = tokio::select! {
        biased;
        stopped = handle.stop(GRACE), if !limit.halt.is_cancelled() => stopped,
        () = limit.halt.cancelled() => handle.stop(Duration::ZERO).await,
    };
    if let Err(error) = stopped {
        // Whether it is gone is seen by waiting for it.
        tracing::warn!("a container could not be told to stop: {error}");
    }
}
