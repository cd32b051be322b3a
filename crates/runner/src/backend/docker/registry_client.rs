//! HTTP to a registry, as the engine speaks it: with TLS, and without to this machine
//! where there is none.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};

use super::retry::Failure;
use crate::backend::BackendError;
use crate::{Registry, causes};

/// Answers are small; a report of a scanner may be long.
const BODY_LIMIT: usize = 32 << 20;
/// Of an answer that is only to be quoted.
const QUOTE_LIMIT: usize = 2000;

/// A header of a request.
pub(super) type Header = (HeaderName, &'static str);

pub(super) struct RegistryClient<'a> {
    client: Client,
    registry: &'a Registry,
    base: Url,
}

impl<'a> RegistryClient<'a> {
    /// Finds out how the registry is spoken to, and whether it is in order.
    pub(super) async fn connect(registry: &'a Registry) -> Result<Self, Failure> {
        let (client, greeting) = Self::reach(registry).await?;
        client.passable(greeting).await.map(|_| client)
    }

    /// What is wrong with a registry that answers with a fault of its own: the engine
    /// takes such a greeting for one that wants another login. Who does not answer us
    /// may answer the engine.
    pub(super) async fn out_of_order(registry: &'a Registry) -> Option<Failure> {
        let (client, greeting) = Self::reach(registry).await.ok()?;
        client.passable(greeting).await.err()
    }

    /// The way to the registry, and its greeting.
    async fn reach(registry: &'a Registry) -> Result<(Self, Response), Failure> {
        let host =
            if registry.host == "docker.io" { "registry-1.docker.io" } else { &registry.host };
        let loopback = is_loopback(host);
        let client = client(registry, loopback).await?;
        let base = |scheme: &str| {
            let url = format!("{scheme}://{host}/");
            Url::parse(&url).map_err(|error| infrastructure(format!("{url}: {error}")))
        };
        let https = Self { client: client.clone(), registry, base: base("https")? };
        let why = match https.send(Method::GET, "v2/", &[], None).await {
            Ok(answer) => return Ok((https, answer)),
            Err(error) => causes(&error),
        };
        if why.contains("certificate") {
            let message = format!(
                "the certificate of {host} is not trusted (`ca-file` of the registry): {why}"
            );
            return Err(infrastructure(message).into());
        }
        // Docker too speaks plain HTTP to this machine, and to no other.
        if loopback {
            let http = Self { client, registry, base: base("http")? };
            // The first answer is the one that says why; the second was a guess.
            if let Ok(answer) = http.send(Method::GET, "v2/", &[], None).await {
                return Ok((http, answer));
            }
        }
        Err(Failure::Passing(format!("{host} does not answer: {why}")))
    }

    /// A page of the registry, for people.
    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Asks as clients of the registry do: what it wants to know of us, it says.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[Header],
    ) -> Result<Response, Failure> {
        let first = self.send(method.clone(), path, headers, None).await;
        let first = first.map_err(|error| self.unreachable(&error))?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return self.passable(first).await;
        }
        let Some(authorization) = self.authorize(first.headers()).await? else { return Ok(first) };
        let second = self.send(method, path, headers, Some(&authorization)).await;
        self.passable(second.map_err(|error| self.unreachable(&error))?).await
    }

    /// Asks with the login of the registry, as its API wants it.
    pub(super) async fn ask_with_login(
        &self,
        method: Method,
        path: &str,
        headers: &[Header],
    ) -> Result<Response, Failure> {
        let answer = self.send(method, path, headers, self.basic().as_deref()).await;
        self.passable(answer.map_err(|error| self.unreachable(&error))?).await
    }

    fn basic(&self) -> Option<String> {
        let Registry { username, password, .. } = self.registry;
        let login = base64_text(&format!("{username}:{password}"));
        (!username.is_empty()).then(|| format!("Basic {login}"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[Header],
        authorization: Option<&str>,
    ) -> Result<Response, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Passing(format!("{} does not answer: {}", self.registry.host, causes(error)))
    }

    /// What may be better next time is a failure; every other answer is one.
    async fn passable(&self, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
            return Ok(response);
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let path = response.url().path().to_owned();
        let host = &self.registry.host;
        let said = format!("{host} answers {} to {path}", said(response).await);
        Err(match after {
            Some(after) => Failure::Later(said, after),
            None => Failure::Passing(said),
        })
    }

    /// Answers the challenge of a registry: a password, or a token that is fetched with
    /// it. Without a login there may be nothing to answer with.
    async fn authorize(&self, headers: &HeaderMap) -> Result<Option<String>, Failure> {
        let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let Some(parameters) = challenge.and_then(|text| strip_scheme(text, "Bearer")) else {
            return Ok(self.basic());
        };
        let host = &self.registry.host;
        let parameters = parse_challenge(parameters);
        let find = |name: &str| {
            parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
        };
        let realm = find("realm").and_then(|realm| Url::parse(&realm).ok());
        // A password goes nowhere unencrypted that was not spoken to so before.
        let safe = |realm: &Url| realm.scheme() == "https" || self.base.scheme() == "http";
        let Some(mut realm) = realm.filter(safe) else {
            let message = format!("{host} names no place to get a token from");
            return Err(infrastructure(message).into());
        };
        let asked = ["service", "scope"].map(|name| find(name).map(|value| (name, value)));
        let asked: Vec<(&str, String)> = asked.into_iter().flatten().collect();
        let request = match self.registry.identity_token() {
            Some(token) => {
                let fixed = [
                    ("grant_type", "refresh_token".to_owned()),
                    ("client_id", "shipline".to_owned()),
                    ("refresh_token", token.to_owned()),
                ];
                let mut form = realm.clone();
                form.query_pairs_mut().clear().extend_pairs(&asked).extend_pairs(&fixed);
                self.client
                    .post(realm.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            None => {
                realm.query_pairs_mut().extend_pairs(&asked);
                let request = self.client.get(realm.clone());
                match self.basic() {
                    Some(basic) => request.header(AUTHORIZATION, basic),
                    None => request,
                }
            }
        };
        let response = request.send().await.map_err(|error| {
            Failure::Passing(format!("{} does not answer: {}", place(&realm), causes(&error)))
        })?;
        let response = self.passable(response).await?;
        if !response.status().is_success() {
            let message = format!(
                "{host} gives `{}` no token: {} answers {}",
                self.registry.login(),
                place(&realm),
                said(response).await
            );
            return Err(refused(message).into());
        }
        let body = read(response).await?;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match body["token"].as_str().or(body["access_token"].as_str()) {
            Some(token) => Ok(Some(format!("Bearer {token}"))),
            None => Err(infrastructure(format!("{host} gives no token")).into()),
        }
    }
}

/// An address without its query.
fn place(url: &Url) -> String {
    format!("{}{}", url.host_str().unwrap_or_default(), url.path())
}

/// Reads an answer whole.
pub(super) async fn read(response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| {
            Failure::Passing(format!("an answer broke off: {}", causes(&error)))
        })?;
        if body.len() + piece.len() > BODY_LIMIT {
            return Err(infrastructure("an answer is longer than 32 MiB".to_owned()).into());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// An answer that is no success, in its own words: `412 Precondition Failed: no scanner`.
pub(super) async fn said(response: Response) -> String {
    let status = response.status();
    let body = read(response).await.unwrap_or_default();
    let words = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(body) => body["errors"][0]["message"].as_str().unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    };
    let words: String =
        words.chars().filter(|letter| !letter.is_control()).take(QUOTE_LIMIT).collect();
    if words.is_empty() { status.to_string() } else { format!("{status}: {words}") }
}

fn strip_scheme<'a>(challenge: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = challenge.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Reads `name="value",…`; commas inside the quotes belong to the value.
fn parse_challenge(mut text: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        parameters.push((name, value.to_owned()));
        text = rest;
    }
    parameters
}

async fn client(registry: &Registry, loopback: bool) -> Result<Client, Failure> {
    // Whoever is first installs it; a second time changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(60))
        .user_agent("shipline");
    if loopback {
        builder = builder.no_proxy();
    }
    if let Some(file) = &registry.ca_file {
        let unusable = |error: String| {
            let message = format!("the ca-file {} cannot be used: {error}", file.display());
            BackendError::User { code: None, message }
        };
        let pem = tokio::fs::read(file).await.map_err(|error| unusable(error.to_string()))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| infrastructure(causes(&error)).into())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn base64_text(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn refused(message: String) -> BackendError {
    BackendError::User { code: Some("E090"), message }
}

fn infrastructure(message: String) -> BackendError {
    BackendError::Infrastructure { part: "registry", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_commas_in_its_values() {
        let text = r#"realm="https://h/token",service="harbor",scope="repository:a:pull,push""#;
        let read = parse_challenge(text);
        assert_eq!(read[0], ("realm".to_owned(), "https://h/token".to_owned()));
        assert_eq!(read[2], ("scope".to_owned(), "repository:a:pull,push".to_owned()));
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "harbor.example:443", "[2001:db8::1]:5000"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
