//! The proxy over real sockets: what clients see while units come and go.
#![allow(clippy::unwrap_used)]

mod client;
mod delivery;
mod lifecycle;
mod proxy;
mod swap;
mod unit;
