//! What the runner and `shipline-init` say to each other.
//!
//! The binary is PID 1 of a stage's container; see `main.rs`. Only the
//! [`frame`]s are shared, so that both ends are built from one definition.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod frame;
