//! WebSockets: the handshake is HTTP, and what follows are bytes both ways.
//!
//! pingora's own tunnel ends when a unit agrees before the end of the empty body
//! of the request was passed on (cloudflare/pingora#946), so the handshake is
//! asked for here, one step after the other, and then pingora has no part in it.
//! Choice of the unit, claim, cut and drain are those of any request.

use std::future::{Future, poll_fn};
use std::io::Cursor;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{StatusCode, Version};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession as UnitSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session};

use super::relay::{End, relay};
use super::{Exchange, Forward};
use crate::serve::connection::Connection;
use crate::serve::headers::{forwarded, handshake, is_handshake};

/// Whether a request is one for a WebSocket, which its unit may agree to.
pub fn is_wanted(session: &mut Session) -> bool {
    session.is_upgrade_req() && session.is_body_empty() && is_handshake(session.req_header())
}

impl Forward {
    /// Asks a unit for the WebSocket that the client wants and carries it to its end.
    ///
    /// What the unit says instead is passed on, and the connection of the client
    /// is kept as after any answer.
    pub(super) async fn websocket(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        connection: &Connection,
    ) -> Result<()> {
        let mut unit = self.connect(session, exchange).await?;
        let mut request = handshake(session.req_header())?;
        forwarded(&mut request, connection.client.ip(), connection.secure)?;
        unit.write_request_header(Box::new(request)).await.map_err(Error::into_up)?;
        loop {
            let mut part = next_part(&mut unit, session).await?;
            if let HttpTask::Header(answer, end) = &mut part {
                let agreed = answer.status == StatusCode::SWITCHING_PROTOCOLS;
                if agreed && !unit.was_upgraded() {
                    let error = Error::explain(ErrorType::InvalidHTTPHeader, "101 over HTTP/1.0");
                    return Err(error.into_up());
                }
                delimit(answer, *end)?;
                self.response_filter(session, answer, exchange).await?;
                if agreed {
                    let agreement = wire(answer);
                    carry(session, exchange, unit, agreement).await;
                    return Ok(());
                }
            }
            if session.write_response_tasks(vec![part]).await? {
                return Ok(());
            }
        }
    }

    /// Connects to the unit of the claim, or else to another one, as pingora does.
    async fn connect(&self, session: &mut Session, exchange: &mut Exchange) -> Result<UnitSession> {
        loop {
            let peer = self.upstream_peer(session, exchange).await?;
            match self.connector.get_http_session(&*peer).await {
                Ok((unit, _)) => {
                    if let Some(claim) = &exchange.claim {
                        claim.unit().reached();
                    }
                    return Ok(unit);
                }
                Err(error) => {
                    let error = self.fail_to_connect(session, &peer, exchange, error.into_up());
                    if !error.retry() {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// The next part of the unit's answer, unless the client goes away first.
async fn next_part(unit: &mut UnitSession, session: &mut Session) -> Result<HttpTask> {
    tokio::select! {
        biased;
        part = unit.read_response_task() => part.map_err(Error::into_up),
        // What a client says early is kept for later, and then this waits for nothing more.
        gone = session.read_body_or_idle(true) => Err(match gone {
            Err(error) => error,
            Ok(_) => Error::new(ErrorType::ConnectionClosed),
        }
        .into_down()),
    }
}

/// An answer that ends with its connection goes on in pieces, so that the client
/// hears of its end.
fn delimit(answer: &mut ResponseHeader, end: bool) -> Result<()> {
    let bodiless = answer.status.is_informational()
        || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let delimited = [CONTENT_LENGTH, TRANSFER_ENCODING]
        .iter()
        .any(|header| answer.headers.contains_key(header));
    if !(end || bodiless || delimited) {
        answer.set_version(Version::HTTP_11);
        answer.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

/// Passes the unit's agreement on, and then all that both have to say.
async fn carry(
    session: &mut Session,
    exchange: &mut Exchange,
    mut unit: UnitSession,
    mut agreement: BytesMut,
) {
    agreement.extend_from_slice(&first_words(&mut unit).await);
    let unit = End { stream: unit.into_inner(), said: agreement.freeze() };
    let Some((stream, said)) = take(session).await else {
        return;
    };
    let outcome = relay(End { stream, said }, unit).await;
    if let Some(claim) = exchange.claim.take() {
        claim.end(outcome);
    }
}

/// What the unit said in one breath with its agreement.
async fn first_words(unit: &mut UnitSession) -> Bytes {
    let mut words = pin!(unit.read_body_bytes());
    // Polled once, so that what is still to come is not waited for.
    match poll_fn(|context| Poll::Ready(words.as_mut().poll(context))).await {
        Poll::Ready(Ok(Some(words))) => words,
        _ => Bytes::new(),
    }
}

/// Takes the connection of the client out of its session, and what it said early.
async fn take(session: &mut Session) -> Option<(Stream, Bytes)> {
    // pingora finds a session that has no connection to keep.
    let nothing = ServerSession::new_http1(Box::new(Cursor::new(Vec::new())));
    let taken = std::mem::replace(session.as_downstream_mut(), nothing);
    let ServerSession::H1(mut client) = taken else {
        return None;
    };
    // A connection is given back only for a next request, to clients that want one.
    client.req_header_mut().remove_header(&hyper::header::CONNECTION);
    client.set_server_keepalive(Some(0));
    client.set_pipelining_enabled(true);
    let (stream, said) = client.reuse().await.ok().flatten()?.into_parts();
    Some((stream, said.unwrap_or_default().freeze()))
}

/// The head of an agreement as it is sent.
fn wire(answer: &ResponseHeader) -> BytesMut {
    let reason = answer.get_reason_phrase().unwrap_or("Switching Protocols");
    let mut wire = BytesMut::from(format!("HTTP/1.1 101 {reason}\r\n").as_bytes());
    answer.header_to_h1_wire(&mut wire);
    wire.extend_from_slice(b"\r\n");
    wire
}
