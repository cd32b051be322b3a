//! `shipline run`: the whole way on this machine, or a part of it, on one screen.

use std::collections::BTreeMap;

use runner::Workspace;
use tracing::{Instrument as _, debug_span};

use crate::arguments::RunArguments;
use crate::error::CommandError;
use crate::former::Former;
use crate::local;
use crate::local_run::{LocalRun, connecting, refuse};

pub(super) async fn run(arguments: RunArguments) -> Result<u8, CommandError> {
    if let Some(url) = &arguments.reproduce {
        return super::reproduce::reproduce(url, arguments.token, &arguments.options).await;
    }
    let (options, selection) = (&arguments.options, arguments.selection.selection()?);
    let planning = debug_span!("plan");
    let engine = connecting(options);
    let part = local::plan_part(&arguments.pipeline, &arguments.simulation, &selection);
    let (planned, needed) = part.instrument(planning).await?;
    refuse(&planned.plan, options.side_effects())?;
    let opened = LocalRun::open_on(options, engine).instrument(debug_span!("open"));
    let Some(local) = opened.await? else { return Ok(130) };
    let carried = if needed.is_empty() {
        BTreeMap::new()
    } else {
        let former = Former::last(&local.home, &local.store, &planned.directory).await?;
        former.carry(&local.backend, local.store.instance(), &needed).await?
    };
    let workspace = Workspace::Tree(planned.directory.clone());
    local.run(planned, workspace, carried, options).await
}
