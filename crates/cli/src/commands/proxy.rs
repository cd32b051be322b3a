//! `shipline proxy`: the traffic switch, until it is told to end.

use std::net::{Ipv4Addr, SocketAddr};

use crate::arguments::ProxyArguments;
use crate::error::{CommandError, Kind};
use crate::logging;

/// Warnings of ours; pingora calls every malformed request of a client an error.
const LOG: &str = "warn,pingora_core=off,pingora_proxy=off,pingora_cache=off";

const USUAL_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

pub(super) fn proxy(arguments: ProxyArguments) -> Result<u8, CommandError> {
    logging::start(LOG)?;
    let mut listen = arguments.listen;
    if listen.is_empty() && arguments.tls_listen.is_empty() {
        listen.push(USUAL_ADDRESS);
    }
    let files = arguments.certificate.zip(arguments.key);
    let config = proxy::ProxyConfig {
        listen,
        tls_listen: arguments.tls_listen,
        certificate: files.map(|(certificate, key)| proxy::CertificateFiles { certificate, key }),
        control: arguments.control,
        state: arguments.state,
        drain: arguments.drain.std(),
        drain_websockets: arguments.drain_websockets.std(),
        upgrade: arguments.upgrade,
    };
    proxy::serve(config).map_err(|error| {
        CommandError::caused(Kind::Environment, "the proxy cannot serve", &error)
    })?;
    Ok(0)
}
