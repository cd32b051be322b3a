//! The stage of an attempt with its pending values in place.

use std::collections::BTreeMap;

use pipeline::{Finished, PlannedStage, RunFacts, Unresolved};

use crate::executor::{Assignment, Shared};
use crate::files;
use crate::limit::{Cause, Ended, GRACE, Limit};
use crate::verdict::{Cut, Verdict};

pub(crate) enum Resolved {
    /// It has no pending values.
    Plain,
    Done(Box<PlannedStage>),
    /// Values read files of the workspace, which only the engine has.
    Hashed(Box<Hashed>),
    Failed(Box<Unresolved>),
}

/// What is needed to resolve a stage that reads files.
pub(crate) struct Hashed {
    /// Of each `hash(...)`.
    pub(crate) globs: Vec<Vec<String>>,
    pub(crate) finished: BTreeMap<String, Finished>,
    pub(crate) facts: RunFacts,
}

impl Hashed {
    /// Reads the files and puts the values in place.
    pub(crate) async fn resolve(
        &self,
        shared: &Shared,
        assignment: &Assignment,
        limit: &Limit,
    ) -> Result<PlannedStage, Verdict> {
        let planned = &shared.plan.stages[assignment.index];
        let view = assignment.view(planned);
        let mut known = BTreeMap::new();
        for globs in &self.globs {
            let view = &view;
            let read = limit.on(GRACE, |token| async move {
                tokio::select! {
                    biased;
                    read = files::hash(shared, view, globs) => Some(read),
                    () = token.cancelled() => None,
                }
            });
            let digest = match read.await {
                Ended::Done(Some(read)) => read.map_err(|error| Verdict::of_error(&error))?,
                Ended::Late(_, Cause::Overdue(reason)) | Ended::GivenUp(Cause::Overdue(reason)) => {
                    return Err(Verdict::cut(Cut::Deadline(reason.to_string())));
                }
                _ => return Err(Verdict::cut(Cut::Cancelled)),
            };
            known.insert(globs.clone(), digest);
        }
        let hash = |globs: &[String]| {
            known.get(globs).cloned().unwrap_or_else(|| Err("its files were not read".to_owned()))
        };
        pipeline::resolve(&shared.plan, planned, &self.finished, &self.facts, &hash)
            .map_err(|unresolved| Verdict::unresolved(&unresolved))
    }
}
