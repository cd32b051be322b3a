//! Processes of a lab: started with their output in a file, ended by pid.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with its owner: TERM, and KILL after five seconds.
pub struct Process {
    child: Child,
    pub log: PathBuf,
    left: bool,
}

impl Process {
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let output = File::create(log).expect("the log of a process can be made");
        let errors = output.try_clone().expect("a file handle can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, log: log.to_owned(), left: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn terminate(&mut self) {
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    /// Waits for the end and returns the exit code; `None` after a signal or when it is too late.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Panics with the log when the process has ended.
    pub fn assert_alive(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("process ended with {status}:\n{}", self.text());
        }
    }

    /// Lets the process outlive this one, and adds its pid to the file `pids`.
    pub fn leave(mut self, pids: &Path) {
        self.left = true;
        record(self.child.id(), pids);
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left && matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
        }
    }
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok(), "`kill` cannot be started");
}

/// Waits until `condition` gives a value; panics with what was awaited when it is too late.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Adds a process to the file `pids`: its pid and its start time, since pids are used again.
pub fn record(pid: u32, pids: &Path) {
    use std::io::Write as _;
    let Some(started) = start_time(pid) else { return };
    let file = File::options().create(true).append(true).open(pids);
    writeln!(file.expect("a file can be made"), "{pid} {started}").expect("a file can be written");
}

/// Ends the processes of the file `pids` that are still the ones recorded, last first.
pub fn end_recorded(pids: &Path) {
    let text = std::fs::read_to_string(pids).unwrap_or_default();
    for line in text.lines().rev() {
        let Some((pid, started)) = line.split_once(' ') else { continue };
        let Ok(pid) = pid.parse::<u32>() else { continue };
        let is_ours = || start_time(pid).is_some_and(|now| now == started);
        if !is_ours() {
            continue;
        }
        signal(pid, "TERM");
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_ours() {
            if Instant::now() > deadline {
                signal(pid, "KILL");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let _ = std::fs::remove_file(pids);
}

/// Field 22 of `/proc/PID/stat`; `None` for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19).map(|field| (*field).to_owned())
}
