//! The way from the directory to a queued run, for commands on a laptop.

use std::path::{Path, PathBuf};

use chrono::Utc;
use event::{Event, RunId, RunState, Stream};
use pipeline::{
    Context as PlanContext, Diagnostics, Git, Offers, Pipeline, Place, Plan, Selection, SourceFile,
};
use store::Store;

use crate::arguments::{PipelineArguments, SimulationArguments};
use crate::error::{CommandError, Context as _, Kind};
use crate::local_environment;
use crate::local_secrets;
use crate::local_templates;
use crate::pipeline_file::{self, NotRead, PipelineFile};
use crate::simulation;
use crate::terminal::Style;

/// A pipeline file as far as it goes: with mistakes there is no pipeline.
pub(crate) struct Checked {
    pub(crate) directory: PathBuf,
    pub(crate) source: Option<SourceFile>,
    pub(crate) pipeline: Option<Pipeline>,
    pub(crate) diagnostics: Diagnostics,
}

/// A plan for this directory, with what it was made from.
pub(crate) struct Planned {
    pub(crate) directory: PathBuf,
    pub(crate) project: String,
    pub(crate) git: Git,
    pub(crate) plan: Plan,
    /// The texts it was made from, as far as they are at hand.
    pub(crate) files: Vec<SourceFile>,
    /// Why the event would start nothing on a server.
    pub(crate) ignored: Option<String>,
}

/// Reads and checks the pipeline file of the current directory.
pub(crate) async fn check(arguments: &PipelineArguments) -> Result<Checked, CommandError> {
    let file = pipeline_file::read(Path::new("."), arguments.pipeline.as_deref());
    checked(file, arguments.offline).await
}

/// Reads and checks a file that was named.
pub(crate) async fn check_file(path: &Path, offline: bool) -> Result<Checked, CommandError> {
    checked(pipeline_file::read_named(path), offline).await
}

async fn checked(
    file: Result<PipelineFile, NotRead>,
    offline: bool,
) -> Result<Checked, CommandError> {
    let file = match file {
        Ok(file) => file,
        Err(NotRead::Fault(error)) => return Err(error),
        Err(NotRead::Diagnostics(diagnostics)) => {
            return Ok(Checked {
                directory: PathBuf::from("."),
                source: None,
                pipeline: None,
                diagnostics,
            });
        }
    };
    let (document, mut diagnostics) = pipeline::parse(&file.source);
    let pipeline = match local_templates::fetch(&document, &file.directory, offline).await? {
        Ok(library) => {
            let (pipeline, more) = pipeline::check(&document, &library);
            diagnostics.extend(more);
            pipeline
        }
        Err(lock) => {
            diagnostics.extend(lock);
            None
        }
    };
    let pipeline = if diagnostics.has_errors() { None } else { pipeline };
    Ok(Checked { directory: file.directory, source: Some(file.source), pipeline, diagnostics })
}

/// Prints diagnostics to stderr, in colour on a terminal.
pub(crate) fn report(diagnostics: &Diagnostics) {
    use std::io::Write as _;
    if !diagnostics.is_empty() {
        let text = diagnostics.render(Style::of_stderr().of_language());
        // A closed stderr changes nothing about the verdict.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Plans for the commit and branch of the current directory, or those of `simulation`.
pub(crate) async fn plan(
    arguments: &PipelineArguments,
    simulation: &SimulationArguments,
) -> Result<Planned, CommandError> {
    plan_for(arguments, simulation, &Selection::default()).await
}

/// Plans so that what somebody names is not skipped by its own `when`, and returns the
/// stages whose files are those of a former run as well.
pub(crate) async fn plan_part(
    arguments: &PipelineArguments,
    simulation: &SimulationArguments,
    selection: &Selection,
) -> Result<(Planned, Vec<String>), CommandError> {
    let mut planned = plan_for(arguments, simulation, selection).await?;
    let carried = selection.apply(&mut planned.plan).map_err(|error| {
        let told = CommandError::usage(&error);
        match error.help() {
            Some(help) => told.hint(help),
            None => told,
        }
    })?;
    Ok((planned, carried))
}

async fn plan_for(
    arguments: &PipelineArguments,
    simulation: &SimulationArguments,
    selection: &Selection,
) -> Result<Planned, CommandError> {
    let checked = check(arguments).await?;
    report(&checked.diagnostics);
    let (Some(pipeline), Some(_)) = (&checked.pipeline, &checked.source) else {
        return Err(CommandError::silent(Kind::Usage));
    };
    let mut context = context(pipeline, &checked.directory, simulation).await?;
    context.forced = selection.named().map(str::to_owned).collect();
    let (project, git) = (context.project.clone(), context.git.clone());
    let ignored = pipeline::triggers(pipeline, &context).err();
    let plan = pipeline::plan(pipeline, &context).map_err(|diagnostics| {
        report(&diagnostics);
        if git.sha.is_empty() && plans_with_a_commit(pipeline, context) {
            return CommandError::usage("this directory has no commit, so `git.sha` is empty")
                .hint("`git init` and commit, and the names of `git` have values");
        }
        CommandError::silent(Kind::Usage)
    })?;
    let files = pipeline.files().to_vec();
    Ok(Planned { directory: checked.directory, project, git, plan, files, ignored })
}

/// What a plan of this directory depends on: Git as it is, and what is simulated.
pub(crate) async fn context(
    pipeline: &Pipeline,
    directory: &Path,
    simulation: &SimulationArguments,
) -> Result<PlanContext, CommandError> {
    let git = repository(directory).await?;
    let event = simulation::event(simulation, directory, git).await?;
    Ok(PlanContext {
        event: event.event,
        git: event.git,
        pull_request: event.pull_request,
        params: event.params,
        project: project(pipeline, directory),
        trusted: !simulation.untrusted,
        changed: event.changed,
        place: Place::Local,
        offers: Offers {
            secrets: Some(local_secrets::offered(directory).await?),
            ..Offers::default()
        },
        forced: std::collections::BTreeSet::new(),
    })
}

/// Whether it is only the missing commit that stands against a plan.
fn plans_with_a_commit(pipeline: &Pipeline, mut context: PlanContext) -> bool {
    context.git.sha = "0".repeat(40);
    pipeline::plan(pipeline, &context).is_ok()
}

/// The name of the file's pipeline, else the directory's, slugged.
pub(crate) fn project(pipeline: &Pipeline, directory: &Path) -> String {
    let folder = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let slug = pipeline::slug(pipeline.name(&folder.unwrap_or_default()));
    if slug.is_empty() { "project".to_owned() } else { slug }
}

/// What Git says of the commit of a former plan, as far as the repository still has it.
pub(crate) async fn repository_at(directory: &Path, plan: &Plan) -> Result<Git, CommandError> {
    let here = repository(directory).await?;
    let text = if here.sha == plan.sha { here.clone() } else { Git::default() };
    Ok(Git {
        sha: plan.sha.clone(),
        branch: plan.branch.clone(),
        tag: plan.tag.clone(),
        message: text.message,
        author: text.author,
        default_branch: here.default_branch,
        url: here.url,
    })
}

/// What Git says of the directory; nothing where there is no repository.
async fn repository(directory: &Path) -> Result<Git, CommandError> {
    let local = runner::git::local(directory).await.environment("cannot read the repository")?;
    let Some(local) = local else { return Ok(Git::default()) };
    let default_branch = local.default_branch.or_else(|| local.branch.clone()).unwrap_or_default();
    let (sha, author, message) = local
        .commit
        .map(|commit| {
            (
                commit.sha.to_string(),
                format!("{} <{}>", commit.author_name, commit.author_email),
                commit.message,
            )
        })
        .unwrap_or_default();
    Ok(Git {
        sha,
        branch: local.branch,
        tag: None,
        message,
        author,
        default_branch,
        url: local.remote_url.unwrap_or_default(),
    })
}

/// Writes `run` down and returns its events so far with their fold. It is claimed
/// already: what is written and not claimed is taken for a dead process's.
pub(crate) async fn queue(
    store: &Store,
    planned: &Planned,
    run: RunId,
) -> Result<(RunState, Vec<Event>), CommandError> {
    let new = store::NewRun {
        run,
        at: Utc::now(),
        project: planned.project.clone(),
        by: local_environment::whoami(),
        plan: planned.plan.clone(),
        trigger: None,
        reason: None,
    };
    store.queue_run(new).await.environment("cannot record the run")?;
    let events =
        store.events(Stream::Run(run), 0, 100).await.environment("cannot read the run back")?;
    let state = RunState::fold(&events).environment("the run cannot be read back")?;
    Ok((state, events))
}
