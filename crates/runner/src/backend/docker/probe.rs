//! What a service is asked to know that it is ready, and the asking.

use std::fmt;
use std::sync::Mutex;

use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::StreamExt;
use pipeline::ReadyProbe;

use super::engine::{Engine, text};
use super::image::Image;
use super::init;
use crate::backend::ServiceSpec;

/// What readiness depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Nothing: it is ready once it was started.
    Nothing,
    /// The answer will never come.
    Unaskable {
        why: String,
    },
    Asks(Ask),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Command(Vec<String>),
    Tcp(u16),
    Http { port: u16, host: String, path: String },
}

impl Question {
    /// What the stage asks, else the image's health check, else its first port.
    pub(super) fn of(spec: &ServiceSpec, image: &Image) -> Self {
        match &spec.ready.probe {
            Some(ReadyProbe::Command(words)) => Self::Asks(Ask::Command(words.clone())),
            Some(ReadyProbe::Tcp(Some(port))) => Self::Asks(Ask::Tcp(*port)),
            Some(ReadyProbe::Tcp(None)) => match image.ports.first() {
                Some(port) => Self::Asks(Ask::Tcp(*port)),
                None => Self::Unaskable {
                    why: "its image exposes no port; write the number, as `tcp: 5432`".to_owned(),
                },
            },
            Some(ReadyProbe::Http { path, port }) => {
                let (host, path) = (spec.name.clone(), path.clone());
                Self::Asks(Ask::Http { port: *port, host, path })
            }
            None => match (&image.health, image.ports.first()) {
                (Some(words), _) => Self::Asks(Ask::Command(words.clone())),
                (None, Some(port)) => Self::Asks(Ask::Tcp(*port)),
                (None, None) => Self::Nothing,
            },
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("started"),
            Self::Unaskable { .. } => f.write_str("tcp auto"),
            Self::Asks(Ask::Tcp(port)) => write!(f, "tcp {port}"),
            Self::Asks(Ask::Http { port, path, .. }) => write!(f, "http {path} of port {port}"),
            Self::Asks(Ask::Command(words)) => match words.as_slice() {
                [_, option, script] if option == "-c" => write!(f, "cmd {script}"),
                words => write!(f, "cmd {}", words.join(" ")),
            },
        }
    }
}

/// The asking, and the last answer that was not the right one.
#[derive(Default)]
pub(super) struct Asked {
    said: Mutex<Option<String>>,
}

impl Asked {
    pub(super) fn said(&self) -> Option<String> {
        self.said.lock().expect("nobody panics with this lock").clone()
    }

    /// Returns when the container answered as it should; an error is what it says when it
    /// never will. Without an end where the container has ended: that is seen elsewhere.
    pub(super) async fn until_ready(
        &self,
        engine: &Engine,
        container: &str,
        ask: &Ask,
    ) -> Result<(), String> {
        match self.ask(engine, container, ask).await {
            Ok(0) => Ok(()),
            // Ended with its container, or broken off with the connection.
            Ok(137 | -1) => std::future::pending().await,
            Ok(code) => Err(self.said().unwrap_or_else(|| format!("exit {code}"))),
            Err(error) => {
                let said = text(&error);
                // A container that has ended has its own way of saying so.
                if said.contains("is not running") || said.contains("No such container") {
                    return std::future::pending().await;
                }
                Err(said)
            }
        }
    }

    /// Lets `shipline-init` ask inside the container; returns its exit code.
    async fn ask(&self, engine: &Engine, container: &str, ask: &Ask) -> Result<i64, Error> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut command: Vec<String> = words(&[init::IN_STAGE, "probe"]);
        // A command is the image's, and runs as its user.
        let mut user = Some("0:0".to_owned());
        match ask {
            Ask::Command(own) => {
                command.push("cmd".to_owned());
                command.extend(own.iter().cloned());
                user = None;
            }
            Ask::Tcp(port) => {
                let address = address(engine, container).await?;
                command.extend(words(&["tcp", &address, &port.to_string()]));
            }
            Ask::Http { port, host, path } => {
                let address = address(engine, container).await?;
                command.extend(words(&["http", &address, &port.to_string(), host, path]));
            }
        }
        let exec = ExecConfig {
            cmd: Some(command),
            user,
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let exec = engine.docker.create_exec(container, exec).await?;
        let started = engine.docker.start_exec(&exec.id, None).await?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(Ok(said)) = output.next().await {
                let said = said.into_bytes();
                let text = String::from_utf8_lossy(&said);
                let line = text.lines().rfind(|line| !line.trim().is_empty());
                if let Some(line) = line {
                    let mut last = self.said.lock().expect("nobody panics with this lock");
                    *last = Some(line.trim().to_owned());
                }
            }
        }
        let ended = engine.docker.inspect_exec(&exec.id).await?;
        Ok(ended.exit_code.unwrap_or(-1))
    }
}

/// The address of a container on the one network it has: what listens on loopback alone
/// is not there for the stage.
async fn address(engine: &Engine, container: &str) -> Result<String, Error> {
    let found = engine.docker.inspect_container(container, None::<InspectContainerOptions>).await?;
    let networks = found.network_settings.and_then(|settings| settings.networks);
    let addresses = networks.into_iter().flatten().filter_map(|(_, end)| end.ip_address);
    let address = addresses.into_iter().find(|address| !address.is_empty());
    Ok(address.unwrap_or_else(|| "127.0.0.1".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{Ready, Resources};

    fn asked(probe: Option<ReadyProbe>, ports: &[u16], health: Option<&[&str]>) -> String {
        let spec = ServiceSpec {
            name: "db".to_owned(),
            image: "postgres:12".to_owned(),
            registry: None,
            env: Default::default(),
            command: Vec::new(),
            resources: Resources::default(),
            ready: Ready { probe, timeout: pipeline::Duration::from_secs(60) },
        };
        let health = health.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
        let image = Image { ports: ports.to_vec(), health, ..Image::default() };
        Question::of(&spec, &image).to_string()
    }

    #[test]
    fn what_the_stage_asks_comes_before_the_health_check_and_that_before_a_port() {
        let check: Option<&[&str]> = Some(&["/bin/sh", "-c", "pg_isready"]);
        assert_eq!(asked(Some(ReadyProbe::Tcp(Some(1))), &[5432], check), "tcp 1");
        assert_eq!(asked(Some(ReadyProbe::Tcp(None)), &[80, 5432], check), "tcp 80");
        assert_eq!(asked(None, &[5432], check), "cmd pg_isready");
        assert_eq!(asked(None, &[5432], Some(&["curl", "-f"])), "cmd curl -f");
        assert_eq!(asked(None, &[5432], None), "tcp 5432");
        assert_eq!(asked(None, &[], None), "started");
        assert_eq!(asked(Some(ReadyProbe::Tcp(None)), &[], check), "tcp auto");
        let http = ReadyProbe::Http { path: "/health".to_owned(), port: 80 };
        assert_eq!(asked(Some(http), &[], None), "http /health of port 80");
    }
}
