//! One file per verb; here only the way to them.

use std::time::Duration;

use crate::arguments::{Arguments, Command, Format, ProjectCommand};
use crate::error::{CommandError, Context as _};
use crate::terminal::Style;

mod check;
mod clean;
mod completions;
mod explain;
mod init;
mod logs;
mod man;
mod plan;
mod project;
mod proxy;
mod rollback;
mod run;
mod runs;
mod schema;
mod serve;
mod status;
mod template;
mod trigger;
mod why;

/// How long threads that block may hold up the end of the process.
const LAST_THREADS: Duration = Duration::from_secs(2);

/// Runs the command and returns its exit code.
pub(crate) fn run(arguments: Arguments) -> Result<u8, CommandError> {
    if let Some(directory) = &arguments.directory {
        std::env::set_current_dir(directory).map_err(|error| {
            CommandError::usage(format_args!("cannot enter {}: {error}", directory.display()))
        })?;
    }
    if arguments.plain {
        Style::plain();
    }
    match arguments.command {
        Command::Init(arguments) => wait(init::init(&arguments)),
        Command::Check(arguments) => wait(check::check(&arguments)),
        Command::Plan(arguments) => wait(plan::plan(&arguments)),
        Command::Run(arguments) => wait(run::run(arguments)),
        Command::Why(arguments) => wait(why::why(&arguments)),
        Command::Serve(arguments) => wait(serve::serve(arguments)),
        Command::Trigger(arguments) => wait(trigger::trigger(&arguments)),
        Command::Runs(arguments) => wait(runs::runs(&arguments)),
        Command::Logs(arguments) => wait(logs::logs(&arguments)),
        Command::Status(arguments) => wait(status::status(&arguments)),
        Command::Rollback(arguments) => wait(rollback::rollback(&arguments)),
        Command::Clean(arguments) => wait(clean::clean(&arguments)),
        Command::Proxy(arguments) => proxy::proxy(arguments),
        Command::Template(command) => wait(template::template(command)),
        Command::Project(ProjectCommand::Create(arguments)) => wait(project::create(&arguments)),
        Command::Project(ProjectCommand::List(arguments)) => wait(project::list(&arguments)),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Schema(arguments) => schema::schema(&arguments),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Man(arguments) => man::man(&arguments),
    }
}

fn wait(command: impl Future<Output = Result<u8, CommandError>>) -> Result<u8, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .environment("cannot start the runtime")?;
    let code = runtime.block_on(command);
    // A thread that writes to a terminal nobody reads from never comes back.
    runtime.shutdown_timeout(LAST_THREADS);
    code
}

/// Writes to stdout; a reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<(), CommandError> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandError::environment(format_args!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON, or what `text` makes of it.
fn show(
    format: Format,
    value: &serde_json::Value,
    text: impl FnOnce(&serde_json::Value) -> String,
) -> Result<(), CommandError> {
    match format {
        Format::Json => print(&format!("{value:#}\n")),
        Format::Text => print(&text(value)),
    }
}
