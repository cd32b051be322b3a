//! Going on with the output of an attempt whose writer died.
//!
//! The attempt's output is read again from its first byte. What the file has already is a
//! beginning of each stream, so that much of each is not written again; lines of the engine,
//! of which some are not in the attempt's own output, are known by what they say.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::{Frame, FrameBody, OutputStream};

use super::HEADER;

/// What a file has of an attempt's output.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Bytes over all streams.
    pub(super) offset: u64,
    stdout: u64,
    stderr: u64,
    /// Lines of the engine, by what they say.
    engine: VecDeque<u64>,
}

impl Told {
    /// Reads a file, and takes the half frame off its end that a writer who died left there.
    /// `None`: there is no such file, or nothing in it.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let (mut told, mut line, mut whole) = (Self::default(), Vec::new(), 0);
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            let Some(text) = line.strip_suffix(b"\n") else { break };
            if whole == 0 {
                if text != HEADER.as_bytes() {
                    return Ok(None);
                }
            } else {
                let Ok(frame) = serde_json::from_slice(text) else { break };
                told.add(&frame);
            }
            whole += line.len() as u64;
        }
        if whole == 0 {
            return Ok(None);
        }
        OpenOptions::new().write(true).open(path)?.set_len(whole)?;
        Ok(Some(told))
    }

    fn add(&mut self, frame: &Frame) {
        let bytes = match &frame.body {
            FrameBody::Text(text) => text.as_bytes().to_vec(),
            FrameBody::Base64(text) => STANDARD.decode(text).unwrap_or_default(),
        };
        let length = bytes.len() as u64;
        self.offset += length;
        match frame.stream {
            OutputStream::Stdout => self.stdout += length,
            OutputStream::Stderr => self.stderr += length,
            OutputStream::Engine => self.engine.push_back(hash(&bytes)),
        }
    }

    /// Returns how much of the next piece of a stream is there already.
    pub(super) fn skip(&mut self, stream: OutputStream, piece: &[u8]) -> usize {
        let left = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
            OutputStream::Engine => {
                let wanted = hash(piece);
                let found = self.engine.iter().position(|line| *line == wanted);
                return found.map_or(0, |found| {
                    self.engine.drain(..=found);
                    piece.len()
                });
            }
        };
        let skipped = (piece.len() as u64).min(*left);
        *left -= skipped;
        usize::try_from(skipped).unwrap_or(piece.len())
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
