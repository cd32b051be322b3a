//! What a finished run comes down to.

use event::{RunResult, RunState};
use pipeline::{MailEvent, Work};

use crate::MailContext;

/// The facts that a subject may name, the worst one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Skipped,
    Passed,
    Warning,
    Deployed,
    Fixed,
    Cancelled,
    InfraError,
    Failed,
    /// Failed, and the run before it passed.
    Broken,
    RolledBack,
    Stuck,
}

impl Fact {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Passed => "passed",
            Self::Warning => "passed with warnings",
            Self::Deployed => "deployed",
            Self::Fixed => "fixed",
            Self::Cancelled => "cancelled",
            Self::InfraError => "infra-error",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::RolledBack => "rolled back",
            Self::Stuck => "stuck",
        }
    }
}

/// What the rules ask about a finished run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) worst: Fact,
    failed: bool,
    broken: bool,
    fixed: bool,
    deployed: bool,
    rolled_back: bool,
}

impl Facts {
    pub(crate) fn of(state: &RunState, result: RunResult, context: &MailContext) -> Self {
        let before = context.previous;
        let failed = matches!(result, RunResult::Failed | RunResult::InfraError);
        let passed = matches!(result, RunResult::Passed | RunResult::Warning);
        let broken = failed && before.is_some_and(RunResult::is_good);
        let fixed = passed && matches!(before, Some(RunResult::Failed | RunResult::InfraError));
        let ends = deploy_ends(state, context);
        let ended = |word: &str| ends.iter().any(|end| end == word);
        let (deployed, undone, stuck) = (ended("deployed"), ended("rolled-back"), ended("stuck"));

        let worst = [
            (stuck, Fact::Stuck),
            (undone, Fact::RolledBack),
            (result == RunResult::Failed && broken, Fact::Broken),
            (result == RunResult::Failed, Fact::Failed),
            (result == RunResult::InfraError, Fact::InfraError),
            (result == RunResult::Cancelled, Fact::Cancelled),
            (fixed, Fact::Fixed),
            (deployed, Fact::Deployed),
            (result == RunResult::Warning, Fact::Warning),
            (result == RunResult::Skipped, Fact::Skipped),
        ];
        let worst = worst.into_iter().find_map(|(holds, fact)| holds.then_some(fact));
        Self {
            worst: worst.unwrap_or(Fact::Passed),
            failed,
            broken,
            fixed,
            deployed,
            // Going back was tried: whoever wants to hear of it wants to hear
            // that it did not work, too.
            rolled_back: undone || stuck,
        }
    }

    pub(crate) const fn matches(&self, event: MailEvent) -> bool {
        match event {
            MailEvent::Failed => self.failed,
            MailEvent::Broken => self.broken,
            MailEvent::Fixed => self.fixed,
            MailEvent::Always => true,
            MailEvent::Deployed => self.deployed,
            MailEvent::RolledBack => self.rolled_back,
            // Asked while a run waits, or long after it; these are the facts of one that
            // has just ended.
            MailEvent::Approval | MailEvent::Unhealthy | MailEvent::Drift => false,
        }
    }
}

/// The `state` outputs of the deploy stages, from the stages themselves and, for
/// one that could not give its outputs, from what the deployment's record says.
fn deploy_ends(state: &RunState, context: &MailContext) -> Vec<String> {
    let stages = state.plan.iter().flat_map(|plan| &plan.stages);
    let outputs = stages
        .filter(|stage| matches!(stage.work, Work::Deploy(_)))
        .filter_map(|stage| state.stage(&stage.name)?.outputs.get("state")?.as_str())
        .map(str::to_owned);
    let records = context.deployments.iter().map(|it| it.state.output().to_owned());
    outputs.chain(records).collect()
}
