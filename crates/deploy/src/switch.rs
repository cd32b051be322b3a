//! The traffic switch: what routes requests to units.
//!
//! Shipline's own proxy is the only one so far; a trait comes with the second.

mod proxy;
#[cfg(test)]
pub(crate) mod stub;

pub(crate) use proxy::{ProxySwitch, Wanted};
