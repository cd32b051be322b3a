//! `shipline proxy`: the traffic switch, until it is told to end.

use crate::arguments::ProxyArguments;
use crate::error::{CommandError, Kind};
use crate::logging;

/// Warnings of ours; pingora calls every malformed request of a client an error.
const LOG: &str = "warn,pingora_core=off,pingora_proxy=off,pingora_cache=off";

pub(super) fn proxy(arguments: ProxyArguments) -> Result<u8, CommandError> {
    logging::start(LOG)?;
    let config = proxy::ProxyConfig {
        listen: arguments.listen,
        control: arguments.control,
        state: arguments.state,
    };
    proxy::serve(config).map_err(|error| {
        CommandError::caused(Kind::Environment, "the proxy cannot serve", &error)
    })?;
    Ok(0)
}
