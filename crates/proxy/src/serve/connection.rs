//! What a request came on: one task, which ends at once when its request is cut.
//!
//! HTTP/1 carries one request at a time, so cutting a request is ending the
//! connection it came on. HTTP/2 carries many, a stream and a task for each, so
//! there it is a stream that ends, and the others go on. The task that serves it is the one that decides: it
//! looks between two polls whether the request that shall be cut is still the
//! one it carries. A request that finished in the meantime keeps its connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

tokio::task_local! {
    /// The connection of the task; set for all that pingora runs on its behalf.
    pub static CONNECTION: Arc<Connection>;
}

#[derive(Debug)]
pub struct Connection {
    /// Where the client is.
    pub client: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    carries: Mutex<Option<Cut>>,
    wake: Notify,
}

impl Connection {
    pub fn new(client: SocketAddr, secure: bool) -> Arc<Connection> {
        Arc::new(Connection { client, secure, carries: Mutex::new(None), wake: Notify::new() })
    }

    /// The connection of the running task.
    pub fn current() -> Option<Arc<Connection>> {
        CONNECTION.try_with(Arc::clone).ok()
    }

    /// From now on the connection carries the request that `cut` cuts.
    pub fn carries(&self, cut: &Cut) {
        *self.request() = Some(cut.clone());
    }

    /// Returns when the request that the connection carries shall be cut.
    ///
    /// To be polled in the task that serves the connection: whoever gets the
    /// answer drops the request before anything else can happen to it.
    pub async fn cut(&self) {
        loop {
            self.wake.notified().await;
            if let Some(cut) = &*self.request()
                && cut.state.asked.load(Ordering::Acquire)
            {
                cut.state.cut.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// Whether the connection has become a WebSocket.
    pub fn is_upgraded(&self) -> bool {
        self.request().as_ref().is_some_and(Cut::is_upgraded)
    }

    fn request(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        self.carries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The means to end one request, and the knowledge whether that happened.
#[derive(Clone, Debug)]
pub struct Cut {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    connection: Arc<Connection>,
    asked: AtomicBool,
    cut: AtomicBool,
    upgraded: AtomicBool,
}

impl Cut {
    pub fn new(connection: &Arc<Connection>) -> Cut {
        Cut {
            state: Arc::new(State {
                connection: connection.clone(),
                asked: AtomicBool::new(false),
                cut: AtomicBool::new(false),
                upgraded: AtomicBool::new(false),
            }),
        }
    }

    /// Wakes the connection to end the request.
    pub fn ask(&self) {
        self.state.asked.store(true, Ordering::Release);
        self.state.connection.wake.notify_one();
    }

    /// Whether the connection was ended under the request.
    pub fn was_cut(&self) -> bool {
        self.state.cut.load(Ordering::Acquire)
    }

    /// The request became a WebSocket; says whether that is news.
    pub fn upgraded(&self) -> bool {
        !self.state.upgraded.swap(true, Ordering::AcqRel)
    }

    pub fn is_upgraded(&self) -> bool {
        self.state.upgraded.load(Ordering::Acquire)
    }

    /// The request is over: its connection is free for the next one.
    pub fn done(&self) {
        let mut carries = self.state.connection.request();
        if carries.as_ref().is_some_and(|carried| Arc::ptr_eq(&carried.state, &self.state)) {
            *carries = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<Connection> {
        Connection::new(SocketAddr::from(([127, 0, 0, 1], 4000)), false)
    }

    #[tokio::test]
    async fn a_connection_ends_when_the_request_it_carries_is_cut() {
        let connection = connection();
        let cut = Cut::new(&connection);
        connection.carries(&cut);
        cut.ask();
        connection.cut().await;
        assert!(cut.was_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_finished_first_keeps_its_connection() {
        let connection = connection();
        let finished = Cut::new(&connection);
        connection.carries(&finished);
        finished.done();
        finished.ask();
        let next = Cut::new(&connection);
        connection.carries(&next);
        let ends = tokio::time::timeout(std::time::Duration::from_secs(60), connection.cut());
        assert!(ends.await.is_err(), "the next request was cut");
        assert!(!finished.was_cut() && !next.was_cut());
    }
}
