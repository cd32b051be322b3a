//! The end of a proxy: what is in flight has its time, and no more.

use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use super::listen::Serving;

/// What is still in flight when nothing is accepted any more.
pub struct Ending {
    pub serving: Serving,
    pub tasks: JoinSet<Result<(), ServeError>>,
    pub requests: Duration,
    pub stop: CancellationToken,
}

impl Ending {
    /// Nobody serves from here on, so nothing is waited for but what is in flight.
    pub async fn alone(&mut self) {
        self.close_idle().await;
        if tokio::time::timeout(self.requests, self.ended()).await.is_err() {
            self.end_all().await;
        }
    }

    /// A kept connection stays for its next request, whose answer says that it is
    /// the last one: to close it under a client that is about to ask would lose that.
    pub async fn after_a_successor(&mut self, websockets: Duration) {
        let began = tokio::time::Instant::now();
        let (requests, stop) = (began + self.requests, self.stop.clone());
        let websockets = requests.max(began + websockets);
        tokio::select! {
            () = self.ended() => return,
            () = tokio::time::sleep_until(requests) => {}
            () = stop.cancelled() => {}
        }
        self.close_idle().await;
        self.serving.over.requests.cancel();
        tokio::select! {
            () = self.ended() => {}
            () = tokio::time::sleep_until(websockets) => self.end_all().await,
        }
    }

    async fn close_idle(&self) {
        self.serving.over.idle.cancel();
        self.serving.proxy.http_cleanup().await;
    }

    async fn ended(&mut self) {
        self.serving.connections.close();
        self.serving.connections.wait().await;
        while self.tasks.join_next().await.is_some() {}
    }

    async fn end_all(&self) {
        let connections = &self.serving.connections;
        tracing::warn!("stopped with {} connections open", connections.len());
        self.serving.over.all();
        connections.wait().await;
    }
}
