//! What a unit wrote: two files that it appends to by itself, bounded by copying
//! the text away and emptying the file, since the unit keeps it open.
//!
//! Between copying and emptying a unit may write some bytes more, and these are
//! lost. That is the price of a unit that needs nobody beside it to go on. For the
//! same reason lines have no times: `since` leaves out files that were last written
//! before, and cannot cut one in two.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::system::Process;
use crate::target::stream::PIECES;
use crate::{LogChunk, LogOptions, LogSource, LogStream, TargetError};

pub(super) const ROTATE_BYTES: u64 = 10 << 20;
/// Former texts beside the one that is written to.
const FORMER: u32 = 2;
const POLL: Duration = Duration::from_millis(200);
const PIECE_BYTES: usize = 32 << 10;
const LINE_BYTES: usize = 2_000;
const SOURCES: [(LogSource, &str); 2] =
    [(LogSource::Stdout, "stdout.log"), (LogSource::Stderr, "stderr.log")];

fn former(folder: &Path, name: &str, age: u32) -> PathBuf {
    folder.join(format!("{name}.{age}"))
}

/// Bounds the files of a unit.
pub(super) fn rotate(folder: &Path, limit: u64) {
    for (_, name) in SOURCES {
        let path = folder.join(name);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > limit)
            && let Err(error) = rotate_one(folder, name)
        {
            tracing::warn!(path = %path.display(), %error, "the log was not rotated");
        }
    }
}

fn rotate_one(folder: &Path, name: &str) -> std::io::Result<()> {
    let path = folder.join(name);
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    // Another engine on this folder does the same.
    if file.try_lock().is_err() {
        return Ok(());
    }
    for age in (1..FORMER).rev() {
        let (from, to) = (former(folder, name, age), former(folder, name, age + 1));
        if from.exists() {
            fs::rename(from, to)?;
        }
    }
    fs::copy(&path, former(folder, name, 1))?;
    file.set_len(0)
}

/// Returns the last lines of both files, for the report of a unit that failed.
pub(super) fn last_lines(folder: &Path, count: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for (_, name) in SOURCES {
        for line in tail(&[folder.join(name)], Some(count)).unwrap_or_default() {
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            lines.push(String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)]).into_owned());
        }
    }
    lines.split_off(lines.len().saturating_sub(count as usize))
}

/// Reads the last `count` lines of texts, or all.
fn tail(paths: &[PathBuf], count: Option<u32>) -> std::io::Result<VecDeque<Vec<u8>>> {
    let mut lines = VecDeque::new();
    for path in paths {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            lines.push_back(line);
            if count.is_some_and(|count| lines.len() > count as usize) {
                lines.pop_front();
            }
        }
    }
    Ok(lines)
}

/// Streams what a unit wrote, and goes on with what it writes if that is asked for.
pub(super) fn stream(folder: PathBuf, options: LogOptions) -> Result<LogStream, TargetError> {
    let (pieces, told) = mpsc::channel(PIECES);
    // Reading files waits for disks; the reader ends when nobody listens any more.
    tokio::task::spawn_blocking(move || {
        let reading = Reading { folder, pieces };
        if let Err(Stop::Failed(error)) = reading.run(options) {
            let error = super::failed("read the logs of", &reading.folder, &error);
            let _ = reading.pieces.blocking_send(Err(error));
        }
    });
    Ok(stream_of(told))
}

fn stream_of(told: mpsc::Receiver<Result<LogChunk, TargetError>>) -> LogStream {
    futures_util::stream::unfold(told, |mut told| async move {
        told.recv().await.map(|piece| (piece, told))
    })
    .boxed()
}

struct Reading {
    folder: PathBuf,
    pieces: mpsc::Sender<Result<LogChunk, TargetError>>,
}

enum Stop {
    /// Nobody listens.
    Alone,
    Failed(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Reading {
    fn run(&self, options: LogOptions) -> Result<(), Stop> {
        let mut followed = Vec::new();
        for (source, name) in SOURCES {
            // Where following begins is known before the past is read: what is
            // written meanwhile is told by one of the two, and by one only.
            let end = fs::metadata(self.folder.join(name)).map_or(0, |metadata| metadata.len());
            self.past(source, name, end, options)?;
            followed.push((source, name, end));
        }
        if options.follow { self.follow(followed) } else { Ok(()) }
    }

    fn follow(&self, mut followed: Vec<(LogSource, &str, u64)>) -> Result<(), Stop> {
        loop {
            // Asked before reading: what it wrote last is read after it ended.
            let runs =
                Process::recorded(&self.folder.join("process")).is_some_and(Process::is_alive);
            for (source, name, position) in &mut followed {
                *position = self.news(*source, name, *position)?;
            }
            if !runs {
                return Ok(());
            }
            if self.pieces.is_closed() {
                return Err(Stop::Alone);
            }
            std::thread::sleep(POLL);
        }
    }

    fn past(
        &self,
        source: LogSource,
        name: &str,
        end: u64,
        options: LogOptions,
    ) -> Result<(), Stop> {
        let since = options.since.map(SystemTime::from);
        let is_wanted = |path: &PathBuf| {
            let written = fs::metadata(path).and_then(|metadata| metadata.modified());
            written.is_ok_and(|written| since.is_none_or(|since| written >= since))
        };
        let formers = (1..=FORMER).rev().map(|age| former(&self.folder, name, age));
        let formers: Vec<_> = formers.filter(is_wanted).collect();
        let current = self.folder.join(name);
        match options.tail {
            None => {
                for path in formers {
                    self.copy(source, &path, 0, u64::MAX)?;
                }
                if is_wanted(&current) {
                    self.copy(source, &current, 0, end)?;
                }
            }
            Some(count) => {
                let current = Some(current).filter(is_wanted);
                let paths: Vec<_> = formers.into_iter().chain(current).collect();
                for line in tail(&paths, Some(count))? {
                    self.tell(source, line)?;
                }
            }
        }
        Ok(())
    }

    /// Tells what was written since `position` and returns where that ended.
    fn news(&self, source: LogSource, name: &str, mut position: u64) -> Result<u64, Stop> {
        let path = self.folder.join(name);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(position),
            Err(error) => return Err(error.into()),
        };
        if length < position {
            // It was emptied: the rest is in the former text.
            self.copy(source, &former(&self.folder, name, 1), position, u64::MAX)?;
            position = 0;
        }
        self.copy(source, &path, position, length)?;
        Ok(length.max(position))
    }

    fn copy(&self, source: LogSource, path: &Path, from: u64, to: u64) -> Result<(), Stop> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(from))?;
        let mut left = file.take(to.saturating_sub(from));
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = left.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            piece.truncate(read);
            self.tell(source, piece)?;
        }
    }

    fn tell(&self, source: LogSource, bytes: Vec<u8>) -> Result<(), Stop> {
        self.pieces.blocking_send(Ok(LogChunk { source, bytes })).map_err(|_| Stop::Alone)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(folder: &Path, text: &str) {
        let path = folder.join("stdout.log");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn read(folder: &Path, options: LogOptions) -> String {
        let stream = stream(folder.to_path_buf(), options).unwrap();
        let pieces: Vec<_> = stream.map(|piece| piece.unwrap().bytes).collect().await;
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[tokio::test]
    async fn a_file_that_grew_is_copied_away_and_read_as_one_text() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for text in ["1\n2\n", "3\n4\n", "5\n6\n", "7\n8\n"] {
            append(folder, text);
            rotate(folder, 3);
        }
        assert_eq!(fs::metadata(folder.join("stdout.log")).unwrap().len(), 0);
        append(folder, "9\n");
        let names = fs::read_dir(folder).unwrap().count();
        assert_eq!(names, 3, "one that is written to and two former ones");
        assert_eq!(read(folder, LogOptions::default()).await, "5\n6\n7\n8\n9\n");
        let tail = LogOptions { tail: Some(2), ..LogOptions::default() };
        assert_eq!(read(folder, tail).await, "8\n9\n");
        assert_eq!(last_lines(folder, 5), ["9"]);
    }

    #[tokio::test]
    async fn files_of_another_time_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        append(folder, "old\n");
        rotate(folder, 3);
        append(folder, "new\n");
        let hour = SystemTime::now() - Duration::from_secs(3_600);
        let old = File::options().write(true).open(former(folder, "stdout.log", 1)).unwrap();
        old.set_modified(hour).unwrap();
        let since = chrono::Utc::now() - chrono::TimeDelta::minutes(10);
        let since = LogOptions { since: Some(since), ..LogOptions::default() };
        assert_eq!(read(folder, since).await, "new\n");
    }
}
