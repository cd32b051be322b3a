//! Ports for those who do not listen yet, or not all the time.
//!
//! A port that the kernel gives out is its to give again: to the next client that connects to
//! anything. These are of a range that it gives to nobody, and each is locked as long as the
//! process lives that has it, so that tests beside each other never get the same.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Below those of units that are processes.
const RANGE: RangeInclusive<u16> = 10_000..=19_999;

/// Locks that this process has; the last one tells where to go on.
static TAKEN: Mutex<Vec<(u16, File)>> = Mutex::new(Vec::new());

/// A port of loopback that nobody listens on, for this process alone and until it ends.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder();
    let first = match taken.last() {
        Some((port, _)) => port.wrapping_add(1),
        // Processes begin at different places, so that they seldom meet.
        None => RANGE.start() + (std::process::id() % 100) as u16 * 100,
    };
    let (before, after) = (*RANGE.start()..first, first..=*RANGE.end());
    for port in after.chain(before) {
        let path = folder.join(port.to_string());
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => panic!("{}: {error}", path.display()),
        }
        // Of those who know nothing of the locks, and of what outlived its test.
        let is_free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if is_free {
            taken.push((port, file));
            return port;
        }
    }
    panic!("no port from {} to {} is free", RANGE.start(), RANGE.end());
}

/// One for all processes of the machine; its files are empty and stay.
fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join("shipline-test-ports");
    std::fs::create_dir_all(&folder).expect("a folder for locks can be made");
    folder
}
