//! Leases: who may change an environment, until when, and with which fence.
//!
//! The file says when a lease ends by the clock of the wall, so that a restart
//! knows; while the proxy runs it goes by a clock that nobody can set.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::state::{Saved, SavedHold, SavedLease};
use crate::control::{Lease, LeaseRequest, Leases};

/// The two clocks, read at once.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Now {
    pub fn read() -> Now {
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { instant: Instant::now(), wall_ms }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error("{name} is held by {} for another {} s{}", lease.holder, lease.remaining_ms.div_ceil(1000), because(lease))]
    Held { name: String, lease: Lease },
    #[error("fence {fence} of {name} is no longer in force: it was taken again with {in_force}")]
    Lost { name: String, fence: u64, in_force: u64 },
    #[error("{name} has no lease with fence {fence}")]
    Unknown { name: String, fence: u64 },
}

fn because(lease: &Lease) -> String {
    if lease.reason.is_empty() { String::new() } else { format!(": {}", lease.reason) }
}

/// When the leases of the file end, by the clock that nobody can set.
#[derive(Debug, Default)]
pub struct Ends(BTreeMap<String, Instant>);

impl Ends {
    /// What is left of the leases of a process that ended; never more than they were given.
    pub fn restored(saved: &Saved, now: Now) -> Ends {
        let ends = saved.leases.iter().filter_map(|(name, lease)| {
            let held = lease.held.as_ref()?;
            let left = held.until_ms.saturating_sub(now.wall_ms).min(held.ttl_ms);
            Some((name.clone(), now.instant + Duration::from_millis(left)))
        });
        Ends(ends.collect())
    }

    /// The leases that are held.
    pub fn held(&self, saved: &Saved, now: Now) -> Leases {
        let leases = saved.leases.iter().filter_map(|(name, lease)| {
            let held = lease.held.as_ref()?;
            Some((name.clone(), shown(lease.fence, held, self.left(name, now)?)))
        });
        Leases { leases: leases.collect() }
    }

    /// Takes or renews the lease `name` in `saved`; the caller makes that durable
    /// and then says [`Ends::begin`].
    pub fn take(
        &self,
        saved: &mut Saved,
        name: &str,
        request: &LeaseRequest,
        now: Now,
    ) -> Result<Lease, LeaseError> {
        let before = saved.leases.get(name);
        let held = before.and_then(|before| before.held.as_ref());
        let ours = held.filter(|held| held.is_of(request));
        let left = self.left(name, now);
        let another = before
            .filter(|_| ours.is_none())
            .and_then(|lease| Some(shown(lease.fence, lease.held.as_ref()?, left?)));
        if let Some(lease) = another {
            return Err(LeaseError::Held { name: name.to_owned(), lease });
        }
        let mut since_ms = now.wall_ms;
        let fence = match (request.fence, before) {
            // It may have run out: as long as nobody took it since, nothing was missed.
            (Some(fence), Some(before)) if before.fence == fence && ours.is_some() => {
                since_ms = ours.map_or(since_ms, |held| held.since_ms);
                fence
            }
            (Some(fence), Some(before)) if fence < before.fence => {
                let in_force = before.fence;
                return Err(LeaseError::Lost { name: name.to_owned(), fence, in_force });
            }
            (Some(fence), _) => return Err(LeaseError::Unknown { name: name.to_owned(), fence }),
            (None, _) => saved.highest_fence().max(request.above).saturating_add(1),
        };
        let held = SavedHold {
            holder: request.holder.clone(),
            key: request.key.clone(),
            reason: request.reason.clone(),
            since_ms,
            ttl_ms: request.ttl_ms,
            until_ms: now.wall_ms.saturating_add(request.ttl_ms),
        };
        let lease = shown(fence, &held, Duration::from_millis(request.ttl_ms));
        saved.leases.insert(name.to_owned(), SavedLease { fence, held: Some(held) });
        Ok(lease)
    }

    /// Gives a lease back; one that was taken since belongs to somebody else.
    pub fn release(saved: &mut Saved, name: &str, fence: u64) -> Result<(), LeaseError> {
        match saved.leases.get_mut(name) {
            Some(lease) if lease.fence == fence => {
                lease.held = None;
                Ok(())
            }
            Some(lease) if fence < lease.fence => {
                let in_force = lease.fence;
                Err(LeaseError::Lost { name: name.to_owned(), fence, in_force })
            }
            _ => Err(LeaseError::Unknown { name: name.to_owned(), fence }),
        }
    }

    /// The time of a lease runs from `now`.
    pub fn begin(&mut self, name: &str, ttl_ms: u64, now: Now) {
        self.0.insert(name.to_owned(), now.instant + Duration::from_millis(ttl_ms));
    }

    fn left(&self, name: &str, now: Now) -> Option<Duration> {
        self.0.get(name)?.checked_duration_since(now.instant).filter(|left| !left.is_zero())
    }
}

fn shown(fence: u64, held: &SavedHold, left: Duration) -> Lease {
    Lease {
        holder: held.holder.clone(),
        fence,
        reason: held.reason.clone(),
        since_ms: held.since_ms,
        until_ms: held.until_ms,
        remaining_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with its leases, and a clock that is set by hand.
    struct Book {
        saved: Saved,
        ends: Ends,
        now: Now,
    }

    impl Book {
        fn new() -> Book {
            let now = Now { instant: Instant::now(), wall_ms: 1_000_000 };
            Book { saved: Saved::default(), ends: Ends::default(), now }
        }

        fn pass(&mut self, seconds: u64) {
            self.now.instant += Duration::from_secs(seconds);
            self.now.wall_ms += seconds * 1000;
        }

        fn ask(&mut self, request: &LeaseRequest) -> String {
            match self.ends.take(&mut self.saved, "web/prod", request, self.now) {
                Ok(lease) => {
                    self.ends.begin("web/prod", request.ttl_ms, self.now);
                    format!("{} has {}", lease.holder, lease.fence)
                }
                Err(error) => error.to_string(),
            }
        }

        fn take(&mut self, holder: &str) -> String {
            self.ask(&request(holder, None))
        }

        fn renew(&mut self, holder: &str, fence: u64) -> String {
            self.ask(&request(holder, Some(fence)))
        }
    }

    fn request(holder: &str, fence: Option<u64>) -> LeaseRequest {
        let holder = holder.to_owned();
        let reason = "release 12".to_owned();
        LeaseRequest { holder, key: None, ttl_ms: 30_000, reason, fence, above: 0 }
    }

    #[test]
    fn one_has_it_the_other_hears_who_and_for_how_long() {
        let mut book = Book::new();
        assert_eq!(book.take("ann@one"), "ann@one has 1");
        book.pass(5);
        assert_eq!(
            book.take("bob@two"),
            "web/prod is held by ann@one for another 25 s: release 12"
        );
        assert_eq!(book.renew("ann@one", 1), "ann@one has 1");
        book.pass(29);
        assert_eq!(book.take("bob@two"), "web/prod is held by ann@one for another 1 s: release 12");
        Ends::release(&mut book.saved, "web/prod", 1).unwrap();
        assert_eq!(book.take("bob@two"), "bob@two has 2");
    }

    #[test]
    fn it_ends_by_itself_and_who_slept_over_that_has_lost_it() {
        let mut book = Book::new();
        book.take("ann@one");
        book.pass(40);
        // Nobody came in between: nothing was missed.
        assert_eq!(book.renew("ann@one", 1), "ann@one has 1");
        book.pass(30);
        assert_eq!(book.take("bob@two"), "bob@two has 2");
        assert_eq!(
            book.renew("ann@one", 1),
            "web/prod is held by bob@two for another 30 s: release 12"
        );
        book.pass(30);
        assert_eq!(
            book.renew("ann@one", 1),
            "fence 1 of web/prod is no longer in force: it was taken again with 2"
        );
        let late = Ends::release(&mut book.saved, "web/prod", 1).unwrap_err();
        assert_eq!(late, LeaseError::Lost { name: "web/prod".to_owned(), fence: 1, in_force: 2 });
    }

    #[test]
    fn every_taking_has_a_higher_fence_than_all_that_is_known() {
        let mut book = Book::new();
        assert_eq!(book.take("ann@one"), "ann@one has 1");
        assert_eq!(book.take("ann@one"), "ann@one has 2", "an answer was lost");
        let above = LeaseRequest { above: 40, ..request("ann@one", None) };
        assert_eq!(book.ask(&above), "ann@one has 41");
        let deleted = super::super::state::SavedFence { fence: 99, generation: 1 };
        book.saved.deleted.insert("web-prod".to_owned(), deleted);
        assert_eq!(book.take("ann@one"), "ann@one has 100");
        assert_eq!(book.renew("ann@one", 200), "web/prod has no lease with fence 200");
    }

    #[test]
    fn with_a_key_the_name_is_for_people_alone() {
        let mut book = Book::new();
        let of = |key: &str, holder: &str| LeaseRequest {
            key: Some(key.to_owned()),
            ..request(holder, None)
        };
        assert_eq!(book.ask(&of("1a", "ann@one")), "ann@one has 1");
        book.pass(7);
        let other = book.ask(&of("2b", "ann@one"));
        assert_eq!(other, "web/prod is held by ann@one for another 23 s: release 12");
        let nameless = book.take("ann@one");
        assert_eq!(nameless, "web/prod is held by ann@one for another 23 s: release 12");
        assert_eq!(book.ask(&of("1a", "ann@two")), "ann@two has 2", "taken up elsewhere");
        let since = |book: &Book| book.ends.held(&book.saved, book.now).leases["web/prod"].since_ms;
        assert_eq!(since(&book), 1_007_000);
        book.pass(5);
        let renewal = LeaseRequest { fence: Some(2), ..of("1a", "ann@two") };
        assert_eq!(book.ask(&renewal), "ann@two has 2");
        assert_eq!(since(&book), 1_007_000, "a renewal is no new beginning");
    }

    #[test]
    fn after_a_restart_it_lasts_no_longer_than_it_was_given_whatever_the_clock_says() {
        let mut book = Book::new();
        book.take("ann@one");
        for (later_ms, left) in [(10_000, Some(20_000)), (-3_600_000, Some(30_000)), (31_000, None)]
        {
            let wall_ms = book.now.wall_ms.saturating_add_signed(later_ms);
            let now = Now { instant: Instant::now(), wall_ms };
            let ends = Ends::restored(&book.saved, now);
            let held = ends.held(&book.saved, now).leases;
            assert_eq!(held.get("web/prod").map(|lease| lease.remaining_ms), left);
        }
    }
}
