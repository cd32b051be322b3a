//! The deadline and the cancellation of one attempt, around whatever it waits for.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// TERM to KILL.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long work that was killed may take to notice.
pub(crate) const LAST_MOMENT: Duration = Duration::from_secs(2);

/// How long pulling images and starting services may take at most, which is no time of the
/// stage: each of them has a limit of its own, and one of these would have to be far too long.
pub(crate) const BEGINNING: Duration = Duration::from_secs(60 * 60);

/// Tells an attempt to end, with grace; a first reason counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    /// The run has no more time; else somebody cancelled.
    overdue: Arc<OnceLock<Arc<str>>>,
    /// Why somebody cancelled this attempt and no other.
    because: Arc<OnceLock<String>>,
}

impl Stop {
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Cancels this attempt alone.
    pub(crate) fn cancel_because(&self, reason: &str) {
        if !self.token.is_cancelled() {
            let _ = self.because.set(reason.to_owned());
            self.token.cancel();
        }
    }

    pub(crate) fn because(&self) -> Option<String> {
        self.because.get().cloned()
    }

    /// The time of the whole run is over.
    pub(crate) fn overdue(&self, reason: &str) {
        if !self.token.is_cancelled() {
            let _ = self.overdue.set(reason.into());
            self.token.cancel();
        }
    }
}

/// Time of an attempt that does not count, since it waits for a person.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pause(Arc<watch::Sender<Paused>>);

#[derive(Clone, Copy, Debug, Default)]
struct Paused {
    since: Option<Instant>,
    /// Of all that are over.
    passed: Duration,
}

impl Pause {
    pub(crate) fn begin(&self) {
        self.0.send_modify(|paused| {
            paused.since.get_or_insert_with(Instant::now);
        });
    }

    pub(crate) fn end(&self) {
        self.0.send_modify(|paused| {
            paused.passed += paused.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        });
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Moves on while it is paused.
    pub(crate) deadline: Instant,
    pub(crate) pause: Pause,
    /// Ends the attempt, with grace.
    pub(crate) stop: Stop,
    /// Ends it at once: the second Ctrl-C, or the run cannot go on.
    pub(crate) halt: CancellationToken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Deadline,
    /// The deadline of the whole run, with its reason.
    Overdue(Arc<str>),
    Cancelled,
}

/// What came of the work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    /// It ended by itself.
    Done(T),
    /// It ended after it was told to; when it ended well, that is the truth.
    Late(T, Cause),
    /// It was told to, and did not.
    GivenUp(Cause),
}

impl Limit {
    /// Returns when the attempt has to end, and why.
    pub(crate) async fn reached(&self) -> Cause {
        let mut pauses = self.pause.0.subscribe();
        loop {
            let Paused { since, passed } = *pauses.borrow_and_update();
            tokio::select! {
                biased;
                cause = self.cancelled() => return cause,
                Ok(()) = pauses.changed() => {}
                () = sleep_until(self.deadline + passed), if since.is_none() => {
                    return Cause::Deadline;
                }
            }
        }
    }

    /// Returns when the attempt is to end though its time may not be up, and why.
    pub(crate) async fn cancelled(&self) -> Cause {
        tokio::select! {
            biased;
            () = self.stop.token.cancelled() => match self.stop.overdue.get() {
                Some(reason) => Cause::Overdue(Arc::clone(reason)),
                None => Cause::Cancelled,
            },
            () = self.halt.cancelled() => Cause::Cancelled,
        }
    }

    /// Awaits work that listens to the token it is given. When the limit is
    /// reached the work is told, and given up if it has not ended after `grace`.
    pub(crate) async fn on<T, F>(
        &self,
        grace: Duration,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Ended<T>
    where
        F: Future<Output = T>,
    {
        let token = CancellationToken::new();
        let mut work = std::pin::pin!(work(token.clone()));
        let cause = tokio::select! {
            biased;
            value = &mut work => return Ended::Done(value),
            cause = self.reached() => cause,
        };
        token.cancel();
        let value = tokio::select! {
            biased;
            value = &mut work => Some(value),
            () = sleep(grace) => None,
            () = self.halt.cancelled() => timeout(LAST_MOMENT, work).await.ok(),
        };
        match value {
            Some(value) => Ended::Late(value, cause),
            None => Ended::GivenUp(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(seconds: u64) -> Limit {
        Limit {
            deadline: Instant::now() + Duration::from_secs(seconds),
            pause: Pause::default(),
            stop: Stop::default(),
            halt: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ignores_its_token_is_given_up_after_the_grace() {
        let begun = Instant::now();
        let ended = limit(5).on(GRACE, |_| std::future::pending::<()>()).await;
        assert_eq!(ended, Ended::GivenUp(Cause::Deadline));
        assert_eq!(begun.elapsed(), Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_told_when_its_deadline_passes() {
        let ended = limit(5)
            .on(GRACE, |token| async move {
                token.cancelled().await;
                "told"
            })
            .await;
        assert_eq!(ended, Ended::Late("told", Cause::Deadline));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_pause_does_not_count() {
        let limit = limit(30);
        let pause = limit.pause.clone();
        let begun = Instant::now();
        let (cause, ()) = tokio::join!(limit.reached(), async move {
            sleep(Duration::from_secs(20)).await;
            pause.begin();
            sleep(Duration::from_secs(100)).await;
            pause.begin();
            sleep(Duration::from_secs(500)).await;
            pause.end();
            pause.end();
        });
        assert_eq!(cause, Cause::Deadline);
        assert_eq!(begun.elapsed(), Duration::from_secs(630));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_back_no_cancel() {
        let limit = limit(30);
        limit.pause.begin();
        let stop = limit.stop.clone();
        let (cause, ()) = tokio::join!(limit.reached(), async move {
            sleep(Duration::from_secs(600)).await;
            stop.cancel();
        });
        assert_eq!(cause, Cause::Cancelled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_halt_cuts_the_grace_short() {
        let limit = limit(60);
        limit.stop.cancel();
        let halt = limit.halt.clone();
        let begun = Instant::now();
        let (ended, ()) =
            tokio::join!(limit.on(GRACE, |_| std::future::pending::<()>()), async move {
                sleep(Duration::from_secs(1)).await;
                halt.cancel();
            });
        assert_eq!(ended, Ended::GivenUp(Cause::Cancelled));
        assert_eq!(begun.elapsed(), Duration::from_secs(1) + LAST_MOMENT);
    }
}
