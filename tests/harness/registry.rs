//! A real image registry with password and TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::services;
use super::process::{free_port, record};

pub const USER: &str = "ci";
/// With a `$`, as the names of Harbor's robots have.
pub const PASSWORD: &str = "robot-secret$1";

pub struct ImageRegistry {
    folder: PathBuf,
    pub port: u16,
    left: bool,
}

impl ImageRegistry {
    pub fn start(folder: &Path) -> Self {
        let registry = Self { folder: folder.to_owned(), port: free_port(), left: false };
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
        self.script(&["start", &self.folder.display().to_string(), &self.port.to_string()]);
    }

    pub fn down(&self) {
        self.script(&["stop", &self.folder.display().to_string()]);
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

    /// Removes what was built for this registry: nobody can push or pull it any more.
    fn remove_images(&self) {
        let host = format!("{}/*/*", self.host());
        let listed = Command::new("docker")
            .args([
                "images",
                "--filter",
                &format!("reference={host}"),
                "--format",
                "{{.Repository}}:{{.Tag}}",
            ])
            .output();
        let Ok(listed) = listed else { return };
        for name in String::from_utf8_lossy(&listed.stdout).lines() {
            // A deployed unit may still use it; its own clean-up comes later.
            let _ = Command::new("docker").args(["rmi", name]).output();
        }
    }

    fn script(&self, arguments: &[&str]) {
        let output = Command::new("bash")
            .arg(services().join("registry.sh"))
            .args(arguments)
            .env("SHIPLINE_REGISTRY_USER", USER)
            .env("SHIPLINE_REGISTRY_PASSWORD", PASSWORD)
            .output()
            .expect("bash can be started");
        assert!(
            output.status.success(),
            "registry.sh {arguments:?} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.remove_images();
        if std::thread::panicking() {
            // A second panic would hide the first.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.down()));
        } else {
            self.down();
        }
    }
}
