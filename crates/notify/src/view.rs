//! What the templates see: finished words, each fit to stand where it stands.

use chrono::{DateTime, Utc};
use event::{Attempt, Phase, RunState, StageResult};
use pipeline::Plan;
use serde::Serialize;

use crate::{Deployment, Fact, MailContext, text};

/// Lines of output below a failed stage.
const LOG_LINES: usize = 30;
/// More than this nobody reads in a mail; the run's page has them all.
const STAGES: usize = 100;
const FAILURES: usize = 10;

#[derive(Serialize)]
pub(crate) struct View {
    pub(crate) project: String,
    pub(crate) pipeline: String,
    pub(crate) fact: &'static str,
    /// Good news, bad news, or none.
    pub(crate) colour: &'static str,
    pub(crate) number: u64,
    pub(crate) reference: String,
    pub(crate) commit: String,
    pub(crate) event: &'static str,
    pub(crate) by: String,
    pub(crate) duration: String,
    pub(crate) finished: String,
    pub(crate) explanation: Option<String>,
    pub(crate) stages: Vec<StageView>,
    pub(crate) stages_left_out: usize,
    pub(crate) failures: Vec<FailureView>,
    pub(crate) failures_left_out: usize,
    pub(crate) deployments: Vec<DeploymentView>,
    pub(crate) commits: Vec<CommitView>,
    pub(crate) notes: Vec<String>,
    pub(crate) url: Option<String>,
    pub(crate) run: String,
}

#[derive(Serialize)]
pub(crate) struct StageView {
    pub(crate) name: String,
    pub(crate) result: &'static str,
    pub(crate) colour: &'static str,
    pub(crate) duration: String,
    pub(crate) reason: String,
    /// The same as a line of the text part, in columns.
    pub(crate) row: String,
}

#[derive(Serialize)]
pub(crate) struct FailureView {
    pub(crate) stage: String,
    pub(crate) result: &'static str,
    /// `E090: exit code 2`.
    pub(crate) reason: String,
    pub(crate) lines: Vec<String>,
    pub(crate) shown: usize,
    pub(crate) command: String,
}

#[derive(Serialize)]
pub(crate) struct DeploymentView {
    pub(crate) environment: String,
    pub(crate) version: String,
    pub(crate) state: &'static str,
    pub(crate) reason: String,
    pub(crate) units: Vec<UnitView>,
}

#[derive(Serialize)]
pub(crate) struct UnitView {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) state: String,
    pub(crate) row: String,
}

#[derive(Serialize)]
pub(crate) struct CommitView {
    pub(crate) sha: String,
    pub(crate) author: String,
    pub(crate) subject: String,
}

pub(crate) struct Telling<'a> {
    pub(crate) state: &'a RunState,
    pub(crate) plan: &'a Plan,
    pub(crate) fact: Fact,
    pub(crate) duration_ms: u64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) notes: Vec<String>,
}

impl View {
    pub(crate) fn of(telling: Telling<'_>, context: &MailContext) -> Self {
        let Telling { state, plan, fact, duration_ms, at, notes } = telling;
        let run = state.run.map(|run| run.short()).unwrap_or_default();
        let (stages, stages_left_out) = limited(stages(state, plan), STAGES);
        let (failures, failures_left_out) = limited(failures(state, plan, context, &run), FAILURES);
        let reference = plan.branch.as_deref().or(plan.tag.as_deref()).unwrap_or(short(&plan.sha));
        Self {
            project: text::name(&context.project),
            pipeline: text::name(&plan.pipeline),
            fact: fact.name(),
            colour: colour_of(fact),
            number: state.number,
            reference: text::name(reference),
            commit: text::name(short(&plan.sha)),
            event: plan.event.name(),
            by: text::name(&state.by),
            duration: text::duration(duration_ms),
            finished: at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            explanation: explanation(fact, state, reference),
            stages,
            stages_left_out,
            failures,
            failures_left_out,
            deployments: context.deployments.iter().map(deployment).collect(),
            commits: context
                .commits
                .iter()
                .map(|commit| CommitView {
                    sha: text::name(short(&commit.sha)),
                    author: text::name(&commit.author),
                    subject: text::name(&commit.subject),
                })
                .collect(),
            notes,
            url: context.run_url.clone(),
            run,
        }
    }
}

fn explanation(fact: Fact, state: &RunState, reference: &str) -> Option<String> {
    let reference = text::name(reference);
    Some(match fact {
        Fact::Stuck => {
            "A deployment failed and could not be taken back; below is what is where.".to_owned()
        }
        Fact::RolledBack => {
            "A deployment failed and was taken back: what ran before runs again.".to_owned()
        }
        Fact::Broken => format!("The run of `{reference}` before this one passed."),
        Fact::Fixed => format!("The run of `{reference}` before this one failed."),
        Fact::InfraError => "No command of the pipeline said no: Docker, a registry, the network, \
                             the disk or Shipline failed."
            .to_owned(),
        Fact::Cancelled => format!("Cancelled: {}.", text::sentence(state.cancel.as_deref()?)),
        Fact::Failed | Fact::Deployed | Fact::Warning | Fact::Passed | Fact::Skipped => {
            return None;
        }
    })
}

/// The first `limit` of `all`, and how many more there are.
fn limited<T>(mut all: Vec<T>, limit: usize) -> (Vec<T>, usize) {
    let left_out = all.len().saturating_sub(limit);
    all.truncate(limit);
    (all, left_out)
}

fn stages(state: &RunState, plan: &Plan) -> Vec<StageView> {
    let width = plan.stages.iter().map(|stage| text::name(&stage.name).chars().count()).max();
    let width = width.unwrap_or(0);
    let stages = plan.stages.iter().filter_map(|planned| {
        let stage = state.stage(&planned.name)?;
        let Phase::Done(result) = stage.phase else { return None };
        let name = text::name(&planned.name);
        let duration = match stage.attempts.is_empty() && stage.duration_ms == 0 {
            true => String::new(),
            false => text::duration(stage.duration_ms),
        };
        let mut reason = text::sentence(stage.reason.as_deref().unwrap_or_default());
        if stage.attempts.len() > 1 {
            let tries = format!("{} attempts", stage.attempts.len());
            reason = if reason.is_empty() { tries } else { format!("{reason} ({tries})") };
        }
        let row = format!("{name:width$}  {result:14}  {duration:>7}  {reason}");
        Some(StageView {
            name,
            result: result.name(),
            colour: colour_of_result(result),
            duration,
            reason,
            row: row.trim_end().to_owned(),
        })
    });
    stages.collect()
}

fn failures(state: &RunState, plan: &Plan, context: &MailContext, run: &str) -> Vec<FailureView> {
    let failures = plan.stages.iter().filter_map(|planned| {
        let result = state.result_of(&planned.name).filter(|result| result.is_failure())?;
        let stage = state.stage(&planned.name)?;
        let attempt = stage.attempts.last();
        let lines = context.logs.get(&planned.name).map(Vec::as_slice).unwrap_or_default();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        Some(FailureView {
            stage: text::name(&planned.name),
            result: result.name(),
            reason: why(stage.reason.as_deref(), attempt),
            lines: last.iter().map(|line| text::output(line)).collect(),
            shown: last.len(),
            command: format!("shipline logs {run} {}", text::name(&planned.name)),
        })
    });
    failures.collect()
}

fn why(reason: Option<&str>, attempt: Option<&Attempt>) -> String {
    let code = attempt.and_then(|attempt| attempt.code.as_deref());
    let said = reason.or_else(|| attempt.and_then(|attempt| attempt.reason.as_deref()));
    let exit = attempt.and_then(|attempt| attempt.exit).map(|exit| format!("exit code {exit}"));
    let said = said.map(text::sentence).or(exit);
    let parts = [code.map(text::name), said];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn deployment(deployment: &Deployment) -> DeploymentView {
    let width = deployment.units.iter().map(|unit| text::name(&unit.name).chars().count()).max();
    let width = width.unwrap_or(0);
    let units = deployment.units.iter().map(|unit| {
        let (name, version) = (text::name(&unit.name), text::name(&unit.version));
        let state = text::name(&unit.state);
        UnitView { row: format!("{name:width$}  {version}  {state}"), name, version, state }
    });
    DeploymentView {
        environment: text::name(&deployment.environment),
        version: text::name(&deployment.version),
        state: deployment.state.name(),
        reason: text::sentence(deployment.reason.as_deref().unwrap_or_default()),
        units: units.collect(),
    }
}

fn short(sha: &str) -> &str {
    sha.get(..8).unwrap_or(sha)
}

const fn colour_of(fact: Fact) -> &'static str {
    match fact {
        Fact::Stuck | Fact::RolledBack | Fact::Broken | Fact::Failed | Fact::InfraError => {
            "#b42318"
        }
        Fact::Cancelled | Fact::Warning => "#93600a",
        Fact::Fixed | Fact::Deployed | Fact::Passed => "#18794e",
        Fact::Skipped => "#57606a",
    }
}

const fn colour_of_result(result: StageResult) -> &'static str {
    match result {
        StageResult::Passed | StageResult::Unchanged => "#18794e",
        StageResult::Warning | StageResult::Cancelled => "#93600a",
        StageResult::Skipped | StageResult::Blocked => "#57606a",
        StageResult::Failed
        | StageResult::TimedOut
        | StageResult::ResourceLimit
        | StageResult::InfraError => "#b42318",
    }
}
