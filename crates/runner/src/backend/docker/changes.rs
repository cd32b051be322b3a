//! What differs between two states of a workspace, long after its run.

use super::DockerBackend;
use super::container::mount;
use super::helper::{self, Helper};
use super::labels::{Kind, Part, volume};
use super::layer::{self, Attempt};
use crate::backend::{Backend, BackendError, LayerId, RunContext};

/// One path that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FileChange {
    pub change: Change,
    pub path: String,
    pub kind: FileKind,
    /// In bytes, of a file.
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added,
    Deleted,
    Modified,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    File,
    Directory,
    Link,
    Other,
}

impl DockerBackend {
    /// Tells what differs between two workspaces, each given as its layers, newest first,
    /// of what is in `touched`. Times and owners do not count. Sorted by path.
    pub async fn changes(
        &self,
        instance: &str,
        old: &[LayerId],
        new: &[LayerId],
        touched: &[LayerId],
    ) -> Result<Vec<FileChange>, BackendError> {
        let run = RunContext::aside(instance);
        let told = self.compare(&run, old, new, touched).await;
        let cleaned = self.clean(&run).await;
        let told = told?;
        cleaned?;
        let entries = told.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        entries.map(|entry| parse(entry).ok_or_else(not_ours)).collect()
    }

    async fn compare(
        &self,
        run: &RunContext,
        old: &[LayerId],
        new: &[LayerId],
        touched: &[LayerId],
    ) -> Result<Vec<u8>, BackendError> {
        self.prepare(run).await?;
        let engine = &self.engine;
        let mut mounts = Vec::new();
        let mut command = vec!["layer".to_owned(), "changes".to_owned()];
        let mut labels = None;
        for ((index, place), lower) in (0..).zip(["/old", "/new"]).zip([old, new]) {
            let attempt = Attempt {
                stage: "changes",
                attempt: 1,
                container: "",
                layer: LayerId { run: run.run, index, attempt: 1 },
                lower,
                // They were joined when their run was.
                merge: Some(&pipeline::Merge::Last),
            };
            let view = layer::view(engine, &self.layers, run, &attempt).await?;
            mounts.push(mount(view, place, true));
            command.push(place.to_owned());
            labels = Some(attempt.labels(engine, run, Kind::Helper));
        }
        for (index, layer) in touched.iter().enumerate() {
            let place = format!("/layers/{index}");
            mounts.push(mount(volume(*layer, Part::Upper), &place, true));
            command.push(place);
        }
        let helper = Helper {
            name: format!("shipline-{}-changes", run.run.short()),
            labels: labels.ok_or_else(not_ours)?,
            mounts,
            command,
            // The attributes of an overlay are for the administrator only.
            capabilities: vec!["SYS_ADMIN", "DAC_OVERRIDE", "DAC_READ_SEARCH"],
            stdin: false,
        };
        helper::run(engine, helper).await
    }
}

fn not_ours() -> BackendError {
    let message = "the workspaces could not be compared".to_owned();
    BackendError::Infrastructure { part: "workspace", message }
}

/// Reads `SIGN KIND SIZE PATH`.
fn parse(entry: &[u8]) -> Option<FileChange> {
    let text = String::from_utf8_lossy(entry);
    let mut fields = text.splitn(4, ' ');
    let change = match fields.next()? {
        "+" => Change::Added,
        "-" => Change::Deleted,
        "~" => Change::Modified,
        _ => return None,
    };
    let kind = match fields.next()? {
        "f" => FileKind::File,
        "d" => FileKind::Directory,
        "l" => FileKind::Link,
        "o" => FileKind::Other,
        _ => return None,
    };
    let size = fields.next()?.parse().ok()?;
    Some(FileChange { change, kind, size, path: fields.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_whatever_its_path() {
        let read = |entry: &[u8]| parse(entry).map(|found| (found.change, found.kind, found.path));
        let line = read(b"+ f 3 a b\n");
        assert_eq!(line, Some((Change::Added, FileKind::File, "a b\n".to_owned())));
        assert_eq!(read(b"? f 3 a"), None);
        assert_eq!(read(b"- f x a"), None);
    }
}
