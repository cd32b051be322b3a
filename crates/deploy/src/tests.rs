//! Deployments against a target and a ledger in memory.

mod failure;
mod history;
mod lease;
mod success;
mod world;
