//! Services of a stage: ready before it starts, there as long as it runs.

use std::time::Duration;

use event::EventKind;
use pipeline::{Origin, OriginKind, PlannedStage, RunWork};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::backend::{
    AttemptSpec, BackendError, Exit, ServiceError, ServiceReady, ServiceSpec, Services,
};
use crate::executor::{Attempt, Shared, late};
use crate::limit::{BEGINNING, Ended, GRACE, LAST_MOMENT};
use crate::output::AttemptLog;
use crate::verdict::Verdict;

/// What a service wrote has to be read within this time.
const KEEPING: Duration = Duration::from_secs(30);

/// What the stage asks the backend for.
pub(crate) fn specs(shared: &Shared, work: &RunWork) -> Vec<ServiceSpec> {
    let services = work.services.iter().map(|(name, service)| ServiceSpec {
        name: name.clone(),
        image: service.image.clone(),
        registry: shared.registries.for_reference(&service.image).cloned(),
        env: service.env.clone(),
        command: service.command.clone(),
        resources: service.resources.clone(),
        ready: service.ready.clone(),
    });
    services.collect()
}

/// The services of an attempt; of most there are none.
pub(crate) struct Beside(Option<Box<dyn Services>>);

impl Beside {
    /// Of an attempt that another process began.
    pub(crate) fn joined(services: Option<Box<dyn Services>>) -> Self {
        Self(services)
    }
}

/// Starts the services of an attempt, and returns when all are ready.
pub(crate) async fn start(
    attempt: &mut Attempt<'_>,
    spec: &AttemptSpec,
) -> Result<Beside, Verdict> {
    if spec.services.is_empty() {
        return Ok(Beside(None));
    }
    let shared = attempt.shared;
    let started = attempt.limit.on(GRACE, |token| async move {
        shared.backend.serve(&shared.context, spec, &token).await
    });
    let services = match started.await {
        Ended::Done(Ok(services)) | Ended::Late(Ok(services), _) => services,
        Ended::Done(Err(error)) => return Err(unstarted(attempt.stage, spec, &error)),
        Ended::Late(Err(_), cause) | Ended::GivenUp(cause) => {
            return Err(late("the services did not start", BEGINNING, cause));
        }
    };
    let ready = attempt.limit.on(LAST_MOMENT, |_| report_ready(attempt, services.as_ref()));
    let failed = match ready.await {
        Ended::Done(Ok(())) | Ended::Late(Ok(()), _) => return Ok(Beside(Some(services))),
        Ended::Done(Err(error)) => verdict(attempt.stage, error, None),
        Ended::Late(Err(_), cause) | Ended::GivenUp(cause) => {
            late("the services were not ready", BEGINNING, cause)
        }
    };
    Beside(Some(services)).finish(attempt, spec).await;
    Err(failed)
}

async fn report_ready(attempt: &Attempt<'_>, services: &dyn Services) -> Result<(), ServiceError> {
    let (told, mut heard) = mpsc::channel(16);
    let ready = async {
        let ready = services.ready(&told).await;
        drop(told);
        ready
    };
    let report = async {
        while let Some(ServiceReady { name, image_digest, after }) = heard.recv().await {
            let ready = EventKind::ServiceReady {
                stage: attempt.stage.name.clone(),
                attempt: attempt.assignment.attempt,
                name,
                image_digest: Some(image_digest),
                duration_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            };
            attempt.shared.report(ready).await;
        }
    };
    tokio::join!(ready, report).0
}

impl Beside {
    /// Returns when one of them is no longer there.
    pub(crate) async fn ended(&self) -> ServiceError {
        match &self.0 {
            Some(services) => services.ended().await,
            None => std::future::pending().await,
        }
    }

    /// What the end of a stage means, `known` or not that a service ended before: none may,
    /// whatever the stage made of it.
    pub(crate) async fn judge(
        &self,
        attempt: &Attempt<'_>,
        exit: &Exit,
        known: Option<ServiceError>,
    ) -> Option<Verdict> {
        let services = self.0.as_ref()?;
        if exit.lost.is_some() {
            return None;
        }
        let gone = match known {
            Some(gone) => gone,
            None => services.gone().await?,
        };
        Some(verdict(attempt.stage, gone, Some(exit.code)))
    }

    /// Keeps what they wrote beside the output of the stage, and ends them.
    pub(crate) async fn finish(self, attempt: &mut Attempt<'_>, spec: &AttemptSpec) {
        let Some(services) = self.0 else { return };
        let halt = attempt.shared.halt.clone();
        let keep = async {
            for service in &spec.services {
                if let Err(reason) = keep(attempt, services.as_ref(), &service.name).await {
                    let name = &service.name;
                    let line = format!("the output of service `{name}` is not kept: {reason}");
                    attempt.log.say(line).await;
                }
            }
        };
        tokio::select! {
            biased;
            kept = timeout(KEEPING, keep) => {
                if kept.is_err() {
                    tracing::warn!("the output of services could not be read in time");
                }
            }
            () = halt.cancelled() => {}
        }
        // Those of a durable run are looked at until the end of the attempt is written down.
        if !attempt.shared.context.durable {
            services.stop();
        }
    }
}

/// Writes the output of a service to a file of its own; nobody watches it.
async fn keep(attempt: &Attempt<'_>, services: &dyn Services, service: &str) -> Result<(), String> {
    let (shared, name) = (attempt.shared, log_name(&attempt.stage.name, service));
    let log = AttemptLog::create(
        &shared.output,
        &name,
        attempt.assignment.attempt,
        &shared.masker,
        None,
        shared.halt.clone(),
    );
    let mut log = log.await.map_err(|error| error.to_string())?;
    log.pump_stream(services.output(service)).await;
    log.finish().await
}

/// Under which name the output of a service lies: that of its stage, and its own.
fn log_name(stage: &str, service: &str) -> String {
    format!("{stage}/{service}")
}

/// The stage whose output, or that of one of its services, lies under a name.
pub fn stage_of_log(name: &str, is_stage: impl Fn(&str) -> bool) -> Option<&str> {
    // The name of a cell may have a slash itself.
    [Some(name), name.rsplit_once('/').map(|(stage, _)| stage)]
        .into_iter()
        .flatten()
        .find(|name| is_stage(name))
}

/// Why no service was started, with the place of the one that the error speaks of.
fn unstarted(stage: &PlannedStage, spec: &AttemptSpec, error: &BackendError) -> Verdict {
    let mut verdict = Verdict::of_error(error);
    let BackendError::User { message, .. } = error else { return verdict };
    let services = || spec.services.iter();
    let named = services().find(|one| message.contains(&format!("service `{}`", one.name)));
    let of_image = || services().find(|one| message.contains(&format!("image `{}`", one.image)));
    if let Some(place) = named.or_else(of_image).and_then(|one| place(stage, &one.name)) {
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        let rest = if rest.is_empty() { String::new() } else { format!("\n{rest}") };
        verdict.reason = Some(format!("{first} ({place}){rest}"));
    }
    verdict
}

/// E094, E090 or E099, with what the service wrote last.
fn verdict(stage: &PlannedStage, error: ServiceError, exit: Option<i64>) -> Verdict {
    let failure = match error {
        ServiceError::Backend(error) => return Verdict::of_error(&error),
        ServiceError::Failed(failure) => failure,
    };
    let mut reason = failure.to_string();
    if let Some(place) = place(stage, &failure.service) {
        reason.push_str(&format!(" ({place})"));
    }
    match failure.last_lines.as_slice() {
        [] => reason.push_str("\nit wrote nothing"),
        lines => {
            reason.push_str("\nits last lines:");
            lines.iter().for_each(|line| reason.push_str(&format!("\n  {}", line.trim_end())));
        }
    }
    Verdict { exit, ..Verdict::failed(Some("E094"), reason) }
}

/// Where the service is written.
fn place(stage: &PlannedStage, service: &str) -> Option<String> {
    let (own, all) = (format!("services.{service}"), "services".to_owned());
    let below = format!("{own}.");
    let origins = stage.origins.iter().filter(|(key, origin)| {
        origin.by != OriginKind::Builtin
            && (**key == own || **key == all || key.starts_with(&below))
    });
    let place = |origin: &Origin| (origin.line, origin.column);
    let (_, Origin { file, line, column, .. }) =
        origins.min_by_key(|(key, origin)| (**key == all, place(origin)))?;
    Some(format!("{file}:{line}:{column}"))
}
