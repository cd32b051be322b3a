//! One file per verb; here only the way to them.

use std::path::Path;
use std::time::Duration;

use tracing::{Instrument as _, debug_span};

use crate::arguments::{Arguments, Command, Format, ProjectCommand, TargetCommand};
use crate::error::{CommandError, Context as _};
use crate::terminal::Style;
use crate::trace::Trace;

mod bootstrap;
mod change;
mod check;
mod clean;
mod completions;
mod decide;
mod deploy;
mod diff;
mod exec;
mod explain;
mod history;
mod init;
mod lock;
mod logs;
mod man;
mod outcome;
mod plan;
mod preview;
mod project;
mod proxy;
mod releases;
mod replay;
mod reproduce;
mod rerun;
mod run;
mod runs;
mod schema;
mod serve;
mod shell;
mod status;
mod template;
mod tests;
mod trigger;
mod unit_logs;
mod watch;
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
        Command::Run(arguments) => {
            let trace = arguments.options.trace.clone();
            traced(trace.as_deref(), run::run(arguments))
        }
        Command::Rerun(arguments) => {
            let trace = arguments.options.trace.clone();
            traced(trace.as_deref(), rerun::rerun(arguments))
        }
        Command::Replay(arguments) => wait(replay::replay(&arguments)),
        Command::Diff(arguments) => wait(diff::diff(&arguments)),
        Command::Shell(arguments) => wait(shell::shell(&arguments)),
        Command::Why(arguments) => wait(why::why(&arguments)),
        Command::Serve(arguments) => wait(serve::serve(arguments)),
        Command::Trigger(arguments) => wait(trigger::trigger(&arguments)),
        Command::Runs(arguments) => wait(runs::runs(&arguments)),
        Command::Logs(arguments) => wait(logs::logs(&arguments)),
        Command::Tests(arguments) => wait(tests::tests(&arguments)),
        Command::Status(arguments) => wait(status::status(&arguments)),
        Command::Watch(arguments) => wait(watch::watch(&arguments)),
        Command::Deploy(arguments) => wait(deploy::deploy(&arguments)),
        Command::Rollback(arguments) => wait(deploy::rollback(&arguments)),
        Command::Releases(arguments) => wait(releases::releases(&arguments)),
        Command::Scale(arguments) => wait(deploy::scale(&arguments)),
        Command::Restart(arguments) => wait(deploy::restart(&arguments)),
        Command::Stop(arguments) => wait(deploy::stop(&arguments)),
        Command::Start(arguments) => wait(deploy::start(&arguments)),
        Command::Cancel(arguments) => wait(deploy::cancel(&arguments)),
        Command::Decide(arguments) => wait(decide::decide(&arguments)),
        Command::History(arguments) => wait(history::history(&arguments)),
        Command::Lock(arguments) => wait(lock::lock(&arguments)),
        Command::Exec(arguments) => wait(exec::exec(&arguments)),
        Command::Unlock(arguments) => wait(lock::unlock(&arguments)),
        Command::Clean(arguments) => wait(clean::clean(&arguments)),
        Command::Proxy(arguments) => proxy::proxy(arguments),
        Command::Template(command) => wait(template::template(command)),
        Command::Project(ProjectCommand::Create(arguments)) => wait(project::create(&arguments)),
        Command::Project(ProjectCommand::List(arguments)) => wait(project::list(&arguments)),
        Command::Target(TargetCommand::Bootstrap(arguments)) => {
            wait(bootstrap::bootstrap(&arguments))
        }
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Schema(arguments) => schema::schema(&arguments),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Man(arguments) => man::man(&arguments),
    }
}

/// Waits for a command, and writes down where its time goes if somebody wants to know.
fn traced(
    trace: Option<&Path>,
    command: impl Future<Output = Result<u8, CommandError>>,
) -> Result<u8, CommandError> {
    let Some(path) = trace else { return wait(command) };
    let trace = Trace::begin(path)?;
    let code = wait(command.instrument(debug_span!("shipline")));
    trace.end();
    code
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

/// Says something aside; a closed stderr changes nothing.
pub(crate) fn note(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "note: {text}");
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
