//! `shipline rerun`: the last run again, from where it did not pass.

use event::RunResult;
use runner::Workspace;
use tracing::{Instrument as _, debug_span};

use crate::arguments::{Format, RerunArguments};
use crate::error::{CommandError, Context as _};
use crate::former::Former;
use crate::local::{self, Planned};
use crate::local_run::{LocalRun, refuse};

pub(super) async fn rerun(arguments: RerunArguments) -> Result<u8, CommandError> {
    let options = &arguments.options;
    let directory = std::fs::canonicalize(".").environment("cannot find the directory")?;
    let opened = LocalRun::open(options).instrument(debug_span!("open"));
    let Some(local) = opened.await? else { return Ok(130) };
    let former = Former::find(&local.home, &local.store, arguments.run.as_deref());
    let former = former.instrument(debug_span!("former run")).await?;
    if former.row.result.is_none() {
        let run = former.row.id.short();
        return Err(CommandError::usage(format_args!("run {run} has not ended yet")));
    }
    let plan = former.state.plan.as_deref().cloned().ok_or_else(|| {
        CommandError::usage(format_args!("run {} has no plan", former.row.id.short()))
    })?;
    let ended = former.state.result.unwrap_or(RunResult::Skipped);
    if matches!(ended, RunResult::Passed | RunResult::Warning | RunResult::Skipped) {
        if options.format == Format::Text {
            let run = former.row.id.short();
            super::print(&format!("run {run} ended `{ended}`: there is nothing to run again\n"))?;
        }
        return Ok(0);
    }
    refuse(&plan, options.side_effects())?;
    let carried = former.resume(&local.backend, local.store.instance());
    let carried = carried.instrument(debug_span!("former layers")).await?;
    let git = local::repository_at(&directory, &plan).await?;
    let project = former.row.project.clone();
    let files = local.home.files(former.row.id);
    let planned = Planned { directory, project, git, plan, files, ignored: None };
    let workspace = Workspace::Tree(planned.directory.clone());
    local.run(planned, workspace, carried, options).await
}
