//! What long-running commands log to stderr, for operators.

use tracing_subscriber::EnvFilter;

use crate::error::CommandError;

pub(crate) fn start(filter: &str) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        CommandError::usage(format_args!("`{filter}` is no log filter: {error}"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}
