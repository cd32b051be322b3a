//! `shipline explain`: a code in full.

use crate::arguments::ExplainArguments;
use crate::error::CommandError;

pub(super) fn explain(arguments: &ExplainArguments) -> Result<u8, CommandError> {
    let code = &arguments.code;
    let explanation =
        pipeline::explain(code).or_else(|| runner::explain(code)).ok_or_else(|| {
            CommandError::usage(format_args!("`{code}` is no code of Shipline")).hint(
            "codes look like `E010` or `W070` and stand in brackets after `error` and `warning`",
        )
        })?;
    super::print(&explanation.to_string())?;
    Ok(0)
}
