//! What the kernel says of processes, and what they are told.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// One process: its number may be used again, its number and start time never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// In ticks since the machine was started.
    pub(super) started: u64,
}

/// What of a line of `/proc/PID/stat` matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) process: Process,
    pub(super) zombie: bool,
    pub(super) group: i32,
    pub(super) session: i32,
}

impl Stat {
    /// Reads a line. The second word is a name in brackets that may have spaces
    /// and brackets of its own.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let pid = line.split(' ').next()?.parse().ok()?;
        let mut words = line.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = words.next()?;
        let group = words.nth(1)?.parse().ok()?;
        let session = words.next()?.parse().ok()?;
        let started = words.nth(15)?.parse().ok()?;
        let zombie = matches!(state, "Z" | "X" | "x");
        Some(Self { process: Process { pid, started }, zombie, group, session })
    }

    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

impl Process {
    /// Reads the process a unit wrote down when it began.
    pub(super) fn recorded(file: &Path) -> Option<Self> {
        Some(Stat::parse(&fs::read_to_string(file).ok()?)?.process)
    }

    /// Whether it runs: the same process, and not what is left of it until its
    /// parent asks how it ended.
    pub(super) fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|now| now.process == self && !now.zombie)
    }

    /// Returns whatever runs in the session of this process, which it leads. The
    /// number of a session is not used again as long as it has a process; one whose
    /// leader began at another time is somebody else's.
    pub(super) fn session(self) -> Vec<Process> {
        if Stat::of(self.pid).is_some_and(|leader| leader.process != self) {
            return Vec::new();
        }
        let members = all().filter(|stat| {
            stat.session == self.pid && !stat.zombie && stat.process.started >= self.started
        });
        members.map(|stat| stat.process).collect()
    }

    /// Sends a signal to the process group this process leads; where that is gone
    /// already, to what is left of the session.
    pub(super) fn signal_group(self, signal: Signal) {
        let members = self.session();
        let mut groups: Vec<i32> = members
            .iter()
            .filter_map(|member| Stat::of(member.pid))
            .filter(|stat| stat.session == self.pid)
            .map(|stat| stat.group)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups.into_iter().filter_map(Pid::from_raw) {
            // It may have ended by now.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

/// Who has the listening sockets of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    Nobody,
    /// A process of the unit.
    Unit,
    Another,
}

/// Looks who listens on `port`: an answer from a port proves nothing about who
/// gave it, the owner of its socket does.
pub(super) fn listener(port: u16, unit: Process) -> Listener {
    let mut sockets = listening(port);
    if sockets.is_empty() {
        return Listener::Nobody;
    }
    for member in unit.session() {
        let own = sockets_of(member.pid);
        sockets.retain(|inode| !own.contains(inode));
    }
    if sockets.is_empty() { Listener::Unit } else { Listener::Another }
}

/// Returns the inodes of the sockets that listen on `port`.
fn listening(port: u16) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    tables.into_iter().flatten().flat_map(|table| listening_in(&table, port)).collect()
}

fn listening_in(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let port = format!("{port:04X}");
    let inode = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let (_, local) = words.get(1)?.rsplit_once(':')?;
        (local == port && *words.get(3)? == LISTEN).then(|| words.get(9)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn sockets_of(pid: i32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let inode = |entry: std::io::Result<fs::DirEntry>| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    entries.filter_map(inode).collect()
}

fn all() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Stat::of(entry.file_name().to_str()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_off_its_line_whatever_its_name_is() {
        let line = "4711 (a) b (c) S 1 4711 4700 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 11 12";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.process, Process { pid: 4711, started: 98_765 });
        assert_eq!((stat.group, stat.session, stat.zombie), (4711, 4700, false));
        assert!(Stat::parse(&line.replace(" S ", " Z ")).unwrap().zombie);
        assert_eq!(Stat::parse("4711 (sh"), None);
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Stat::of(pid).unwrap().process;
        assert!(own.is_alive());
        let former = Process { started: own.started - 1, ..own };
        assert!(!former.is_alive());
        assert_eq!(former.session(), []);
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = loop {
            let stat = Stat::of(pid).unwrap();
            if stat.zombie {
                break stat.process;
            }
            std::thread::yield_now();
        };
        assert!(!process.is_alive());
        child.wait().unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn listening_sockets_are_found_by_their_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:5208 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0\n\
             1: 0100007F:5208 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 2222 1 0\n\
             2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3333 1 0\n";
        assert_eq!(listening_in(table, 0x5208), [1111]);
        assert_eq!(listening_in(table, 22), [3333]);
        assert_eq!(listening_in(table, 80), [0; 0]);
    }

    #[test]
    fn the_owner_of_a_socket_is_told_from_others() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let own = Stat::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        // The test does not lead a session: that of whoever started it does.
        let leader = Process { pid: own.session, ..own.process };
        let leader = Stat::of(leader.pid).map_or(leader, |stat| stat.process);
        assert_eq!(listener(port, leader), Listener::Unit);
        let mut other = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let stranger = Stat::of(i32::try_from(other.id()).unwrap()).unwrap().process;
        assert_eq!(listener(port, stranger), Listener::Another);
        other.kill().unwrap();
        other.wait().unwrap();
        drop(socket);
        assert_eq!(listener(port, leader), Listener::Nobody);
    }
}
