//! Files of a workspace, read beside the engine by `shipline-init files pick`.

use bollard::container::LogOutput;
use bollard::query_parameters::{AttachContainerOptionsBuilder, StartContainerOptions};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::clean::remove_container;
use super::container::mount;
use super::engine::{Engine, fault};
use super::helper::{self, Helper, exit_code};
use super::labels::Kind;
use super::layer::{self, Attempt, Layers};
use crate::backend::{BackendError, Choose, FileEntry, Piece, RunContext, View};

/// The most that one entry of the list may take: a path is 4 KiB at most.
const ENTRY: usize = 16 << 10;
/// Bytes of a file in one piece.
const PIECE: usize = 64 << 10;

pub(super) async fn read(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    view: &View,
    choose: Choose,
    to: mpsc::Sender<Piece>,
) -> Result<(), BackendError> {
    let attempt = Attempt::of_view(view);
    let merged = layer::view(engine, layers, run, &attempt).await?;
    let helper = Helper {
        name: format!("{}-files", view.name),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts: vec![mount(merged, "/from", true)],
        command: ["files", "pick", "/from"].map(str::to_owned).into(),
        capabilities: vec!["DAC_OVERRIDE", "DAC_READ_SEARCH"],
        stdin: true,
    };
    let name = helper::create(engine, helper).await?;
    let sent = send(engine, &name, choose, to).await;
    let removed = remove_container(engine, &name).await;
    sent?;
    removed
}

async fn send(
    engine: &Engine,
    name: &str,
    choose: Choose,
    to: mpsc::Sender<Piece>,
) -> Result<(), BackendError> {
    let failed = |error| fault("the files of the workspace cannot be read", &error);
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .build();
    let attached = engine.docker.attach_container(name, Some(options)).await.map_err(failed)?;
    engine.docker.start_container(name, None::<StartContainerOptions>).await.map_err(failed)?;
    let mut answer =
        Answer { output: attached.output, buffer: BytesMut::new(), complaint: Vec::new() };
    let mut input = attached.input;
    let told = async {
        let entries = answer.entries().await?;
        let chosen = choose(&entries);
        let wanted: String = chosen.iter().map(|position| format!("{position}\n")).collect();
        // Both at once: whoever answers stops listening when nobody reads.
        let ask = async {
            input.write_all(wanted.as_bytes()).await?;
            input.write_all(b"\n").await?;
            input.flush().await
        };
        let take = async {
            for position in chosen {
                let Some(entry) = entries.get(position) else { continue };
                answer.file(entry, &to).await?;
            }
            Ok::<_, BackendError>(())
        };
        let (asked, taken) = tokio::join!(ask, take);
        taken?;
        asked.map_err(|error| broken(&format!("it does not listen: {error}")))
    };
    let told = told.await;
    drop(input);
    if let Err(error) = told {
        // What it complained about says more than that its answer ended.
        answer.rest().await;
        let complaint = String::from_utf8_lossy(&answer.complaint).trim().to_owned();
        return Err(if complaint.is_empty() { error } else { broken(&complaint) });
    }
    match exit_code(engine, name).await.map_err(failed)? {
        0 => Ok(()),
        code => Err(broken(&format!("exit {code}"))),
    }
}

fn broken(why: &str) -> BackendError {
    let message = format!("the files of the workspace cannot be read: {why}");
    BackendError::Infrastructure { part: "workspace", message }
}

/// What the helper says.
struct Answer<S> {
    output: S,
    buffer: BytesMut,
    complaint: Vec<u8>,
}

impl<S> Answer<S>
where
    S: Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
{
    /// Waits for more; `false` is the end.
    async fn more(&mut self) -> Result<bool, BackendError> {
        match self.output.next().await {
            None => Ok(false),
            Some(Ok(LogOutput::StdErr { message })) => {
                self.complaint.extend_from_slice(&message);
                Ok(true)
            }
            Some(Ok(output)) => {
                self.buffer.extend_from_slice(&output.into_bytes());
                Ok(true)
            }
            Some(Err(error)) => Err(fault("the files of the workspace cannot be read", &error)),
        }
    }

    async fn rest(&mut self) {
        while matches!(self.more().await, Ok(true)) {
            self.buffer.clear();
        }
    }

    async fn entries(&mut self) -> Result<Vec<FileEntry>, BackendError> {
        let mut entries = Vec::new();
        let mut searched = 0;
        loop {
            let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == 0) else {
                searched = self.buffer.len();
                if searched > ENTRY || !self.more().await? {
                    return Err(broken("the list of them broke off"));
                }
                continue;
            };
            let entry = self.buffer.split_to(searched + end);
            self.buffer.advance(1);
            searched = 0;
            if entry.is_empty() {
                return Ok(entries);
            }
            entries.push(parse(&entry).ok_or_else(|| broken("the list of them is not ours"))?);
        }
    }

    async fn file(
        &mut self,
        entry: &FileEntry,
        to: &mpsc::Sender<Piece>,
    ) -> Result<(), BackendError> {
        let cut = || broken(&format!("`{}` broke off", entry.path));
        while self.buffer.len() < 8 {
            if !self.more().await? {
                return Err(cut());
            }
        }
        let mut left = self.buffer.get_u64();
        // Whoever does not want the rest has a reason of their own.
        drop(to.send(Piece::File(FileEntry { size: left, ..entry.clone() })).await);
        while left > 0 {
            if self.buffer.is_empty() {
                if !self.more().await? {
                    return Err(cut());
                }
                continue;
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let piece: Bytes = self.buffer.split_to(most.min(self.buffer.len())).freeze();
            left -= piece.len() as u64;
            drop(to.send(Piece::Bytes(piece)).await);
        }
        Ok(())
    }
}

/// Reads `KIND SIZE MODE PATH`.
fn parse(entry: &[u8]) -> Option<FileEntry> {
    let mut fields = entry.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(fields.next()?).ok();
    let link = match word()? {
        "f" => false,
        "l" => true,
        _ => return None,
    };
    let (size, mode) = (word()?.parse().ok()?, word()?.parse().ok()?);
    let path = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(FileEntry { path, link, size, mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_whatever_its_name() {
        let read = |entry: &[u8]| parse(entry).map(|entry| (entry.path, entry.link, entry.size));
        assert_eq!(read(b"f 3 33188 a b\n"), Some(("a b\n".to_owned(), false, 3)));
        assert_eq!(read(b"l 1 41471 \xff"), Some(("\u{fffd}".to_owned(), true, 1)));
        assert_eq!(read(b"d 1 2 x"), None);
        assert_eq!(read(b"f x 2 x"), None);
    }
}
