//! One call of the engine's API: bounded, and its failure with its status.

use std::future::Future;
use std::time::Duration;

use bollard::errors::Error;

use crate::TargetError;

/// Why a call failed.
#[derive(Clone, Debug)]
pub(in crate::target) struct CallError {
    /// What was tried.
    what: &'static str,
    /// The engine's HTTP status, if it answered.
    pub(in crate::target) status: Option<u16>,
    pub(in crate::target) message: String,
}

impl CallError {
    /// Whether the engine could not do it because of what the image or its
    /// configuration says.
    pub(in crate::target) fn is_about_the_image(&self) -> bool {
        let by_runtime = self.message.contains("OCI runtime") || self.message.contains("exec: ");
        self.status == Some(400) || (self.status == Some(500) && by_runtime)
    }

    /// Whether a registry said no for good, in whatever status the engine wraps it.
    pub(in crate::target) fn is_refusal_of_registry(&self) -> bool {
        let words = [
            "unauthorized",
            "denied",
            "no basic auth",
            "authentication required",
            "manifest unknown",
            "not found",
            "invalid reference",
        ];
        matches!(self.status, Some(400 | 401 | 403 | 404))
            || words.iter().any(|word| self.message.to_lowercase().contains(word))
    }
}

impl From<CallError> for TargetError {
    fn from(error: CallError) -> Self {
        Self::Infrastructure {
            part: "docker".to_owned(),
            message: format!("{}: {}", error.what, error.message),
        }
    }
}

pub(in crate::target) async fn call<T>(
    limit: Duration,
    what: &'static str,
    calling: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, calling).await {
        Ok(answer) => answer.map_err(|error| failed(what, error)),
        Err(_) => {
            let message = format!("no answer within {} s", limit.as_secs());
            Err(CallError { what, status: None, message })
        }
    }
}

pub(in crate::target) fn failed(what: &'static str, error: Error) -> CallError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            CallError { what, status: Some(status_code), message: message.trim().to_owned() }
        }
        Error::DockerStreamError { error } => {
            CallError { what, status: None, message: error.trim().to_owned() }
        }
        other => CallError { what, status: None, message: other.to_string() },
    }
}
