//! What starts runs: one loop looks at every project's repository, at its pace
//! or when it is woken, and decides what asked for a run.
//!
//! A trigger is recorded first, by a poll, a webhook or a person, and decided
//! afterwards ([`decide`]); what a crash left undecided is decided at the start.

mod decide;
mod file;
mod template;
mod visit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use store::{Project, StoreError};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::app::App;
use crate::serve::LoopError;

pub(crate) use decide::{Decided, decide};
#[cfg(test)]
pub(crate) use visit::visit as visit_now;
pub(crate) use visit::{VisitError, fetch, look, record};

/// Repositories looked at at once: each is a process of `git`.
const AT_ONCE: usize = 8;
/// After a fault of the store that may pass.
const PAUSE: Duration = Duration::from_secs(1);

/// What only one may do at a time with a repository, and how the last look went.
#[derive(Default)]
pub(crate) struct Repositories {
    mirrors: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    looks: Mutex<HashMap<String, Look>>,
}

/// The last look at a repository.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) at: DateTime<Utc>,
    pub(crate) error: Option<String>,
}

impl Repositories {
    /// The right to change a project's mirror.
    pub(crate) async fn mirror(&self, project: &str) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(mirrors.entry(project.to_owned()).or_default())
        };
        mutex.lock_owned().await
    }

    pub(crate) fn last_look(&self, project: &str) -> Option<Look> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(project).cloned()
    }

    /// Notes how a look went, and returns whether that is news.
    fn note(&self, project: &str, error: Option<&String>) -> bool {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let look = Look { at: Utc::now(), error: error.cloned() };
        looks.insert(project.to_owned(), look).and_then(|before| before.error).as_ref() != error
    }
}

/// Looks at all projects until `drain`.
pub(crate) async fn run(app: Arc<App>, drain: CancellationToken) -> Result<(), LoopError> {
    let mut due = Due::default();
    for project in patiently(&drain, || app.store.projects()).await?.unwrap_or_default() {
        due.now(&project.name);
    }
    let mut visits = JoinSet::new();
    while !drain.is_cancelled() {
        while visits.len() < AT_ONCE
            && let Some(project) = due.take(Instant::now())
        {
            let span = tracing::info_span!("visit", project);
            visits.spawn(visit(Arc::clone(&app), project, drain.clone()).instrument(span));
        }
        let full = visits.len() >= AT_ONCE;
        tokio::select! {
            () = drain.cancelled() => {}
            projects = app.hints.woken_projects() => due.wake(projects),
            Some(visited) = visits.join_next(), if !visits.is_empty() => {
                let (project, pause) = visited??;
                due.again(project, pause);
            }
            () = sleep_until(due.next()), if !full => {}
        }
    }
    while let Some(visited) = visits.join_next().await {
        visited??;
    }
    Ok(())
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Looks at one project, and returns how long to leave it alone; `None` is for
/// good, since it is gone.
async fn visit(
    app: Arc<App>,
    name: String,
    drain: CancellationToken,
) -> Result<(String, Option<Duration>), LoopError> {
    let Some(found) = patiently(&drain, || app.store.project(&name)).await? else {
        return Ok((name, None));
    };
    let Some(project) = found else { return Ok((name, None)) };
    let looked = tokio::select! {
        looked = visit::visit(&app, &project) => looked,
        // What is recorded and not decided is decided at the next start.
        () = drain.cancelled() => return Ok((name, None)),
    };
    let error = match looked {
        Ok(()) => None,
        Err(VisitError::Store(error)) if !error.is_temporary() => return Err(error.into()),
        Err(error) => Some(runner::causes(&error)),
    };
    if app.repositories.note(&name, error.as_ref())
        && let Some(error) = error
    {
        tracing::warn!("cannot look at project {name}: {error}");
    }
    let pause = with_jitter(pace(&app, &project), rand::random());
    Ok((name, Some(pause)))
}

/// Between two looks at a project.
pub(crate) fn pace(app: &App, project: &Project) -> Duration {
    project.poll.unwrap_or(app.config.poll.every)
}

/// Up to a tenth more or less, so that projects do not march in step.
fn with_jitter(pause: Duration, random: u8) -> Duration {
    pause.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
}

/// Repeats a read that fails for reasons that pass; `None` when drained meanwhile.
async fn patiently<T, F>(
    drain: &CancellationToken,
    mut read: impl FnMut() -> F,
) -> Result<Option<T>, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match read().await {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.is_temporary() => tracing::warn!(%error, "the store is busy"),
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = drain.cancelled() => return Ok(None),
        }
    }
}

/// When each project is looked at next. One that is being looked at is in
/// neither map but remembered when it is woken meanwhile.
#[derive(Default)]
struct Due {
    at: BTreeMap<String, Instant>,
    busy: BTreeSet<String>,
    woken: BTreeSet<String>,
}

impl Due {
    fn now(&mut self, project: &str) {
        self.at.insert(project.to_owned(), Instant::now());
    }

    fn wake(&mut self, projects: BTreeSet<String>) {
        for project in projects {
            if self.busy.contains(&project) {
                self.woken.insert(project);
            } else {
                self.now(&project);
            }
        }
    }

    /// Takes the project that has been due longest.
    fn take(&mut self, now: Instant) -> Option<String> {
        let (project, at) = self.at.iter().min_by_key(|(_, at)| **at)?;
        if *at > now {
            return None;
        }
        let project = project.clone();
        self.at.remove(&project);
        self.busy.insert(project.clone());
        Some(project)
    }

    fn again(&mut self, project: String, pause: Option<Duration>) {
        self.busy.remove(&project);
        if self.woken.remove(&project) {
            self.now(&project);
        } else if let Some(pause) = pause {
            self.at.insert(project, Instant::now() + pause);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.at.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_project_woken_during_a_look_is_looked_at_again_at_once() {
        let mut due = Due::default();
        due.now("orders");
        assert_eq!(due.take(Instant::now()).as_deref(), Some("orders"));
        assert_eq!((due.take(Instant::now()), due.next()), (None, None));
        due.wake(["orders".to_owned()].into());
        assert_eq!(due.take(Instant::now()), None, "one look at a time");
        due.again("orders".to_owned(), Some(Duration::from_secs(60)));
        assert_eq!(due.take(Instant::now()).as_deref(), Some("orders"));
        due.again("orders".to_owned(), Some(Duration::from_secs(60)));
        assert_eq!(due.next(), Some(Instant::now() + Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_due_longest_comes_first() {
        let mut due = Due::default();
        due.now("a");
        tokio::time::advance(Duration::from_secs(1)).await;
        due.now("b");
        due.now("a");
        assert_eq!(due.take(Instant::now() - Duration::from_secs(2)), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        due.now("c");
        assert_ne!(due.take(Instant::now()).as_deref(), Some("c"));
    }

    #[test]
    fn jitter_is_a_tenth_either_way() {
        let pause = Duration::from_secs(60);
        assert_eq!(with_jitter(pause, 0), Duration::from_secs(54));
        assert_eq!(with_jitter(pause, 255), Duration::from_secs(66));
    }
}
