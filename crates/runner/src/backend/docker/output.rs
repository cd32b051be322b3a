//! What a stage writes, out of the records of its PID 1.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bollard::container::LogOutput;
use bollard::errors::Error;
use bytes::{Buf, Bytes, BytesMut};
use event::OutputStream;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use shipline_init::frame::{self, Began, Ended, HEADER, Kind, Ready};
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
    /// A command of the stage began.
    pub(super) began: bool,
    /// What PID 1 said before any did.
    pub(super) refused: Option<String>,
    pub(super) usage: Option<frame::Usage>,
    /// Why the records broke off.
    pub(super) broken: Option<String>,
}

impl Said {
    /// Says whether the records alone tell that, and how, the stage has ended.
    pub(super) fn is_whole(&self) -> bool {
        let Some(ended) = self.ended.filter(|ended| ended.alone) else { return false };
        let memory = self.usage.as_ref().map(|usage| usage.out_of_memory);
        // What the kernel did not say here, the engine may.
        matches!(memory, Some(Some(_))) || (memory.is_some() && ended.code == 0)
    }
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

    fn is_whole(&self) -> bool {
        self.said.lock().expect("nobody panics with this lock").is_whole()
    }

    /// Returns when nothing of the stage runs any more, as it said itself; else never.
    pub(super) async fn told(&self) {
        self.over().await;
        if !self.is_whole() {
            std::future::pending::<()>().await;
        }
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

/// Waits for the first record and returns it, and what else came until then: from there on
/// PID 1 hears signals. Without one the container has ended, which is told elsewhere.
pub(super) async fn first(attached: &mut Attached) -> (Option<Ready>, BytesMut) {
    let mut buffer = BytesMut::new();
    loop {
        match attached.next().await {
            Some(Ok(LogOutput::StdErr { message })) => {
                tracing::warn!("shipline-init: {}", String::from_utf8_lossy(&message));
            }
            Some(Ok(output)) => buffer.extend_from_slice(&output.into_bytes()),
            Some(Err(_)) | None => return (None, buffer),
        }
        let head = buffer.first_chunk::<HEADER>().map(|head| frame::parse_header(*head));
        match head {
            None => {}
            Some(Ok((Kind::Ready, length))) if buffer.len() < HEADER + length => {}
            Some(Ok((Kind::Ready, length))) => {
                let ready = Ready::parse(&buffer[HEADER..HEADER + length]);
                buffer.advance(HEADER + length);
                return (ready, buffer);
            }
            Some(_) => return (None, buffer),
        }
    }
}

/// Takes the next record out of what has come, when it is whole.
pub(super) fn take_record(buffer: &mut BytesMut) -> Result<Option<(Kind, Bytes)>, String> {
    let Some(head) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    let (kind, length) = frame::parse_header(*head)?;
    if buffer.len() < HEADER + length {
        return Ok(None);
    }
    buffer.advance(HEADER);
    Ok(Some((kind, buffer.split_to(length).freeze())))
}

/// Makes chunks of records as they come; `begun` are the bytes already read.
pub(super) fn chunks(
    attached: Attached,
    begun: BytesMut,
    commands: Vec<String>,
    ending: Arc<Ending>,
) -> BoxStream<'static, Result<Chunk, BackendError>> {
    let said = Arc::clone(&ending);
    let mut transcript = Transcript {
        attached,
        commands,
        command: tracing::Span::none(),
        buffer: begun,
        ready: VecDeque::new(),
        over: Some(Over(ending)),
    };
    // That may be all there is.
    transcript.take_records(&said);
    stream::unfold(transcript, |mut transcript| async move {
        let chunk = transcript.next().await?;
        Some((Ok(chunk), transcript))
    })
    .boxed()
}

struct Transcript {
    attached: Attached,
    commands: Vec<String>,
    /// What runs now, for whoever looks where the time goes.
    command: tracing::Span,
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
                    self.take_records(&ending);
                }
                Some(Err(error)) => {
                    ending.change(|said| said.broken = Some(error.to_string()));
                    self.rest(&ending);
                }
                None => self.rest(&ending),
            }
        }
    }

    /// Takes what has come; behind the last record there is nothing to wait for.
    fn take_records(&mut self, ending: &Ending) {
        if let Err(error) = self.records(ending) {
            ending.change(|said| said.broken = Some(error));
            self.over = None;
        } else if ending.is_whole() {
            self.over = None;
        }
    }

    /// Takes all whole records out of the buffer.
    fn records(&mut self, ending: &Ending) -> Result<(), String> {
        while let Some((kind, payload)) = take_record(&mut self.buffer)? {
            self.record(kind, payload, ending);
        }
        Ok(())
    }

    fn record(&mut self, kind: Kind, payload: Bytes, ending: &Ending) {
        match kind {
            Kind::Ready | Kind::Accepted => {}
            Kind::Stdout => {
                self.ready.push_back(Chunk { stream: OutputStream::Stdout, bytes: payload });
            }
            Kind::Stderr => {
                self.ready.push_back(Chunk { stream: OutputStream::Stderr, bytes: payload });
            }
            Kind::Usage => ending.change(|said| said.usage = frame::Usage::parse(&payload)),
            Kind::Command => {
                ending.change(|said| said.began = true);
                let began = Began::parse(&payload);
                let index = began.and_then(|began| usize::try_from(began.index).ok());
                let number = index.map(|index| index as u64 + 1);
                // The one before has ended.
                self.command = tracing::Span::none();
                self.command = tracing::debug_span!("command", number);
                if let Some(command) = index.and_then(|index| self.commands.get(index)) {
                    self.ready.push_back(echo(command));
                }
            }
            Kind::Notice => {
                let notice = String::from_utf8_lossy(&payload);
                ending.change(|said| {
                    if !said.began {
                        said.refused = Some(notice.clone().into_owned());
                    }
                });
                self.ready.push_back(Chunk::engine(notice));
            }
            Kind::Outputs => ending.change(|said| said.outputs = payload.into()),
            Kind::Exit => {
                self.command = tracing::Span::none();
                ending.change(|said| said.ended = Ended::parse(&payload));
            }
        }
    }

    /// A killed stage may leave half a record: what there is of its output counts.
    fn rest(&mut self, ending: &Ending) {
        self.take_records(ending);
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
            record(Kind::Exit, &Ended { code: 3, signal: None, alone: true }.encode()),
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
            assert_eq!(said.ended, Some(Ended { code: 3, signal: None, alone: true }));
            assert_eq!(said.outputs, b"v=1\n");
            assert_eq!(said.broken, None);
        }
    }

    #[tokio::test]
    async fn what_was_read_before_is_told_though_nothing_comes_after_it() {
        let exit = record(Kind::Exit, &Ended { code: 3, signal: None, alone: true }.encode());
        let begun = [record(Kind::Stdout, b"all"), exit].concat();
        let (attached, ending): (Attached, _) = (Box::pin(stream::empty()), Ending::new());
        let told = chunks(attached, begun.as_slice().into(), Vec::new(), Arc::clone(&ending));
        let told: Vec<_> = told.map(|chunk| chunk.unwrap().bytes).collect().await;
        assert_eq!(told, ["all"]);
        assert_eq!(ending.said().ended, Some(Ended { code: 3, signal: None, alone: true }));
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
