//! Open-loop load: requests at a constant rate, whatever the answers do, so
//! that a stall shows as failures and not as a lower rate. No retries.
//!
//! [`Load::start`] asks any service: half of the requests open a connection of their own,
//! half reuse one. [`Load::mixed`] asks `shipline-testapp` in all ways that clients have.
//! Both speak only to loopback, are bounded in what is under way at a time, and stop by
//! themselves.

mod class;
mod client;
mod report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use class::{Class, Mix};
pub use report::Report;

use super::background::Background;
use client::{Answer, Client, Failure};
use report::Log;

/// A request that is answered later than this, not counting what it asked to wait for, has
/// failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// More are not under way at a time, for files are finite; those above it have failed.
const MOST: usize = 4_000;

pub struct Settings {
    pub address: SocketAddr,
    pub per_second: u32,
    /// When it stops by itself.
    pub limit: Duration,
    pub mix: Mix,
    /// Where each request gets its line.
    pub log: Option<PathBuf>,
}

pub struct Load {
    report: Arc<Mutex<Report>>,
    generator: Background,
}

impl Load {
    /// Plain requests to any service that tells its `version`.
    pub fn start(address: SocketAddr, per_second: u32, limit: Duration) -> Self {
        Self::mixed(Settings { address, per_second, limit, mix: Mix::plain(), log: None })
    }

    pub fn mixed(settings: Settings) -> Self {
        assert!(settings.address.ip().is_loopback(), "load goes to loopback only");
        let report = Arc::new(Mutex::new(Report::default()));
        let generator = Background::start({
            let report = Arc::clone(&report);
            move |stop| generate(settings, stop, report)
        });
        Self { report, generator }
    }

    /// The counts so far.
    pub fn so_far(&self) -> Report {
        self.report.lock().expect("no request panics").clone()
    }

    /// Ends the load, waits for the answers under way, and returns all counts.
    pub fn stop(mut self) -> Report {
        self.generator.end();
        self.so_far()
    }
}

async fn generate(settings: Settings, stop: CancellationToken, report: Arc<Mutex<Report>>) {
    let Settings { address, per_second, limit, mix, log } = settings;
    let client = Arc::new(Client::new(address, mix));
    let log = Arc::new(Log::open(log.as_deref()));
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut requests = JoinSet::new();
    let mut number = 0_u64;
    loop {
        // When it is due; a generator that is late sends it late and counts from here.
        let due = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(begun + limit) => break,
            due = ticks.tick() => due,
        };
        while requests.try_join_next().is_some() {}
        number += 1;
        let class = mix.class(number);
        let (client, report, log) = (Arc::clone(&client), Arc::clone(&report), Arc::clone(&log));
        if requests.len() >= MOST {
            let failure = Failure::of("not sent: too many are under way");
            report.lock().expect("no request panics").add(class, number, &Err(failure), due);
            continue;
        }
        requests.spawn(async move {
            let patience = PATIENCE + mix.longest(class);
            let answer = tokio::time::timeout(patience, client.send(class, number)).await;
            let answer = answer.unwrap_or_else(|_| Err(Failure::of("no answer in time")));
            log.write(due - begun, class, number, &answer, due);
            report.lock().expect("no request panics").add(class, number, &answer, due);
        });
    }
    while requests.join_next().await.is_some() {}
}

/// How long an answer took since its request was due, without what it asked to wait for.
fn latency(answer: &Result<Answer, Failure>, due: Instant) -> Duration {
    let waited = answer.as_ref().map_or(Duration::ZERO, |answer| answer.waited);
    due.elapsed().saturating_sub(waited)
}
