//! A place to deploy to: a proxy, a witness, and a pipeline for each release.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::application;
use super::told::{Told, deployments};
use super::witness::Witness;
use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran, docker};
use crate::harness::machine::bridge_address;
use crate::harness::process::{Process, signal};
use crate::harness::server::Proxy;

pub const PROJECT: &str = "lab";
pub const ENVIRONMENT: &str = "bench";
/// As the proxy knows it.
pub const ROUTE: &str = "lab-bench";
/// How often in a row a unit must be well before it is admitted.
pub const GATE: u64 = 3;

/// What units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Process,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Docker, Self::Process];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }

    /// Where units reach this machine.
    fn own_address(self) -> IpAddr {
        match self {
            Self::Docker => bridge_address(),
            Self::Process => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// How it is deployed.
#[derive(Clone, Debug)]
pub struct Shape {
    pub replicas: usize,
    pub batch: usize,
    pub bake: Duration,
    pub drain: Duration,
    /// How long a unit may take to get well. Long, for a busy machine loses no time by it:
    /// only a unit that never gets well is waited for so long.
    pub deadline: Duration,
    /// In place of the image that is built.
    pub image: Option<String>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            replicas: 3,
            batch: 1,
            bake: Duration::ZERO,
            drain: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            image: None,
        }
    }
}

pub struct Place {
    pub kind: Kind,
    pub proxy: Proxy,
    pub witness: Arc<Witness>,
    pub folder: PathBuf,
    // Dropped last: it removes what was deployed.
    pub lab: Lab,
}

impl Place {
    pub fn open(kind: Kind) -> Self {
        let lab = Lab::new();
        let proxy = Proxy::start(&lab);
        let witness = Arc::new(Witness::start(kind.own_address()));
        let folder = source(&lab.folder("git"));
        Self { kind, proxy, witness, folder, lab }
    }

    /// Where processes and what is known of them are.
    pub fn root(&self) -> PathBuf {
        self.lab.path().join("units")
    }

    /// Kills a unit, as nobody should.
    pub fn kill(&self, unit: &str) {
        match self.kind {
            Kind::Docker => drop(docker(&["kill", unit])),
            Kind::Process => {
                let began = self.root().join("units").join(unit).join("process");
                let began = std::fs::read_to_string(began).expect("a unit has a process");
                let pid = began.split(' ').next().and_then(|pid| pid.parse().ok());
                signal(pid.expect("a line of /proc/PID/stat"), "KILL");
            }
        }
    }

    /// Another directory of the same project.
    pub fn beside(&self, name: &str) -> PathBuf {
        source(&self.lab.folder(name))
    }

    /// Writes the pipeline that deploys a version with these variables.
    pub fn write(&self, folder: &Path, version: &str, knobs: &[(&str, &str)], shape: &Shape) {
        let Shape { replicas, batch, bake, drain, deadline, image } = shape;
        let mut env = format!("VERSION: '{version}', WITNESS: '{}'", self.witness.address);
        for (name, value) in knobs {
            env.push_str(&format!(", {name}: '{value}'"));
        }
        let target = match self.kind {
            Kind::Docker => format!(
                "docker: {{ host: 'unix:///var/run/docker.sock', proxy: '{}' }}",
                self.proxy.control.display()
            ),
            Kind::Process => format!(
                "process: {{ root: '{}', proxy: '{}' }}",
                self.root().display(),
                self.proxy.control.display()
            ),
        };
        let build = match image {
            None => "  image: { build: { file: Dockerfile } }\n",
            Some(_) => "",
        };
        let image = image.as_deref().unwrap_or("image");
        let text = format!(
            "name: {PROJECT}\n\
             environments:\n  {ENVIRONMENT}: {{ tier: dev, target: {{ {target} }} }}\n\
             stages:\n{build}  deploy:\n    timeout: 10m\n    \
             deploy:\n      environment: {ENVIRONMENT}\n      image: {image}\n      \
             replicas: {replicas}\n      expose: {{ port: 8080 }}\n      \
             health: {{ http: /health, port: 8080, interval: 100ms, timeout: 2s, successes: {GATE}, failures: 3, start-period: 0s, deadline: {}ms }}\n      \
             strategy: {{ batch: {batch}, bake: {}ms, drain: {}ms }}\n      env: {{ {env} }}\n",
            deadline.as_millis(),
            bake.as_millis(),
            drain.as_millis(),
        );
        std::fs::write(folder.join(".shipline.yml"), text).expect("a file can be written");
    }

    /// Deploys a version and waits for the end.
    pub fn deploy(&self, version: &str, knobs: &[(&str, &str)], shape: &Shape) -> Ran {
        self.write(&self.folder, version, knobs, shape);
        self.run()
    }

    /// Deploys what is written.
    pub fn run(&self) -> Ran {
        self.lab.run(&self.folder, &["run", "--allow-side-effects", "--format", "json"])
    }

    /// Begins to deploy what is written in `folder`.
    pub fn begin(&self, folder: &Path, log: &str, variables: &[(&str, &str)]) -> Process {
        let mut command = self.lab.shipline();
        command.current_dir(folder).args(["run", "--allow-side-effects", "--format", "json"]);
        command.envs(variables.iter().copied());
        Process::start(&mut command, &self.lab.path().join(log))
    }

    pub fn rollback(&self) -> Ran {
        self.lab.run(&self.folder, &["rollback", ENVIRONMENT, "--format", "json"])
    }

    pub fn status(&self) -> Value {
        self.lab.run(&self.folder, &["status", ENVIRONMENT, "--format", "json"]).expect(0).json()
    }

    /// Deployments, newest first.
    pub fn told(&self) -> Vec<Told> {
        deployments(&self.lab.home().join("state.db"), PROJECT, ENVIRONMENT)
    }

    pub fn last(&self) -> Told {
        self.told().into_iter().next().expect("something was deployed")
    }

    /// The versions of units that are admitted, each as often as it is.
    pub fn serving(&self) -> Vec<String> {
        let status = self.status();
        let units = status["units"].as_array().into_iter().flatten();
        let mut versions: Vec<String> = units
            .filter(|unit| unit["admitted"] == true)
            .map(|unit| {
                let address = unit["address"].as_str().and_then(|text| text.parse().ok());
                let unit = address.and_then(|address| self.witness.unit_at(address));
                unit.map_or_else(|| "nobody".to_owned(), |unit| unit.version)
            })
            .collect();
        versions.sort();
        versions
    }
}

/// A repository with the service, as an image is made of it.
fn source(folder: &Path) -> PathBuf {
    let repository = Repository::create(folder);
    let binary = application::built();
    std::fs::copy(binary, repository.tree.join("testapp")).expect("a file can be copied");
    // An image of its own: another place that is cleared takes its images along.
    let dockerfile = format!(
        "FROM scratch\nLABEL place=\"{}\"\nCOPY testapp /testapp\nCMD [\"/testapp\"]\n",
        folder.display()
    );
    repository.write("Dockerfile", &dockerfile);
    repository.write(".dockerignore", ".git\n");
    repository.commit("the service");
    repository.tree
}
