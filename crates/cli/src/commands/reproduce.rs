//! `shipline run --reproduce URL`: a run of a server, here: its plan, its commit, its images.

use std::collections::BTreeMap;

use event::{Event, RunState};
use pipeline::{Plan, SourceFile, Work};
use runner::Workspace;
use runner::git::{self, RemoteUrl, Sha};
use tracing::{Instrument as _, debug_span};

use crate::arguments::{ExecutionArguments, ServerArguments};
use crate::client::{Client, segment};
use crate::error::{CommandError, Context as _};
use crate::local::{self, Planned};
use crate::local_run::{LocalRun, refuse};

pub(super) async fn reproduce(
    url: &str,
    token: Option<String>,
    options: &ExecutionArguments,
) -> Result<u8, CommandError> {
    let (server, run) = url.rsplit_once("/runs/").ok_or_else(|| {
        CommandError::usage(format_args!("`{url}` is no address of a run"))
            .hint("it looks like https://ci.example.net/runs/3f9a0c1d")
    })?;
    let server = server.trim_end_matches("/api/v1").to_owned();
    let client = Client::required(&ServerArguments { server: Some(server), token })?;
    let run = segment(run.trim_end_matches('/'));
    let row = client.get(&format!("/api/v1/runs/{run}")).await?;
    let mut state = RunState::default();
    let path = format!("/api/v1/runs/{run}/events");
    let events = client.lines(&path, |line| {
        let event: Event = serde_json::from_str(line).environment("the server sent no event")?;
        state.apply(&event).environment("the server sent an event that cannot follow")
    });
    events.await?;
    let mut plan = state.plan.as_deref().cloned().ok_or_else(|| {
        CommandError::usage("that run has no plan, so there is nothing to reproduce")
    })?;
    for (stage, image) in with_digests(&mut plan, &state) {
        super::note(&format!(
            "`{stage}` runs on `{image}` as it is here: its digest then is not known"
        ));
    }
    refuse(&plan, options.side_effects())?;
    let directory = std::fs::canonicalize(".").environment("cannot find the directory")?;
    let opened = LocalRun::open(options).instrument(debug_span!("open"));
    let Some(local) = opened.await? else { return Ok(130) };
    let git = local::repository_at(&directory, &plan).await?;
    let project = row["project"].as_str().unwrap_or(&plan.pipeline).to_owned();
    let workspace = commit(&local, &directory, &plan).await?;
    let files = files(&workspace, &plan).await;
    let planned = Planned { directory, project, git, plan, files, ignored: None };
    local.run(planned, workspace, BTreeMap::new(), options).await
}

/// Puts the images in place that the run had, and returns the stages of which that is not
/// possible, with theirs.
fn with_digests(plan: &mut Plan, state: &RunState) -> Vec<(String, String)> {
    let mut unknown = Vec::new();
    for stage in &mut plan.stages {
        let Work::Run(work) = &mut stage.work else { continue };
        let attempt = state.stage(&stage.name).and_then(|stage| stage.attempts.last());
        match attempt.and_then(|attempt| attempt.image_digest.as_deref()) {
            Some(digest) if !digest.starts_with("id:") => digest.clone_into(&mut work.image),
            // An image that was built there has a name nowhere else.
            Some(_) => unknown.push((stage.name.clone(), work.image.clone())),
            None => {}
        }
    }
    unknown
}

/// The pipeline file as the commit has it. What cannot be read is not shown, and that is
/// no reason not to run.
async fn files(workspace: &Workspace, plan: &Plan) -> Vec<SourceFile> {
    let Workspace::Commit { mirror, sha } = workspace else { return Vec::new() };
    let Ok(sha) = Sha::parse(sha) else { return Vec::new() };
    let text = git::read_file(mirror, &sha, &plan.file).await.ok().flatten();
    let file = text.and_then(|text| SourceFile::from_bytes(plan.file.clone(), text).ok());
    file.into_iter().collect()
}

/// The commit, out of the repository of this directory.
async fn commit(
    local: &LocalRun,
    directory: &std::path::Path,
    plan: &Plan,
) -> Result<Workspace, CommandError> {
    let missing = || {
        let short = plan.sha.get(..8).unwrap_or(&plan.sha);
        CommandError::usage(format_args!(
            "commit {short} of that run is not in the repository here"
        ))
        .hint("`git fetch` brings it, in a clone of the same repository")
    };
    let sha = Sha::parse(&plan.sha).map_err(|_| missing())?;
    let here = git::local(directory).await.environment("cannot read the repository")?;
    let root = here.ok_or_else(missing)?.root;
    let mirror = local.home.mirror(&root)?;
    let url = RemoteUrl::local_path(&root).environment("cannot read the repository")?;
    git::fetch_mirror(&url, None, &mirror).await.environment("cannot read the repository")?;
    git::commit(&mirror, &sha).await.map_err(|_| missing())?;
    Ok(Workspace::Commit { mirror, sha: plan.sha.clone() })
}
