//! The lease of an environment: one deployment at a time where no server keeps order.
//!
//! `PUT /v1/leases/PROJECT/ENVIRONMENT` takes it or renews it, `DELETE` gives it
//! back, and it ends by itself. Each taking gets a fence that is higher than all
//! before it, so that who lost the lease without knowing can change nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Who asks, for those who wait. Without `key` it is one name per running engine,
    /// since who has the name has the lease.
    pub holder: String,
    /// What tells one who asks from another; without it, the name does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long the lease lasts unless it is renewed.
    pub ttl_ms: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The fence of the lease to renew; without it the lease is taken anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// The highest fence the holder knows from elsewhere; the new one will be higher.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub above: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A lease that somebody holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub holder: String,
    pub fence: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it was taken, in milliseconds since 1970; 0 where nobody knows.
    #[serde(default)]
    pub since_ms: u64,
    /// When it ends unless it is renewed, in milliseconds since 1970.
    pub until_ms: u64,
    /// The same as a distance, for clocks that differ.
    pub remaining_ms: u64,
}

/// `GET /v1/leases`: those that are held, by `PROJECT/ENVIRONMENT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    pub leases: BTreeMap<String, Lease>,
}
