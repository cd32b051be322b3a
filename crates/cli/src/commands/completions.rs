//! `shipline completions`: for bash, zsh, fish and the others.

use clap::CommandFactory as _;

use crate::arguments::{Arguments, CompletionsArguments};
use crate::error::CommandError;

pub(super) fn completions(arguments: &CompletionsArguments) -> Result<u8, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "shipline", &mut script);
    super::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
