//! The calls of the kernel that the standard library does not have.
//!
//! The only file with `unsafe`: each block is one call whose arguments live on
//! this stack or in a descriptor that is owned here.
#![allow(unsafe_code, reason = "system calls without a safe face in std")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn path_text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Signals as something that can be polled.
pub(crate) struct Signals(File);

impl Signals {
    /// Blocks `signals` and returns where they arrive.
    pub(crate) fn block(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is a plain value that sigemptyset initialises.
        let descriptor = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            checked(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            OwnedFd::from_raw_fd(checked(libc::signalfd(-1, &set, flags))?)
        };
        Ok(Self(File::from(descriptor)))
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Returns the next one that has arrived.
    pub(crate) fn next(&mut self) -> Option<i32> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        self.0.read_exact(&mut info).ok()?;
        // The number is the first field of the structure.
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        i32::try_from(number).ok()
    }
}

/// Lets the child hear the signals that are blocked here: the mask is inherited.
pub(crate) fn unblock_in_child(command: &mut Command) {
    // SAFETY: between fork and exec only sigemptyset and sigprocmask are called,
    // which are safe for signals, on a set on the stack.
    unsafe {
        command.pre_exec(|| {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            checked(libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut())).map(drop)
        });
    }
}

/// A descriptor that is waited for.
pub(crate) struct Polled(libc::pollfd);

impl Polled {
    pub(crate) fn read(descriptor: RawFd) -> Self {
        Self(libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 })
    }

    pub(crate) fn write(descriptor: RawFd) -> Self {
        Self(libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 })
    }

    /// poll(2) passes over negative descriptors.
    pub(crate) fn nothing() -> Self {
        Self::read(-1)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until one of them is ready or `timeout` is over.
pub(crate) fn poll(of: &mut [Polled], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = match timeout {
        // Rounded up, so that a deadline is over when poll says so.
        Some(timeout) => i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX),
        None => -1,
    };
    let mut list: Vec<libc::pollfd> = of.iter().map(|polled| polled.0).collect();
    // SAFETY: the pointer and the count are those of one vector.
    let result = unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout) };
    for (polled, seen) in of.iter_mut().zip(list) {
        polled.0.revents = if result > 0 { seen.revents } else { 0 };
    }
    match checked(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result.map(drop),
    }
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Stopped(i32),
    Exited(u8),
    Killed(i32),
}

/// Returns the next change of any child, and removes it when it is a zombie.
pub(crate) fn reap() -> Option<(i32, Change)> {
    let mut status = 0;
    // SAFETY: the status is a local that outlives the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::WUNTRACED) };
    if pid <= 0 {
        return None;
    }
    let change = if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFSIGNALED(status) {
        Change::Killed(libc::WTERMSIG(status))
    } else {
        Change::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    };
    Some((pid, change))
}

/// Says whether this is PID 1 of a container.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1
}

/// Says whether PID 1 is the only process that is left; no is also that it cannot be seen.
pub(crate) fn is_alone() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    let processes = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    is_init() && processes.take(2).count() == 1
}

/// Sends `signal` to everything in the container: as PID 1, `-1` means all others,
/// also those that left the group. Anywhere else that would be the whole machine,
/// so there it is the child's process group.
pub(crate) fn signal_all(child: i32, signal: i32) {
    let whom = if is_init() { -1 } else { -child };
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(whom, signal) };
}

/// Kills the process group of a child that was given one.
pub(crate) fn kill_group(child: i32) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(-child, libc::SIGKILL) };
}

pub(crate) fn resume(child: i32) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(child, libc::SIGCONT) };
}

/// Returns an anonymous file with `contents` that children inherit.
pub(crate) fn anonymous_file() -> io::Result<File> {
    // SAFETY: the name is a literal; the descriptor is new and owned from here on.
    let descriptor =
        unsafe { OwnedFd::from_raw_fd(checked(libc::memfd_create(c"script".as_ptr(), 0))?) };
    Ok(File::from(descriptor))
}

pub(crate) fn set_nonblocking(file: &impl AsRawFd) -> io::Result<()> {
    let descriptor = file.as_raw_fd();
    // SAFETY: fcntl with these commands takes numbers only.
    unsafe {
        let flags = checked(libc::fcntl(descriptor, libc::F_GETFL))?;
        checked(libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// Makes `/proc/1/fd` and the memory of this process unreadable for the stage:
/// it runs as the same user, but without CAP_SYS_PTRACE.
pub(crate) fn hide_from_stage() -> io::Result<()> {
    // SAFETY: prctl with this option takes numbers only.
    checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(drop)
}

/// Files of this process and its children get the mode that is asked for.
pub(crate) fn clear_umask() {
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(0) };
}

/// Under memory pressure in the container the stage dies first, PID 1 last.
pub(crate) fn prefer_to_kill(child: i32) {
    if let Ok(mut file) = File::options().write(true).open(format!("/proc/{child}/oom_score_adj")) {
        // Best effort: without it the kernel chooses by size, which is nearly always right.
        drop(file.write_all(b"500"));
    }
}

/// Moves this process, which has but one thread, into a network namespace of its own.
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: unshare takes a number only.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Opens a socket to the kernel, for the network namespace this process is in now.
pub(crate) fn route_socket() -> io::Result<File> {
    // SAFETY: the descriptor is new and owned from here on.
    let descriptor = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(checked(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE))?)
    };
    Ok(File::from(descriptor))
}

/// Returns an extended attribute of the path itself, if it has it.
pub(crate) fn attribute(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let path = path_text(path)?;
    let name = CString::new(name)?;
    let mut value = vec![0_u8; 4096];
    // SAFETY: both strings end with NUL, and the length is that of the buffer.
    let length = unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    if length >= 0 {
        value.truncate(usize::try_from(length).unwrap_or(0));
        return Ok(Some(value));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENODATA | libc::ENOTSUP) => Ok(None),
        _ => Err(error),
    }
}

/// Returns the names of the extended attributes of the path itself.
pub(crate) fn attributes(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let path = path_text(path)?;
    // The most that the kernel returns.
    let mut names = vec![0_u8; 65_536];
    // SAFETY: the string ends with NUL, and the length is that of the buffer.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOTSUP) => Ok(Vec::new()),
            _ => Err(error),
        };
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// Sets an extended attribute of the path itself.
pub(crate) fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let path = path_text(path)?;
    let name = CString::new(name)?;
    // SAFETY: both strings end with NUL, and the length is that of the value.
    checked(unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    })
    .map(drop)
}

/// Sets the time of change of the path itself, also of a symbolic link.
pub(crate) fn set_modified(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let path = path_text(path)?;
    let times = [
        libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    ];
    // SAFETY: the string ends with NUL; the two times are on this stack.
    checked(unsafe {
        libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW)
    })
    .map(drop)
}

/// Takes an extended attribute off the path itself.
pub(crate) fn remove_attribute(path: &Path, name: &str) -> io::Result<()> {
    let path = path_text(path)?;
    let name = CString::new(name)?;
    // SAFETY: both strings end with NUL.
    checked(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

/// What a file system has.
pub(crate) struct Room {
    pub(crate) size: u64,
    pub(crate) free: u64,
    /// 0 where they are not counted.
    pub(crate) files: u64,
    pub(crate) free_files: u64,
}

/// Returns what the file system of a path has, for somebody without privileges.
pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let path = path_text(path)?;
    // SAFETY: the string ends with NUL; the structure is plain and outlives the call.
    let found = unsafe {
        let mut found: libc::statvfs64 = std::mem::zeroed();
        checked(libc::statvfs64(path.as_ptr(), &mut found))?;
        found
    };
    Ok(Room {
        size: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        files: found.f_files,
        free_files: found.f_favail,
    })
}

/// Makes a FIFO, socket or device.
pub(crate) fn make_node(path: &Path, mode: u32, device: u64) -> io::Result<()> {
    let path = path_text(path)?;
    // SAFETY: the string ends with NUL.
    checked(unsafe { libc::mknod(path.as_ptr(), mode, device) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_a_descriptor_is_ready_or_the_time_is_over() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut polled = [Polled::read(reader.as_raw_fd()), Polled::nothing()];
        poll(&mut polled, Some(Duration::from_millis(1))).unwrap();
        assert!(!polled[0].is_ready());
        writer.write_all(b"x").unwrap();
        poll(&mut polled, None).unwrap();
        assert!(polled[0].is_ready() && !polled[1].is_ready());
    }

    #[test]
    fn an_attribute_that_is_not_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(attribute(directory.path(), "trusted.overlay.opaque").unwrap(), None);
        assert!(attribute(Path::new("/does/not/exist"), "user.x").is_err());
    }
}
