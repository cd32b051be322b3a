//! `shipline man`: one manual page per command.

use clap::CommandFactory as _;

use crate::arguments::{Arguments, ManArguments};
use crate::error::{CommandError, Context as _};

pub(super) fn man(arguments: &ManArguments) -> Result<u8, CommandError> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).environment(&format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Arguments::command(), folder)
        .environment(&format!("cannot write the pages to {}", folder.display()))?;
    Ok(0)
}
