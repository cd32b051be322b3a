//! What a stage writes, out of the records of its PID 1.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bollard::container::LogOutput;
use bollard::errors::Error;
use bytes::{Buf, Bytes, BytesMut};
use event::OutputStream;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use shipline_init::frame::{self, Began, Ended, HEADER, Kind};
use tokio::sync::watch;

use crate::backend::{BackendError, Chunk};

pub(super) type Attached = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// What the last records said, and whether there will be more.
pub(super) struct Ending {
    said: Mutex<Said>,
    over: watch::Sender<bool>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) ended: Option<Ended>,
    pub(super) outputs: Vec<u8>,
    /// Why the records broke off.
    pub(super) broken: Option<String>,
}

impl Ending {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { said: Mutex::default(), over: watch::Sender::new(false) })
    }

    fn change(&self, work: impl FnOnce(&mut Said)) {
        work(&mut self.said.lock().expect("nobody panics with this lock"));
    }

    pub(super) fn said(&self) -> Said {
        self.said.lock().expect("nobody panics with this lock").clone()
    }

    /// Returns when all of the output was taken, or nobody wants it any more.
    pub(super) async fn over(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as `self`.
        drop(over.wait_for(|over| *over).await);
    }
}

/// Also when the stream is dropped halfway.
struct Over(Arc<Ending>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over.send_replace(true);
    }
}

/// Waits for the first record and returns what came until then: from there on PID 1
/// hears signals. Without one the container has ended, which is told elsewhere.
pub(super) async fn first(attached: &mut Attached) -> BytesMut {
    let mut buffer = BytesMut::new();
    while buffer.len() < HEADER {
        match attached.next().await {
            Some(Ok(LogOutput::StdErr { message })) => {
                tracing::warn!("shipline-init: {}", String::from_utf8_lossy(&message));
            }
            Some(Ok(output)) => buffer.extend_from_slice(&output.into_bytes()),
            Some(Err(_)) | None => break,
        }
    }
    buffer
}

/// Makes chunks of records as they come; `begun` are the bytes already read.
pub(super) fn chunks(
    attached: Attached,
    begun: BytesMut,
    commands: Vec<String>,
    ending: Arc<Ending>,
) -> BoxStream<'static, Result<Chunk, BackendError>> {
    let transcript = Transcript {
        attached,
        commands,
        buffer: begun,
        ready: VecDeque::new(),
        over: Some(Over(ending)),
    };
    stream::unfold(transcript, |mut transcript| async move {
        let chunk = transcript.next().await?;
        Some((Ok(chunk), transcript))
    })
    .boxed()
}

struct Transcript {
    attached: Attached,
    commands: Vec<String>,
    /// Not yet a whole record.
    buffer: BytesMut,
    ready: VecDeque<Chunk>,
    /// `None` once nothing more will come.
    over: Option<Over>,
}

impl Transcript {
    async fn next(&mut self) -> Option<Chunk> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(chunk);
            }
            let ending = Arc::clone(&self.over.as_ref()?.0);
            match self.attached.next().await {
                // PID 1 itself says something only when it breaks.
                Some(Ok(LogOutput::StdErr { message })) => {
                    self.ready.push_back(Chunk { stream: OutputStream::Engine, bytes: message });
                }
                Some(Ok(output)) => {
                    self.buffer.extend_from_slice(&output.into_bytes());
                    if let Err(error) = self.records(&ending) {
                        ending.change(|said| said.broken = Some(error));
                        self.over = None;
                    }
                }
                Some(Err(error)) => {
                    ending.change(|said| said.broken = Some(error.to_string()));
                    self.rest();
                }
                None => self.rest(),
            }
        }
    }

    /// Takes all whole records out of the buffer.
    fn records(&mut self, ending: &Ending) -> Result<(), String> {
        while let Some(head) = self.buffer.first_chunk::<HEADER>() {
            let (kind, length) = frame::parse_header(*head)?;
            if self.buffer.len() < HEADER + length {
                break;
            }
            self.buffer.advance(HEADER);
            let payload = self.buffer.split_to(length).freeze();
            self.record(kind, payload, ending);
        }
        Ok(())
    }

    fn record(&mut self, kind: Kind, payload: Bytes, ending: &Ending) {
        match kind {
            Kind::Ready => {}
            Kind::Stdout => {
                self.ready.push_back(Chunk { stream: OutputStream::Stdout, bytes: payload });
            }
            Kind::Stderr => {
                self.ready.push_back(Chunk { stream: OutputStream::Stderr, bytes: payload });
            }
            Kind::Command => {
                let began = Began::parse(&payload);
                let index = began.and_then(|began| usize::try_from(began.index).ok());
                if let Some(command) = index.and_then(|index| self.commands.get(index)) {
                    self.ready.push_back(echo(command));
                }
            }
            Kind::Notice => {
                self.ready.push_back(Chunk::engine(String::from_utf8_lossy(&payload)));
            }
            Kind::Outputs => ending.change(|said| said.outputs = payload.into()),
            Kind::Exit => ending.change(|said| said.ended = Ended::parse(&payload)),
        }
    }

    /// A killed stage may leave half a record: what there is of its output counts.
    fn rest(&mut self) {
        if let Some(head) = self.buffer.first_chunk::<HEADER>()
            && let Ok((Kind::Stdout | Kind::Stderr, _)) = frame::parse_header(*head)
            && self.buffer.len() > HEADER
        {
            let stream = if head[0] == 1 { OutputStream::Stdout } else { OutputStream::Stderr };
            let bytes = self.buffer.split_off(HEADER).freeze();
            self.ready.push_back(Chunk { stream, bytes });
        }
        self.over = None;
    }
}

/// `$ make`, and the further lines of a script below it.
fn echo(command: &str) -> Chunk {
    let mut lines = command.trim_end().lines();
    let mut text = format!("$ {}", lines.next().unwrap_or_default());
    for line in lines {
        text.push_str("\n  ");
        text.push_str(line);
    }
    Chunk::engine(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, payload: &[u8]) -> Vec<u8> {
        [&frame::header(kind, payload.len()), payload].concat()
    }

    async fn told(pieces: Vec<Result<Vec<u8>, Error>>) -> (Vec<(OutputStream, String)>, Said) {
        let attached = stream::iter(pieces)
            .map(|piece| piece.map(|bytes| LogOutput::StdOut { message: bytes.into() }));
        let ending = Ending::new();
        let commands = vec!["make\nmake test\n".to_owned()];
        let chunks: Vec<_> =
            chunks(Box::pin(attached), BytesMut::new(), commands, Arc::clone(&ending))
                .collect()
                .await;
        ending.over().await;
        let chunks = chunks.into_iter().map(|chunk| {
            let chunk = chunk.unwrap();
            (chunk.stream, String::from_utf8_lossy(&chunk.bytes).into_owned())
        });
        (chunks.collect(), ending.said())
    }

    #[tokio::test]
    async fn records_are_told_whole_however_they_are_cut() {
        let bytes = [
            record(Kind::Ready, b"1"),
            record(Kind::Command, &Began { index: 0, at_ms: 0 }.encode()),
            record(Kind::Stdout, b"a\nb"),
            record(Kind::Stderr, b"\xff"),
            record(Kind::Outputs, b"v=1\n"),
            record(Kind::Exit, &Ended { code: 3, signal: None }.encode()),
        ]
        .concat();
        let expected = [
            (OutputStream::Engine, "$ make\n  make test\n".to_owned()),
            (OutputStream::Stdout, "a\nb".to_owned()),
            (OutputStream::Stderr, "\u{fffd}".to_owned()),
        ];
        for size in [1, 7, bytes.len()] {
            let pieces = bytes.chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            let (chunks, said) = told(pieces).await;
            assert_eq!(chunks, expected);
            assert_eq!(said.ended, Some(Ended { code: 3, signal: None }));
            assert_eq!(said.outputs, b"v=1\n");
            assert_eq!(said.broken, None);
        }
    }

    #[tokio::test]
    async fn half_a_record_at_the_end_is_output_too() {
        let mut bytes = record(Kind::Stdout, b"abcdef");
        bytes.truncate(HEADER + 3);
        let (chunks, said) = told(vec![Ok(bytes)]).await;
        assert_eq!(chunks, [(OutputStream::Stdout, "abc".to_owned())]);
        assert_eq!(said.ended, None);
    }

    #[tokio::test]
    async fn what_is_no_record_and_what_breaks_off_is_said() {
        let (_, said) = told(vec![Ok(b"exec format error".to_vec())]).await;
        assert!(said.broken.is_some());
        let (_, said) = told(vec![Err(Error::RequestTimeoutError)]).await;
        assert!(said.broken.is_some());
    }

    #[tokio::test]
    async fn dropping_the_stream_ends_it() {
        let ending = Ending::new();
        let attached: Attached = Box::pin(stream::pending());
        drop(chunks(attached, BytesMut::new(), Vec::new(), Arc::clone(&ending)));
        ending.over().await;
    }
}
