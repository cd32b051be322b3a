//! The role `pause`: holds the network that stages of a run use one after the other.
//!
//! It is asked by a line on stdin, when the stage before has ended, and answers with a
//! record: that the network is a fresh one, or why there is none. No command of anybody
//! runs here, nothing listens, and a stage that shares the network sees none of it.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use shipline_init::frame::Kind;

use crate::network::{self, Network};
use crate::output::Output;
use crate::stage::ready;
use crate::system::{self, Polled, Signals};

/// The container could not do its work.
const FAILED: u8 = 1;
/// What the engine puts into all containers of one network: a stage may write there.
const SHARED: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Holds the network until a signal comes.
pub(crate) fn run() -> u8 {
    hold().map_or(FAILED, |()| 0)
}

fn hold() -> io::Result<()> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from)?;
    let mut output = Output::new(stdout)?;
    let mut signals = Signals::block(&[libc::SIGTERM, libc::SIGINT])?;
    let files: Vec<Shared> =
        SHARED.iter().filter_map(|path| Shared::read(Path::new(path)).ok()).collect();
    let mut network = Network::read()?;
    // Nobody has used the first one yet.
    tell(&mut output, network::current());
    let mut asked = true;
    loop {
        // Whoever asks may be gone, and a stage still use the network.
        let stdin = if asked { Polled::read(0) } else { Polled::nothing() };
        let mut polled = [Polled::read(signals.descriptor()), stdin];
        system::poll(&mut polled, None)?;
        if signals.next().is_some() {
            return Ok(());
        }
        if polled[1].is_ready() {
            let mut byte = [0];
            match io::stdin().lock().read(&mut byte)? {
                0 => asked = false,
                _ => tell(&mut output, renew(&mut network, &files)),
            }
        }
    }
}

fn renew(network: &mut Network, files: &[Shared]) -> io::Result<u64> {
    for file in files {
        file.restore()?;
    }
    network.renew()
}

fn tell(output: &mut Output, network: io::Result<u64>) {
    match network {
        Ok(network) => output.push(Kind::Ready, &ready(Some(network)).encode()),
        Err(error) => output.push(Kind::Notice, error.to_string().as_bytes()),
    }
    output.finish();
}

/// A file as the engine made it.
struct Shared {
    path: PathBuf,
    contents: Vec<u8>,
    as_made: Metadata,
}

impl Shared {
    fn read(path: &Path) -> io::Result<Self> {
        let (path, contents) = (path.to_owned(), fs::read(path)?);
        let as_made = fs::metadata(&path)?;
        Ok(Self { path, contents, as_made })
    }

    /// Undoes what a stage did to it: it cannot replace the file, which is mounted.
    fn restore(&self) -> io::Result<()> {
        for name in system::attributes(&self.path)? {
            let name = String::from_utf8_lossy(&name).into_owned();
            // Those of the machine's own rules are not the stage's.
            if !name.starts_with("security.") {
                system::remove_attribute(&self.path, &name)?;
            }
        }
        let found = fs::metadata(&self.path)?;
        let made = &self.as_made;
        if (found.uid(), found.gid()) != (made.uid(), made.gid()) {
            chown(&self.path, Some(made.uid()), Some(made.gid()))?;
        }
        if found.mode() != made.mode() {
            fs::set_permissions(&self.path, Permissions::clone(&made.permissions()))?;
        }
        let same = found.len() == made.len() && fs::read(&self.path)? == self.contents;
        if !same {
            let mut file = OpenOptions::new().write(true).truncate(true).open(&self.path)?;
            file.write_all(&self.contents)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_again_what_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "127.0.0.1 localhost\n").unwrap();
        let shared = Shared::read(&path).unwrap();
        fs::write(&path, "10.0.0.1 localhost\n".repeat(1000)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o4777)).unwrap();
        shared.restore().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n");
        assert_eq!(fs::metadata(&path).unwrap().mode(), shared.as_made.mode());
        fs::write(&path, "127.0.0.2 localhost\n").unwrap();
        shared.restore().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n");
    }
}
