//! A repository of templates behind https, as a team has one at its forge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::git::Repository;
use super::lab::services;
use super::ports::free_port;
use super::process::{Process, wait_for};

pub struct TemplateServer {
    pub repository: Repository,
    folder: PathBuf,
    port: u16,
    process: Process,
}

impl TemplateServer {
    pub fn start(folder: &Path) -> Self {
        let certificates = folder.join("certificates");
        let status =
            Command::new("bash").arg(services().join("certificate.sh")).arg(&certificates).status();
        assert!(status.is_ok_and(|status| status.success()), "certificate.sh failed");
        let repository = Repository::create(folder);
        let port = free_port();
        let mut command = Command::new("python3");
        command.arg(services().join("https.py")).arg(folder).arg(&certificates);
        command.arg(port.to_string());
        let mut process = Process::start(&mut command, &folder.join("https.log"));
        wait_for("the server of templates", Duration::from_secs(20), || {
            process.assert_alive();
            process.text().contains("listening").then_some(())
        });
        Self { repository, folder: folder.to_owned(), port, process }
    }

    /// Commits a template and tags the commit.
    pub fn release(&self, path: &str, text: &str, tag: &str) {
        self.repository.write(path, text);
        self.repository.commit_and_push(tag);
        self.repository.tag_and_push(tag);
        self.repository.prepare_for_http();
    }

    /// What stands before `//` in a template's address.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}/origin.git", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("certificates/ca.pem")
    }

    pub fn stop(&mut self) {
        self.process.terminate();
    }
}
