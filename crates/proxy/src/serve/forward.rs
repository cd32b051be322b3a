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
//! Of upgrades only WebSockets pass: others are asked of the unit without the
//! upgrade, since a tunnel of unknown kind would go past the routes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, FORWARDED, HOST, SERVER};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::http::ServerSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{BError, Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::connection::Connection;
use super::counts::Outcome;
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

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

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
#[derive(Debug)]
pub struct Forward {
    table: Arc<Table>,
}

/// What belongs to one request; dropping it gives the claim back.
#[derive(Debug, Default)]
pub struct Exchange {
    route: String,
    claim: Option<Claim>,
    /// Only on a connection that nobody used before, and nobody will after.
    alone: bool,
    retried: bool,
}

impl Forward {
    pub fn new(table: Arc<Table>) -> Forward {
        Forward { table }
    }

    /// Claims another unit for a second attempt.
    fn another(&self, exchange: &Exchange, failed: &Claim) -> Option<Claim> {
        let connection = Connection::current()?;
        self.table.claim_another(&exchange.route, failed.unit(), &connection)
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
        match self.table.claim(&host(request), path, &connection) {
            Found::Claim { route, claim } => {
                exchange.route = route;
                exchange.claim = Some(claim);
                let safe = session.req_header().method.is_safe();
                exchange.alone = !safe || session.is_upgrade_req() || !session.is_body_empty();
                Ok(false)
            }
            Found::NoRoute => turn_away(session, 404, "no route for this host and path\n").await,
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
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Some(connection) = Connection::current() {
            forwarded(request, connection.client.ip())?;
        }
        // Said aloud, so that it is the unit that closes and keeps the waiting port.
        if exchange.alone && !session.is_upgrade_req() {
            request.insert_header(CONNECTION, "close")?;
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

/// The host a request is for, in lower case and without its port.
fn host(request: &RequestHeader) -> String {
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    without_port(host).trim_end_matches('.').to_ascii_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // In `[::1]` the colons are those of the address.
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// Says for whom, under which name and how the request came.
///
/// What a client says about itself counts only when it is on this machine, as a
/// TLS front is; others could claim to be anybody.
fn forwarded(request: &mut RequestHeader, client: IpAddr) -> Result<()> {
    let trusted = client.to_canonical().is_loopback();
    let said: Vec<String> = request
        .headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|_| trusted)
        .map(str::to_owned)
        .chain([client.to_canonical().to_string()])
        .collect();
    request.insert_header(FORWARDED_FOR, said.join(", "))?;
    if !trusted || !request.headers.contains_key(FORWARDED_HOST) {
        match request.headers.get(HOST).cloned() {
            Some(host) => request.insert_header(FORWARDED_HOST, host)?,
            None => drop(request.remove_header(FORWARDED_HOST)),
        }
    }
    if !trusted || !request.headers.contains_key(FORWARDED_PROTO) {
        request.insert_header(FORWARDED_PROTO, "http")?;
    }
    if !trusted {
        request.remove_header(&FORWARDED);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn headers_after(client: &str, headers: &[(&'static str, &str)]) -> String {
        let mut request = request(headers);
        forwarded(&mut request, client.parse().unwrap()).unwrap();
        let mut lines: Vec<String> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines.join(" | ")
    }

    #[test]
    fn a_stranger_cannot_pretend_to_be_somebody_else() {
        let said = [
            ("host", "shop.example.com"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "other.example.com"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=10.0.0.1"),
        ];
        assert_eq!(
            headers_after("192.0.2.7", &said),
            "host: shop.example.com | x-forwarded-for: 192.0.2.7 | \
             x-forwarded-host: shop.example.com | x-forwarded-proto: http"
        );
        assert_eq!(
            headers_after("::ffff:192.0.2.7", &said[..1]),
            "host: shop.example.com | x-forwarded-for: 192.0.2.7 | \
             x-forwarded-host: shop.example.com | x-forwarded-proto: http"
        );
    }

    #[test]
    fn a_front_on_this_machine_is_believed() {
        let said = [
            ("host", "backend"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-for", "192.0.2.8"),
            ("x-forwarded-host", "shop.example.com"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(
            headers_after("127.0.0.1", &said),
            "host: backend | x-forwarded-for: 192.0.2.7, 192.0.2.8, 127.0.0.1 | \
             x-forwarded-host: shop.example.com | x-forwarded-proto: https"
        );
    }

    #[test]
    fn a_host_is_known_by_its_name_alone() {
        for (said, known) in [
            ("Shop.Example.com", "shop.example.com"),
            ("shop.example.com:8080", "shop.example.com"),
            ("shop.example.com.:80", "shop.example.com"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host(&request(&[("host", said)])), known);
        }
    }
}
