//! Containers beside a stage: what a backend is asked for, and what became of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use pipeline::{Ready, Resources};
use tokio::sync::mpsc;

use super::{BackendError, Chunk};
use crate::Registry;

/// A service as an attempt asks for it; the stage reaches it by its name.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    pub name: String,
    pub image: String,
    /// Credential for pulling it, when one matches its host.
    pub registry: Option<Registry>,
    pub env: BTreeMap<String, String>,
    /// In place of the image's command; its entrypoint stays.
    pub command: Vec<String>,
    /// What is absent is the backend's own limit.
    pub resources: Resources,
    pub ready: Ready,
}

/// The services of one attempt, started.
///
/// - `ready` comes first, once. `ended` may be awaited afterwards, and dropped.
/// - `output` and `gone` may be asked at any time until `stop`.
/// - `stop` comes last, after the attempt itself has stopped.
#[async_trait]
pub trait Services: Send + Sync {
    /// Tells of each as it is ready, and returns when all are.
    async fn ready(&self, told: &mpsc::Sender<ServiceReady>) -> Result<(), ServiceError>;

    /// Returns when one of them is no longer there.
    async fn ended(&self) -> ServiceError;

    /// One that is no longer there by now.
    async fn gone(&self) -> Option<ServiceError>;

    /// What one of them has written until now, or the last of it: a bounded amount.
    fn output(&self, service: &str) -> BoxStream<'static, Result<Chunk, BackendError>>;

    /// Ends all of them without waiting for it; [`Backend::clean`](super::Backend::clean)
    /// makes sure.
    fn stop(&self);
}

/// A service that answered as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReady {
    pub name: String,
    /// The repository digest of the image used, else `id:sha256:…`.
    pub image_digest: String,
    /// Since it was started.
    pub after: Duration,
}

/// Why the services of an attempt are not all there.
#[derive(Debug)]
pub enum ServiceError {
    Failed(ServiceFailure),
    Backend(BackendError),
}

impl From<BackendError> for ServiceError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

/// What a service did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFailure {
    pub service: String,
    pub image: String,
    pub end: ServiceEnd,
    /// What it wrote last, at most [`LAST_LINES`].
    pub last_lines: Vec<String>,
}

/// Lines of a failed service that are told.
pub const LAST_LINES: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEnd {
    /// In this time `probe` was never answered as it should; `said` is the last answer.
    NotReady { within: Duration, probe: String, said: Option<String> },
    /// `probe` can never be answered.
    Unaskable { probe: String, said: String },
    Exited {
        code: i64,
        /// Bytes it may have, when it wanted more.
        out_of_memory: Option<u64>,
        /// What it was asked meanwhile; `None` once it was ready.
        probe: Option<String>,
    },
}

/// `… was not ready within 60s: tcp 5432 says connection refused`, after its name.
impl fmt::Display for ServiceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady { within, probe, said } => {
                let within = within.as_secs_f64();
                write!(f, "was not ready within {within}s: `{probe}` ")?;
                match said {
                    Some(said) => write!(f, "says: {said}"),
                    None => write!(f, "got no answer"),
                }
            }
            Self::Unaskable { probe, said } => write!(f, "cannot be asked `{probe}`: {said}"),
            Self::Exited { code, out_of_memory, probe } => {
                write!(f, "exited with {code}")?;
                if let Some(limit) = out_of_memory {
                    write!(f, ", out of memory (it may have {})", crate::size_text(*limit))?;
                }
                match probe {
                    Some(probe) => write!(f, " before it was ready (`{probe}`)"),
                    None => write!(f, " while the stage ran"),
                }
            }
        }
    }
}

impl fmt::Display for ServiceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service `{}` of image `{}` {}", self.service, self.image, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_service_is_one_sentence() {
        let told = |end| {
            let (service, image) = ("db".to_owned(), "postgres:12".to_owned());
            ServiceFailure { service, image, end, last_lines: Vec::new() }.to_string()
        };
        let probe = || "tcp 5432".to_owned();
        let (within, said) = (Duration::from_millis(1500), Some("connection refused".to_owned()));
        assert_eq!(
            told(ServiceEnd::NotReady { within, probe: probe(), said }),
            "service `db` of image `postgres:12` was not ready within 1.5s: `tcp 5432` says: \
             connection refused"
        );
        let exited =
            |out_of_memory, probe| told(ServiceEnd::Exited { code: 137, out_of_memory, probe });
        assert_eq!(
            exited(Some(64 << 20), None),
            "service `db` of image `postgres:12` exited with 137, out of memory (it may have \
             64.0 MiB) while the stage ran"
        );
        assert_eq!(
            exited(None, Some(probe())),
            "service `db` of image `postgres:12` exited with 137 before it was ready (`tcp 5432`)"
        );
    }
}
