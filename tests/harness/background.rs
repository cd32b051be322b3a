//! Work beside a test, in a thread with a runtime of its own, until it is told to end or
//! dropped.

use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

pub struct Background {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Begins `work`, which ends soon after the token it gets is cancelled.
    pub fn start<F: Future<Output = ()>>(
        work: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self {
        let stop = CancellationToken::new();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime can be made").block_on(work(stop));
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Tells it to end, and waits until it has.
    pub fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}
