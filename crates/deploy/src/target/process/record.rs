//! What is written down about units: `unit.json`, the fence, and how both are
//! changed so that a crash leaves the old or the new text, never half of one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use event::{DeploymentId, ReleaseId};
use serde::{Deserialize, Serialize};

use super::failed;
use crate::{EnvironmentKey, TargetError, UnitId};

/// `unit.json`: what a unit is, and all it takes to start it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct UnitFile {
    pub(super) instance: String,
    pub(super) kind: String,
    pub(super) project: String,
    pub(super) env: String,
    pub(super) slot: u32,
    pub(super) release: ReleaseId,
    pub(super) deploy: DeploymentId,
    pub(super) fence: u64,
    pub(super) spec: String,
    /// Of people's interest: what was placed.
    pub(super) artifact: String,
    pub(super) command: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) port: u16,
    /// Whether requests reach it through the proxy.
    pub(super) routed: bool,
    pub(super) stop_timeout: pipeline::Duration,
    /// How long the unit it replaced is kept.
    pub(super) keep_warm: pipeline::Duration,
    /// When it was stopped, if it was since it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped_at: Option<DateTime<Utc>>,
    /// Whether it is to run again after it ended by itself: the mark of a unit
    /// that was admitted and not yet stopped.
    pub(super) comes_back: bool,
}

impl UnitFile {
    /// Adds variables of the machine, where the unit has none of that name.
    pub(super) fn with_variables(mut self, variables: BTreeMap<String, String>) -> Self {
        for (name, value) in variables {
            self.variables.entry(name).or_insert(value);
        }
        self
    }
}

/// The folder a target lives in.
#[derive(Clone, Debug)]
pub(super) struct Root(PathBuf);

/// Holds what it locked until it is dropped.
pub(super) struct Locked(#[expect(dead_code, reason = "its drop unlocks")] File);

impl Root {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn units(&self) -> PathBuf {
        self.0.join("units")
    }

    /// The folder of one unit. Names are made of slugs; one that is not would
    /// lead out of here.
    pub(super) fn unit(&self, unit: &UnitId) -> Result<PathBuf, TargetError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if unit.0.is_empty() || unit.0.starts_with('.') || !unit.0.chars().all(plain) {
            let message = format!("`{unit}` is no name of a unit");
            return Err(TargetError::Refused { message });
        }
        Ok(self.units().join(&unit.0))
    }

    pub(super) fn releases(&self) -> PathBuf {
        self.0.join("releases")
    }

    pub(super) fn release(&self, release: ReleaseId) -> PathBuf {
        self.releases().join(release.to_string())
    }

    /// Keeps every other process from allotting ports meanwhile.
    pub(super) fn lock_ports(&self) -> Result<Locked, TargetError> {
        let path = self.0.join("ports.lock");
        let file = open_to_change(&path)?;
        file.lock().map_err(|error| failed("lock", &path, &error))?;
        Ok(Locked(file))
    }

    /// Refuses an engine whose fence is smaller than the one in force, and keeps
    /// every other engine out until the answer is dropped.
    pub(super) fn lock_fence(
        &self,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<Locked, TargetError> {
        let (mut file, in_force) = self.lock_environment(key)?;
        self.raise_fence(key, &mut file, in_force, fence)?;
        Ok(Locked(file))
    }

    /// Puts the fence of an environment that is locked to `fence`, unless a larger one
    /// is in force.
    pub(super) fn raise_fence(
        &self,
        key: &EnvironmentKey,
        file: &mut File,
        in_force: u64,
        fence: u64,
    ) -> Result<(), TargetError> {
        if in_force > fence {
            let message = format!(
                "{} has seen fence {in_force}, this engine holds {fence}",
                self.0.display()
            );
            return Err(TargetError::Fenced(message));
        }
        if in_force < fence {
            // Numbers grow, so a shorter text never follows a longer one.
            file.rewind()
                .and_then(|()| file.write_all(fence.to_string().as_bytes()))
                .and_then(|()| file.sync_all())
                .map_err(|error| failed("write", &self.fence_of(key), &error))?;
        }
        Ok(())
    }

    /// Keeps every other engine out of an environment until the file is dropped, and
    /// returns it with the fence that is in force.
    pub(super) fn lock_environment(
        &self,
        key: &EnvironmentKey,
    ) -> Result<(File, u64), TargetError> {
        let path = self.fence_of(key);
        let mut file = open_to_change(&path)?;
        file.lock().map_err(|error| failed("lock", &path, &error))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| failed("read", &path, &error))?;
        Ok((file, text.trim().parse().unwrap_or(0)))
    }

    fn fence_of(&self, key: &EnvironmentKey) -> PathBuf {
        self.0.join("fences").join(&key.project).join(&key.environment)
    }

    pub(super) fn lease_of(&self, key: &EnvironmentKey) -> PathBuf {
        self.0.join("leases").join(&key.project).join(&key.environment)
    }

    /// Reads a unit; `None` where there is none, or one that was never finished.
    pub(super) fn read(&self, unit: &UnitId) -> Result<Option<UnitFile>, TargetError> {
        let path = self.unit(unit)?.join("unit.json");
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    pub(super) fn write(&self, unit: &UnitId, file: &UnitFile) -> Result<(), TargetError> {
        let folder = self.unit(unit)?;
        fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, &error))?;
        let text = serde_json::to_vec_pretty(file).unwrap_or_default();
        replace(&folder.join("unit.json"), &text)
    }

    /// Returns all units of the folder, also those of other environments.
    pub(super) fn all(&self) -> Result<Vec<(UnitId, UnitFile)>, TargetError> {
        let path = self.units();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", &path, &error)),
        };
        let mut units = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &path, &error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let unit = UnitId(name);
            // A folder that somebody else put here is not ours to judge.
            let Ok(Some(file)) = self.read(&unit) else { continue };
            units.push((unit, file));
        }
        units.sort_by(|a, b| (a.1.slot, &a.0).cmp(&(b.1.slot, &b.0)));
        Ok(units)
    }
}

fn open_to_change(path: &Path) -> Result<File, TargetError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed("open", path, &error))
}

/// Replaces a file as a whole, readable by its owner alone: units have secrets in
/// their variables.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<(), TargetError> {
    let new = path.with_extension("tmp");
    let writing = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder(path)
    };
    writing().map_err(|error| failed("write", path, &error))
}

/// Makes the name of `path` durable.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
