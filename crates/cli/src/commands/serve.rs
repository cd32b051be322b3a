//! `shipline serve`: the server, until it is told to end.

use server::App;
use server::config::Config;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::arguments::ServeArguments;
use crate::error::{CommandError, Context as _, Kind};
use crate::home;
use crate::interrupt::Interrupts;
use crate::logging;

pub(super) async fn serve(arguments: ServeArguments) -> Result<u8, CommandError> {
    let config = configuration(&arguments)?;
    if arguments.check_config {
        super::print("the configuration is valid\n")?;
        return Ok(0);
    }
    logging::start(&arguments.log)?;
    let interrupts = Interrupts::listen()?;
    let app = App::open(config.clone(), &home::machine()).await.map_err(|error| {
        CommandError::caused(Kind::Environment, "the server cannot start", &error)
    })?;
    // Bound before the loops begin: an address in use must not cost a run.
    let listener = TcpListener::bind(config.listen)
        .await
        .environment(&format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr().environment("the listener has no address")?;
    super::print(&format!(
        "shipline {} listens on http://{address}\ntoken in {}\n",
        env!("CARGO_PKG_VERSION"),
        config.data.join("admin.token").display()
    ))?;
    let abort = second_signal(&interrupts, app.abort());
    let served = server::serve(app, listener, interrupts.cancel.clone()).await;
    abort.abort();
    served.map_err(|error| CommandError::caused(Kind::Environment, "the server ended", &error))?;
    Ok(0)
}

/// The file, with what the command line says instead.
fn configuration(arguments: &ServeArguments) -> Result<Config, CommandError> {
    let mut config = match &arguments.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                CommandError::usage(format_args!("cannot read {}: {error}", path.display()))
            })?;
            server::config::load(&text, path).map_err(CommandError::usage)?
        }
        None if arguments.data.is_none() => {
            return Err(CommandError::usage("a server needs a place for its data")
                .hint("give `--data DIR`, or `--config FILE` with a `data` in it"));
        }
        None => Config::default(),
    };
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if config.runner.docker_host.is_none() {
        config.runner.docker_host.clone_from(&arguments.docker_host);
    }
    Ok(config)
}

/// The second signal ends running work as well.
fn second_signal(
    interrupts: &Interrupts,
    abort: tokio_util::sync::CancellationToken,
) -> JoinHandle<()> {
    let kill = interrupts.kill.clone();
    tokio::spawn(async move {
        kill.cancelled().await;
        abort.cancel();
    })
}
