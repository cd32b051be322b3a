//! Deployments that people ask for, carried out beside the request
//! that asked, so that a client that goes away changes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use deploy::{DeployError, Deployed, Limits, Request, Target};
use event::DeploymentId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::app::App;
use crate::serve::LoopError;

/// Orders on their way; more wait in the request.
const WAITING: usize = 64;

/// Where orders are handed in.
pub(crate) struct Desk {
    orders: mpsc::Sender<Order>,
    /// For the one loop that takes them.
    taken: Mutex<Option<mpsc::Receiver<Order>>>,
    /// Of those that have not ended.
    cancels: Mutex<HashMap<DeploymentId, CancellationToken>>,
}

struct Order {
    request: Request,
    limits: Limits,
    target: Arc<dyn Target>,
    cancel: CancellationToken,
    answer: oneshot::Sender<Ended>,
}

/// What became of an order, and how long it took.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Result<Deployed, DeployError>,
    pub(crate) duration: std::time::Duration,
}

/// The server is stopping, or the deployment task broke.
#[derive(Debug, thiserror::Error)]
#[error("the deployment was not carried out to its end")]
pub(crate) struct Lost;

impl Default for Desk {
    fn default() -> Self {
        let (orders, taken) = mpsc::channel(WAITING);
        Self { orders, taken: Mutex::new(Some(taken)), cancels: Mutex::default() }
    }
}

impl Desk {
    /// Hands in a deployment, which ends with `abort`, and returns where its end can be
    /// waited for.
    pub(crate) async fn order(
        &self,
        abort: &CancellationToken,
        request: Request,
        limits: Limits,
        target: Arc<dyn Target>,
    ) -> Result<oneshot::Receiver<Ended>, Lost> {
        let (answer, ended) = oneshot::channel();
        let (id, cancel) = (request.deployment.id, abort.child_token());
        lock(&self.cancels).insert(id, cancel.clone());
        let order = Order { request, limits, target, cancel, answer };
        if self.orders.send(order).await.is_err() {
            lock(&self.cancels).remove(&id);
            return Err(Lost);
        }
        Ok(ended)
    }

    /// Cancels a deployment; `false` if it is not one of those under way here.
    pub(crate) fn cancel(&self, deployment: DeploymentId) -> bool {
        let cancels = lock(&self.cancels);
        cancels.get(&deployment).map(CancellationToken::cancel).is_some()
    }
}

/// Takes orders until `drain`, then waits for those under way; [`App::abort`]
/// cancels them, which takes back what had begun.
pub(crate) async fn run(app: Arc<App>, drain: CancellationToken) -> Result<(), LoopError> {
    let taken = lock(&app.desk.taken).take();
    let mut orders = taken.ok_or("the deployment loop was started twice")?;
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.cancelled() => break,
            order = orders.recv() => {
                // The desk lives as long as the app.
                let Some(order) = order else { break };
                tasks.spawn(carry_out(Arc::clone(&app), order));
            }
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => report(ended),
        }
    }
    drop(orders);
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    Ok(())
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        // Its deployment has no end now; the next start gives it one.
        tracing::error!(%error, "a deployment broke");
    }
}

async fn carry_out(app: Arc<App>, order: Order) {
    let Order { request, limits, target, cancel, answer } = order;
    let deployment = request.deployment.id;
    let key = request.deployment.key();
    let span = tracing::info_span!(
        "deployment",
        deployment.id = %deployment,
        project = key.project,
        environment = key.environment
    );
    let (progress, lines) = mpsc::channel(64);
    let work = async {
        let began = Instant::now();
        let deploy =
            deploy::deploy_within(request, limits, target, app.ledger(), progress, &cancel);
        let (outcome, ()) = tokio::join!(deploy, log(deployment, lines));
        match &outcome {
            Ok(deployed) => tracing::info!("deployment {deployment} ended: {}", deployed.state),
            Err(error) => {
                tracing::error!("deployment {deployment}: {}", runner::causes(error));
            }
        }
        lock(&app.desk.cancels).remove(&deployment);
        // Whoever asked may have gone.
        let _ = answer.send(Ended { outcome, duration: began.elapsed() });
    };
    work.instrument(span).await;
}

async fn log(deployment: DeploymentId, mut lines: mpsc::Receiver<deploy::Progress>) {
    while let Some(progress) = lines.recv().await {
        tracing::debug!("deployment {deployment}: {}", progress.line);
    }
}

/// Every state of what is locked here is a good one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
