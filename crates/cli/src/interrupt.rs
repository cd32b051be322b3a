//! Ctrl-C: the first asks the run to end, the second ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, Context};

pub(crate) struct Interrupts {
    /// First SIGINT, SIGTERM or SIGHUP.
    pub(crate) cancel: CancellationToken,
    /// The second one.
    pub(crate) kill: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, CommandError> {
        let mut interrupt =
            signal(SignalKind::interrupt()).environment("cannot listen for signals")?;
        let mut terminate =
            signal(SignalKind::terminate()).environment("cannot listen for signals")?;
        let mut hangup = signal(SignalKind::hangup()).environment("cannot listen for signals")?;
        let (cancel, kill) = (CancellationToken::new(), CancellationToken::new());
        let (first, second) = (cancel.clone(), kill.clone());
        let task = tokio::spawn(async move {
            for token in [first, second] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { cancel, kill, task })
    }

    pub(crate) fn came(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.task.abort();
    }
}
