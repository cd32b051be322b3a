//! What the runner and `shipline-init` say to each other.
//!
//! The binary is PID 1 of a stage's container; see `main.rs`. The
//! [`frame`]s are shared, so that both ends are built from one definition, and so is
//! how a [`user`] of an image is found.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod frame;
pub mod user;
