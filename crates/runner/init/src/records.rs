//! The records of a stage in a file on a volume: whoever comes after a runner that died reads
//! there what it did not hear.
//!
//! The stage may write there too, so that nothing in it is to be believed of another stage.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use shipline_init::frame::{Kind, header};

use crate::system::{self, Polled};

/// Read from the file at a time.
const PIECE: usize = 256 << 10;
/// How often a file that may grow is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is written there beside stdout.
pub(crate) struct Records {
    file: File,
    /// Bytes that may still be written before the last records.
    left: u64,
    /// Some of the output is not there.
    gap: bool,
    broken: Option<ErrorKind>,
}

impl Records {
    pub(crate) fn create(path: &Path, limit: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        Ok(Self { file, left: limit, gap: false, broken: None })
    }

    /// Adds a whole record. Output beyond the limit is left out, the end of the stage never.
    pub(crate) fn add(&mut self, kind: Kind, record: &[u8]) {
        if matches!(kind, Kind::Outputs | Kind::Usage | Kind::Exit) {
            if self.gap {
                self.gap = false;
                let notice = b"some of the output was not kept while nobody listened";
                let head = header(Kind::Notice, notice.len());
                self.write(&[&head[..], notice].concat());
            }
            self.write(record);
            return;
        }
        match self.left.checked_sub(record.len() as u64) {
            // Once something is missing, what comes after it would stand in its place.
            Some(left) if !self.gap => {
                self.left = left;
                self.write(record);
            }
            _ => self.gap = true,
        }
    }

    /// Half a record must be the last thing that is there.
    fn write(&mut self, record: &[u8]) {
        if self.broken.is_none()
            && let Err(error) = self.file.write_all(record)
        {
            self.broken = Some(error.kind());
        }
    }

    /// Returns once all of it outlives the machine.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match self.broken {
            Some(kind) => Err(kind.into()),
            None => self.file.sync_data(),
        }
    }
}

/// Prints the file from its start as it grows, until somebody says on stdin that it will not
/// grow any more, or goes away.
pub(crate) fn follow(path: &Path, mut to: impl Write) -> io::Result<()> {
    let mut file = None;
    let mut buffer = vec![0; PIECE];
    let mut over = false;
    loop {
        if file.is_none() {
            file = open(path)?;
        }
        let read = match &mut file {
            Some(file) => file.read(&mut buffer)?,
            None => 0,
        };
        if read > 0 {
            to.write_all(&buffer[..read])?;
            to.flush()?;
        } else if over {
            return Ok(());
        } else {
            let mut polled = [Polled::read(0)];
            system::poll(&mut polled, Some(LOOK))?;
            // A byte or the end: what was written until now is read all the same.
            over = polled[0].is_ready();
        }
    }
}

/// Opens the file, which may not be there yet; nothing else of that name.
fn open(path: &Path) -> io::Result<Option<File>> {
    let options = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(options).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("the records of the stage are not a file"));
    }
    Ok(Some(file))
}

/// A record as it is written.
#[cfg(test)]
fn record(kind: Kind, length: usize) -> Vec<u8> {
    let mut record = header(kind, length).to_vec();
    record.resize(record.len() + length, b'x');
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_and_said_but_never_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        let mut records = Records::create(&path, 100).unwrap();
        let (first, second) = (record(Kind::Stdout, 80), record(Kind::Stdout, 40));
        let (small, exit) = (record(Kind::Stderr, 2), record(Kind::Exit, 30));
        for (kind, record) in [
            (Kind::Stdout, &first),
            (Kind::Stdout, &second),
            (Kind::Stderr, &small),
            (Kind::Exit, &exit),
        ] {
            records.add(kind, record);
        }
        records.sync().unwrap();
        let written = std::fs::read(&path).unwrap();
        assert!(written.starts_with(&first) && written.ends_with(&exit));
        let between = &written[first.len()..written.len() - exit.len()];
        assert_eq!(between[0], header(Kind::Notice, 0)[0]);
        assert!(String::from_utf8_lossy(between).contains("not kept"), "{between:?}");
    }

    #[test]
    fn a_link_or_a_directory_is_not_taken_for_records() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(Records::create(&link, 100).is_err());
        assert!(open(&link).is_err());
        assert!(open(directory.path()).is_err());
        assert!(open(&directory.path().join("none")).unwrap().is_none());
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
    }
}
