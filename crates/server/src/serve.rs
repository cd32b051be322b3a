//! The server's life: its loops are started together and end together.
//!
//! ```text
//! cancel ──▶ triggers stop · queue and deployments take nothing new
//!            (what runs goes on, at most `drain-timeout` or until `abort`)
//!        ──▶ then HTTP and the outbox close
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::{deployments, outbox, queue, retention, router, triggers, warm, watcher};

/// How long clients may take to read what they were promised.
const CLOSING: Duration = Duration::from_secs(10);

/// Why a loop cannot go on.
pub(crate) type LoopError = Box<dyn std::error::Error + Send + Sync>;

/// What ended the server against its will.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the {name} loop of the server ended with an error")]
    Failed {
        name: &'static str,
        #[source]
        source: LoopError,
    },
    #[error("the {name} loop of the server broke")]
    Broken {
        name: &'static str,
        #[source]
        source: tokio::task::JoinError,
    },
}

/// Serves until `cancel`, and then until what runs has ended.
///
/// [`App::abort`] ends what runs as well. A loop that fails ends the server, by
/// its name: restarting it is the init system's work, and what was under way is
/// taken up from the store.
pub async fn serve(
    app: App,
    listener: TcpListener,
    cancel: CancellationToken,
) -> Result<(), ServeError> {
    let app = Arc::new(app);
    let cancel = cancel.child_token();
    let mut loops = Loops::default();

    loops.start("http", http(Arc::clone(&app), listener));
    loops.start("outbox", outbox::run(Arc::clone(&app)));
    loops.start("retention", retention::run(Arc::clone(&app)));
    loops.start("warm units", warm::run(Arc::clone(&app)));
    loops.start("deployment", deployments::run(Arc::clone(&app), cancel.clone()));
    loops.start("watch", watcher::run(Arc::clone(&app), cancel.clone()));
    loops.start("trigger", triggers::run(Arc::clone(&app), cancel.clone()));
    loops.start("queue", queue::run(Arc::clone(&app), cancel.clone()));

    // The first three must end before the others may.
    let mut working = vec!["deployment", "trigger", "queue"];
    let mut failure = None;
    let limit = drained(&cancel, app.config.drain_timeout);
    tokio::pin!(limit);
    loop {
        let (name, ended) = tokio::select! {
            ended = loops.next() => match ended {
                Some(ended) => ended,
                None => break,
            },
            () = &mut limit, if !app.abort.is_cancelled() => {
                if !working.is_empty() {
                    tracing::warn!("stopping: what still runs is cancelled");
                }
                app.abort.cancel();
                continue;
            }
        };
        working.retain(|working| *working != name);
        if let Err(error) = ended {
            tracing::error!(loop_ = name, "{}", runner::causes(&error));
            failure.get_or_insert(error);
            app.abort.cancel();
        }
        // Also when one ended without being asked to.
        cancel.cancel();
        if working.is_empty() {
            app.closing.cancel();
        }
    }
    app.store.close().await;
    failure.map_or(Ok(()), Err)
}

/// Returns when the time for what runs is over.
async fn drained(cancel: &CancellationToken, timeout: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(timeout).await;
}

/// Answers requests until the server is closing.
async fn http(app: Arc<App>, listener: TcpListener) -> Result<(), LoopError> {
    let closing = app.closing.clone();
    let router = router::router(app);
    let listener = listener.tap_io(|stream| {
        // Small lines of events are to arrive at once.
        let _ = stream.set_nodelay(true);
    });
    let graceful = axum::serve(listener, router)
        .with_graceful_shutdown(closing.clone().cancelled_owned())
        .into_future();
    let late = async {
        closing.cancelled().await;
        tokio::time::sleep(CLOSING).await;
    };
    tokio::select! {
        ended = graceful => ended.map_err(Into::into),
        () = late => Ok(()),
    }
}

/// Tasks by name, all of them joined.
#[derive(Default)]
struct Loops {
    tasks: JoinSet<Result<(), LoopError>>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Loops {
    fn start(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), LoopError>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    async fn next(&mut self) -> Option<(&'static str, Result<(), ServeError>)> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.get(&id).copied().unwrap_or("unknown");
        let ended = match ended {
            Ok((_, Ok(()))) => Ok(()),
            Ok((_, Err(source))) => Err(ServeError::Failed { name, source }),
            Err(source) => Err(ServeError::Broken { name, source }),
        };
        Some((name, ended))
    }
}
