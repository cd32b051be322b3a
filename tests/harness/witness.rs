//! Who saw what really ran: the engine's own log of containers, and what the stages
//! themselves said while they ran.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use runner::testing::auditor::Container;
use serde_json::Value;

use super::lab::docker;
use super::machine::bridge_address;
use super::process::Process;

/// How PID 1 ends that was told nothing.
const NO_COMMANDS: i64 = 125;

/// `docker events` of one instance, from its start on.
pub struct EngineLog {
    process: Process,
}

impl EngineLog {
    pub fn start(instance: &str, file: &Path) -> Self {
        let mut command = Command::new("docker");
        command.args(["events", "--format", "{{json .}}", "--filter", "type=container"]);
        command.args(["--filter", &format!("label=shipline.instance={instance}")]);
        let process = Process::start(&mut command, file);
        // It says nothing when it listens.
        std::thread::sleep(Duration::from_millis(500));
        Self { process }
    }

    /// The containers of attempts, by the id of their run.
    pub fn containers(&self) -> BTreeMap<String, Vec<Container>> {
        let mut all: BTreeMap<String, Vec<Container>> = BTreeMap::new();
        for line in self.process.text().lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let attribute = |name: &str| {
                event["Actor"]["Attributes"][name].as_str().unwrap_or_default().to_owned()
            };
            if attribute("shipline.kind") != "stage" {
                continue;
            }
            let nanos = event["timeNano"].as_i64().expect("an event has a time");
            let at = DateTime::from_timestamp_nanos(nanos);
            let containers = all.entry(attribute("shipline.run")).or_default();
            let name = attribute("name");
            if event["Action"] == "start" {
                // One that never got its commands, since its server died: PID 1 then ends with
                // 125, and the name may be used once more. Whether the commands began twice
                // is what the stages say.
                containers.retain(|former| {
                    former.name != name || former.exit.is_none_or(|(code, ..)| code != NO_COMMANDS)
                });
            }
            let last = containers.iter_mut().rfind(|container| container.name == name);
            match (event["Action"].as_str().unwrap_or_default(), last) {
                ("start", _) => containers.push(Container {
                    name,
                    stage: attribute("shipline.stage"),
                    attempt: attribute("shipline.attempt").parse().unwrap_or(0),
                    begun: at,
                    ended: None,
                    exit: None,
                    stopped: None,
                }),
                ("kill", Some(container)) => {
                    container.stopped.get_or_insert(at);
                }
                ("die", Some(container)) => {
                    container.ended.get_or_insert(at);
                    let code = attribute("exitCode").parse().unwrap_or(-1);
                    container.exit.get_or_insert((code, false, false));
                }
                _ => {}
            }
        }
        all
    }
}

/// A word of a stage.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: DateTime<Utc>,
    pub word: String,
    pub run: String,
    pub stage: String,
    pub attempt: u32,
    /// What it said besides.
    pub rest: String,
}

/// Listens where containers can reach it, and answers when a word is taken down.
pub struct Witness {
    address: SocketAddr,
    said: Arc<Mutex<Vec<Said>>>,
}

impl Witness {
    pub fn start() -> Self {
        let here = SocketAddr::new(bridge_address(), 0);
        let listener = TcpListener::bind(here).expect("it can be bound");
        let address = listener.local_addr().expect("it has an address");
        let said = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&said);
        // It goes with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let book = Arc::clone(&book);
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                    let mut line = String::new();
                    let mut reader = BufReader::new(&stream);
                    if reader.read_line(&mut line).is_err() {
                        return;
                    }
                    if let Some(said) = parse(&line) {
                        book.lock().expect("no listener panics").push(said);
                    }
                    let _ = (&stream).write_all(b"taken\n");
                });
            }
        });
        Self { address, said }
    }

    /// A function of the shell, `say WORD [REST]`, that returns once the word is taken down.
    pub fn say(&self) -> String {
        format!(
            "say() {{ echo \"$1 $SHIPLINE_RUN_ID $SHIPLINE_STAGE $SHIPLINE_ATTEMPT $2\" \
             | nc -w 5 {} {} | grep -q taken; }}",
            self.address.ip(),
            self.address.port()
        )
    }

    pub fn said(&self) -> Vec<Said> {
        self.said.lock().expect("no listener panics").clone()
    }
}

fn parse(line: &str) -> Option<Said> {
    let mut words = line.split_whitespace();
    let mut next = || words.next().map(str::to_owned);
    let (word, run, stage) = (next()?, next()?, next()?);
    let attempt = next()?.parse().ok()?;
    let rest = next().unwrap_or_default();
    Some(Said { at: Utc::now(), word, run, stage, attempt, rest })
}

/// Objects of strangers, some with labels that are almost ours.
pub struct Decoys {
    names: Vec<(&'static str, String)>,
    before: Vec<Value>,
}

impl Decoys {
    pub fn make(tag: &str) -> Self {
        let mut names = Vec::new();
        let run8 = &tag[tag.len() - 6..];
        for (number, label) in [
            "other=1",
            "shipline.instance=stranger",
            "shipline.run=01a22b9e-0de2-777d-b839-e047497dc5af",
            "shipline.kind=stage",
        ]
        .iter()
        .enumerate()
        {
            let name = format!("shipline-{run8}00-a-{number}");
            docker(&["create", "--name", &name, "--label", label, "busybox:1", "true"]);
            names.push(("container", name));
        }
        for (number, label) in
            ["other=1", "shipline.instance=stranger", "shipline.kind=layer"].iter().enumerate()
        {
            let name = format!("sl-{run8}00-{number}u");
            docker(&["volume", "create", "--label", label, &name]);
            names.push(("volume", name));
        }
        for (number, label) in
            ["other=1", "shipline.instance=stranger", "shipline.kind=network"].iter().enumerate()
        {
            let name = format!("shipline-{run8}00-n-{number}");
            // Somebody else's decoys may be there already.
            let made = (0..16).any(|try_| {
                let third = (std::process::id() + 37 * try_) % 256;
                let subnet = format!("10.212.{third}.{}/28", number * 16);
                let mut create = Command::new("docker");
                create.args(["network", "create", "--subnet", &subnet, "--label", label, &name]);
                create.output().expect("docker can be started").status.success()
            });
            assert!(made, "no network can be made");
            names.push(("network", name));
        }
        let before = names.iter().map(inspect).collect();
        Self { names, before }
    }

    pub fn assert_untouched(&self) {
        let after: Vec<Value> = self.names.iter().map(inspect).collect();
        assert_eq!(self.before, after, "what is of strangers is as it was");
    }
}

fn inspect((kind, name): &(&'static str, String)) -> Value {
    serde_json::from_str(&docker(&[kind, "inspect", name])).expect("Docker speaks JSON")
}

impl Drop for Decoys {
    fn drop(&mut self) {
        for (kind, name) in &self.names {
            let mut remove = Command::new("docker");
            remove.args([*kind, "rm", name]).stdout(Stdio::null()).stderr(Stdio::null());
            drop(remove.status());
        }
    }
}
