//! A project on this machine with a page server of two units, and what it is deployed to.

use std::path::PathBuf;

use serde_json::Value;

use super::git::Repository;
use super::lab::{Lab, Ran};
use super::process::{Process, signal};
use super::server::Proxy;

/// A page server that ends when it is told to and is well if it is built so, on a unit's
/// own port where it has one.
pub const DOCKERFILE: &str = "FROM busybox:1\nCOPY www /www\n\
    CMD [\"sh\", \"-c\", \"echo serving; trap 'exit 0' TERM; bin/busybox httpd -f -p ${PORT:-8080} -h www & wait\"]\n";

pub const DEPLOY: &str = "  deploy:\n    timeout: 5m\n    deploy:\n      environment: demo\n      image: image\n      replicas: 2\n      \
     expose: { port: 8080 }\n      health: { http: /health, port: 8080, interval: 100ms, successes: 2, deadline: 5s }\n      \
     strategy: { drain: 2s, batch: 2 }\n";

/// What units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    Containers,
    Processes,
}

pub struct Shop {
    pub lab: Lab,
    pub proxy: Proxy,
    pub folder: PathBuf,
    pub repository: Repository,
}

impl Shop {
    pub fn open() -> Self {
        Self::of(Units::Containers, DEPLOY)
    }

    /// Nothing is committed yet.
    pub fn of(units: Units, deploy: &str) -> Self {
        let lab = Lab::new();
        let proxy = Proxy::start(&lab);
        let control = proxy.control.display();
        let target = match units {
            Units::Containers => {
                format!("docker: {{ host: 'unix:///var/run/docker.sock', proxy: '{control}' }}")
            }
            Units::Processes => {
                let root = lab.folder("units");
                format!("process: {{ root: '{}', proxy: '{control}' }}", root.display())
            }
        };
        let repository = Repository::create(&lab.folder("git"));
        repository.write(
            ".shipline.yml",
            &format!(
                "name: shop\nenvironments:\n  demo: {{ tier: dev, target: {{ {target} }} }}\n\
                 stages:\n  image: {{ build: {{ file: Dockerfile }} }}\n{deploy}"
            ),
        );
        repository.write("Dockerfile", DOCKERFILE);
        Self { lab, proxy, folder: repository.tree.clone(), repository }
    }

    /// Commits a version, and returns what its release will be called.
    pub fn commit(&self, version: &str, healthy: bool) -> String {
        let sha = write_pages(&self.repository, version, healthy);
        format!("main-{}", &sha[..8])
    }

    /// Builds and deploys a version.
    pub fn release(&self, version: &str) -> String {
        let name = self.commit(version, true);
        self.shipline(&["run", "--allow-side-effects"]).expect(0);
        name
    }

    pub fn shipline(&self, arguments: &[&str]) -> Ran {
        let mut command = self.lab.shipline();
        command.current_dir(&self.folder).env("USER", "ada").args(arguments);
        Ran::of(&mut command)
    }

    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.shipline(&[arguments, &["--format", "json"]].concat()).expect(0).json()
    }

    /// `shipline watch` in the background.
    pub fn watch(&self, arguments: &[&str]) -> Process {
        let mut command = self.lab.shipline();
        command.current_dir(&self.folder).args(["watch", "demo", "--every", "500ms"]);
        command.args(arguments);
        Process::start(&mut command, &self.lab.path().join("watch.log"))
    }

    /// The units in traffic.
    pub fn serving(&self) -> Vec<String> {
        let status = self.json(&["status", "demo"]);
        let units = status["units"].as_array().expect("units").iter();
        let serving = units.filter(|unit| unit["admitted"] == true && unit["state"] == "running");
        serving.map(|unit| unit["unit"].as_str().expect("a name").to_owned()).collect()
    }

    /// The page that the proxy hands out.
    pub fn answer(&self) -> String {
        let url = format!("http://{}/", self.proxy.address);
        let mut curl = std::process::Command::new("curl");
        let output = curl.args(["--silent", "--max-time", "5", &url]).output();
        String::from_utf8_lossy(&output.expect("curl can be started").stdout).trim().to_owned()
    }
}

impl Drop for Shop {
    /// Processes outlive everything, and so a test that failed.
    fn drop(&mut self) {
        let units = self.lab.path().join("units");
        for entry in std::fs::read_dir("/proc").expect("there is one").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let folder = std::fs::read_link(entry.path().join("cwd"));
            if folder.is_ok_and(|folder| folder.starts_with(&units)) {
                signal(pid, "KILL");
            }
        }
    }
}

/// Commits a version of the pages, and returns the commit.
fn write_pages(repository: &Repository, version: &str, healthy: bool) -> String {
    repository.write("www/index.html", &format!("{version}\n"));
    repository.write(if healthy { "www/health" } else { "www/sick" }, "ok\n");
    repository.commit(version)
}
