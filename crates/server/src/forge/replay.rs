//! Deliveries that come again: the id of a delivery is not signed, so whoever
//! overheard one could send it once more under another id, and bring a commit
//! back that a later push has replaced.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::signature::WINDOW_SECONDS;

/// A signature that is new to us is valid at most this long: its time may lie
/// ahead of ours by a whole window.
const LIFE: Duration = Duration::from_secs(2 * WINDOW_SECONDS + 1);

/// Signatures while they are valid, each with the id it came under first. How
/// many there are is bounded by [`Rate`](super::Rate).
#[derive(Default)]
pub(crate) struct Replays {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ids: HashMap<Signed, String>,
    oldest_first: VecDeque<(Instant, Signed)>,
}

/// Project and signature.
type Signed = (String, String);

impl Replays {
    /// Returns the id under which a valid `signature` was delivered first; `id`
    /// if that is now.
    pub(crate) fn first_id(
        &self,
        project: &str,
        signature: &str,
        id: &str,
        now: Instant,
    ) -> String {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, signed)) = seen.oldest_first.front().cloned()
            && now.saturating_duration_since(at) > LIFE
        {
            seen.oldest_first.pop_front();
            seen.ids.remove(&signed);
        }
        // One signature can be spelled in many ways.
        let signed = (project.to_owned(), signature.to_ascii_lowercase());
        if let Some(first) = seen.ids.get(&signed) {
            return first.clone();
        }
        seen.ids.insert(signed.clone(), id.to_owned());
        seen.oldest_first.push_back((now, signed));
        id.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_keeps_the_id_it_came_under_first() {
        let replays = Replays::default();
        let now = Instant::now();
        assert_eq!(replays.first_id("orders", "sha256=ab", "1", now), "1");
        assert_eq!(replays.first_id("orders", "sha256=AB", "2", now), "1", "spelled otherwise");
        assert_eq!(replays.first_id("orders", "sha256=cd", "2", now), "2");
        assert_eq!(replays.first_id("web", "sha256=ab", "3", now), "3", "of another project");
    }

    #[test]
    fn signatures_are_forgotten_once_nobody_would_accept_them() {
        let replays = Replays::default();
        let begin = Instant::now();
        replays.first_id("orders", "sha256=ab", "1", begin);
        let later = begin + Duration::from_secs(600);
        assert_eq!(replays.first_id("orders", "sha256=ab", "2", later), "1");
        let late = begin + LIFE + Duration::from_secs(1);
        assert_eq!(replays.first_id("orders", "sha256=cd", "3", late), "3");
        assert_eq!(replays.seen.lock().expect("not poisoned").ids.len(), 1);
    }
}
