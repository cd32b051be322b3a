//! Reading the output of an attempt: what there is, or as it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::Frame;
use futures_util::stream::{self, Stream};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::sync::CancellationToken;

use super::HEADER;

/// How often a follower looks whether the file has grown.
const LOOK: Duration = Duration::from_millis(50);
const BUFFER: usize = 64 * 1024;

/// Returns the frames of a file. A last line that is not complete, because its
/// writer died or is about to go on, is not read.
pub fn read_frames(path: &Path) -> io::Result<Frames> {
    let mut frames =
        Frames { reader: BufReader::with_capacity(BUFFER, File::open(path)?), line: Vec::new() };
    if let Some(header) = frames.line()? {
        check_header(header)?;
    }
    Ok(frames)
}

pub struct Frames {
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl Frames {
    fn line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line)?;
        Ok(self.line.strip_suffix(b"\n"))
    }
}

impl Iterator for Frames {
    type Item = io::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.line() {
            Ok(None) => None,
            Ok(Some(line)) => Some(parse(line)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Follows the output of an attempt from the byte `from` on: the frames that
/// begin there or later, as they are written. Ends when `done` is cancelled and
/// everything that was written before has been read. The file need not exist yet.
pub fn follow(
    path: PathBuf,
    from: u64,
    done: CancellationToken,
) -> impl Stream<Item = io::Result<Frame>> + Send {
    let follower = Follower {
        path,
        from,
        done,
        file: None,
        header: false,
        bytes: Vec::new(),
        frames: VecDeque::new(),
    };
    stream::try_unfold(follower, |mut follower| async move {
        let frame = follower.next().await?;
        Ok(frame.map(|frame| (frame, follower)))
    })
}

struct Follower {
    path: PathBuf,
    from: u64,
    done: CancellationToken,
    file: Option<tokio::fs::File>,
    header: bool,
    /// Whole lines.
    bytes: Vec<u8>,
    frames: VecDeque<Frame>,
}

impl Follower {
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            // Asked before reading: what was written before the end is then read.
            let done = self.done.is_cancelled();
            if self.read().await? {
                self.parse()?;
            } else if done {
                return Ok(None);
            } else {
                tokio::select! {
                    () = self.done.cancelled() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    }

    /// Reads on, whole lines, and returns whether there were any. Half a line is read again:
    /// whoever goes on for a writer that died takes it back.
    async fn read(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            match tokio::fs::File::open(&self.path).await {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        loop {
            self.bytes.reserve(BUFFER);
            let read = file.read_buf(&mut self.bytes).await?;
            let end = self.bytes.iter().rposition(|byte| *byte == b'\n');
            if end.is_none() && read > 0 {
                continue;
            }
            let whole = end.map_or(0, |end| end + 1);
            let half = i64::try_from(self.bytes.len() - whole).unwrap_or(i64::MAX);
            if half > 0 {
                file.seek(SeekFrom::Current(-half)).await?;
                self.bytes.truncate(whole);
            }
            return Ok(whole > 0);
        }
    }

    fn parse(&mut self) -> io::Result<()> {
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        for line in self.bytes[..end].split(|byte| *byte == b'\n') {
            if self.header {
                let frame = parse(line)?;
                if frame.offset >= self.from {
                    self.frames.push_back(frame);
                }
            } else {
                check_header(line)?;
                self.header = true;
            }
        }
        self.bytes.drain(..=end);
        Ok(())
    }
}

fn parse(line: &[u8]) -> io::Result<Frame> {
    serde_json::from_slice(line).map_err(io::Error::from)
}

fn check_header(line: &[u8]) -> io::Result<()> {
    if line == HEADER.as_bytes() {
        return Ok(());
    }
    let header: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    match header["format"].as_u64() {
        Some(1) => Ok(()),
        Some(format) => {
            Err(io::Error::other(format!("output of format {format} is newer than this program")))
        }
        None => Err(io::Error::other("this is not an output file")),
    }
}
