//! The `shipline` binary: arguments, terminal, wiring, and nothing else.

use std::process::ExitCode;

mod arguments;
mod client;
mod commands;
mod display;
mod docker_credentials;
mod docker_login;
mod environments;
mod error;
mod former;
mod history;
mod home;
mod interrupt;
mod keyboard;
mod local;
mod local_checks;
mod local_environment;
mod local_run;
mod local_secrets;
mod local_templates;
mod logging;
mod moment;
mod person;
mod pipeline_file;
mod published;
mod question;
mod recording;
mod recovery;
mod repository;
mod secret_sources;
mod shell;
mod simulation;
mod stage_name;
mod terminal;
mod text;
mod trace;
mod unit_terminal;
mod written;

fn main() -> ExitCode {
    // Before anything speaks TLS: with no provider chosen the first connection panics.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else installs a provider");
    crash::arm(|name| std::env::var(name).ok());
    let arguments = arguments::parse();
    match commands::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}
