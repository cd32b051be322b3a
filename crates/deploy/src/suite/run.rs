//! The seam for checks that need a container.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use event::DeploymentId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::RunStep;
use crate::TargetError;

/// Runs the containers of checks. Contract:
/// - The commands run one after another in a new container of the image, as a stage's
///   do; the first that does not end with 0 ends it.
/// - `env` is all they get beyond what every stage has, and the addresses of `reaches`,
///   as the container reaches them. It reaches nothing else.
/// - What they write goes to `output`, line by line and masked, as it comes.
/// - When it returns, nothing of it is left; cancellation ends it. Dropped, it ends as
///   soon as it can.
/// - `Err` means that it could not be run. That it failed is data.
#[async_trait]
pub trait CheckRunner: Send + Sync {
    /// Has an image ready, before anything is changed for which it will be needed.
    async fn prepare(&self, image: &str, cancel: &CancellationToken) -> Result<(), TargetError>;

    async fn run(
        &self,
        commands: &Commands<'_>,
        output: &mpsc::Sender<CheckLine>,
        cancel: &CancellationToken,
    ) -> Result<Ran, TargetError>;

    /// Removes what the checks of engines that died have left.
    async fn clear(&self) -> Result<(), TargetError>;
}

/// What is run, and what it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Commands<'a> {
    pub step: &'a RunStep,
    pub deployment: DeploymentId,
    pub env: BTreeMap<String, String>,
    pub reaches: Vec<Reach>,
}

/// A variable with the addresses of what is tested, and what stands before and after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub variable: &'static str,
    pub addresses: Vec<SocketAddr>,
    pub before: &'static str,
    pub after: String,
}

impl Reach {
    /// Returns the value of the variable, with addresses as `reached` has them.
    pub fn value(&self, reached: impl Fn(SocketAddr) -> SocketAddr) -> String {
        let Self { addresses, before, after, .. } = self;
        let one = |address: &SocketAddr| format!("{before}{}{after}", reached(*address));
        addresses.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckLine {
    pub text: String,
    /// Whether it tells which command begins, and no command wrote it.
    pub echo: bool,
}

/// What commands came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub exit: i64,
}
