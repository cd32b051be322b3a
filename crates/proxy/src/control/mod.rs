//! The control socket: its messages, and a client for them.
//!
//! HTTP over a Unix socket of mode 0600. Every change carries a fence, a number
//! that grows with each holder of an environment's lock; the proxy refuses one
//! that is lower than the last it saw for the route (409), so that an engine
//! that lost its lock can change nothing.

mod client;

use std::collections::BTreeMap;

pub use client::{Client, ClientError};
use serde::{Deserialize, Serialize};

/// `PUT /v1/routes/NAME`: replaces the whole target set of a route at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    pub fence: u64,
    #[serde(rename = "match")]
    pub matches: Vec<RouteMatch>,
    pub targets: Vec<Target>,
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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    pub fence: u64,
    pub generation: u64,
    #[serde(rename = "match")]
    pub matches: Vec<RouteMatch>,
    pub targets: Vec<TargetStatus>,
    /// Units out of the set that still have requests in flight.
    pub draining: Vec<TargetStatus>,
    /// Per release: answers since the proxy started.
    pub releases: BTreeMap<String, ReleaseCounts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    #[serde(flatten)]
    pub target: Target,
    pub in_flight: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCounts {
    /// Answers by status class: `2xx`, `5xx`, and `error` for no whole answer.
    /// `gone` are clients that went away first, `cut` is what a drain ended.
    pub status: BTreeMap<String, u64>,
    pub latency_ms_total: u64,
}

/// `POST /v1/routes/NAME/drain`: waits until a unit that left the set is idle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    pub unit: String,
    pub timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests that did not end in time and were cut.
    pub cut: u64,
    pub took_ms: u64,
}

/// `PUT /v1/routes/NAME/page`: what is answered while the route has no targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub fence: u64,
    pub status: u16,
    pub text: String,
}

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub error: String,
    /// The fence in force, when the refusal is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}
