//! Files of the workspace as a release: one archive, kept as long as the release is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use deploy::Artifact;
use sha2::{Digest, Sha256};

use crate::artifacts::{Stored, archive, artifact_path};
use crate::executor::Attempt;
use crate::verdict::Verdict;

/// The ends of names of archives, as a target unpacks them.
const ARCHIVES: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

/// Keeps the files that `patterns` choose. A single archive is what the release is made of
/// by itself; all else is kept below the paths it has.
pub(crate) async fn release_files(
    attempt: &mut Attempt<'_>,
    patterns: &[String],
) -> Result<Artifact, Verdict> {
    let shared = attempt.shared;
    shared.prepare(attempt.stage, &attempt.limit).await?;
    let view = attempt.assignment.view(attempt.stage);
    let folder = shared.releases.join(&shared.context.project);
    let Stored { matched, packed } = match archive(attempt, &view, patterns, &folder).await? {
        Ok(stored) => stored,
        Err(cause) => return Err(Verdict::cut(attempt.cut(cause))),
    };
    if let Some(refused) = &matched.refused {
        let reason = format!("the files of the release are not taken: {refused}");
        return Err(Verdict::failed(None, reason));
    }
    matched.first_unmatched("hosts.artifact")?;
    attempt.tell_links(&matched, "the release").await;
    let Some(packed) = packed else {
        return Err(Verdict::failed(Some("E097"), "`hosts.artifact` matches no file"));
    };
    let whole = artifact_path(&folder, &packed.sha256);
    let inner = match matched.files.as_slice() {
        [only] => ARCHIVES.into_iter().find(|end| only.path.ends_with(end)),
        _ => None,
    };
    let Some(end) = inner else { return Ok(Artifact::File { path: whole, sha256: packed.sha256 }) };
    let taken = tokio::task::spawn_blocking(move || take_out(&whole, &folder, end)).await;
    let taken = taken.unwrap_or_else(|panic| Err(io::Error::other(panic.to_string())));
    let (path, sha256) = taken.map_err(|error| {
        Verdict::infrastructure(format!("the files of the release could not be kept: {error}"))
    })?;
    Ok(Artifact::File { path, sha256 })
}

/// Puts the one file of an archive into its place, and returns where and with which hash.
fn take_out(whole: &Path, folder: &Path, end: &str) -> io::Result<(PathBuf, String)> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(whole)?)?);
    let mut entry = archive.entries()?.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let mut part = tempfile::Builder::new().prefix(".part-").tempfile_in(folder)?;
    let mut file = Summed { file: part.as_file_mut(), digest: Sha256::new() };
    io::copy(&mut entry, &mut file)?;
    let sha256 = hex::encode(file.digest.finalize());
    part.as_file().sync_all()?;
    let path = folder.join(format!("{sha256}{end}"));
    part.persist(&path).map_err(|error| error.error)?;
    fs::remove_file(whole)?;
    Ok((path, sha256))
}

struct Summed<'a> {
    file: &'a mut File,
    digest: Sha256,
}

impl io::Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
