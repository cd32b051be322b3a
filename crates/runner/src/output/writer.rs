//! Writing the output of one attempt.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::{Frame, FrameBody, OutputStream};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::pieces::Pieces;
use super::{HEADER, OUTPUT_LIMIT, log_path};
use crate::Observation;
use crate::backend::{BackendError, Chunk};
use crate::masker::{Masked, MaskedStream, Masker};

/// After this long without output an unfinished line, such as a prompt, is shown.
const IDLE: Duration = Duration::from_millis(200);
const LAST_LINE: usize = 200;
/// So much output is written at once where it comes fast.
const BATCH: usize = 256 * 1024;

/// The output of one attempt: masked, cut into frames, appended to its file, told.
///
/// A file that cannot be written does not stop the stage: the rest of the output
/// is read and dropped, and [`AttemptLog::finish`] says so.
pub(crate) struct AttemptLog {
    stage: String,
    attempt: u32,
    file: File,
    streams: [(MaskedStream, Pieces); 3],
    /// Bytes of output so far, as they are shown.
    offset: u64,
    limit: u64,
    full: bool,
    last_line: String,
    /// Why not all of the output is there.
    broken: Option<String>,
    unwritable: bool,
    observer: Option<mpsc::Sender<Observation>>,
    /// Once cancelled, nobody who does not read holds up the end of the run.
    halt: CancellationToken,
    frames: Vec<Frame>,
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
        tokio::fs::create_dir_all(directory).await?;
        let mut file = File::create(log_path(directory, stage, attempt)).await?;
        file.write_all(format!("{HEADER}\n").as_bytes()).await?;
        file.flush().await?;
        let stream = || (MaskedStream::new(masker.clone()), Pieces::default());
        Ok(Self {
            stage: stage.to_owned(),
            attempt,
            file,
            streams: [stream(), stream(), stream()],
            offset: 0,
            limit: OUTPUT_LIMIT,
            full: false,
            last_line: String::new(),
            broken: None,
            unwritable: false,
            observer,
            halt,
            frames: Vec::new(),
        })
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
    pub(crate) fn last_line(&self) -> Option<&str> {
        Some(self.last_line.as_str()).filter(|line| !line.is_empty())
    }

    /// Writes what is still held back. An error says what became of the output.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        for stream in [OutputStream::Stdout, OutputStream::Stderr, OutputStream::Engine] {
            let (masker, pieces) = &mut self.streams[slot(stream)];
            let masked = masker.finish();
            let mut cut = Vec::new();
            pieces.push(masked.as_bytes(), |piece| cut.push(piece.to_vec()));
            pieces.finish(|piece| cut.push(piece.to_vec()));
            for piece in cut {
                self.add(stream, &piece);
            }
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
        let (masker, pieces) = &mut self.streams[slot(chunk.stream)];
        let masked: Masked = masker.push(&chunk.bytes);
        let mut cut = Vec::new();
        pieces.push(masked.as_bytes(), |piece| cut.push(piece.to_vec()));
        for piece in cut {
            self.add(chunk.stream, &piece);
        }
    }

    fn has_partial(&self) -> bool {
        self.streams.iter().any(|(_, pieces)| pieces.has_partial())
    }

    async fn show_partial(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr, OutputStream::Engine] {
            let mut cut = Vec::new();
            self.streams[slot(stream)].1.flush(|piece| cut.push(piece.to_vec()));
            for piece in cut {
                self.add(stream, &piece);
            }
        }
        self.append().await;
    }

    /// Makes a frame of a piece, as long as the limit allows.
    fn add(&mut self, stream: OutputStream, piece: &[u8]) {
        if self.full {
            return;
        }
        let left = usize::try_from(self.limit - self.offset).unwrap_or(usize::MAX);
        let kept = &piece[..piece.len().min(left)];
        if !kept.is_empty() {
            self.remember(stream, kept);
            self.push_frame(stream, kept);
        }
        if kept.len() < piece.len() {
            self.full = true;
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
        let line = String::from_utf8_lossy(&piece[piece.len().saturating_sub(4 * LAST_LINE)..]);
        let line = line.trim();
        if !line.is_empty() {
            self.last_line = line.chars().take(LAST_LINE).collect();
        }
    }

    /// Appends the frames to the file, then tells them.
    async fn append(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut self.frames);
        if !self.unwritable
            && let Err(error) = self.append_to_file(&frames).await
        {
            self.unwritable = true;
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
