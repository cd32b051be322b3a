//! A target whose every call is a place where a test may let the process die.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    Artifact, Caps, EnvironmentKey, ExecOptions, Finding, HostPlace, Inspected, KeepSet,
    LeaseAnswer, LeaseAsk, LogOptions, LogStream, Observed, Op, OpOutcome, Pruned, Spec, Target,
    TargetError, Terminal, UnitId,
};

/// Puts the places around `target`.
pub(crate) fn around(target: Arc<dyn Target>) -> Arc<dyn Target> {
    Arc::new(Crashing(target))
}

struct Crashing(Arc<dyn Target>);

async fn call<T>(what: &str, call: impl Future<Output = T>) -> T {
    crash::before(|| what.to_owned());
    let answer = call.await;
    crash::after(|| what.to_owned());
    answer
}

#[async_trait]
impl Target for Crashing {
    fn caps(&self) -> Caps {
        self.0.caps()
    }

    fn switch(&self) -> Option<crate::SwitchCaps> {
        self.0.switch()
    }

    fn hosts(&self) -> Vec<HostPlace> {
        self.0.hosts()
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError> {
        call("observe", self.0.observe(key)).await
    }

    async fn inspect(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        self.0.inspect(spec).await
    }

    async fn preflight(&self, spec: &Spec, seen: &Observed) -> Result<Vec<Finding>, TargetError> {
        call("preflight", self.0.preflight(spec, seen)).await
    }

    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        call("fetchable", self.0.fetchable(spec)).await
    }

    async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        call("lease", self.0.lease(key, ask)).await
    }

    /// How often depends on the clock, so that is no place to die at.
    async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.0.renew(key, fence, ask).await
    }

    async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        call("release", self.0.release(key, fence, ask)).await
    }

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let what = format!("apply {}", op.action.name());
        call(&what, self.0.apply(op, spec, fence, cancel)).await
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        let what = format!("undo {}", op.action.name());
        call(&what, self.0.undo(op, spec, fence)).await
    }

    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        call("expired", self.0.expired(key)).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        call("prune", self.0.prune(project, keep)).await
    }

    async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        call("entrance", self.0.entrance()).await
    }

    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        call("resolve", self.0.resolve(reference)).await
    }

    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError> {
        self.0.logs(unit, options).await
    }

    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        self.0.exec(unit, options).await
    }
}
