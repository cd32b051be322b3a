//! A client of the server's API, for the commands that talk to one.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::arguments::ServerArguments;
use crate::error::{CommandError, Kind};

pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// Returns a client when a server is named, else nothing.
    pub(crate) fn of(arguments: &ServerArguments) -> Result<Option<Self>, CommandError> {
        let Some(server) = arguments.server.as_deref().filter(|server| !server.is_empty()) else {
            return Ok(None);
        };
        let token = arguments.token.clone().filter(|token| !token.is_empty()).ok_or_else(|| {
            CommandError::usage(format_args!("the server {server} needs a token"))
                .hint("set SHIPLINE_TOKEN; the server keeps it in DATA/admin.token")
        })?;
        if !server.starts_with("http://") && !server.starts_with("https://") {
            return Err(CommandError::usage(format_args!(
                "`{server}` is no http or https address"
            )));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| {
                CommandError::caused(Kind::Environment, "cannot make an HTTP client", &error)
            })?;
        Ok(Some(Self { http, base: server.trim_end_matches('/').to_owned(), token }))
    }

    /// As [`Client::of`], for commands that make sense on a server only.
    pub(crate) fn required(arguments: &ServerArguments) -> Result<Self, CommandError> {
        Self::of(arguments)?.ok_or_else(|| {
            CommandError::usage("this command needs a server")
                .hint("give `--server URL` or set SHIPLINE_SERVER")
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, CommandError> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, CommandError> {
        self.call(Method::DELETE, path, None).await
    }

    /// Hands every line of an answer to `line` as it arrives.
    pub(crate) async fn lines(
        &self,
        path: &str,
        mut line: impl FnMut(&str) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let mut lines = self.stream(path).await?;
        while let Some(text) = lines.next().await {
            line(&text?)?;
        }
        Ok(())
    }

    /// The lines of an answer as they arrive, but for empty ones.
    pub(crate) async fn stream(
        &self,
        path: &str,
    ) -> Result<BoxStream<'_, Result<String, CommandError>>, CommandError> {
        let answer = self.send(Method::GET, path, None).await?;
        let lines = Lines {
            parts: answer.bytes_stream().map(|part| part.map(|part| part.to_vec())).boxed(),
            buffer: Vec::new(),
        };
        let lines = stream::try_unfold(lines, move |mut lines| async move {
            let line = lines.next().await.map_err(|error| self.unreachable(&error))?;
            Ok(line.map(|line| (line, lines)))
        });
        Ok(lines.boxed())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CommandError> {
        let answer = self.send(method, path, body).await?;
        let text = answer.text().await.map_err(|error| self.unreachable(&error))?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| {
            CommandError::environment(format_args!(
                "{} answered {path} with something that is not JSON: {error}",
                self.base
            ))
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, CommandError> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let problem: Value = answer.json().await.unwrap_or(Value::Null);
        Err(self.refused(status, &problem))
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> CommandError {
        CommandError::caused(
            Kind::Environment,
            &format!("cannot reach the server {}", self.base),
            error,
        )
    }

    /// Turns a problem document into an error of the right kind.
    fn refused(&self, status: StatusCode, problem: &Value) -> CommandError {
        let text =
            problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no reason given");
        match status {
            StatusCode::UNAUTHORIZED => {
                CommandError::usage(format_args!("the server {} refuses the token", self.base))
                    .hint("SHIPLINE_TOKEN is what stands in DATA/admin.token on the server")
            }
            status if status.is_client_error() => CommandError::usage(text),
            status => CommandError::environment(format_args!(
                "the server {} failed with {status}: {text}",
                self.base
            )),
        }
    }
}

/// An answer, cut into lines.
struct Lines {
    parts: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> reqwest::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = String::from_utf8_lossy(&text);
                if !text.trim().is_empty() {
                    return Ok(Some(text.trim_end().to_owned()));
                }
                continue;
            }
            match self.parts.next().await {
                Some(part) => self.buffer.extend_from_slice(&part?),
                None => return Ok(None),
            }
        }
    }
}

/// A path segment with everything but letters, digits, `-`, `_`, `.` and `~` encoded.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_cannot_leave_its_place() {
        assert_eq!(segment("unit-test"), "unit-test");
        assert_eq!(segment("../admin?x=1"), "..%2Fadmin%3Fx%3D1");
        assert_eq!(segment("unit[db=mysql:8]"), "unit%5Bdb%3Dmysql%3A8%5D");
    }
}
