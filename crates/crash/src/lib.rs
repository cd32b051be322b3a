//! Places where a test lets the process die, as `kill -9` does.
//!
//! Without the feature `armed`, which only the dev-dependencies of `cli` switch on, all of
//! this is nothing: a release has no such place. With it,
//!
//! - `SHIPLINE_CRASH_AT=17` kills at the 17th place that is passed, `SHIPLINE_CRASH_AT=NAME`
//!   and `NAME#3` at the first, or the third, of that name;
//! - `SHIPLINE_CRASH_LOG=FILE` has a line for each place that was passed, for counting.

#[cfg(feature = "armed")]
mod armed;

#[cfg(feature = "armed")]
pub use armed::{after, arm, before};

#[cfg(not(feature = "armed"))]
mod disarmed {
    /// Nothing.
    #[inline(always)]
    pub fn arm(_: impl Fn(&str) -> Option<String>) {}

    /// Nothing.
    #[inline(always)]
    pub fn before(_: impl FnOnce() -> String) {}

    /// Nothing.
    #[inline(always)]
    pub fn after(_: impl FnOnce() -> String) {}
}

#[cfg(not(feature = "armed"))]
pub use disarmed::{after, arm, before};
