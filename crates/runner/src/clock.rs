//! The run's clock: wall time at its start, monotonic from then on.
//!
//! Events of one run never go back in time when somebody sets the machine's
//! clock, and tests with paused time see exact times.

use chrono::{DateTime, SubsecRound, Utc};
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: DateTime<Utc>,
    origin: Instant,
}

impl Clock {
    pub(crate) fn starting_at(wall: DateTime<Utc>) -> Self {
        Self { wall, origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }

    /// Returns the instant of a wall time; what lies before the start is the start.
    pub(crate) fn instant(&self, at: DateTime<Utc>) -> Instant {
        let ahead = (at - self.wall).to_std().unwrap_or_default();
        self.origin.checked_add(ahead).unwrap_or(self.origin)
    }

    /// Returns the wall time of `instant`, to the millisecond.
    pub(crate) fn at(&self, instant: Instant) -> DateTime<Utc> {
        let passed = instant.saturating_duration_since(self.origin);
        let passed = chrono::Duration::from_std(passed).unwrap_or(chrono::Duration::MAX);
        self.wall.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC).trunc_subsecs(3)
    }
}
