//! Stages with a layer: the checkout, and commands in a container.

use std::pin::pin;
use std::time::Duration;

use event::{Outputs, Peak, StageResult};
use pipeline::RunWork;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, debug_span};

use crate::adopt;
use crate::artifacts::with_artifacts;
use crate::backend::{AttemptSpec, BackendError, Exit, Handle, ServiceError, Usage};
use crate::caches;
use crate::environment::{WORKSPACE, variables};
use crate::executor::{Attempt, beside, late};
use crate::exhausted;
use crate::limit::{BEGINNING, Cause, Ended, GRACE, Limit};
use crate::outputs;
use crate::reports;
use crate::secrets;
use crate::services::{self, Beside};
use crate::verdict::{Verdict, is_allowed, judge};

/// How long an attempt may take to be gone after it was killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before an engine is asked again to stop a container.
const AGAIN: Duration = Duration::from_millis(250);

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
        .instrument(debug_span!("checkout"))
        .await?;
    attempt.seal().await?;
    Ok(Verdict::passed(Outputs::new()))
}

/// Runs commands in a container.
pub(crate) async fn run(attempt: &mut Attempt<'_>, work: &RunWork) -> Result<Verdict, Verdict> {
    let spec = spec(attempt, work)?;
    secrets::tell_unmasked(attempt, &spec.secrets).await;
    if let Some((watched, beside)) = adopt::join(attempt, &spec).await? {
        let verdict = to_its_end(attempt, work, &spec, &beside, watched).await;
        beside.finish(attempt, &spec).await;
        return verdict;
    }
    attempt.limit.deadline = Instant::now() + BEGINNING;
    let beside = services::start(attempt, &spec).instrument(debug_span!("services")).await?;
    let verdict = in_container(attempt, work, &spec, &beside).await;
    beside.finish(attempt, &spec).instrument(debug_span!("end services")).await;
    verdict
}

/// The stage itself, once its services are ready.
async fn in_container(
    attempt: &mut Attempt<'_>,
    work: &RunWork,
    spec: &AttemptSpec,
    services: &Beside,
) -> Result<Verdict, Verdict> {
    let handle = start(attempt, spec).instrument(debug_span!("start")).await?;
    // The time of the stage begins when its container runs, not while its image is pulled.
    attempt.limit.deadline = Instant::now() + attempt.stage.timeout.std();
    attempt.report_started(handle.image_digest()).await;
    to_its_end(attempt, work, spec, services, Watched { handle, ended: None }).await
}

/// A container that was started, by us or by a process before us.
pub(crate) struct Watched {
    pub(crate) handle: Box<dyn Handle>,
    /// It had ended before we looked, and why if not by itself.
    pub(crate) ended: Option<Option<Cause>>,
}

async fn to_its_end(
    attempt: &mut Attempt<'_>,
    work: &RunWork,
    spec: &AttemptSpec,
    services: &Beside,
    watched: Watched,
) -> Result<Verdict, Verdict> {
    let Watched { handle, ended } = watched;
    caches::tell(attempt, spec, handle.restored()).await;

    let limit = attempt.limit.clone();
    let grace = attempt.stage.cancel_grace.std();
    let Supervised { exit, cause, service } = beside(
        &limit,
        async {
            match ended {
                Some(cause) => read_end(handle.as_ref(), cause).await,
                None => supervise(handle.as_ref(), services, &limit, grace).await,
            }
        },
        attempt.log.pump_stream(handle.output()),
        Supervised::was_cut,
    )
    .instrument(debug_span!("running"))
    .await;
    let cut = cause.map(|cause| attempt.cut(cause));
    let exit_outputs = match &exit {
        Some(Ok(exit)) => Some(exit.outputs.clone()),
        _ => None,
    };
    let verdict = match exit {
        Some(Ok(exit)) => {
            let Usage { memory, pids, .. } = &exit.usage;
            let peak = Peak { memory_peak: memory.peak, pids_peak: pids.peak };
            // An attempt has one container.
            let _ = attempt.peak.set(peak);
            let of_services = match cut {
                None => services.judge(attempt, &exit, service).await,
                Some(_) => None,
            };
            if let Some(warning) = exhausted::warning(&exit).filter(|_| cut.is_none()) {
                attempt.log.say(warning).await;
            }
            let hint = attempt.log.hint();
            of_services.unwrap_or_else(|| judge(&exit, cut, hint, &work.image, &work.run))
        }
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
    let verdict = with_reports(attempt, work, verdict, spec).instrument(debug_span!("reports"));
    let verdict = verdict.await;
    let verdict =
        with_artifacts(attempt, verdict, &spec.view()).instrument(debug_span!("artifacts")).await;
    let allowed = is_allowed(attempt.stage.allow_failure.as_ref(), verdict.result, verdict.exit);
    if verdict.result == StageResult::Passed {
        caches::keep(attempt, spec, handle.restored()).instrument(debug_span!("keep caches")).await;
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
        merge: stage.merge.clone(),
        caches: caches::specs(stage)?,
        secrets: secrets::of_stage(shared, stage)?,
        services: services::specs(shared, work),
    })
}

async fn start(attempt: &Attempt<'_>, spec: &AttemptSpec) -> Result<Box<dyn Handle>, Verdict> {
    let shared = attempt.shared;
    let started = attempt.limit.on(GRACE, |token| async move {
        shared.backend.start(&shared.context, spec, &token).await
    });
    match started.await {
        Ended::Done(Ok(handle)) | Ended::Late(Ok(handle), _) => Ok(handle),
        Ended::Done(Err(error)) => Err(caches::unstarted(attempt.stage, spec, &error)),
        Ended::Late(Err(_), cause) | Ended::GivenUp(cause) => {
            Err(late("the container did not start", BEGINNING, cause))
        }
    }
}

/// Where the commands start: a path of the workspace, unless it is absolute.
pub(crate) fn directory(workdir: Option<&str>) -> String {
    match workdir {
        None | Some("." | "") => WORKSPACE.to_owned(),
        Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
        Some(relative) => format!("{WORKSPACE}/{relative}"),
    }
}

/// How a container came to its end; without an exit it could not be stopped.
struct Supervised {
    exit: Option<Result<Exit, BackendError>>,
    cause: Option<Cause>,
    /// It was ended because this was.
    service: Option<ServiceError>,
}

impl Supervised {
    fn was_cut(&self) -> bool {
        self.cause.is_some() || self.service.is_some()
    }
}

/// Waits for the end of the attempt, and brings it about when the limit is
/// reached, or a service has ended.
async fn supervise(
    handle: &dyn Handle,
    services: &Beside,
    limit: &Limit,
    grace: Duration,
) -> Supervised {
    let mut wait = pin!(handle.wait());
    let (mut cause, service) = tokio::select! {
        biased;
        exit = &mut wait => {
            end_unknown(handle, limit, &exit).await;
            return Supervised { exit: Some(exit), cause: None, service: None };
        }
        cause = limit.reached() => (Some(cause), None),
        service = services.ended() => (None, Some(service)),
    };
    let mut stop = pin!(stop(handle, limit, grace));
    let mut patience = pin!(sleep(grace + PATIENCE));
    let mut stopping = true;
    let exit = loop {
        tokio::select! {
            biased;
            exit = &mut wait => {
                end_unknown(handle, limit, &exit).await;
                break Some(exit);
            }
            () = &mut stop, if stopping => stopping = false,
            () = &mut patience => break None,
            // Somebody cancels what ends anyway: then that is what it is.
            cancelled = limit.cancelled(), if cause.is_none() => cause = Some(cancelled),
        }
    };
    Supervised { exit, cause, service }
}

/// Reads the end of an attempt that nobody has to bring about.
async fn read_end(handle: &dyn Handle, cause: Option<Cause>) -> Supervised {
    Supervised { exit: Some(handle.wait().await), cause, service: None }
}

/// Ends what may run on though nobody can wait for it any more: another attempt, or those
/// that need the stage, must not run beside it.
async fn end_unknown(handle: &dyn Handle, limit: &Limit, exit: &Result<Exit, BackendError>) {
    if let Err(BackendError::Infrastructure { .. }) = exit {
        // A run that ends removes it in any case.
        let _ = timeout(PATIENCE, stop(handle, limit, Duration::ZERO)).await;
    }
}

/// Tells it to stop until it was told: an engine that is away for a moment is asked again.
async fn stop(handle: &dyn Handle, limit: &Limit, grace: Duration) {
    let until = Instant::now() + grace;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let stopped = tokio::select! {
            biased;
            stopped = handle.stop(left), if !limit.halt.is_cancelled() => stopped,
            () = limit.halt.cancelled() => handle.stop(Duration::ZERO).await,
        };
        let Err(error) = stopped else { return };
        // Whether it is gone is seen by waiting for it.
        tracing::warn!("a container could not be told to stop: {error}");
        sleep(AGAIN).await;
    }
}
