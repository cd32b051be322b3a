//! The proxy over real sockets: what clients see while units come and go.
#![allow(clippy::unwrap_used)]

mod choice;
mod client;
mod delivery;
mod http2;
mod lifecycle;
#[path = "../../../../tests/harness/ports.rs"]
mod ports;
mod proxy;
mod swap;
mod unit;
mod upgrade;
mod websocket;
