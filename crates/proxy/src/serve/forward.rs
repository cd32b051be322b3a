//! One request on its way: which unit, how often at most, with which headers.
//!
//! A request is sent twice only when that cannot do anything twice:
//!
//! * A connection could not be made, so not a byte went out: once more, to
//!   another unit, whatever the method.
//! * A pooled connection turned out to be closed before any answer came. Nobody
//!   can prove that the unit did not read the request, so only a safe method
//!   (GET, HEAD, OPTIONS, TRACE) without a body ever uses a pooled connection,
//!   and only such a request is sent once more, on a connection of its own.
//! * All others get a connection of their own from the start. A unit that closes
//!   idle connections whenever it likes cannot lose them.
//!
//! Of upgrades only WebSockets pass ([`websocket`]): others are asked of the unit
//! without the upgrade, since a tunnel of unknown kind would go past the routes.

mod relay;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, SERVER, SET_COOKIE, UPGRADE};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::v1::Connector;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::http::ServerSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::connection::Connection;
use super::counts::Outcome;
use super::headers::{forwarded, host};
use super::route::Wish;
use super::table::{Found, Table};
use super::unit::{Claim, fresh_key};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shorter than common servers keep idle connections (5 s and more), so that it
/// is nearly always the proxy that closes them.
const POOLED: Duration = Duration::from_secs(4);

/// Longer than common clients keep idle connections, for the same reason.
const CLIENT_KEEP_ALIVE_SECONDS: u64 = 600;

/// How long the rest of an upload that goes nowhere is read.
const LINGER: Duration = Duration::from_secs(1);

/// How long a peer may be silent before the kernel asks whether it is alive.
pub fn tcp_keepalive() -> TcpKeepalive {
    TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(15),
        count: 4,
        user_timeout: Duration::ZERO,
    }
}

/// The proxy as pingora sees it.
pub struct Forward {
    table: Arc<Table>,
    /// For WebSockets; what it connects is never pooled.
    connector: Connector,
}

/// What belongs to one request; dropping it gives the claim back.
#[derive(Debug, Default)]
pub struct Exchange {
    route: String,
    /// The path prefix that led to the route.
    prefix: String,
    wish: Wish,
    claim: Option<Claim>,
    /// Only on a connection that nobody used before, and nobody will after.
    alone: bool,
    retried: bool,
}

impl Forward {
    pub fn new(table: Arc<Table>, connections: ConnectorOptions) -> Forward {
        Forward { table, connector: Connector::new(Some(connections)) }
    }

    /// Claims another unit for a second attempt.
    fn another(&self, exchange: &Exchange, failed: &Claim) -> Option<Claim> {
        let connection = Connection::current()?;
        self.table.claim_another(&exchange.route, &exchange.wish, failed.unit(), &connection)
    }
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::default()
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut Exchange) -> Result<()> {
        // Uploads and upgraded connections may pause as long as they like; dead
        // clients are the kernel's keep-alive to find.
        session.set_read_timeout(None);
        // Without this a client that sends its next request early loses this one.
        session.set_pipelining_enabled(true);
        if session.get_keepalive().is_some() && !session.is_process_shutting_down() {
            session.set_keepalive(Some(CLIENT_KEEP_ALIVE_SECONDS));
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let Some(connection) = Connection::current() else {
            return Err(Error::explain(
                ErrorType::InternalError,
                "a request outside of a connection's task",
            ));
        };
        let request = session.req_header();
        let path = match request.uri.path() {
            // `OPTIONS *` asks about the server as a whole.
            "" | "*" => "/",
            path => path,
        };
        match self.table.claim(&host(request), path, &request.headers, &connection) {
            Found::Claim { route, claim, wish, prefix } => {
                exchange.route = route;
                exchange.prefix = prefix;
                exchange.wish = wish;
                exchange.claim = Some(claim);
                if websocket::is_wanted(session) {
                    exchange.alone = true;
                    self.websocket(session, exchange, &connection).await?;
                    return Ok(true);
                }
                let safe = session.req_header().method.is_safe();
                exchange.alone = !safe || session.is_upgrade_req() || !session.is_body_empty();
                Ok(false)
            }
            Found::NoRoute => turn_away(session, 404, "no route for this host and path\n").await,
            Found::NoRelease(release) => {
                turn_away(session, 404, &format!("no unit runs release `{release}` here\n")).await
            }
            Found::NoUnit(Some(page)) => turn_away(session, page.status, &page.text).await,
            Found::NoUnit(None) => {
                turn_away(session, 503, "nothing runs here at the moment\n").await
            }
        }
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let Some(claim) = &exchange.claim else {
            return Err(Error::explain(ErrorType::InternalError, "a request without a claim"));
        };
        let unit = claim.unit();
        let mut peer = HttpPeer::new(unit.address, false, String::new());
        peer.group_key = if exchange.alone { fresh_key() } else { unit.key };
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.idle_timeout = Some(POOLED);
        peer.options.tcp_keepalive = Some(tcp_keepalive());
        Ok(Box::new(peer))
    }

    /// No byte was sent: the request may go to another unit, whatever it is.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: BError,
    ) -> BError {
        error.set_retry(false);
        let Some(failed) = exchange.claim.take() else {
            return error;
        };
        // Anything else is trouble of our own, such as too many open files.
        if matches!(
            error.etype(),
            ErrorType::ConnectRefused
                | ErrorType::ConnectTimedout
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
        ) {
            let unit = failed.unit();
            unit.unreachable();
            tracing::warn!(route = %exchange.route, unit = %unit.name, "unit {} cannot be reached at {}: {error}", unit.name, peer._address);
        }
        if !exchange.retried
            && let Some(next) = self.another(exchange, &failed)
        {
            exchange.claim = Some(next);
            exchange.retried = true;
            error.set_retry(true);
        }
        failed.end(Outcome::Error);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&pingora_core::protocols::Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Some(claim) = &exchange.claim
            && !reused
        {
            claim.unit().reached();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Some(connection) = Connection::current() {
            forwarded(request, connection.client.ip(), connection.secure)?;
        }
        // pingora lets those of WebSockets through, which only a handshake may have.
        request.remove_header(&UPGRADE);
        // Said aloud, so that it is the unit that closes and keeps the waiting port.
        if exchange.alone {
            request.insert_header(CONNECTION, "close")?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        answer: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let Some(claim) = &exchange.claim else {
            return Ok(());
        };
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            claim.upgraded();
        }
        let secure = Connection::current().is_some_and(|connection| connection.secure);
        if let Some(cookie) = exchange.wish.cookie(claim.unit(), &exchange.prefix, secure) {
            answer.append_header(SET_COOKIE, cookie)?;
        }
        Ok(())
    }

    /// Bytes may have been sent: see the module's rules.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: BError,
        exchange: &mut Exchange,
        reused: bool,
    ) -> BError {
        let closed = matches!(
            error.etype(),
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
        );
        let again = reused
            && !exchange.alone
            && !exchange.retried
            && closed
            && *error.esource() == ErrorSource::Upstream
            && session.response_written().is_none();
        error.set_retry(again);
        if again {
            exchange.retried = true;
            exchange.alone = true;
            let next = exchange.claim.as_ref().and_then(|failed| self.another(exchange, failed));
            // With no other unit the claim stays, so that the unit is not taken for idle.
            if let Some(next) = next
                && let Some(stale) = exchange.claim.replace(next)
            {
                stale.end(Outcome::Unused);
            }
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let (code, text) = match error.etype() {
            ErrorType::HTTPStatus(code) => (*code, ""),
            _ => match error.esource() {
                ErrorSource::Downstream if gone(error) => (0, ""),
                ErrorSource::Downstream => (400, "the request cannot be understood\n"),
                ErrorSource::Upstream => (502, "the unit behind this route gave no answer\n"),
                _ => (500, "the proxy failed\n"),
            },
        };
        tracing::debug!(route = %exchange.route, "request failed: {error}");
        if code > 0
            && let Err(error) = answer(session, code, text).await
        {
            tracing::debug!("client is gone: {error}");
        }
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }

    /// The answer is out, or there will be none: the unit has done its part.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        let Some(claim) = exchange.claim.take() else {
            return;
        };
        let status = session.response_written().map(|answer| answer.status);
        claim.end(match (error, status) {
            (Some(error), _) if *error.esource() == ErrorSource::Downstream => Outcome::Gone,
            (Some(_), _) | (None, None) => Outcome::Error,
            (None, Some(status)) => Outcome::Answered(status.as_u16()),
        });
    }

    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Answers a request that goes nowhere.
async fn turn_away(session: &mut Session, status: u16, text: &str) -> Result<bool> {
    answer(session, status, text).await?;
    // Closing on bytes that nobody read would take the answer back from the client.
    let rest = session.as_downstream_mut().drain_request_body();
    let _ = tokio::time::timeout(LINGER, rest).await;
    Ok(true)
}

/// Answers in the proxy's own name; the connection ends after it.
async fn answer(session: &mut Session, status: u16, text: &str) -> Result<()> {
    let mut header = ServerSession::generate_error(status);
    header.remove_header(&SERVER);
    header.insert_header(CONTENT_TYPE, "text/plain; charset=utf-8")?;
    header.set_content_length(text.len())?;
    let text = Bytes::copy_from_slice(text.as_bytes());
    session.as_downstream_mut().write_error_response(header, text).await
}

/// Whether there is nobody left to answer.
fn gone(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed
    )
}
