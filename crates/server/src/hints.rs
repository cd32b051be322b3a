//! Hints: who should look again.
//!
//! A hint carries nothing. What is new stands in the store or in a file of
//! output, and whoever is told reads there; so a hint that comes twice, late or
//! for nothing does no harm, and a refresh, a reconnect and a slow follower are
//! one code path.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use event::RunId;
use tokio::sync::{Notify, watch};

#[derive(Default)]
pub(crate) struct Hints {
    /// A run was queued, or a place for one became free.
    pub(crate) queue: Notify,
    /// A mail was queued.
    pub(crate) outbox: Notify,
    projects: Mutex<BTreeSet<String>>,
    project: Notify,
    followers: Mutex<HashMap<RunId, watch::Sender<u64>>>,
}

impl Hints {
    /// Something is known or suspected about a project's repository.
    pub(crate) fn wake_project(&self, project: &str) {
        lock(&self.projects).insert(project.to_owned());
        self.project.notify_one();
    }

    /// Waits for projects to look at, and takes them.
    pub(crate) async fn woken_projects(&self) -> BTreeSet<String> {
        loop {
            // Made before the look, so that a hint in between is not lost.
            let woken = self.project.notified();
            let projects = std::mem::take(&mut *lock(&self.projects));
            if !projects.is_empty() {
                return projects;
            }
            woken.await;
        }
    }

    /// Events or output of a run were written.
    pub(crate) fn wake_followers(&self, run: RunId) {
        let mut followers = lock(&self.followers);
        if let Some(sender) = followers.get(&run) {
            sender.send_modify(|version| *version += 1);
            if sender.is_closed() {
                followers.remove(&run);
            }
        }
    }

    /// Changes whenever there may be something new about the run. Subscribe
    /// first, read then, and wait last.
    pub(crate) fn follow(&self, run: RunId) -> watch::Receiver<u64> {
        let mut followers = lock(&self.followers);
        followers.retain(|_, sender| !sender.is_closed());
        followers.entry(run).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }
}

/// A poisoned lock guards nothing here: every state of the set is a good one.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_sees_a_hint_that_came_before_it_waits() {
        let hints = Hints::default();
        let run = RunId::new(uuid::Uuid::now_v7());
        let mut follower = hints.follow(run);
        hints.wake_followers(run);
        follower.changed().await.expect("still sending");
        assert!(!follower.has_changed().expect("still sending"));
    }

    #[tokio::test]
    async fn runs_nobody_follows_are_forgotten() {
        let hints = Hints::default();
        let run = RunId::new(uuid::Uuid::now_v7());
        drop(hints.follow(run));
        hints.wake_followers(run);
        assert!(lock(&hints.followers).is_empty());
    }

    #[tokio::test]
    async fn projects_are_woken_once_however_often_they_were_named() {
        let hints = Hints::default();
        hints.wake_project("orders");
        hints.wake_project("web");
        hints.wake_project("orders");
        assert_eq!(hints.woken_projects().await, ["orders".to_owned(), "web".to_owned()].into());
        let later = hints.woken_projects();
        tokio::pin!(later);
        assert!(futures_util::poll!(&mut later).is_pending());
        hints.wake_project("web");
        assert_eq!(later.await, ["web".to_owned()].into());
    }
}
