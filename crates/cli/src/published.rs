//! `.shipline/out`: what a local run published, as files of whoever ran it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use chrono::Utc;
use event::RunState;
use runner::artifact_path;
use store::Store;

use crate::error::{CommandError, Context as _, Kind};
use crate::home::Home;

const OUT: &str = ".shipline/out";
/// Archives removed at one start.
const EXPIRED: u32 = 1_000;

/// Writes each artifact of a run to `.shipline/out/NAME`, in place of what a former run
/// published under that name, and returns the names.
pub(crate) fn copy(
    state: &RunState,
    archives: &Path,
    directory: &Path,
) -> Result<Vec<String>, CommandError> {
    let plan = state.plan.iter().flat_map(|plan| &plan.stages);
    let stages = plan.filter_map(|planned| state.stage(&planned.name));
    let artifacts: Vec<_> = stages.flat_map(|stage| &stage.artifacts).collect();
    if artifacts.is_empty() {
        return Ok(Vec::new());
    }
    let out = folder(directory).environment(&format!("cannot make {OUT}"))?;
    let mut names = BTreeSet::new();
    for artifact in artifacts {
        // Stages may publish under one name; none of them is lost.
        let mut name = artifact.name.clone();
        for number in 2.. {
            if names.insert(name.clone()) {
                break;
            }
            name = format!("{}-{number}", artifact.name);
        }
        let archive = artifact_path(archives, &artifact.sha256);
        let archive =
            File::open(&archive).environment(&format!("cannot read {}", archive.display()))?;
        let place = format!("{OUT}/{name}");
        let part = tempfile::Builder::new().prefix(".part-").tempdir_in(&out);
        let part = part.environment(&format!("cannot make {place}"))?;
        runner::extract(archive, part.path()).map_err(|error| {
            CommandError::caused(Kind::Environment, &format!("cannot write {place}"), &error)
        })?;
        replace(part, &out.join(&name)).environment(&format!("cannot write {place}"))?;
    }
    Ok(names.into_iter().collect())
}

/// Makes the folder, which Git ignores. What a repository put in its place is not followed.
fn folder(directory: &Path) -> io::Result<PathBuf> {
    let mut path = directory.to_owned();
    for part in Path::new(OUT) {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let said = format!("{} is no directory", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, said));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&path)?,
            Err(error) => return Err(error),
        }
    }
    let ignore = path.join(".gitignore");
    if fs::symlink_metadata(&ignore).is_err() {
        fs::write(ignore, "*\n")?;
    }
    Ok(path)
}

/// Puts the whole of it in place at once.
fn replace(part: tempfile::TempDir, place: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(place)?,
        Ok(_) => fs::remove_file(place)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Made for its owner alone; these files are as any others.
    fs::set_permissions(part.path(), fs::Permissions::from_mode(0o755))?;
    let kept = part.keep();
    fs::rename(&kept, place).inspect_err(|_| drop(fs::remove_dir_all(&kept)))
}

/// Removes the archives of local runs that have expired; their copies stay.
pub(crate) async fn expire(home: &Home, store: &Store) -> Result<(), CommandError> {
    const WHAT: &str = "cannot remove artifacts that have expired";
    let now = Utc::now();
    for (run, sha256) in store.expired_archives(now, EXPIRED).await.environment(WHAT)? {
        if let Some(folder) = home.find(run) {
            let archive = artifact_path(&folder.join("artifacts"), &sha256);
            match fs::remove_file(archive) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).environment(WHAT);
                }
                _ => {}
            }
        }
        store.forget_archive(run, &sha256, now).await.environment(WHAT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_place_of_the_folder_is_not_followed() {
        let directory = tempfile::tempdir().expect("directory");
        let elsewhere = tempfile::tempdir().expect("directory");
        fs::create_dir(directory.path().join(".shipline")).expect("made");
        let out = directory.path().join(OUT);
        std::os::unix::fs::symlink(elsewhere.path(), &out).expect("linked");
        let error = folder(directory.path()).expect_err("refused");
        assert_eq!(error.to_string(), format!("{} is no directory", out.display()));
        assert_eq!(fs::read_dir(elsewhere.path()).expect("read").count(), 0);
        fs::remove_file(&out).expect("removed");
        assert_eq!(folder(directory.path()).expect("made"), out);
        assert_eq!(fs::read_to_string(out.join(".gitignore")).expect("read"), "*\n");
    }
}
