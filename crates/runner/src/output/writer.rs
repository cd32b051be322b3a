//! Writing the output of one attempt.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::{Frame, FrameBody, OutputStream};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use memchr::memmem;
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::pieces::Pieces;
use super::resume::Told;
use super::{HEADER, OUTPUT_LIMIT, log_path};
use crate::Observation;
use crate::backend::{BackendError, Chunk};
use crate::masker::{Masked, MaskedStream, Masker};

/// After this long without output an unfinished line, such as a prompt, is shown.
const IDLE: Duration = Duration::from_millis(200);
const LAST_LINE: usize = 200;
/// As the C library words it.
const NO_SPACE: &str = "No space left on device";
const STREAMS: [OutputStream; 3] =
    [OutputStream::Stdout, OutputStream::Stderr, OutputStream::Engine];
/// So much output is written at once where it comes fast.
const BATCH: usize = 256 * 1024;

/// The output of one attempt: masked, cut into frames, appended to its file, told.
///
/// A file that cannot be written does not stop the stage: the rest of the output
/// is read and dropped, and [`AttemptLog::finish`] says so.
pub(crate) struct AttemptLog {
    stage: String,
    attempt: u32,
    file: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    streams: [(MaskedStream, Pieces); 3],
    /// Bytes of output so far, as they are shown.
    offset: u64,
    limit: u64,
    full: bool,
    /// Its last bytes.
    last_line: Vec<u8>,
    /// What the output says of a full disk.
    no_space: bool,
    /// Why not all of the output is there.
    broken: Option<String>,
    unwritable: Option<io::ErrorKind>,
    observer: Option<mpsc::Sender<Observation>>,
    /// Once cancelled, nobody who does not read holds up the end of the run.
    halt: CancellationToken,
    frames: Vec<Frame>,
    /// What a former writer wrote.
    told: Told,
}

impl AttemptLog {
    pub(crate) async fn create(
        directory: &Path,
        stage: &str,
        attempt: u32,
        masker: &Arc<Masker>,
        observer: Option<mpsc::Sender<Observation>>,
        halt: CancellationToken,
    ) -> io::Result<Self> {
        let mut file = open(directory, stage, attempt).await?;
        file.write_all(format!("{HEADER}\n").as_bytes()).await?;
        file.flush().await?;
        Ok(Self::writing(file, stage, attempt, masker, observer, halt, Told::default()))
    }

    /// Goes on with the file of an attempt whose writer died; what it is given begins at the
    /// first byte again.
    pub(crate) async fn resume(
        directory: &Path,
        stage: &str,
        attempt: u32,
        masker: &Arc<Masker>,
        observer: Option<mpsc::Sender<Observation>>,
        halt: CancellationToken,
    ) -> io::Result<Self> {
        let path = log_path(directory, stage, attempt);
        let reading = path.clone();
        let told = tokio::task::spawn_blocking(move || Told::read(&reading));
        let told = told.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))?;
        let Some(told) = told.filter(|_| !directory.as_os_str().is_empty()) else {
            return Self::create(directory, stage, attempt, masker, observer, halt).await;
        };
        let file = Box::new(File::options().append(true).open(path).await?);
        Ok(Self::writing(file, stage, attempt, masker, observer, halt, told))
    }

    fn writing(
        file: Box<dyn AsyncWrite + Send + Sync + Unpin>,
        stage: &str,
        attempt: u32,
        masker: &Arc<Masker>,
        observer: Option<mpsc::Sender<Observation>>,
        halt: CancellationToken,
        told: Told,
    ) -> Self {
        let stream = || (MaskedStream::new(masker.clone()), Pieces::default());
        Self {
            stage: stage.to_owned(),
            attempt,
            file,
            streams: [stream(), stream(), stream()],
            offset: told.offset,
            limit: OUTPUT_LIMIT,
            full: false,
            last_line: Vec::new(),
            no_space: false,
            broken: None,
            unwritable: None,
            observer,
            halt,
            frames: Vec::new(),
            told,
        }
    }

    #[cfg(test)]
    pub(super) fn with_limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Writes a line that the engine says.
    pub(crate) async fn say(&mut self, line: impl AsRef<str>) {
        self.write(&Chunk::engine(line)).await;
    }

    /// Writes what the engine says until it has no more. The sender is held back
    /// by a full channel while the file, or somebody who watches, is slow.
    pub(crate) async fn pump(&mut self, chunks: &mut mpsc::Receiver<Chunk>) {
        self.pump_stream(stream::poll_fn(|context| {
            chunks.poll_recv(context).map(|chunk| chunk.map(Ok))
        }))
        .await;
    }

    /// Writes what a stage prints, until its stream ends.
    pub(crate) async fn pump_stream(
        &mut self,
        mut chunks: impl Stream<Item = Result<Chunk, BackendError>> + Unpin,
    ) {
        loop {
            let mut next = if self.has_partial() {
                if let Ok(chunk) = timeout(IDLE, chunks.next()).await {
                    chunk
                } else {
                    self.show_partial().await;
                    continue;
                }
            } else {
                chunks.next().await
            };
            // All that is there already goes into one write.
            let mut taken = 0;
            let ended = loop {
                match next {
                    Some(Ok(chunk)) => {
                        taken += chunk.bytes.len();
                        self.take(&chunk);
                    }
                    // A stream may end with more than one error; the first one tells why.
                    Some(Err(error)) => {
                        self.broken.get_or_insert_with(|| error.to_string());
                        break true;
                    }
                    None => break true,
                }
                if taken >= BATCH {
                    break false;
                }
                match chunks.next().now_or_never() {
                    Some(chunk) => next = chunk,
                    None => break false,
                }
            };
            self.append().await;
            if ended {
                return;
            }
        }
    }

    /// Returns the last line the stage itself printed.
    pub(crate) fn last_line(&self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.last_line);
        let line: String = line.trim().chars().take(LAST_LINE).collect();
        Some(line).filter(|line| !line.is_empty())
    }

    /// What the output may say about a failure. It is text of the stage, and decides nothing.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        self.no_space.then_some("its output says `No space left on device`")
    }

    /// Whether the disk was too full to keep the output.
    pub(crate) fn is_out_of_space(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        self.unwritable.is_some_and(|kind| full.contains(&kind))
    }

    /// Writes what is still held back. An error says what became of the output.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        for stream in STREAMS {
            let masked = self.streams[slot(stream)].0.finish();
            self.cut(stream, |pieces, log| {
                pieces.push(masked.as_bytes(), |piece| log.add(stream, piece));
                pieces.finish(|piece| log.add(stream, piece));
            });
        }
        self.append().await;
        match &self.broken {
            None => Ok(()),
            Some(reason) => Err(reason.clone()),
        }
    }

    async fn write(&mut self, chunk: &Chunk) {
        self.take(chunk);
        self.append().await;
    }

    fn take(&mut self, chunk: &Chunk) {
        if self.full {
            // Nothing of it is kept, so there is nothing to mask.
            return;
        }
        let masked: Masked = self.streams[slot(chunk.stream)].0.push(&chunk.bytes);
        self.cut(chunk.stream, |pieces, log| {
            pieces.push(masked.as_bytes(), |piece| log.add(chunk.stream, piece));
        });
    }

    /// What cuts a stream gives its pieces to the log that it is in.
    fn cut(&mut self, stream: OutputStream, give: impl FnOnce(&mut Pieces, &mut Self)) {
        let mut pieces = std::mem::take(&mut self.streams[slot(stream)].1);
        give(&mut pieces, self);
        self.streams[slot(stream)].1 = pieces;
    }

    fn has_partial(&self) -> bool {
        self.streams.iter().any(|(_, pieces)| pieces.has_partial())
    }

    async fn show_partial(&mut self) {
        for stream in STREAMS {
            self.cut(stream, |pieces, log| pieces.flush(|piece| log.add(stream, piece)));
        }
        self.append().await;
    }

    fn add(&mut self, stream: OutputStream, piece: &[u8]) {
        if stream == OutputStream::Engine {
            // Each is known again by what it says, whatever it came with.
            piece.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.keep(stream, line));
        } else {
            self.keep(stream, piece);
        }
    }

    /// Makes a frame of a piece, as long as the limit allows.
    fn keep(&mut self, stream: OutputStream, piece: &[u8]) {
        if self.full {
            return;
        }
        let (told, piece) = piece.split_at(self.told.skip(stream, piece));
        self.remember(stream, told);
        if piece.is_empty() {
            return;
        }
        let left = usize::try_from(self.limit.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let kept = &piece[..piece.len().min(left)];
        if !kept.is_empty() {
            self.remember(stream, kept);
            self.push_frame(stream, kept);
        }
        if kept.len() < piece.len() {
            self.full = true;
            if self.offset > self.limit {
                // A former writer has said so.
                return;
            }
            let marker = format!(
                "output ends here: an attempt may write {} MiB\n",
                self.limit / (1024 * 1024)
            );
            self.push_frame(OutputStream::Engine, marker.as_bytes());
        }
    }

    fn push_frame(&mut self, stream: OutputStream, piece: &[u8]) {
        let body = match std::str::from_utf8(piece) {
            Ok(text) => FrameBody::Text(text.to_owned()),
            Err(_) => FrameBody::Base64(STANDARD.encode(piece)),
        };
        self.frames.push(Frame {
            stage: self.stage.clone(),
            attempt: self.attempt,
            stream,
            offset: self.offset,
            body,
        });
        self.offset += piece.len() as u64;
    }

    fn remember(&mut self, stream: OutputStream, piece: &[u8]) {
        if stream == OutputStream::Engine {
            return;
        }
        self.no_space = self.no_space || memmem::find(piece, NO_SPACE.as_bytes()).is_some();
        let mut lines = piece.rsplit(|byte| *byte == b'\n');
        if let Some(line) = lines.find(|line| !line.trim_ascii().is_empty()) {
            self.last_line.clear();
            self.last_line.extend_from_slice(&line[line.len().saturating_sub(4 * LAST_LINE)..]);
        }
    }

    /// Appends the frames to the file, then tells them.
    async fn append(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut self.frames);
        if self.unwritable.is_none()
            && let Err(error) = self.append_to_file(&frames).await
        {
            self.unwritable = Some(error.kind());
            self.broken.get_or_insert_with(|| error.to_string());
        }
        let Some(observer) = &self.observer else { return };
        for frame in frames {
            tokio::select! {
                biased;
                // Nobody listening any more is not an error of the run.
                _ = observer.send(Observation::Frame(frame)) => {}
                () = self.halt.cancelled() => return,
            }
        }
    }

    async fn append_to_file(&mut self, frames: &[Frame]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(frames.len() * 128);
        for frame in frames {
            serde_json::to_writer(&mut lines, frame)?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).await?;
        // tokio writes behind; who reads the file is to see it now.
        self.file.flush().await
    }
}

/// Opens the file of an attempt; in no directory there is none.
async fn open(
    directory: &Path,
    stage: &str,
    attempt: u32,
) -> io::Result<Box<dyn AsyncWrite + Send + Sync + Unpin>> {
    if directory.as_os_str().is_empty() {
        return Ok(Box::new(tokio::io::sink()));
    }
    tokio::fs::create_dir_all(directory).await?;
    Ok(Box::new(File::create(log_path(directory, stage, attempt)).await?))
}

const fn slot(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Engine => 2,
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
