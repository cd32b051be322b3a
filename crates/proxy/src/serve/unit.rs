//! A unit behind a route, and the claims that requests hold on it.
//!
//! A claim is taken under the table's read lock and lives in the context of its
//! request; dropping it gives it back, whatever way the request ended. What is
//! in flight is therefore known exactly, and so is when a unit is idle.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::connection::{Connection, Cut};
use super::counts::{Counts, Outcome};

/// How long a unit that could not be reached is passed over; doubles with each failure in a row.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(8);

/// Keys of connection pools, one per unit ever made: a new unit at an old
/// address never inherits a connection.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// Returns a key that no connection was ever pooled under.
pub fn fresh_key() -> u64 {
    NEXT_KEY.fetch_add(1, Ordering::Relaxed)
}

/// Which requests a drain waits for: each kind has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    WebSocket,
}

#[derive(Debug)]
pub struct Unit {
    pub name: String,
    pub address: SocketAddr,
    pub release: String,
    /// The group of its pooled connections.
    pub key: u64,
    pub counts: Arc<Counts>,
    in_flight: Mutex<InFlight>,
    idle: Notify,
    /// Requests cut since it last left the set.
    cut: AtomicU64,
    failures: AtomicU32,
    rests_until: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct InFlight {
    requests: HashMap<u64, Cut>,
    /// How many of them are WebSockets by now.
    websockets: usize,
}

impl InFlight {
    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Request => self.requests.len() - self.websockets,
            Kind::WebSocket => self.websockets,
        }
    }
}

impl Unit {
    pub fn new(name: &str, address: SocketAddr, release: &str, counts: Arc<Counts>) -> Unit {
        Unit {
            name: name.to_owned(),
            address,
            release: release.to_owned(),
            key: fresh_key(),
            counts,
            in_flight: Mutex::default(),
            idle: Notify::new(),
            cut: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            rests_until: Mutex::new(None),
        }
    }

    /// Counts one more request. To be called under the table's lock only: it is
    /// what makes sure that nobody claims a unit after the swap that removed it.
    pub fn claim(self: &Arc<Unit>, connection: &Arc<Connection>) -> Claim {
        static NEXT_CLAIM: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_CLAIM.fetch_add(1, Ordering::Relaxed);
        let cut = Cut::new(connection);
        connection.carries(&cut);
        self.in_flight_now().requests.insert(id, cut.clone());
        Claim { unit: self.clone(), id, cut, began: Instant::now(), outcome: None }
    }

    /// Requests in flight, WebSockets among them.
    pub fn in_flight(&self) -> u64 {
        self.in_flight_now().requests.len() as u64
    }

    /// Requests that were cut since the unit last left the set.
    pub fn cut_count(&self) -> u64 {
        self.cut.load(Ordering::Acquire)
    }

    /// Waits until none of `kind` is in flight.
    pub async fn idle(&self, kind: Kind) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Registered before looking, so the last request cannot end unseen between the two.
            idle.as_mut().enable();
            if self.in_flight_now().count(kind) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Asks the connections of all of `kind` in flight to end now.
    pub fn cut(&self, kind: Kind) {
        for cut in self.in_flight_now().requests.values() {
            if cut.is_upgraded() == (kind == Kind::WebSocket) {
                cut.ask();
            }
        }
    }

    /// The unit is in the set again: what was cut before is history.
    pub fn admitted(&self) {
        self.cut.store(0, Ordering::Release);
    }

    /// A connection could not be made: pass it over for a while.
    pub fn unreachable(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(8);
        let rest = FIRST_REST.saturating_mul(1 << failures).min(LONGEST_REST);
        *self.rest() = Some(Instant::now() + rest);
    }

    pub fn reached(&self) {
        if self.failures.swap(0, Ordering::Relaxed) > 0 {
            *self.rest() = None;
        }
    }

    pub fn rests(&self, now: Instant) -> bool {
        // The lock is for the rare unit that failed lately.
        self.failures.load(Ordering::Relaxed) > 0 && self.rest().is_some_and(|until| now < until)
    }

    fn in_flight_now(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's hold on a unit.
#[derive(Debug)]
pub struct Claim {
    unit: Arc<Unit>,
    id: u64,
    cut: Cut,
    began: Instant,
    outcome: Option<Outcome>,
}

impl Claim {
    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// The request became a WebSocket: from now on the limit of those is its own.
    pub fn upgraded(&self) {
        let mut in_flight = self.unit.in_flight_now();
        if self.cut.upgraded() {
            in_flight.websockets += 1;
            drop(in_flight);
            self.unit.idle.notify_waiters();
        }
    }

    /// Gives the claim back and counts how the request ended.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let outcome = match self.outcome.take() {
            Some(outcome) => outcome,
            None if self.cut.was_cut() => {
                self.unit.cut.fetch_add(1, Ordering::AcqRel);
                Outcome::Cut
            }
            // Dropped on the way: the request never got an answer from the unit.
            None => Outcome::Error,
        };
        self.cut.done();
        self.unit.counts.record(outcome, self.began.elapsed());
        let idle = {
            let mut in_flight = self.unit.in_flight_now();
            in_flight.requests.remove(&self.id);
            in_flight.websockets -= usize::from(self.cut.is_upgraded());
            in_flight.count(Kind::Request) == 0 || in_flight.count(Kind::WebSocket) == 0
        };
        if idle {
            self.unit.idle.notify_waiters();
        }
    }
}
