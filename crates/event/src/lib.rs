//! What happened: [`Event`]s of a stream, and the states that are folds over them.
//!
//! A stream is a run or a deployment. Its events carry `seq` 1, 2, 3 … without
//! gaps; whatever is shown anywhere can be told again from them and from the
//! output [`Frame`]s of the attempts. Pure: time and ids arrive as values.

mod deployment;
mod event;
mod frame;
pub mod group;
mod id;
mod incident;
mod result;
mod reused;
mod state;
mod test_case;
mod test_history;
pub mod why;

pub use deployment::{
    Caught, Decision, DeploymentKind, DeploymentState, Finding, OpState, Severity, Verdict,
};
pub use event::{Event, EventKind, FORMAT, Peak, Stream};
pub use frame::{Frame, FrameBody, OutputStream};
pub use id::{DeploymentId, ReleaseId, RunId};
pub use incident::{
    IllegalIncident, Incident, IncidentKind, OpenIncident, OpenIncidents, Resolution,
};
pub use result::{Outputs, RunResult, StageResult};
pub use reused::Reused;
pub use state::{Artifact, Attempt, IllegalEvent, Phase, RunState, Stage};
pub use test_case::{FailingTest, TestCase, TestResult, TestTotals};
pub use test_history::{
    RunOutcome, SameFiles, TestHistory, TestOutcome, TestReport, TestReporter, TestSelection,
};

#[cfg(test)]
mod tests;
