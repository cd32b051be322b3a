//! What happened: [`Event`]s of a stream, and the states that are folds over them.
//!
//! A stream is a run or a deployment. Its events carry `seq` 1, 2, 3 … without
//! gaps; whatever is shown anywhere can be told again from them and from the
//! output [`Frame`]s of the attempts. Pure: time and ids arrive as values.

mod deployment;
mod event;
mod frame;
mod id;
mod result;
mod state;
mod test_case;
pub mod why;

pub use deployment::{DeploymentKind, DeploymentState, OpState};
pub use event::{Event, EventKind, FORMAT, Stream};
pub use frame::{Frame, FrameBody, OutputStream};
pub use id::{DeploymentId, ReleaseId, RunId};
pub use result::{Outputs, RunResult, StageResult};
pub use state::{Artifact, Attempt, IllegalEvent, Phase, RunState, Stage};
pub use test_case::{FailingTest, TestCase, TestResult, TestTotals};

#[cfg(test)]
mod tests;
