//! The `shipline` binary: arguments, terminal, wiring, and nothing else.

use std::process::ExitCode;

mod arguments;
mod client;
mod commands;
mod docker_credentials;
mod error;
mod history;
mod home;
mod interrupt;
mod local;
mod local_environment;
mod local_secrets;
mod local_templates;
mod logging;
mod pipeline_file;
mod published;
mod question;
mod recovery;
mod repository;
mod simulation;
mod terminal;
mod text;
mod written;

fn main() -> ExitCode {
    // Before anything speaks TLS: with no provider chosen the first connection panics.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else installs a provider");
    let arguments = arguments::parse();
    match commands::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}
