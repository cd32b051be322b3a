//! A GET, and whether its answer is what it should be.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::time::Instant;

use super::HttpStep;

/// Of a body this much is read.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// Returns a client; requests to units go to their addresses, whatever proxy the
/// environment names.
pub(crate) fn client(direct: bool) -> Result<Client, String> {
    // Somebody else may have installed it, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder().redirect(Policy::none()).user_agent("shipline-verify");
    let builder = if direct { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| format!("no HTTP client: {}", causes(&error)))
}

/// Asks `address`, and says what is wrong with the answer.
pub(super) async fn ask(client: &Client, address: &str, step: &HttpStep) -> Result<(), String> {
    let timeout = step.timeout.std();
    let begun = Instant::now();
    let answer = tokio::time::timeout(timeout, answer(client, address, step)).await;
    let wrong = match answer {
        Ok(Ok(())) => {
            let took = begun.elapsed();
            let limit = step.latency.map(|limit| limit.std()).filter(|limit| took > *limit);
            limit.map(|limit| format!("took {} s, and at most {} s", seconds(took), seconds(limit)))
        }
        Ok(Err(wrong)) => Some(wrong),
        Err(_) => Some(format!("no whole answer within {} s", seconds(timeout))),
    };
    wrong.map_or(Ok(()), |wrong| Err(format!("GET {address}: {wrong}")))
}

async fn answer(client: &Client, address: &str, step: &HttpStep) -> Result<(), String> {
    let mut answer = client.get(address).send().await.map_err(|error| causes(&error))?;
    let status = answer.status().as_u16();
    let is_good = match step.status.as_slice() {
        [] => (200..300).contains(&status),
        good => good.contains(&status),
    };
    if !is_good {
        return Err(format!("answered {status}"));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| causes(&error))? {
        let room = BODY_LIMIT_BYTES.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    if let Some(text) = &step.body
        && !String::from_utf8_lossy(&body).contains(text)
    {
        return Err(format!("the body does not hold `{text}`"));
    }
    if step.json.is_empty() {
        return Ok(());
    }
    let json: serde_json::Value =
        serde_json::from_slice(&body).map_err(|error| format!("the body is no JSON: {error}"))?;
    for (pointer, wanted) in &step.json {
        match json.pointer(pointer) {
            Some(found) if found == wanted => {}
            Some(found) => return Err(format!("`{pointer}` is {found}, not {wanted}")),
            None => return Err(format!("`{pointer}` is not there")),
        }
    }
    Ok(())
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn step() -> HttpStep {
        HttpStep {
            suite: None,
            once: false,
            http: "/health".to_owned(),
            status: Vec::new(),
            body: None,
            json: BTreeMap::new(),
            latency: None,
            timeout: pipeline::Duration::from_secs(1),
        }
    }

    /// Answers one request with `answer`, after a while.
    async fn asked(step: &HttpStep, answer: &str, after: Duration) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/health", listener.local_addr().unwrap());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            tokio::time::sleep(after).await;
            // The client may have gone.
            let _ = stream.write_all(answer.as_bytes()).await;
        };
        let client = client(true).unwrap();
        let (asked, ()) = tokio::join!(ask(&client, &address, step), serving);
        asked.map_err(|wrong| wrong.replace(&address, "/health"))
    }

    fn answer(status: u16, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn status_body_json_and_latency_are_checked() {
        let now = Duration::ZERO;
        let wrong = |said: &str| Err(format!("GET /health: {said}"));
        assert_eq!(asked(&step(), &answer(204, ""), now).await, Ok(()));
        assert_eq!(asked(&step(), &answer(302, ""), now).await, wrong("answered 302"));
        let redirect = HttpStep { status: vec![301, 302], ..step() };
        assert_eq!(asked(&redirect, &answer(302, ""), now).await, Ok(()));
        assert_eq!(asked(&redirect, &answer(200, ""), now).await, wrong("answered 200"));

        let text = HttpStep { body: Some("ready".to_owned()), ..step() };
        assert_eq!(asked(&text, &answer(200, "is ready now"), now).await, Ok(()));
        let said = wrong("the body does not hold `ready`");
        assert_eq!(asked(&text, &answer(200, "is not"), now).await, said);

        let wanted = [("/checks/0/state".to_owned(), serde_json::json!("up"))];
        let json = HttpStep { json: wanted.into(), ..step() };
        let body = |state: &str| answer(200, &format!(r#"{{"checks":[{{"state":{state}}}]}}"#));
        assert_eq!(asked(&json, &body(r#""up""#), now).await, Ok(()));
        let said = wrong("`/checks/0/state` is 1, not \"up\"");
        assert_eq!(asked(&json, &body("1"), now).await, said);
        let said = wrong("`/checks/0/state` is not there");
        assert_eq!(asked(&json, &answer(200, "{}"), now).await, said);
        let no_json = asked(&json, &answer(200, "<html>"), now).await.unwrap_err();
        assert!(no_json.starts_with("GET /health: the body is no JSON"), "{no_json}");

        let fast = HttpStep { latency: Some("50ms".parse().unwrap()), ..step() };
        let late = asked(&fast, &answer(200, ""), Duration::from_millis(200)).await.unwrap_err();
        assert!(late.ends_with("and at most 0.05 s"), "{late}");
        let never = asked(&step(), &answer(200, ""), Duration::from_secs(3)).await;
        assert_eq!(never, wrong("no whole answer within 1 s"));
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_told_with_its_cause() {
        let client = client(true).unwrap();
        let refused = ask(&client, "http://127.0.0.1:1/", &step()).await.unwrap_err();
        assert!(refused.to_lowercase().contains("refused"), "{refused}");
    }
}
