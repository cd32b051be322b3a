//! What the stage used at most, read from the control groups of its own container just
//! before it ends: afterwards nobody can, and here it does not matter where the engine is.

use std::fs;
use std::path::{Path, PathBuf};

use shipline_init::frame::{Full, Usage};

use crate::system;

const ROOT: &str = "/sys/fs/cgroup";
/// Less room than this is none.
const NO_ROOM: u64 = 64 << 10;

/// Reads what there is; `places` are looked at for room.
pub(crate) fn read(places: &[&str]) -> Usage {
    let groups = Groups { root: ROOT.into() };
    let killed = groups
        .number_of("memory", "memory.events", "oom_kill")
        .or_else(|| groups.number_of("memory", "memory.oom_control", "oom_kill"));
    let refused = groups.number_of("pids", "pids.events", "max");
    Usage {
        memory_peak: groups
            .number("memory", "memory.peak")
            .or_else(|| groups.number("memory", "memory.max_usage_in_bytes")),
        pids_peak: groups.number("pids", "pids.peak"),
        out_of_memory: killed.map(|count| count > 0),
        pids_refused: refused.is_some_and(|count| count > 0),
        full: places.iter().filter_map(|place| full(place)).collect(),
    }
}

/// A place that takes no more.
fn full(place: &str) -> Option<Full> {
    let room = system::room(Path::new(place)).ok()?;
    let is_full = room.free < NO_ROOM || (room.files > 0 && room.free_files == 0);
    is_full.then(|| Full { place: place.to_owned(), size: room.size })
}

/// Where the kernel shows the control groups: all in one directory, or one for each
/// controller in the first version.
struct Groups {
    root: PathBuf,
}

impl Groups {
    fn text(&self, controller: &str, file: &str) -> Option<String> {
        let paths = [self.root.join(file), self.root.join(controller).join(file)];
        paths.iter().find_map(|path| fs::read_to_string(path).ok())
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.text(controller, file)?.trim().parse().ok()
    }

    /// The number behind a word.
    fn number_of(&self, controller: &str, file: &str, word: &str) -> Option<u64> {
        let text = self.text(controller, file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        line?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let first = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("memory/memory.max_usage_in_bytes", "4096\n"),
            ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("pids/pids.events", "max 3\n"),
            ("pids/pids.peak", "20\n"),
        ] {
            let path = first.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let groups = Groups { root: first.path().to_owned() };
        assert_eq!(groups.number("memory", "memory.max_usage_in_bytes"), Some(4096));
        assert_eq!(groups.number_of("pids", "pids.events", "max"), Some(3));
        assert_eq!(groups.number_of("memory", "memory.oom_control", "oom_kill"), Some(2));
        assert_eq!(groups.number("memory", "memory.peak"), None);

        let second = tempfile::tempdir().unwrap();
        fs::write(second.path().join("memory.peak"), "8192\n").unwrap();
        fs::write(second.path().join("pids.events"), "max 0\n").unwrap();
        let groups = Groups { root: second.path().to_owned() };
        assert_eq!(groups.number("memory", "memory.peak"), Some(8192));
        assert_eq!(groups.number_of("pids", "pids.events", "max"), Some(0));
    }

    #[test]
    fn a_place_with_room_is_not_full() {
        assert_eq!(full("/"), None);
        assert_eq!(full("/no/such/place"), None);
    }
}
