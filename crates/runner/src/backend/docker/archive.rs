//! Archives between a thread that reads or writes them and the engine.
//!
//! The `tar` crate blocks, the engine's API streams: bounded channels between
//! them keep memory flat, and the slower side sets the pace.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

pub(super) type Builder = tar::Builder<Writer>;

/// What [`write`] writes goes out here.
pub(super) struct Writer {
    to: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Writer {
    fn send(&mut self) -> io::Result<()> {
        let piece = self.buffer.split().freeze();
        let gone =
            |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the archive any more");
        self.to.blocking_send(Ok(piece)).map_err(gone)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

/// Lets `fill` write an archive on a thread. An error ends the stream with an
/// error, so that half an archive is never taken for a whole one.
pub(super) fn write<T: Send + 'static>(
    fill: impl FnOnce(&mut Builder) -> io::Result<T> + Send + 'static,
) -> (BoxStream<'static, io::Result<Bytes>>, JoinHandle<io::Result<T>>) {
    let (to, mut from) = mpsc::channel(PIECES);
    let thread = tokio::task::spawn_blocking(move || {
        let mut builder = tar::Builder::new(Writer { to: to.clone(), buffer: BytesMut::new() });
        builder.follow_symlinks(false);
        let result =
            fill(&mut builder).and_then(|value| builder.into_inner()?.flush().map(|()| value));
        if let Err(error) = &result {
            // Nobody listening is fine: then the other side has ended first.
            drop(to.blocking_send(Err(io::Error::new(error.kind(), error.to_string()))));
        }
        result
    });
    (stream::poll_fn(move |context| from.poll_recv(context)).boxed(), thread)
}

/// A stream that a thread reads.
pub(super) struct Reader {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Returns the reader and what must be awaited beside it.
pub(super) fn reader<E: std::fmt::Display>(
    stream: impl Stream<Item = Result<Bytes, E>>,
) -> (Reader, impl Future<Output = ()>) {
    let (to, from) = mpsc::channel(PIECES);
    let pump = async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| io::Error::other(error.to_string()));
            if to.send(piece).await.is_err() {
                // The reader has seen enough.
                break;
            }
        }
    };
    (Reader { from, piece: Bytes::new() }, pump)
}

/// Appends bytes as a file.
pub(super) fn append(builder: &mut Builder, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, path, bytes)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn an_archive_goes_through_both_ways() {
        let contents = vec![7; 3 * PIECE];
        let (stream, writing) = write(move |builder| append(builder, "a/b", 0o644, &contents));
        let (reader, pump) = reader(stream);
        let reading = tokio::task::spawn_blocking(move || {
            let mut archive = tar::Archive::new(reader);
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().into_owned(), bytes.len())
        });
        let (wrote, read, ()) = tokio::join!(writing, reading, pump);
        wrote.unwrap().unwrap();
        assert_eq!(read.unwrap(), ("a/b".into(), 3 * PIECE));
    }

    #[tokio::test]
    async fn a_failure_of_the_writer_is_a_failure_of_the_stream() {
        let (stream, writing) = write(|_| Err::<(), _>(io::Error::other("no")));
        assert!(stream.try_collect::<Vec<_>>().await.is_err());
        assert!(writing.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_stream_that_nobody_takes_stops_the_writer() {
        let (stream, writing) = write(|builder| append(builder, "a", 0o644, &vec![0; 8 << 20]));
        drop(stream);
        assert!(writing.await.unwrap().is_err());
    }
}
