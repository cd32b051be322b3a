//! Headers of a request: for which host it is, and what its unit is told about the client.

use std::net::IpAddr;

use hyper::Method;
use hyper::header::{CONNECTION, FORWARDED, HOST, HeaderName, UPGRADE};
use pingora_core::Result;
use pingora_http::RequestHeader;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

const WEBSOCKET: &str = "websocket";

/// What a request says of the connection it comes on, and not to the unit; besides
/// what its `Connection` names.
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a unit is told whatever `Connection` names.
const TOLD: [&str; 4] = ["host", FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO];

/// The host a request is for, in lower case and without its port.
pub fn host(request: &RequestHeader) -> String {
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

/// Whether a request asks for a WebSocket, as its protocol says.
pub fn is_handshake(request: &RequestHeader) -> bool {
    request.method == Method::GET
        && words(request, UPGRADE).any(|word| word.eq_ignore_ascii_case(WEBSOCKET))
}

/// The handshake as a unit gets it: what is of the connection of the client stays there.
pub fn handshake(request: &RequestHeader) -> Result<RequestHeader> {
    let mut handshake = request.clone();
    let named = words(request, CONNECTION).map(str::to_ascii_lowercase);
    for name in named.filter(|name| !TOLD.contains(&name.as_str())) {
        handshake.remove_header(name.as_str());
    }
    for name in OF_THE_CONNECTION {
        handshake.remove_header(name);
    }
    if let Some(authority) = request.uri.authority() {
        handshake.insert_header(HOST, authority.as_str())?;
    }
    handshake.insert_header(CONNECTION, "Upgrade")?;
    handshake.insert_header(UPGRADE, WEBSOCKET)?;
    Ok(handshake)
}

/// The words of a header that is a list.
fn words(request: &RequestHeader, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = request.headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// Says for whom, under which name and how the request came.
///
/// What a client says about itself counts only when it is on this machine, as a
/// TLS front is; others could claim to be anybody.
pub fn forwarded(request: &mut RequestHeader, client: IpAddr, secure: bool) -> Result<()> {
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
        request.insert_header(FORWARDED_PROTO, if secure { "https" } else { "http" })?;
    }
    if !trusted {
        request.remove_header(&FORWARDED);
    }
    Ok(())
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
        forwarded(&mut request, client.parse().unwrap(), false).unwrap();
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
    fn who_comes_over_tls_is_said_to_unless_a_front_says_otherwise() {
        for (client, said, proto) in [
            ("192.0.2.7", "http", "https"),
            ("127.0.0.1", "http", "http"),
            ("127.0.0.1", "", "https"),
        ] {
            let headers = [("host", "shop"), ("x-forwarded-proto", said)];
            let mut request = request(if said.is_empty() { &headers[..1] } else { &headers });
            forwarded(&mut request, client.parse().unwrap(), true).unwrap();
            assert_eq!(request.headers["x-forwarded-proto"], proto);
        }
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
    fn a_handshake_leaves_what_is_of_the_connection() {
        let said = [
            ("host", "shop"),
            ("connection", "keep-alive, Upgrade, X-Hop, Host"),
            ("upgrade", "h2c, WebSocket"),
            ("x-hop", "this hop only"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let request = request(&said);
        assert!(is_handshake(&request));
        let handshake = handshake(&request).unwrap();
        let mut lines: Vec<String> = handshake
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        assert_eq!(
            lines.join(" | "),
            "connection: Upgrade | host: shop | \
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ== | upgrade: websocket"
        );
    }

    #[test]
    fn only_a_get_for_a_websocket_is_a_handshake() {
        for (method, upgrade) in [("GET", "h2c"), ("POST", "websocket"), ("GET", "websockets")] {
            let mut request = RequestHeader::build(method, b"/", None).unwrap();
            request.append_header("upgrade", upgrade).unwrap();
            assert!(!is_handshake(&request), "{method} {upgrade}");
        }
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
