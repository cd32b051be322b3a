//! What a registry itself says about an image.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

use super::retry::Failure;
use crate::backend::BackendError;
use crate::{Registry, causes};

const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// Asks the registry itself which manifest a tag points to.
pub(super) async fn manifest_digest(
    registry: &Registry,
    repository: &str,
    tag: &str,
) -> Result<String, Failure> {
    let host = if registry.host == "docker.io" { "registry-1.docker.io" } else { &registry.host };
    let loopback = is_loopback(host);
    let client = client(registry, loopback).await?;
    let https = format!("https://{host}/v2/{repository}/manifests/{tag}");
    let error = match ask(&client, registry, &parse(&https)?).await {
        Ok(digest) => return Ok(digest),
        Err(Refusal::Failure(failure)) => return Err(failure),
        Err(Refusal::Unreachable(error)) => causes(&error),
    };
    if error.contains("certificate") {
        let message = format!(
            "the certificate of {host} is not trusted (`ca-file` of the registry): {error}"
        );
        return Err(infrastructure(message).into());
    }
    // Docker too speaks plain HTTP to this machine, and to no other.
    if loopback {
        let http = https.replacen("https", "http", 1);
        match ask(&client, registry, &parse(&http)?).await {
            Ok(digest) => return Ok(digest),
            Err(Refusal::Failure(failure)) => return Err(failure),
            // The first answer is the one that says why; the second was a guess.
            Err(Refusal::Unreachable(_)) => {}
        }
    }
    Err(Failure::Passing(format!("{host} does not answer: {error}")))
}

fn parse(url: &str) -> Result<Url, BackendError> {
    Url::parse(url).map_err(|error| infrastructure(format!("{url}: {error}")))
}

enum Refusal {
    Unreachable(reqwest::Error),
    Failure(Failure),
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(error)
    }
}

async fn ask(client: &Client, registry: &Registry, url: &Url) -> Result<String, Refusal> {
    let mut authorization = None;
    let first = send(client, Method::HEAD, url, None).await?;
    let response = if first.status() == StatusCode::UNAUTHORIZED {
        let granted = authorize(client, registry, url, first.headers()).await?;
        authorization = Some(granted);
        send(client, Method::HEAD, url, authorization.as_deref()).await?
    } else {
        first
    };
    check(registry, url, &response)?;
    let digest = response.headers().get("docker-content-digest");
    if let Some(digest) = digest.and_then(|value| value.to_str().ok()) {
        return Ok(digest.to_owned());
    }
    // Old registries say no digest: it is the hash of what they return.
    let response = send(client, Method::GET, url, authorization.as_deref()).await?;
    check(registry, url, &response)?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(response.bytes().await?))))
}

async fn send(
    client: &Client,
    method: Method,
    url: &Url,
    authorization: Option<&str>,
) -> Result<Response, reqwest::Error> {
    let mut request = client.request(method, url.clone()).header(ACCEPT, MANIFESTS);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.send().await
}

fn check(registry: &Registry, url: &Url, response: &Response) -> Result<(), Refusal> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let said = format!("{} answers {status} to {}", registry.host, url.path());
    let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    Err(Refusal::Failure(if passing { Failure::Passing(said) } else { refused(said).into() }))
}

/// Answers the challenge of a registry: a password, or a token that is fetched with it.
async fn authorize(
    client: &Client,
    registry: &Registry,
    url: &Url,
    headers: &HeaderMap,
) -> Result<String, Refusal> {
    let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let challenge = challenge.unwrap_or("Basic");
    let with_password = !registry.username.is_empty();
    let Some(parameters) = strip_scheme(challenge, "Bearer") else {
        if !with_password {
            return Err(Refusal::Failure(
                refused(format!("{} wants a login", registry.host)).into(),
            ));
        }
        let basic = base64_text(&format!("{}:{}", registry.username, registry.password));
        return Ok(format!("Basic {basic}"));
    };
    let parameters = parse_challenge(parameters);
    let find = |name: &str| {
        parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    };
    let realm = find("realm").and_then(|realm| Url::parse(realm).ok());
    let Some(mut realm) = realm.filter(|realm| realm.scheme() == "https" || url.scheme() == "http")
    else {
        let message = format!("{} names no place to get a token from", registry.host);
        return Err(Refusal::Failure(infrastructure(message).into()));
    };
    for name in ["service", "scope"] {
        if let Some(value) = find(name) {
            realm.query_pairs_mut().append_pair(name, value);
        }
    }
    let mut request = client.get(realm.clone());
    if with_password {
        request = request.basic_auth(&registry.username, Some(&registry.password));
    }
    let response = request.send().await?;
    check(registry, &realm, &response)?;
    let body: serde_json::Value = response.json().await?;
    let token = body["token"].as_str().or(body["access_token"].as_str());
    match token {
        Some(token) => Ok(format!("Bearer {token}")),
        None => {
            let message = format!("{} gives no token", registry.host);
            Err(Refusal::Failure(infrastructure(message).into()))
        }
    }
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
