//! Concurrency groups: waiting for a place, and giving it to who comes after.
//!
//! Who may hold a group is decided where runs of all processes are known, by the rule of
//! [`event::group`]; here it is only asked, again and again.

use std::time::Duration;

use event::RunId;
use event::group::GroupEntry;
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, debug_span};

use crate::executor::{Attempt, Shared, ended};
use crate::limit::Stop;
use crate::verdict::Verdict;
use crate::{Journal, JournalError};

/// How often a group that others hold is asked for, and a holder looks whether it is to end.
const LOOK: Duration = Duration::from_secs(1);

/// The place of a stage in its group, if it has one.
pub(crate) fn of_stage(attempt: &Attempt<'_>) -> Option<GroupEntry> {
    let (shared, assignment) = (attempt.shared, attempt.assignment);
    Some(GroupEntry {
        run: shared.context.run,
        project: shared.context.project.clone(),
        stage: Some(attempt.stage.name.clone()),
        position: u32::try_from(assignment.index).unwrap_or(u32::MAX),
        concurrency: attempt.stage.concurrency.clone()?,
    })
}

/// An entry on its way into its group.
pub(crate) struct Waiting<'a> {
    journal: &'a dyn Journal,
    entry: &'a GroupEntry,
    told: String,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(journal: &'a dyn Journal, entry: &'a GroupEntry) -> Self {
        Self { journal, entry, told: String::new() }
    }

    /// Returns why it waits, each time that changes; `None` once it holds the group.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, JournalError> {
        while let Some(queue) = self.journal.enter_group(self.entry).await? {
            let now = queue.to_string();
            if now != self.told {
                self.told.clone_from(&now);
                return Ok(Some(now));
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }
}

/// Returns the run that wants the place of this one, should one come.
pub(crate) async fn superseded(journal: &dyn Journal, entry: &GroupEntry) -> RunId {
    loop {
        sleep(LOOK).await;
        match journal.superseded(entry).await {
            Ok(Some(run)) => return run,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a concurrency group cannot be looked at"),
        }
    }
}

/// What is said of a run or stage that another takes the place of.
pub(crate) fn superseded_by(run: RunId, entry: &GroupEntry) -> String {
    let group = &entry.concurrency.group;
    format!("run {} is newer and takes its place in the group `{group}`", run.short())
}

/// Does the work of an attempt while it holds its group.
pub(crate) async fn within(attempt: &mut Attempt<'_>) -> Verdict {
    let Some(entry) = of_stage(attempt) else { return Box::pin(attempt.whole_work()).await };
    let shared = attempt.shared;
    let waited = wait(attempt, &entry).instrument(debug_span!("group")).await;
    let verdict = match waited {
        Ok(()) => {
            // Waiting for others is not the time of the stage.
            attempt.limit.deadline = Instant::now() + attempt.stage.timeout.std();
            let stop = attempt.assignment.stop.clone();
            tokio::select! {
                biased;
                verdict = Box::pin(attempt.whole_work()) => verdict,
                never = watch(shared, &entry, &stop) => match never {},
            }
        }
        Err(verdict) => verdict,
    };
    if let Err(error) = shared.journal.leave_group(&entry).await {
        tracing::warn!(%error, "the place in a concurrency group is kept until the run ends");
    }
    verdict
}

async fn wait(attempt: &mut Attempt<'_>, entry: &GroupEntry) -> Result<(), Verdict> {
    let mut waiting = Waiting::new(attempt.shared.journal.as_ref(), entry);
    // What another process began has its place still, and may run: it is not ended unseen.
    let mut asks_first = attempt.assignment.begun.is_some();
    loop {
        let told = if std::mem::take(&mut asks_first) {
            waiting.next().await
        } else {
            tokio::select! {
                biased;
                cause = attempt.limit.cancelled() => return Err(Verdict::cut(ended(cause))),
                told = waiting.next() => told,
            }
        };
        match told {
            Ok(Some(line)) => attempt.log.say(line).await,
            Ok(None) => return Ok(()),
            Err(error) => {
                let reason = format!("the concurrency group cannot be read: {error}");
                return Err(Verdict::infrastructure(reason));
            }
        }
    }
}

/// Ends a stage whose place another is to have.
async fn watch(shared: &Shared, entry: &GroupEntry, stop: &Stop) -> std::convert::Infallible {
    let run = superseded(shared.journal.as_ref(), entry).await;
    stop.cancel_because(&superseded_by(run, entry));
    std::future::pending().await
}
