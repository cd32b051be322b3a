//! Records on stdout, never waited for: PID 1 must hear signals also while
//! nobody reads what the stage writes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use shipline_init::frame::{HEADER, Kind, header};

use crate::records::Records;
use crate::system;

/// Read from a pipe at a time.
const PIECE: usize = 64 << 10;
/// No more is read from the stage while this much waits to be written.
const ENOUGH: usize = 256 << 10;

pub(crate) struct Output {
    to: File,
    buffer: Vec<u8>,
    /// Bytes of the buffer already written.
    written: usize,
    /// Nobody reads any more; the stage goes on, unheard.
    broken: bool,
    /// Where all of it is written as well.
    records: Option<Records>,
}

impl Output {
    pub(crate) fn new(to: File) -> io::Result<Self> {
        system::set_nonblocking(&to)?;
        Ok(Self { to, buffer: Vec::new(), written: 0, broken: false, records: None })
    }

    /// Writes what comes from now on to `records` as well.
    pub(crate) fn keep(&mut self, records: Records) {
        self.records = Some(records);
    }

    /// Returns once everything up to now outlives the machine, if it is kept at all.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.records.as_mut().map_or(Ok(()), Records::sync)
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.to.as_raw_fd()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.len() == self.written
    }

    pub(crate) fn has_room(&self) -> bool {
        self.buffer.len() - self.written < ENOUGH
    }

    pub(crate) fn push(&mut self, kind: Kind, payload: &[u8]) {
        for piece in payload.chunks(PIECE) {
            let begin = self.buffer.len();
            self.buffer.extend(header(kind, piece.len()));
            self.buffer.extend(piece);
            self.record(kind, begin);
        }
    }

    /// Makes a record of what `pipe` holds; `Ok(0)` is its end.
    pub(crate) fn take(&mut self, kind: Kind, pipe: &mut impl Read) -> io::Result<usize> {
        let begin = self.buffer.len();
        self.buffer.resize(begin + HEADER + PIECE, 0);
        let read = pipe.read(&mut self.buffer[begin + HEADER..]);
        let length = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(if length == 0 { begin } else { begin + HEADER + length });
        if length > 0 {
            self.buffer[begin..begin + HEADER].copy_from_slice(&header(kind, length));
            self.record(kind, begin);
        }
        read
    }

    fn record(&mut self, kind: Kind, begin: usize) {
        if let Some(records) = &mut self.records {
            records.add(kind, &self.buffer[begin..]);
        }
    }

    /// Writes what can be written now.
    pub(crate) fn flush(&mut self) {
        while !self.broken && !self.is_empty() {
            match self.to.write(&self.buffer[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.broken = true,
            }
        }
        if self.broken || self.is_empty() {
            self.buffer.clear();
            self.written = 0;
        } else if self.written >= ENOUGH {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
    }

    /// Writes everything, however long that takes.
    pub(crate) fn finish(&mut self) {
        loop {
            self.flush();
            if self.is_empty() {
                return;
            }
            let mut writable = [system::Polled::write(self.descriptor())];
            if system::poll(&mut writable, None).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::fd::OwnedFd;

    use super::*;

    fn pipe() -> (std::io::PipeReader, Output) {
        let (reader, writer) = std::io::pipe().unwrap();
        (reader, Output::new(File::from(OwnedFd::from(writer))).unwrap())
    }

    #[test]
    fn records_are_written_in_order() {
        let (mut reader, mut output) = pipe();
        output.push(Kind::Notice, b"hi");
        assert_eq!(output.take(Kind::Stdout, &mut Cursor::new(b"abc")).unwrap(), 3);
        assert_eq!(output.take(Kind::Stdout, &mut Cursor::new(b"")).unwrap(), 0);
        output.finish();
        drop(output);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\x04\0\0\0\x02hi\x01\0\0\0\x03abc");
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up() {
        let (_reader, mut output) = pipe();
        while output.has_room() {
            output.push(Kind::Stdout, &[0; PIECE]);
            output.flush();
        }
        assert!(!output.is_empty());
    }

    #[test]
    fn a_reader_that_is_gone_is_forgotten() {
        let (reader, mut output) = pipe();
        drop(reader);
        output.push(Kind::Stdout, b"unheard");
        output.finish();
        assert!(output.is_empty());
    }
}
