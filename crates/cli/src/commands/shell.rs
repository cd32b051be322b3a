//! `shipline shell`: where a stage of the last run was, long after it.

use runner::SideEffects;

use crate::arguments::ShellArguments;
use crate::docker_credentials;
use crate::error::{CommandError, Context as _};
use crate::former::Former;
use crate::home::Home;
use crate::local;
use crate::local_run;
use crate::shell;

pub(super) async fn shell(arguments: &ShellArguments) -> Result<u8, CommandError> {
    let directory = std::fs::canonicalize(".").environment("cannot find the directory")?;
    let home = Home::from_environment()?;
    let store = home.store().await?;
    let former = Former::find(&home, &store, arguments.run.as_deref()).await?;
    let (state, stage) = (&former.state, former.stage(&arguments.stage)?);
    let Some(plan) = &state.plan else {
        return Err(CommandError::usage(format_args!("stage `{stage}` did not run")));
    };
    let git = local::repository_at(&directory, plan).await?;
    let scene = runner::scene(state, stage, &former.row.project, &git).ok_or_else(|| {
        CommandError::usage(format_args!("stage `{stage}` has no container to look into"))
            .hint("only stages that `run` commands have one")
    })?;
    let backend = local_run::connect(arguments.docker_host.as_deref()).await?;
    let gone = backend.gone(store.instance(), &scene.layers).await;
    if !gone.environment("cannot look for layers")?.is_empty() {
        return Err(former.nothing_left(stage));
    }
    let configuration = docker_credentials::configuration()?;
    let registries =
        docker_credentials::registries(plan, &configuration, SideEffects::Withheld).await?;
    shell::open(&backend, store.instance(), &scene, &registries, &arguments.command).await
}
