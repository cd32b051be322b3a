//! Trying again what the network or a registry may do better next time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::BackendError;

const DELAYS: [u64; 4] = [1, 2, 4, 8];
/// The longest wait that a registry may ask for.
const LATEST: Duration = Duration::from_secs(60);

/// Why a try did not work.
#[derive(Debug)]
pub(super) enum Failure {
    /// May pass.
    Passing(String),
    /// May pass, and not before so long.
    Later(String, Duration),
    /// Will not.
    Final(BackendError),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Final(error)
    }
}

/// Counts the tries of one undertaking.
#[derive(Default)]
pub(super) struct Tries {
    made: usize,
}

impl Tries {
    /// Whether what fails now is tried again.
    pub(super) fn are_left(&self) -> bool {
        self.made < DELAYS.len()
    }

    /// Waits before the next try; `Err` when it was cancelled, was final, or was the last.
    pub(super) async fn after(
        &mut self,
        failure: Failure,
        part: &'static str,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let (message, wanted) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing(message) => (message, Duration::ZERO),
            Failure::Later(message, after) => (message, after.min(LATEST)),
        };
        let Some(seconds) = DELAYS.get(self.made) else {
            let message = format!("{message} (tried {} times)", self.made + 1);
            return Err(BackendError::Infrastructure { part, message });
        };
        self.made += 1;
        let delay = Duration::from_secs(*seconds).max(wanted);
        tracing::debug!(part, delay_s = delay.as_secs(), "trying again: {message}");
        tokio::select! {
            () = tokio::time::sleep(delay + jitter()) => Ok(()),
            () = cancel.cancelled() => Err(BackendError::Cancelled),
        }
    }
}

/// Up to a quarter of a second, so that many who wait do not come back at once.
fn jitter() -> Duration {
    let [.., byte] = *uuid::Uuid::now_v7().as_bytes();
    Duration::from_millis(u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn four_times_again_and_then_it_is_infrastructure() {
        let begun = tokio::time::Instant::now();
        let cancel = CancellationToken::new();
        let mut tries = Tries::default();
        let down = || Failure::Passing("503".to_owned());
        for _ in 0..4 {
            tries.after(down(), "registry", &cancel).await.unwrap();
        }
        assert!((15..=17).contains(&begun.elapsed().as_secs()));
        let error = tries.after(down(), "registry", &cancel).await.unwrap_err();
        assert_eq!(error.to_string(), "registry: 503 (tried 5 times)");
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_says_how_long_to_wait_but_not_for_ever() {
        let cancel = CancellationToken::new();
        let mut tries = Tries::default();
        for (asked, waited) in [(5, 5), (100_000, 60)] {
            let begun = tokio::time::Instant::now();
            let failure = Failure::Later("429".to_owned(), Duration::from_secs(asked));
            tries.after(failure, "registry", &cancel).await.unwrap();
            assert_eq!(begun.elapsed().as_secs(), waited);
        }
    }

    #[tokio::test]
    async fn a_final_failure_and_a_cancel_end_it_at_once() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let mut tries = Tries::default();
        let failure = Failure::Passing("503".to_owned());
        let error = tries.after(failure, "registry", &cancel).await.unwrap_err();
        assert!(matches!(error, BackendError::Cancelled));
        let denied = BackendError::User { code: Some("E090"), message: "denied".to_owned() };
        let error = tries.after(denied.into(), "registry", &cancel).await.unwrap_err();
        assert!(matches!(error, BackendError::User { .. }));
    }
}
