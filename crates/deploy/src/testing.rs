//! A target and a ledger in memory, for tests of this crate and of its users.
//!
//! Both keep the contracts of their traits. The target follows a script of
//! faults, and samples after every effect what traffic it would have served.

mod ledger;
mod target;

pub use ledger::MemoryLedger;
pub use target::{Fault, FaultKind, MemoryTarget, Sample};
