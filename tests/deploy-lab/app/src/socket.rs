//! A WebSocket that echoes what it is told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::frame::{self, CLOSE, GUID, TEXT};
use crate::serve::{Answer, body};

/// The server goes away.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Answers the handshake; the echo lasts until one of both ends it, or `ending` says so.
pub fn upgrade(
    mut request: Request<Incoming>,
    mut ending: watch::Receiver<bool>,
    greeting: String,
) -> Response<Answer> {
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        let mut answer = Response::new(body("this is a WebSocket"));
        *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return answer;
    };
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize();
    let accept = HeaderValue::from_str(&STANDARD.encode(digest));
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let mut stream = TokioIo::new(upgraded);
        if frame::write(&mut stream, TEXT, greeting.as_bytes(), None).await.is_err() {
            return;
        }
        tokio::select! {
            () = echo(&mut stream) => {}
            () = told(&mut ending) => {
                let _ = frame::write(&mut stream, CLOSE, &GOING_AWAY, None).await;
            }
        }
    });
    let mut answer = Response::new(body(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        headers.insert("sec-websocket-accept", accept);
    }
    answer
}

pub async fn told(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    while let Ok((kind, payload)) = frame::read(stream).await {
        if frame::write(stream, kind, &payload, None).await.is_err() || kind == CLOSE {
            return;
        }
    }
}
