//! The deadline and the cancellation of one attempt, around whatever it waits for.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// TERM to KILL.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long work that was killed may take to notice.
pub(crate) const LAST_MOMENT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) deadline: Instant,
    /// Ends the attempt, with grace.
    pub(crate) stop: CancellationToken,
    /// Ends it at once: the second Ctrl-C, or the run cannot go on.
    pub(crate) halt: CancellationToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Deadline,
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
        tokio::select! {
            biased;
            () = self.cancelled() => Cause::Cancelled,
            () = sleep_until(self.deadline) => Cause::Deadline,
        }
    }

    /// Returns when the attempt is to end, though its time may not be up.
    pub(crate) async fn cancelled(&self) {
        tokio::select! {
            () = self.halt.cancelled() => {}
            () = self.stop.cancelled() => {}
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
            stop: CancellationToken::new(),
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
