//! Hosts of this machine: each is an `sshd` and an nginx at an address of its own, with a
//! folder of its own where all have the same path.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lab::Lab;
use super::load::Report;
use super::ports::free_port;
use super::process::{Process, signal, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Hosts {
    /// Where every host has its releases, as it calls it.
    pub path: PathBuf,
    pub user: String,
    /// The port of all `sshd`.
    pub ssh: u16,
    /// The port of all nginx.
    pub web: u16,
    keys: PathBuf,
    hosts: Vec<Host>,
}

struct Host {
    folder: PathBuf,
    sshd: Process,
    _nginx: Process,
}

impl Hosts {
    /// Starts hosts 127.0.1.1 to 127.0.1.`count`, with their keys in a list.
    pub fn open(lab: &Lab, count: usize) -> Self {
        let keys = lab.folder("keys");
        for name in ["host", "client"] {
            let file = keys.join(name).display().to_string();
            output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file]);
        }
        std::fs::copy(keys.join("client.pub"), keys.join("authorized")).expect("the key was made");
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut all = Self {
            path: lab.path().join("srv/site"),
            user: output("id", &["-un"]),
            ssh: free_port(),
            web: free_port(),
            keys,
            hosts: Vec::new(),
        };
        for number in 1..=count {
            let folder = lab.folder(&format!("host-{number}"));
            all.configure(&folder, number);
            let sshd = all.sshd(&folder);
            let nginx = nginx(&folder, number, all.web);
            all.hosts.push(Host { folder, sshd, _nginx: nginx });
        }
        for number in 1..=count {
            listens(number, all.ssh);
            listens(number, all.web);
        }
        all.know("known", "host");
        all
    }

    /// Writes a list of known hosts, in which all have the key `of`.
    pub fn know(&self, list: &str, of: &str) {
        let key = std::fs::read_to_string(self.keys.join(format!("{of}.pub"))).expect("a key");
        let line = |number| format!("[127.0.1.{number}]:{} {key}", self.ssh);
        let text: String = (1..=self.hosts.len()).map(line).collect();
        std::fs::write(self.keys.join(list), text).expect("a file can be written");
    }

    /// A file of keys.
    pub fn key(&self, name: &str) -> String {
        self.keys.join(name).display().to_string()
    }

    /// `USER@HOST:PORT`.
    pub fn address(&self, number: usize) -> String {
        format!("{}@127.0.1.{number}:{}", self.user, self.ssh)
    }

    /// The releases of a host, as this machine finds them.
    pub fn root(&self, number: usize) -> PathBuf {
        self.hosts[number - 1].folder.join("site")
    }

    /// What a host answers by itself.
    pub fn answer(&self, number: usize) -> String {
        let address = format!("127.0.1.{number}:{}", self.web).parse().expect("an address");
        get(address).unwrap_or_default()
    }

    /// From now on nobody answers SSH there, and who was connected is cut off.
    pub fn die(&mut self, number: usize) {
        let sshd = &mut self.hosts[number - 1].sshd;
        let sessions = children(sshd.pid());
        sshd.kill();
        for session in sessions {
            signal(session, "KILL");
        }
    }

    pub fn revive(&mut self, number: usize) {
        let sshd = self.sshd(&self.hosts[number - 1].folder.clone());
        self.hosts[number - 1].sshd = sshd;
        listens(number, self.ssh);
    }

    fn configure(&self, folder: &Path, number: usize) {
        let enter = folder.join("enter");
        let script = format!(
            "#!/bin/sh\nexec sh -c \"$(printf %s \"$SSH_ORIGINAL_COMMAND\" | sed 's#{}#{}#g')\"\n",
            self.path.display(),
            folder.join("site").display(),
        );
        std::fs::write(&enter, script).expect("a file can be written");
        std::fs::set_permissions(&enter, std::fs::Permissions::from_mode(0o755))
            .expect("it is ours");
        let text = format!(
            "Port {}\nListenAddress 127.0.1.{number}\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nPasswordAuthentication no\nUsePAM no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
             ForceCommand {}\nSetEnv HOME={}\n",
            self.ssh,
            self.key("host"),
            self.key("authorized"),
            enter.display(),
            // What the user's own shell does first takes its time.
            folder.display(),
        );
        std::fs::write(folder.join("sshd"), text).expect("a file can be written");
    }

    fn sshd(&self, folder: &Path) -> Process {
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd"));
        Process::start(&mut command, &folder.join("sshd.log"))
    }
}

/// Serves what `current` leads to. A release with a file `breaks-NUMBER` is not well on
/// host NUMBER.
fn nginx(folder: &Path, number: usize, port: u16) -> Process {
    let config = folder.join("nginx.conf");
    let at = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log {};\nevents {{}}\nhttp {{\n  \
         access_log off;\n  client_body_temp_path {body};\n  proxy_temp_path {body};\n  \
         fastcgi_temp_path {body};\n  uwsgi_temp_path {body};\n  scgi_temp_path {body};\n  \
         server {{ listen 127.0.1.{number}:{port}; root {current};\n    \
         location = /health.txt {{ if (-f {current}/breaks-{number}) {{ return 503; }} }}\n  \
         }}\n}}\n",
        at("nginx.pid"),
        at("nginx.log"),
        current = at("site/current"),
        body = at("body"),
    );
    std::fs::write(&config, text).expect("a file can be written");
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(&config);
    Process::start(&mut command, &folder.join("nginx.out"))
}

fn listens(number: usize, port: u16) {
    let address = format!("127.0.1.{number}:{port}");
    wait_for(&address, PATIENCE, || TcpStream::connect(&address).ok());
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The processes below one.
fn children(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let list = list.unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    found.split_off(1)
}

/// Asks once and returns the body of a good answer.
pub fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// Somebody who asks all the time, and counts.
pub struct Visitor {
    asking: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(Duration, bool)>>>,
}

impl Visitor {
    pub fn of(address: SocketAddr) -> Self {
        let asking = Arc::new(AtomicBool::new(true));
        let going_on = Arc::clone(&asking);
        let thread = std::thread::spawn(move || {
            let mut visits = Vec::new();
            while going_on.load(Ordering::Relaxed) {
                let began = Instant::now();
                let is_well = get(address).is_some();
                visits.push((began.elapsed(), is_well));
                std::thread::sleep(Duration::from_millis(5));
            }
            visits
        });
        Self { asking, thread: Some(thread) }
    }

    /// What became of the requests.
    pub fn go_home(mut self) -> Report {
        self.asking.store(false, Ordering::Relaxed);
        let thread = self.thread.take().expect("nobody goes home twice");
        Report::of_visits(&thread.join().expect("a visitor goes home"))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.asking.store(false, Ordering::Relaxed);
    }
}
