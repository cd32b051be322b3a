//! Bodies of requests: read whole, within a size and a time, and never unpacked.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The largest body of a request.
pub(crate) const LIMIT: usize = 5 * 1024 * 1024;
/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads a body of at most [`LIMIT`] bytes: 413 beyond, 408 after 10 s.
pub(crate) async fn read(body: Body) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(DEADLINE, Limited::new(body, LIMIT).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the body is larger than 5 MiB",
        )),
        Ok(Err(error)) => Err(Problem::bad_request(format!("the body could not be read: {error}"))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the body took longer than 10 seconds",
        )),
    }
}

/// The JSON body of an API call. An empty one counts as `{}`.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = read(request.into_body()).await?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        parse(&bytes).map(Self)
    }
}

/// Reads JSON, or says where it stops being what is expected.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not what is expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_413() {
        let fits = read(Body::from(vec![b' '; LIMIT])).await.expect("fits");
        assert_eq!(fits.len(), LIMIT);
        let problem = read(Body::from(vec![b' '; LIMIT + 1])).await.expect_err("too large");
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_408() {
        let never =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read(never).await.expect_err("too slow");
        assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn json_nested_without_end_is_refused() {
        let deep = "[".repeat(200_000);
        let problem = parse::<serde_json::Value>(deep.as_bytes()).expect_err("too deep");
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }
}
