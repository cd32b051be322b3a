//! Artifacts of a stage: the files its patterns choose, as one archive of the run.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use event::{EventKind, StageResult};
use pipeline::{Artifacts, ArtifactsOn, PlannedStage};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::archive::{LARGEST, MOST_FILES};
use crate::backend::{BackendError, FileEntry, Piece, View};
use crate::executor::{Attempt, Shared};
use crate::files::{self, Matched, PIECES};
use crate::limit::Cause;
use crate::size;
use crate::verdict::Verdict;

/// How long storing may take: gigabytes may be on their way.
const STORING: Duration = Duration::from_secs(1800);
/// Fast, and a third of the size of most things.
const LEVEL: i32 = 3;

/// Where the archive of an artifact lies in the directory of its run.
pub fn artifact_path(directory: &Path, sha256: &str) -> PathBuf {
    directory.join(format!("{sha256}.tar.zst"))
}

/// Whether artifacts are wanted of a stage that ends so.
pub(crate) fn are_wanted(artifacts: &Artifacts, result: StageResult) -> bool {
    let failed =
        matches!(result, StageResult::Failed | StageResult::TimedOut | StageResult::ResourceLimit);
    match artifacts.on {
        ArtifactsOn::Success => result == StageResult::Passed,
        ArtifactsOn::Failure => failed,
        ArtifactsOn::Always => failed || result == StageResult::Passed,
    }
}

/// Stores the artifacts of a stage that has ended, if it wants them; what that makes of
/// its verdict.
pub(crate) async fn with_artifacts(
    attempt: &mut Attempt<'_>,
    verdict: Verdict,
    view: &View,
) -> Verdict {
    let Some(artifacts) = &attempt.stage.artifacts else { return verdict };
    if !are_wanted(artifacts, verdict.result) {
        return verdict;
    }
    match store(attempt, artifacts, view).await {
        Ok(()) => verdict,
        Err(wrong) => attempt.with_wrong(verdict, wrong).await,
    }
}

/// Stores the files that match; an `Err` is what that makes of a stage that passed.
async fn store(
    attempt: &mut Attempt<'_>,
    artifacts: &Artifacts,
    view: &View,
) -> Result<(), Verdict> {
    let shared = attempt.shared;
    let Ok(Stored { matched, packed }) =
        archive(attempt, view, &artifacts.paths, &shared.artifacts).await?
    else {
        return Ok(());
    };
    if let Some(refused) = &matched.refused {
        let reason = format!("the files of `artifacts` are not stored: {refused}");
        return Err(Verdict::failed(Some("E097"), reason));
    }
    attempt.tell_links(&matched, "the artifacts").await;
    let name = shared.masker.text(&name(artifacts, attempt.stage));
    let told = attempt.assignment.begun.as_ref();
    let told = |packed: &Packed| told.is_some_and(|begun| begun.has_told(&name, &packed.sha256));
    if let Some(packed) = packed.filter(|packed| !told(packed)) {
        let expires = attempt.shared.clock.now()
            + chrono::Duration::from_std(artifacts.expire.std()).unwrap_or(chrono::Duration::MAX);
        let stored = EventKind::ArtifactStored {
            stage: attempt.stage.name.clone(),
            attempt: attempt.assignment.attempt,
            name: name.clone(),
            size: packed.size,
            sha256: packed.sha256,
            files: packed.files,
            expires_at: expires,
        };
        shared.report(stored).await;
    }
    matched.first_unmatched("artifacts")
}

/// What became of the files that were to be kept.
pub(crate) struct Stored {
    pub(crate) matched: Matched,
    /// `None` where no file matched.
    pub(crate) packed: Option<Packed>,
}

/// Keeps the files that match as one archive in `directory`, unless the attempt is ended
/// meanwhile.
pub(crate) async fn archive(
    attempt: &Attempt<'_>,
    view: &View,
    patterns: &[String],
    directory: &Path,
) -> Result<Result<Stored, Cause>, Verdict> {
    let limit = attempt.limit.clone();
    let stored = tokio::select! {
        biased;
        stored = timeout(STORING, pack(attempt.shared, view, patterns, directory)) => stored,
        cause = limit.cancelled() => return Ok(Err(cause)),
    };
    let lost =
        |why: String| Verdict::infrastructure(format!("the artifacts could not be kept: {why}"));
    let (matched, packed) = match stored {
        Ok(Ok((matched, packed))) => (matched, packed.map_err(|error| lost(error.to_string()))?),
        Ok(Err(error)) => return Err(Verdict::of_error(&error)),
        Err(_) => return Err(lost(format!("not done within {} minutes", STORING.as_secs() / 60))),
    };
    Ok(Ok(Stored { matched, packed }))
}

impl Attempt<'_> {
    /// Says how many of the files that were chosen are links, which nobody keeps.
    pub(crate) async fn tell_links(&mut self, matched: &Matched, of: &str) {
        let links = matched.files.iter().filter(|file| file.link).count();
        if links > 0 {
            let plural = if links == 1 { "link is" } else { "links are" };
            self.log.say(format!("{links} symbolic {plural} left out of {of}")).await;
        }
    }
}

/// The name it is published under: nothing that a path, a header or a terminal minds.
fn name(artifacts: &Artifacts, stage: &PlannedStage) -> String {
    let wanted = artifacts.name.as_deref().unwrap_or(&stage.name);
    let fine = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = wanted.chars().map(fine).take(100).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "artifact".to_owned() } else { name.to_owned() }
}

#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) files: u64,
}

/// Streams the files that match into an archive in a directory.
async fn pack(
    shared: &Shared,
    view: &View,
    patterns: &[String],
    directory: &Path,
) -> Result<(Matched, io::Result<Option<Packed>>), BackendError> {
    let (to, pieces) = mpsc::channel(PIECES);
    let directory = directory.to_path_buf();
    let writing = tokio::task::spawn_blocking(move || write(&directory, pieces));
    let (matched, packed) = tokio::join!(files::read(shared, view, patterns, admit, to), writing);
    let packed = packed.unwrap_or_else(|panic| Err(io::Error::other(panic.to_string())));
    Ok((matched?, packed))
}

fn admit(files: &[FileEntry]) -> Result<(), String> {
    if files.len() > MOST_FILES {
        return Err(format!("they are {} files, the limit is {MOST_FILES}", files.len()));
    }
    let all: u64 = files.iter().map(|file| file.size).sum();
    if all > LARGEST {
        let (found, limit) = (size::text(all), size::text(LARGEST));
        return Err(format!("they are {found} large, the limit is {limit}"));
    }
    Ok(())
}

/// Writes what comes into an archive that is named by its hash; half an archive is
/// never there under such a name. The same files give the same archive.
fn write(directory: &Path, pieces: mpsc::Receiver<Piece>) -> io::Result<Option<Packed>> {
    let mut pieces = Pieces { pieces, next: None };
    let Some(first) = pieces.file() else { return Ok(None) };
    fs::create_dir_all(directory)?;
    let part = tempfile::Builder::new().prefix(".part-").tempfile_in(directory)?;
    let counted = Counted { file: part.reopen()?, digest: Sha256::new(), size: 0 };
    let mut builder = tar::Builder::new(zstd::Encoder::new(counted, LEVEL)?);
    let mut files = 0;
    let mut next = Some(first);
    while let Some(entry) = next {
        if !entry.link {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(entry.size);
            header.set_mode(if entry.mode & 0o111 == 0 { 0o644 } else { 0o755 });
            header.set_mtime(0);
            let contents = Contents { pieces: &mut pieces, bytes: Bytes::new() };
            builder.append_data(&mut header, &entry.path, contents.take(entry.size))?;
            files += 1;
        }
        next = pieces.file();
    }
    if files == 0 {
        return Ok(None);
    }
    let Counted { file, digest, size } = builder.into_inner()?.finish()?;
    file.sync_all()?;
    let sha256 = hex::encode(digest.finalize());
    part.persist(artifact_path(directory, &sha256)).map_err(|error| error.error)?;
    Ok(Some(Packed { size, sha256, files }))
}

struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    /// A file that began while the one before was read.
    next: Option<FileEntry>,
}

impl Pieces {
    /// Waits for the next file, whatever is left of the one before.
    fn file(&mut self) -> Option<FileEntry> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        loop {
            match self.pieces.blocking_recv()? {
                Piece::File(entry) => return Some(entry),
                Piece::Bytes(_) => {}
            }
        }
    }

    fn bytes(&mut self) -> Option<Bytes> {
        if self.next.is_some() {
            return None;
        }
        match self.pieces.blocking_recv()? {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::File(entry) => {
                self.next = Some(entry);
                None
            }
        }
    }
}

/// What is in the current file.
struct Contents<'a> {
    pieces: &'a mut Pieces,
    bytes: Bytes,
}

impl Read for Contents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.bytes.is_empty() {
            // Fewer bytes than were promised would shift all that follows.
            self.bytes = self.pieces.bytes().ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        let count = buffer.len().min(self.bytes.len());
        buffer[..count].copy_from_slice(&self.bytes.split_to(count));
        Ok(count)
    }
}

struct Counted {
    file: File,
    digest: Sha256,
    size: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::extract;
    use crate::testing::stage;

    fn packed(directory: &Path, files: &[(&str, u32, &str)]) -> Option<Packed> {
        let (to, pieces) = mpsc::channel(PIECES);
        for (path, mode, contents) in files {
            let size = contents.len() as u64;
            let link = *mode == 0;
            let entry = FileEntry { path: (*path).to_owned(), link, size, mode: *mode };
            to.try_send(Piece::File(entry)).unwrap();
            for piece in contents.as_bytes().chunks(3) {
                to.try_send(Piece::Bytes(Bytes::copy_from_slice(piece))).unwrap();
            }
        }
        drop(to);
        write(directory, pieces).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_archive_and_come_out_again() {
        let directory = tempfile::tempdir().unwrap();
        let files =
            [("dist/app", 0o100_755, "binary"), ("dist/link", 0, "app"), ("empty", 0o644, "")];
        let first = packed(directory.path(), &files).unwrap();
        assert_eq!(first.files, 2);
        assert_eq!(packed(directory.path(), &files).unwrap().sha256, first.sha256);
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing half written is left");
        let path = artifact_path(directory.path(), &first.sha256);
        assert_eq!(fs::metadata(&path).unwrap().len(), first.size);

        let out = tempfile::tempdir().unwrap();
        extract(File::open(path).unwrap(), out.path()).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("dist/app")).unwrap(), "binary");
        assert_eq!(fs::read_to_string(out.path().join("empty")).unwrap(), "");
        assert!(!out.path().join("dist/link").exists());
    }

    #[test]
    fn nothing_makes_no_archive() {
        let directory = tempfile::tempdir().unwrap();
        assert!(packed(directory.path(), &[]).is_none());
        assert!(packed(directory.path(), &[("link", 0, "app")]).is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_is_harmless_everywhere() {
        let name_of = |stage_name: &str, given: Option<&str>| {
            let artifacts = Artifacts {
                paths: Vec::new(),
                name: given.map(str::to_owned),
                expire: pipeline::Duration::from_secs(1),
                on: ArtifactsOn::Success,
            };
            let mut stage = stage("a", &[]);
            stage_name.clone_into(&mut stage.name);
            name(&artifacts, &stage)
        };
        assert_eq!(name_of("build", Some("app-1.0")), "app-1.0");
        assert_eq!(name_of("unit[db=mysql:8]", None), "unit-db-mysql-8");
        assert_eq!(name_of("x", Some("../../<b>\r\nSet-Cookie: a\0")), "b---Set-Cookie--a");
        assert_eq!(name_of("x", Some("...")), "artifact");
        assert_eq!(name_of("x", Some(&"é".repeat(4000))).chars().count(), 100);
    }
}
