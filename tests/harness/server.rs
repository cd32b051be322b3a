//! `shipline serve` and `shipline proxy`, with everything around them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, Ran};
use super::mail::{self, MailServer};
use super::ports::free_port;
use super::process::{Process, wait_for};
use super::registry::{self, ImageRegistry};

pub struct Proxy {
    pub address: SocketAddr,
    pub control: PathBuf,
    state: PathBuf,
    process: Process,
}

impl Proxy {
    pub fn start(lab: &Lab) -> Self {
        let folder = lab.folder("proxy");
        let control = folder.join("control.sock");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let state = folder.join("routes.json");
        let process = Self::begin(lab, address, &control, &state);
        Self { address, control, state, process }
    }

    fn begin(lab: &Lab, address: SocketAddr, control: &Path, state: &Path) -> Process {
        let mut command = lab.shipline();
        command
            .args(["proxy", "--listen", &address.to_string(), "--control"])
            .arg(control)
            .arg("--state")
            .arg(state);
        let mut process = Process::start(&mut command, &state.with_file_name("proxy.log"));
        wait_for("the proxy", Duration::from_secs(20), || {
            process.assert_alive();
            process.text().contains("proxy listens on").then_some(())
        });
        process
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after that, with the same addresses and state.
    pub fn up(&mut self, lab: &Lab) {
        self.process = Self::begin(lab, self.address, &self.control, &self.state);
    }

    pub fn log(&self) -> String {
        self.process.text()
    }

    pub fn leave(self, pids: &Path) {
        self.process.leave(pids);
    }
}

/// What a server is told in its TOML file.
pub struct ServerParts<'a> {
    pub registry: Option<&'a ImageRegistry>,
    pub mail: Option<&'a MailServer>,
    pub proxy: Option<&'a Proxy>,
    pub project: &'a str,
    pub environment: &'a str,
}

pub struct Server {
    lab_home: PathBuf,
    pub address: SocketAddr,
    pub data: PathBuf,
    config: PathBuf,
    process: Option<Process>,
    left: bool,
}

impl Server {
    pub fn start(lab: &Lab, parts: &ServerParts<'_>) -> Self {
        Self::start_with(lab, parts, "")
    }

    /// Starts one with more lines at the end of its TOML file, which is in the table of the
    /// environment.
    pub fn start_with(lab: &Lab, parts: &ServerParts<'_>, more: &str) -> Self {
        let folder = lab.folder("server");
        let data = folder.join("data");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = folder.join("shipline.toml");
        let text = configuration(&folder, &data, address, parts) + more;
        std::fs::write(&config, text).expect("a file can be written");
        let mut server =
            Self { lab_home: lab.home(), address, data, config, process: None, left: false };
        server.up(lab);
        server
    }

    pub fn up(&mut self, lab: &Lab) {
        if !self.up_with(lab, &[]) {
            panic!("the server ended at its start:\n{}", self.log());
        }
    }

    /// Starts it with more variables, and returns whether it lives until it answers.
    pub fn up_with(&mut self, lab: &Lab, variables: &[(&str, &str)]) -> bool {
        let mut command = lab.shipline();
        command.arg("serve").arg("--config").arg(&self.config).envs(variables.iter().copied());
        let log = self.config.with_file_name("serve.log");
        let mut process = Process::start(&mut command, &log);
        let health = format!("http://{}/healthz", self.address);
        let lives = wait_for("the server", Duration::from_secs(30), || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--max-time", "2", &health]);
            match curl.output() {
                _ if !process.is_alive() => Some(false),
                Ok(answer) if answer.status.success() => Some(true),
                _ => None,
            }
        });
        self.process = Some(process);
        lives
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_alive)
    }

    /// The most bytes that it had in memory.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.process.as_ref().expect("it runs").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("the kernel tells it") << 10
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub fn terminate(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
        }
    }

    pub fn leave(mut self, pids: &Path) {
        self.left = true;
        if let Some(process) = self.process.take() {
            process.leave(pids);
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn token(&self) -> String {
        let text = std::fs::read_to_string(self.data.join("admin.token"))
            .expect("the server made a token");
        text.trim().to_owned()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_file_name("serve.log")).unwrap_or_default()
    }

    /// `shipline ARGUMENTS` as a client of this server.
    pub fn client(&self, lab: &Lab, arguments: &[&str]) -> Ran {
        let mut command = lab.shipline();
        command
            .current_dir(lab.path())
            .args(arguments)
            .env("SHIPLINE_SERVER", self.url())
            .env("SHIPLINE_TOKEN", self.token());
        Ran::of(&mut command)
    }

    /// Waits for the end of the run of a commit and returns its row.
    pub fn wait_for_run(&self, lab: &Lab, sha: &str, limit: Duration) -> Value {
        wait_for(&format!("the run of {sha}"), limit, || {
            let rows = self.client(lab, &["runs", "--format", "json"]).expect(0).json();
            let row = rows.as_array()?.iter().find(|row| row["sha"] == sha)?.clone();
            (row["state"] == "finished").then_some(row)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.terminate();
        let mut command = Command::new(super::lab::binary());
        command
            .env("SHIPLINE_HOME", &self.lab_home)
            .args(["clean", "--deployed", "--caches", "--data"])
            .arg(&self.data);
        let ran = Ran::of(&mut command);
        if ran.code != 0 && !std::thread::panicking() {
            panic!("clean failed: {}", ran.stderr);
        }
    }
}

fn configuration(
    folder: &Path,
    data: &Path,
    address: SocketAddr,
    parts: &ServerParts<'_>,
) -> String {
    let mut text = format!(
        "listen = \"{address}\"\ndata = \"{}\"\n\n[poll]\nevery = \"1s\"\n",
        data.display()
    );
    if let Some(server) = parts.mail {
        let password = secret(folder, "smtp-password", mail::PASSWORD);
        text.push_str(&format!(
            "\n[smtp]\nurl = \"smtp://127.0.0.1:{}\"\nfrom = \"shipline@example.net\"\nusername = \"{}\"\n\
             password-file = \"{}\"\nca-file = \"{}\"\n",
            server.port,
            mail::USER,
            password.display(),
            server.ca_file().display()
        ));
    }
    if let Some(images) = parts.registry {
        let password = secret(folder, "registry-password", registry::PASSWORD);
        text.push_str(&format!(
            "\n[registries.harbor]\nhost = \"{}\"\nusername = \"{}\"\npassword-file = \"{}\"\nca-file = \"{}\"\n",
            images.host(),
            registry::USER,
            password.display(),
            images.ca_file().display()
        ));
    }
    let proxy = parts
        .proxy
        .map(|proxy| format!(", proxy = \"{}\"", proxy.control.display()))
        .unwrap_or_default();
    text.push_str(&format!(
        "\n[targets.docker-test]\ndocker = {{ host = \"unix:///var/run/docker.sock\"{proxy} }}\nprojects = [\"{project}\"]\n\
         \n[projects.{project}.environments.{environment}]\ntarget = \"docker-test\"\ntier = \"test\"\n",
        project = parts.project,
        environment = parts.environment,
    ));
    text
}

fn secret(folder: &Path, name: &str, value: &str) -> PathBuf {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    std::io::Write::write_all(&mut file.expect("a file can be made"), value.as_bytes())
        .expect("a file can be written");
    path
}
