//! The control socket: its messages, and a client for them.
//!
//! HTTP over a Unix socket of mode 0600. Every change carries a fence, a number
//! that grows with each holder of an environment's lock; the proxy refuses one
//! that is lower than the last it saw for the route (409), so that an engine
//! that lost its lock can change nothing.

mod client;
mod lease;
mod release;
mod sticky;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use client::{Client, ClientError};
pub use lease::{Lease, LeaseRequest, Leases};
pub use release::{Latency, ReleaseCounts};
use serde::{Deserialize, Serialize};
pub use sticky::{Sticky, StickyError};

/// With it a request chooses its release, on routes that allow it.
pub const RELEASE_HEADER: &str = "x-shipline-release";

/// `PUT /v1/routes/NAME`: replaces the whole target set of a route at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    pub fence: u64,
    #[serde(rename = "match")]
    pub matches: Vec<RouteMatch>,
    pub targets: Vec<Target>,
    #[serde(flatten)]
    pub options: RouteOptions,
}

/// How requests of a route are given to its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteOptions {
    /// What keeps the requests of one client together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Whether a request may choose its release with [`RELEASE_HEADER`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub release_header: bool,
    /// `PROJECT/ENVIRONMENT` of a lease of this proxy: its fence is one of the route's too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// A host name without port, or `*`.
    pub host: String,
    /// A path prefix; `/` matches all.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub unit: String,
    /// `ADDRESS:PORT` of the upstream.
    pub address: String,
    pub release: String,
    #[serde(default = "full_weight")]
    pub weight: u32,
}

const fn full_weight() -> u32 {
    100
}

/// `GET /v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    pub routes: BTreeMap<String, RouteStatus>,
    /// Where clients connect to without TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<SocketAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    pub fence: u64,
    pub generation: u64,
    #[serde(rename = "match")]
    pub matches: Vec<RouteMatch>,
    #[serde(flatten)]
    pub options: RouteOptions,
    pub targets: Vec<TargetStatus>,
    /// Units out of the set that still have requests in flight.
    pub draining: Vec<TargetStatus>,
    /// Whether a page is answered while there are no targets.
    #[serde(default)]
    pub page: bool,
    /// Per release: answers since the proxy started.
    pub releases: BTreeMap<String, ReleaseCounts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    #[serde(flatten)]
    pub target: Target,
    pub in_flight: u64,
}

/// `POST /v1/routes/NAME/drain`: waits until a unit that left the set is idle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    pub unit: String,
    /// How long requests in flight have before they are cut.
    pub timeout_ms: u64,
    /// How long WebSockets have; without it as long as requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websockets_timeout_ms: Option<u64>,
}

impl DrainRequest {
    /// Returns when the drain ends at the latest.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        self.timeout_ms.max(self.websockets_timeout_ms.unwrap_or(0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests and WebSockets that did not end in time and were cut.
    pub cut: u64,
    pub took_ms: u64,
}

/// `PUT /v1/routes/NAME/page`: what is answered while the route has no targets. It is
/// gone with the next target set that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub fence: u64,
    pub status: u16,
    pub text: String,
}

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub error: String,
    /// The fence in force, when the refusal is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// Who holds the lease, when the refusal is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}
