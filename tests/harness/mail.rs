//! A real SMTP server (STARTTLS, AUTH) that stores what it accepts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::lab::services;
use super::ports::free_port;
use super::process::{Process, wait_for};

pub const USER: &str = "shipline";
pub const PASSWORD: &str = "mail-secret";

pub struct MailServer {
    folder: PathBuf,
    pub port: u16,
    process: Option<Process>,
}

impl MailServer {
    /// Reserves a port and makes the certificate, and does not listen.
    pub fn prepare(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let status =
            Command::new("bash").arg(services().join("certificate.sh")).arg(folder).status();
        assert!(status.is_ok_and(|status| status.success()), "certificate.sh failed");
        Self { folder: folder.to_owned(), port: free_port(), process: None }
    }

    pub fn start(folder: &Path) -> Self {
        let mut server = Self::prepare(folder);
        server.up();
        server
    }

    pub fn up(&mut self) {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(services().join("smtp.py")).arg("--dir").arg(&self.folder).args([
            "--port",
            &self.port.to_string(),
            "--user",
            USER,
            "--password",
            PASSWORD,
        ]);
        let mut process = Process::start(&mut command, &self.folder.join("smtp.log"));
        wait_for("the mail server", Duration::from_secs(20), || {
            process.assert_alive();
            process.text().contains("ready").then_some(())
        });
        self.process = Some(process);
    }

    pub fn leave(self, pids: &Path) {
        if let Some(process) = self.process {
            process.leave(pids);
        }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The mails so far, oldest first, as they arrived.
    pub fn mails(&self) -> Vec<Mail> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("mail")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        paths.sort();
        paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).map(Mail).collect()
    }

    pub fn wait_for_subject(&self, part: &str, limit: Duration) -> Mail {
        wait_for(&format!("a mail about `{part}`"), limit, || {
            self.mails().into_iter().find(|mail| mail.subject().contains(part))
        })
    }
}

#[derive(Clone, Debug)]
pub struct Mail(pub String);

/// Prints the plain text of a mail.
const PLAIN: &str = "import email, email.policy, sys\n\
    mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
    sys.stdout.buffer.write(mail.get_body(('plain',)).get_content().encode())\n";

impl Mail {
    /// The plain text, as people read it.
    pub fn plain(&self) -> String {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", PLAIN]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python can be started");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(self.0.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", self.0);
        String::from_utf8(output.stdout).expect("text")
    }

    /// The subject with its folded lines joined.
    pub fn subject(&self) -> String {
        let mut subject = String::new();
        for line in self.0.lines() {
            if let Some(text) = line.strip_prefix("Subject: ") {
                text.clone_into(&mut subject);
            } else if !subject.is_empty() && line.starts_with([' ', '\t']) {
                subject.push(' ');
                subject.push_str(line.trim());
            } else if !subject.is_empty() {
                break;
            }
        }
        subject
    }
}
