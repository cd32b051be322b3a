//! `shipline explain`: a code in full.

use crate::arguments::ExplainArguments;
use crate::error::CommandError;

pub(super) fn explain(arguments: &ExplainArguments) -> Result<u8, CommandError> {
    let explanation = pipeline::explain(&arguments.code).ok_or_else(|| {
        CommandError::usage(format_args!("`{}` is no code of Shipline", arguments.code)).hint(
            "codes look like `E010` or `W070` and stand in brackets after `error` and `warning`",
        )
    })?;
    super::print(&explanation.to_string())?;
    Ok(0)
}
