//! `shipline proxy`: the traffic switch, until it is told to end.

use crate::arguments::ProxyArguments;
use crate::error::{CommandError, Kind};

pub(super) fn proxy(arguments: ProxyArguments) -> Result<u8, CommandError> {
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
