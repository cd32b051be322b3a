//! A real image registry with password and TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::services;
use super::ports::free_port;
use super::process::record;

pub const USER: &str = "ci";
/// With a `$`, as the names of Harbor's robots have.
pub const PASSWORD: &str = "robot-secret$1";

pub struct ImageRegistry {
    folder: PathBuf,
    pub port: u16,
    tls: bool,
    left: bool,
}

impl ImageRegistry {
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, true)
    }

    /// Without TLS: an engine that is refused speaks plainly to this machine, and then reads
    /// no answer of TLS.
    pub fn start_plain(folder: &Path) -> Self {
        Self::start_with(folder, false)
    }

    fn start_with(folder: &Path, tls: bool) -> Self {
        let registry = Self { folder: folder.to_owned(), port: free_port(), tls, left: false };
        registry.up();
        registry
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn up(&self) {
        let (folder, port) = (self.folder.display().to_string(), self.port.to_string());
        let tls = if self.tls { "on" } else { "off" };
        let arguments = ["start", &folder, &port];
        script_with("registry.sh", &arguments, &[("SHIPLINE_REGISTRY_TLS", tls)]);
    }

    pub fn down(&self) {
        script("registry.sh", &["stop", &self.folder.display().to_string()]);
    }

    /// Lets the registry outlive this process.
    pub fn leave(mut self, pids: &Path) {
        self.left = true;
        let pid = std::fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            record(pid, pids);
        }
    }

    /// The answer to an authorised GET.
    pub fn get(&self, path: &str) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--cacert"])
            .arg(self.ca_file())
            .args(["--user", &format!("{USER}:{PASSWORD}")])
            .arg(format!("https://{}{path}", self.host()))
            .output()
            .expect("curl can be started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        remove_images(&self.host());
        if std::thread::panicking() {
            // A second panic would hide the first.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.down()));
        } else {
            self.down();
        }
    }
}

/// What clients see of Harbor, before a real registry that wants its tokens. It has the
/// project `team`, and one robot.
pub struct Harbor {
    folder: PathBuf,
    port: u16,
}

/// With the `$` that Harbor puts into the names of its robots.
pub const ROBOT: &str = "robot$team+ci";

impl Harbor {
    /// `world` is merged over what `harbor.py` is told.
    pub fn start(folder: &Path, world: &serde_json::Value) -> Self {
        let harbor = Self { folder: folder.to_owned(), port: free_port() };
        let mut all = serde_json::json!({
            "users": {(ROBOT): PASSWORD}, "projects": {"team": {"id": 2}},
        });
        for (key, value) in world.as_object().expect("a world is a map") {
            all[key] = value.clone();
        }
        std::fs::write(folder.join("world.json"), all.to_string()).expect("it can be written");
        script("harbor.sh", &["start", &folder.display().to_string(), &harbor.port.to_string()]);
        harbor
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// `METHOD PATH STATUS` of every request so far.
    pub fn requests(&self) -> String {
        std::fs::read_to_string(self.folder.join("requests.log")).unwrap_or_default()
    }
}

impl Drop for Harbor {
    fn drop(&mut self) {
        remove_images(&self.host());
        let folder = self.folder.display().to_string();
        // A second panic would hide the first.
        let _ = std::panic::catch_unwind(|| script("harbor.sh", &["stop", &folder]));
    }
}

/// Removes what was built for a registry: nobody can push or pull it any more.
fn remove_images(host: &str) {
    for pattern in [format!("{host}/*/*"), format!("{host}/*/*/*")] {
        let listed = Command::new("docker")
            .args(["images", "--filter", &format!("reference={pattern}")])
            .args(["--format", "{{.Repository}}:{{.Tag}}"])
            .output();
        let Ok(listed) = listed else { return };
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            // A deployed unit may still use it; its own clean-up comes later.
            let _ = Command::new("docker").args(["rmi", name]).output();
        }
    }
}

fn script(name: &str, arguments: &[&str]) {
    script_with(name, arguments, &[]);
}

fn script_with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) {
    let output = Command::new("bash")
        .arg(services().join(name))
        .args(arguments)
        .env("SHIPLINE_REGISTRY_USER", USER)
        .env("SHIPLINE_REGISTRY_PASSWORD", PASSWORD)
        .envs(variables.iter().copied())
        .output()
        .expect("bash can be started");
    assert!(
        output.status.success(),
        "{name} {arguments:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
