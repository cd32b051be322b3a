//! Releases placed: unpacked beside, made durable, and then named, so that a
//! folder with the name of a release is complete.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::{DeploymentId, ReleaseId};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;

use super::record::{Root, replace, sync_folder};
use super::{ENGINE, ProcessTarget, blocking, done, failed, key_of};
use crate::target::docker::DockerTarget;
use crate::{Artifact, Check, Finding, KeepSet, Op, OpOutcome, Spec, TargetError};

/// Beside what was placed: how it is run when nothing else is said.
const ABOUT: &str = ".shipline.json";

/// How a release is run, as its artifact says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::target) struct Placed {
    pub(super) project: String,
    pub(super) command: Vec<String>,
    pub(in crate::target) variables: BTreeMap<String, String>,
    /// Within the release.
    pub(in crate::target) directory: Option<String>,
}

impl Placed {
    /// Reads what was placed; a release that brings nothing says nothing.
    pub(super) fn read(root: &Root, release: ReleaseId) -> Result<Self, TargetError> {
        let path = root.release(release).join(ABOUT);
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }
}

impl ProcessTarget {
    pub(super) async fn place(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        if spec.artifact == Artifact::Nothing {
            return Ok(done("brings nothing"));
        }
        if self.root.release(spec.release).is_dir() {
            return Ok(done("is here already"));
        }
        // Of its own even for a repeat: what an op that was given up had begun may
        // still be written to.
        let once = uuid::Uuid::now_v7();
        let beside = self.root.releases().join(format!(".tmp-{}-{once}", op.deployment));
        let releases = self.root.releases();
        blocking(move || {
            remove_abandoned(&releases);
            Ok(())
        })
        .await?;
        let placing = async {
            match &spec.artifact {
                Artifact::File { path, sha256 } => {
                    let (path, sha256, into) = (path.clone(), sha256.clone(), beside.clone());
                    blocking(move || place_file(&path, &sha256, &into)).await
                }
                _ => self.place_image(&spec.artifact, op.deployment, &beside).await,
            }
        };
        let about = tokio::select! {
            about = placing => about?,
            () = cancel.cancelled() => return Ok(done("cancelled")),
        };
        let about = Placed { project: spec.project.clone(), ..about };
        let (root, key, release) = (self.root.clone(), key_of(spec), spec.release);
        blocking(move || {
            let text = serde_json::to_vec(&about).unwrap_or_default();
            replace(&beside.join(ABOUT), &text)?;
            let _alone = root.lock_fence(&key, fence)?;
            let home = root.release(release);
            if home.is_dir() {
                let _ = fs::remove_dir_all(&beside);
                return Ok(done("is here already"));
            }
            make_durable(&beside)
                .and_then(|()| fs::rename(&beside, &home))
                .and_then(|()| sync_folder(&home))
                .map_err(|error| failed("place", &home, &error))?;
            Ok(done("placed"))
        })
        .await
    }

    /// Takes the files of an image, which the engine of this machine has or pulls.
    async fn place_image(
        &self,
        artifact: &Artifact,
        deployment: DeploymentId,
        into: &Path,
    ) -> Result<Placed, TargetError> {
        let docker = self.docker().await?;
        image_files(&docker, artifact, deployment, into).await
    }

    pub(super) async fn docker(&self) -> Result<DockerTarget, TargetError> {
        let (instance, registries) = (self.instance.clone(), self.registries.clone());
        let engine = self.machine.engine.as_deref().unwrap_or(ENGINE);
        DockerTarget::connect(engine, None, instance, registries).await
    }

    /// Finds what would make [`ProcessTarget::place`] fail.
    pub(super) async fn check_artifact(&self, spec: &Spec) -> Result<Option<Finding>, TargetError> {
        if self.root.release(spec.release).is_dir() {
            return Ok(None);
        }
        match &spec.artifact {
            Artifact::Nothing if spec.unit.command.is_empty() => Ok(Some(
                Check::Artifact
                    .finding("there is nothing to run", "write the program into `command`"),
            )),
            Artifact::Nothing => Ok(None),
            Artifact::File { path, sha256 } => {
                let (root, path, sha256) = (self.root.clone(), path.clone(), sha256.clone());
                blocking(move || Ok(check_file(&root, &path, &sha256))).await
            }
            Artifact::Digest { .. } | Artifact::ImageId(_) => {
                self.docker().await?.check_image(spec).await
            }
        }
    }

    /// Removes what was placed of a project, but for what `keep` has and what units
    /// are made of. Returns the names of what is gone.
    pub(super) async fn prune_releases(
        &self,
        project: &str,
        keep: &KeepSet,
    ) -> Result<Vec<String>, TargetError> {
        let (root, project, keep) = (self.root.clone(), project.to_owned(), keep.clone());
        blocking(move || {
            let used: Vec<_> = root.all()?.into_iter().map(|(_, file)| file.release).collect();
            let mut removed = Vec::new();
            for entry in fs::read_dir(root.releases()).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(release) = name.parse::<ReleaseId>() else { continue };
                let of_project = Placed::read(&root, release)?.project == project;
                if of_project && !keep.keeps(release) && !used.contains(&release) {
                    let path = entry.path();
                    fs::remove_dir_all(&path).map_err(|error| failed("remove", &path, &error))?;
                    removed.push(name);
                }
            }
            Ok(removed)
        })
        .await
    }
}

/// Unpacks the files of an image, and tells what it says of how they are run.
pub(in crate::target) async fn image_files(
    docker: &DockerTarget,
    artifact: &Artifact,
    deployment: DeploymentId,
    into: &Path,
) -> Result<Placed, TargetError> {
    let (config, files) = docker.export(artifact, deployment).await?;
    let reader = StreamReader::new(Box::pin(files.map_err(io::Error::other)));
    // Made here: it blocks on the runtime of the caller.
    let bridge = SyncIoBridge::new(reader);
    let path = into.to_path_buf();
    let unpacked = blocking(move || {
        start_over(&path)?;
        unpack(bridge, &path).map_err(|error| failed("unpack into", &path, &error))
    })
    .await;
    docker.end_export(deployment).await?;
    unpacked?;
    let words = |words: Option<Vec<String>>| words.unwrap_or_default();
    let variables = words(config.env).into_iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        // Where programs are is a matter of the machine.
        (name != "PATH").then(|| (name.to_owned(), value.to_owned()))
    });
    Ok(Placed {
        command: [words(config.entrypoint), words(config.cmd)].concat(),
        variables: variables.collect(),
        directory: config.working_dir.filter(|directory| !directory.is_empty()),
        ..Placed::default()
    })
}

/// Says why a file cannot be placed: it is not there, is not the one, or does not
/// fit twice, packed and unpacked.
fn check_file(root: &Root, path: &Path, sha256: &str) -> Option<Finding> {
    let shown = path.display();
    let unreadable = |error: &io::Error| {
        Check::Artifact.finding(
            format!("artifact {shown} cannot be read: {error}"),
            "look whether it was built, and who may read it",
        )
    };
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return Some(unreadable(&error)),
    };
    let hashed = File::open(path).and_then(|file| {
        let mut hashing = Hashing::new(file);
        io::copy(&mut hashing, &mut io::sink())?;
        Ok(hashing.sum())
    });
    match hashed {
        Ok(sum) if sum != sha256 => {
            let fix = "build it again, and release what was built";
            return Some(Check::Artifact.finding(wrong_sum(path, sha256, &sum), fix));
        }
        Ok(_) => {}
        Err(error) => return Some(unreadable(&error)),
    }
    let free = free_bytes(root.path())?;
    (free < length.saturating_mul(2)).then(|| {
        let cause = format!(
            "{} has {} MB free, and artifact {shown} wants twice its {} MB",
            root.path().display(),
            free >> 20,
            length >> 20
        );
        Check::Disk.finding(cause, "make room there")
    })
}

fn wrong_sum(path: &Path, wanted: &str, found: &str) -> String {
    format!("artifact {} has the sha256 {found}, and {wanted} is wanted", path.display())
}

/// Returns how much a folder's file system can still take.
fn free_bytes(folder: &Path) -> Option<u64> {
    let statistics = rustix::fs::statvfs(folder).ok()?;
    Some(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

/// Removes what was begun long ago and never named.
fn remove_abandoned(releases: &Path) {
    const LONG_AGO: Duration = Duration::from_secs(60 * 60);
    for entry in fs::read_dir(releases).into_iter().flatten().flatten() {
        let begun = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = begun.is_ok_and(|begun| begun.elapsed().is_ok_and(|age| age > LONG_AGO));
        if is_old && entry.file_name().to_string_lossy().starts_with(".tmp-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn start_over(folder: &Path) -> Result<(), TargetError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", folder, &error));
        }
        _ => {}
    }
    fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))
}

/// Places a program or an archive, and refuses it when it was not the one.
pub(in crate::target) fn place_file(
    path: &Path,
    sha256: &str,
    into: &Path,
) -> Result<Placed, TargetError> {
    start_over(into)?;
    let file = File::open(path).map_err(|error| TargetError::Refused {
        message: format!("artifact {} cannot be read: {error}", path.display()),
    })?;
    let mut reader = Hashing::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let about = unpack_or_copy(&mut reader, &name, into)
        .and_then(|about| {
            // What follows the end of an archive counts in its sum.
            io::copy(&mut reader, &mut io::sink())?;
            Ok(about)
        })
        .map_err(|error| failed("unpack", path, &error))?;
    let sum = reader.sum();
    if sum != sha256 {
        let _ = fs::remove_dir_all(into);
        return Err(TargetError::Refused { message: wrong_sum(path, sha256, &sum) });
    }
    Ok(about)
}

fn unpack_or_copy(reader: &mut impl Read, name: &str, into: &Path) -> io::Result<Placed> {
    let is = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if is(&[".tar"]) {
        unpack(reader, into)?;
    } else if is(&[".tar.gz", ".tgz"]) {
        unpack(flate2::read::MultiGzDecoder::new(reader), into)?;
    } else if is(&[".tar.zst", ".tzst"]) {
        unpack(zstd::Decoder::new(reader)?, into)?;
    } else {
        let program = into.join(name);
        io::copy(reader, &mut File::create(&program)?)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        return Ok(Placed { command: vec![format!("./{name}")], ..Placed::default() });
    }
    Ok(Placed::default())
}

/// Unpacks files, folders and links; devices are not a release's to bring, and
/// nothing is written outside of `into`.
fn unpack(reader: impl Read, into: &Path) -> io::Result<()> {
    use tar::EntryType;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let wanted = matches!(
            entry.header().entry_type(),
            EntryType::Regular
                | EntryType::Continuous
                | EntryType::GNUSparse
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
        );
        if wanted && !entry.unpack_in(into)? {
            let path = entry.path()?.into_owned();
            let why = format!("`{}` leads out of the release", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
    Ok(())
}

/// Writes a tree through to the disk.
fn make_durable(folder: &Path) -> io::Result<()> {
    let mut folders: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(&folder)?.sync_all()?;
    }
    Ok(())
}

/// Sums up what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    fn sum(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    fn archive(name: &str) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o755);
        // Written by hand: the library refuses to make what it must refuse to read.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, &b"hi"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn placed(
        name: &str,
        bytes: &[u8],
        sha256: &str,
    ) -> (tempfile::TempDir, Result<Placed, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let placed = place_file(&path, sha256, &folder.path().join("into"));
        let placed = placed
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), ""));
        (folder, placed)
    }

    #[test]
    fn archives_are_unpacked_and_anything_else_is_a_program() {
        let tar = archive("bin/app");
        let zst = zstd::encode_all(&tar[..], 1).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gz, &tar).unwrap();
        let gz = gz.finish().unwrap();
        for (name, bytes) in [("a.tar", &tar), ("a.tar.gz", &gz), ("a.tar.zst", &zst)] {
            let (folder, placed) = placed(name, bytes, &sum(bytes));
            assert_eq!(placed, Ok(Placed::default()), "{name}");
            assert_eq!(fs::read(folder.path().join("into/bin/app")).unwrap(), b"hi", "{name}");
        }
        let (folder, placed) = placed("app", b"#!/bin/sh\n", &sum(b"#!/bin/sh\n"));
        assert_eq!(placed.unwrap().command, ["./app"]);
        let mode = fs::metadata(folder.path().join("into/app")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn what_is_not_the_one_is_not_placed() {
        let (folder, refused) = placed("app", b"other", &sum(b"this"));
        let expected = format!(
            "artifact /app has the sha256 {}, and {} is wanted",
            sum(b"other"),
            sum(b"this")
        );
        assert_eq!(refused, Err(expected));
        assert!(!folder.path().join("into").exists());
    }

    #[test]
    fn an_archive_does_not_write_outside() {
        let bytes = archive("../out");
        let (folder, refused) = placed("a.tar", &bytes, &sum(&bytes));
        let refused = refused.unwrap_err();
        assert!(refused.ends_with("`../out` leads out of the release"), "{refused}");
        assert!(!folder.path().join("out").exists());
    }
}
