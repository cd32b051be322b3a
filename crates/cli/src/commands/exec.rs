//! `shipline exec`: a command beside a unit.

use deploy::ExecOptions;

use super::unit_logs::one;
use crate::arguments::ExecArguments;
use crate::environments::Environments;
use crate::error::CommandError;
use crate::unit_terminal;

pub(super) async fn exec(arguments: &ExecArguments) -> Result<u8, CommandError> {
    let environment = &arguments.environment;
    let environments = Environments::open(&arguments.place).await?;
    let Environments::Local(local) = &environments else {
        return Err(CommandError::usage("`shipline exec` does not go through a server").hint(
            "run it where the target is in reach, in a directory whose pipeline file names it",
        ));
    };
    let status = environments.status(environment).await?;
    let unit = one(&status, arguments.unit.as_deref())?;
    if arguments.tty {
        unit_terminal::required()?;
    }
    let terminal = arguments.tty.then(unit_terminal::size);
    let options = ExecOptions { command: arguments.command.clone(), terminal };
    let opened = local.exec(environment, &unit, options).await?;
    unit_terminal::speak(opened, arguments.tty).await
}
