//! Deployments that people ask for: rollbacks, carried out beside the request
//! that asked, so that a client that goes away changes nothing.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use deploy::{DeployError, Deployed, Request, Target};
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
}

struct Order {
    request: Request,
    target: Arc<dyn Target>,
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
        Self { orders, taken: Mutex::new(Some(taken)) }
    }
}

impl Desk {
    /// Hands in a deployment, and returns where its end can be waited for.
    pub(crate) async fn order(
        &self,
        request: Request,
        target: Arc<dyn Target>,
    ) -> Result<oneshot::Receiver<Ended>, Lost> {
        let (answer, ended) = oneshot::channel();
        self.orders.send(Order { request, target, answer }).await.map_err(|_| Lost)?;
        Ok(ended)
    }
}

/// Takes orders until `drain`, then waits for those under way; [`App::abort`]
/// cancels them, which takes back what had begun.
pub(crate) async fn run(app: Arc<App>, drain: CancellationToken) -> Result<(), LoopError> {
    let taken = app.desk.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
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
    let Order { request, target, answer } = order;
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
        let deploy = deploy::deploy(request, target, app.ledger(), progress, &app.abort);
        let (outcome, ()) = tokio::join!(deploy, log(deployment, lines));
        match &outcome {
            Ok(deployed) => tracing::info!("deployment {deployment} ended: {}", deployed.state),
            Err(error) => {
                tracing::error!("deployment {deployment}: {}", runner::causes(error));
            }
        }
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
