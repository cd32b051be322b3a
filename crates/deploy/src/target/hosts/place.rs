//! Releases placed on all hosts at once, with no effect on traffic: what a host does not
//! have yet is sent, the rest is linked to the files of the release it serves.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event::ReleaseId;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::connection::{Host, Input};
use super::release::{ABOUT, FileEntry, ReleaseFile, Tree};
use super::trouble::Trouble;
use super::{CALL, HOOK, HostsTarget, done, infrastructure};
use crate::target::docker::DockerTarget;
use crate::target::process::artifact_name;
use crate::target::process::place::{Placed, image_files, place_file};
use crate::{Artifact, Check, Finding, KeepSet, Op, OpOutcome, Pruned, Spec, TargetError};

/// An op has a minute more.
const PLACE: Duration = Duration::from_secs(14 * 60);
/// What an engine puts into the files of any container.
const OF_CONTAINERS: [&str; 10] = [
    ".dockerenv",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "etc",
    "dev/pts",
    "dev/shm",
    "dev/console",
    "dev",
];

/// The files of a release on this machine, as long as it is worked with.
pub(super) struct Staged {
    release: ReleaseId,
    tree: Tree,
    pub(super) placed: Placed,
    folder: tempfile::TempDir,
}

/// What was sent to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sent {
    bytes: u64,
    linked: usize,
}

/// An archive for all hosts that serve the same files now.
struct Packed {
    sum: String,
    file: tempfile::TempPath,
    sent: Sent,
}

/// What a host has.
struct Base {
    here: bool,
    release: String,
    files: BTreeMap<String, FileEntry>,
    hash: String,
}

impl Base {
    fn none() -> Self {
        let (release, hash) = ("-".to_owned(), String::new());
        Self { here: false, release, files: BTreeMap::new(), hash }
    }

    /// A release that tells nothing of its files, or not in our words, is no base.
    fn read(said: &str) -> Self {
        let (here, rest) = match said.strip_prefix("here\n") {
            Some(rest) => (true, rest),
            None => (false, said),
        };
        let told = rest.strip_prefix("base\t").and_then(|rest| rest.split_once('\n'));
        let read = told.and_then(|(release, text)| {
            let about: ReleaseFile = serde_json::from_str(text).ok()?;
            release.parse::<ReleaseId>().ok()?;
            let hash = hex::encode(Sha256::digest(text.as_bytes()));
            Some(Self { here, release: release.to_owned(), files: about.files, hash })
        });
        read.unwrap_or(Self { here, ..Self::none() })
    }
}

impl HostsTarget {
    /// Places a release on every host it is wanted on. Hosts that are away are left out
    /// as far as the strategy tolerates failed units.
    pub(super) async fn fetch(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let placing = async {
            let staged = self.staged(spec, op).await?;
            let packs = tokio::sync::Mutex::new(HashMap::new());
            let hosts = self.wanted(spec);
            let (staged, packs) = (&staged, &packs);
            let each = hosts.iter().map(|host| async move {
                (host, self.place(host, spec, op, fence, staged, packs).await)
            });
            Ok::<_, TargetError>((join_all(each).await, staged.tree.files.len()))
        };
        let (results, files) = tokio::select! {
            placed = placing => placed?,
            () = cancel.cancelled() => return Ok(done("cancelled")),
        };
        let mut away = Vec::new();
        let mut sent = Vec::new();
        for (host, result) in results {
            match result {
                Ok(one) => sent.push(one),
                Err(trouble) if trouble.is_away() => away.push((host, trouble)),
                Err(trouble) => return Err(trouble.error(&host.access.name)),
            }
        }
        if let Some((host, trouble)) = away.first()
            && (away.len() > spec.strategy.tolerate as usize || sent.is_empty())
        {
            return Err(trouble.error(&host.access.name));
        }
        Ok(done(summary(&sent, files, away.iter().map(|(host, _)| host.access.name.as_str()))))
    }

    async fn place(
        &self,
        host: &Host,
        spec: &Spec,
        op: &Op,
        fence: u64,
        staged: &Arc<Staged>,
        packs: &tokio::sync::Mutex<HashMap<String, Arc<Packed>>>,
    ) -> Result<Sent, Trouble> {
        let root = host.root(&spec.project);
        let (fence, release) = (fence.to_string(), spec.release.to_string());
        let said = host.call(&root, "base", &[&fence, &release], &Input::Nothing, CALL).await?;
        let base = Base::read(&said);
        if base.here {
            return Ok(Sent::default());
        }
        let deployment = op.deployment.to_string();
        let send = async |base: &Base| {
            let packed = pack(self.about(spec, staged), base, staged, packs).await?;
            let arguments = [&fence, &deployment, &release, &base.release, &packed.sum];
            let input = Input::File(packed.file.to_path_buf());
            host.call(&root, "place", &arguments.map(String::as_str), &input, PLACE).await?;
            Ok(packed.sent)
        };
        match send(&base).await {
            // Somebody has changed files of the release that is served: they are sent.
            Err(Trouble::NotAsItWas(why)) if base.release != "-" => {
                tracing::warn!(host = host.access.name, "{why}");
                send(&Base::none()).await
            }
            sent => sent,
        }
    }

    fn about(&self, spec: &Spec, staged: &Staged) -> ReleaseFile {
        ReleaseFile {
            instance: self.instance.clone(),
            kind: "unit".to_owned(),
            project: spec.project.clone(),
            release: spec.release,
            artifact: artifact_name(&spec.artifact),
            files: staged.tree.files.clone(),
        }
    }

    /// Returns the files of a release on this machine; those of the latest are kept.
    pub(super) async fn staged(&self, spec: &Spec, op: &Op) -> Result<Arc<Staged>, TargetError> {
        let mut kept = self.staged.lock().await;
        if let Some(there) = kept.as_ref().filter(|there| there.release == spec.release) {
            return Ok(Arc::clone(there));
        }
        let folder = tempfile::Builder::new().prefix("shipline-release-").tempdir();
        let folder = folder.map_err(|error| infrastructure(error.to_string()))?;
        let files = folder.path().join("files");
        let placed = match &spec.artifact {
            Artifact::Nothing => {
                let message = "a `hosts` target deploys files, and there are none".to_owned();
                return Err(TargetError::Refused { message });
            }
            Artifact::File { path, sha256 } => {
                let (path, sha256, into) = (path.clone(), sha256.clone(), files.clone());
                blocking(move || place_file(&path, &sha256, &into)).await?
            }
            Artifact::Digest { .. } | Artifact::ImageId(_) => {
                let docker = self.docker().await?;
                image_files(&docker, &spec.artifact, op.deployment, &files).await?
            }
        };
        let (release, inside) = (spec.release, within(&files, placed.directory.as_deref()));
        let staged = blocking(move || {
            let tree = Tree::read(&inside).map_err(|error| infrastructure(error.to_string()))?;
            if tree.files.contains_key(ABOUT) {
                let message = format!("the release has a file {ABOUT} of its own");
                return Err(TargetError::Refused { message });
            }
            Ok(Staged { release, tree, placed, folder })
        })
        .await?;
        Ok(Arc::clone(kept.insert(Arc::new(staged))))
    }

    /// Removes what was placed of a project, but for what `keep` has and what units are
    /// made of or `current` leads to. A host that is away is cleared another time.
    pub(super) async fn prune_releases(
        &self,
        project: &str,
        keep: &KeepSet,
    ) -> Result<Pruned, TargetError> {
        let list: String = keep.releases.keys().map(|release| format!("{release}\n")).collect();
        let input = Input::Text(list.into_bytes());
        let input = &input;
        let pruning = self.hosts.iter().map(|host| async move {
            let root = host.root(project);
            (host, host.call(&root, "prune", &[], input, HOOK).await)
        });
        let mut removed = Vec::new();
        for (host, pruned) in join_all(pruning).await {
            let name = &host.access.name;
            match pruned {
                Ok(said) => {
                    removed.extend(said.lines().map(|release| format!("{name}: {release}")));
                }
                Err(trouble) if trouble.is_away() => {
                    tracing::warn!(host = name, "{}", trouble.cause());
                }
                Err(trouble) => return Err(trouble.error(name)),
            }
        }
        Ok(Pruned { removed })
    }

    pub(super) async fn docker(&self) -> Result<DockerTarget, TargetError> {
        let (instance, registries) = (self.instance.clone(), self.registries.clone());
        DockerTarget::connect(self.engine.as_str(), None, instance, registries).await
    }

    /// Finds what would keep the release from being had here.
    pub(super) async fn check_artifact(&self, spec: &Spec) -> Result<Option<Finding>, TargetError> {
        match &spec.artifact {
            Artifact::Nothing => Ok(Some(Check::Artifact.finding(
                "a `hosts` target deploys files, and there are none",
                "name what the release is made of",
            ))),
            Artifact::File { path, .. } => Ok(fs::metadata(path).err().map(|error| {
                Check::Artifact.finding(
                    format!("artifact {} cannot be read: {error}", path.display()),
                    "look whether it was built, and who may read it",
                )
            })),
            Artifact::Digest { .. } | Artifact::ImageId(_) => {
                self.docker().await?.check_image(spec).await
            }
        }
    }
}

/// Of an image it is the folder it works in that is a release; one that has none is
/// files and nothing else.
fn within(files: &Path, directory: Option<&str>) -> std::path::PathBuf {
    let inner = directory.unwrap_or_default().trim_matches('/');
    let inside = files.join(inner);
    if !inner.is_empty() && inside.is_dir() {
        return inside;
    }
    for name in OF_CONTAINERS {
        // Only what is empty, which is what the engine makes of them.
        let path = files.join(name);
        let is_empty = fs::symlink_metadata(&path)
            .is_ok_and(|metadata| metadata.is_symlink() || metadata.len() == 0);
        let _ = if is_empty { fs::remove_file(&path) } else { fs::remove_dir(&path) };
    }
    for name in ["proc", "sys"] {
        let _ = fs::remove_dir(files.join(name));
    }
    files.to_path_buf()
}

/// Packs what makes the release of what a host has; once for all with the same.
async fn pack(
    about: ReleaseFile,
    base: &Base,
    staged: &Arc<Staged>,
    packs: &tokio::sync::Mutex<HashMap<String, Arc<Packed>>>,
) -> Result<Arc<Packed>, Trouble> {
    let mut packs = packs.lock().await;
    if let Some(packed) = packs.get(&base.hash) {
        return Ok(Arc::clone(packed));
    }
    let (staged, files) = (Arc::clone(staged), base.files.clone());
    let packing = tokio::task::spawn_blocking(move || {
        let file = tempfile::NamedTempFile::new_in(staged.folder.path())?.into_temp_path();
        let sum = staged.tree.pack(&about, &files, &file)?;
        let bytes = fs::metadata(&file)?.len();
        let linked = staged.tree.unchanged(&files).count();
        Ok::<_, std::io::Error>(Packed { sum, file, sent: Sent { bytes, linked } })
    });
    let packed = match packing.await {
        Ok(Ok(packed)) => Arc::new(packed),
        Ok(Err(error)) => return Err(Trouble::Setup(format!("the release: {error}"))),
        Err(error) => return Err(Trouble::Setup(error.to_string())),
    };
    packs.insert(base.hash.clone(), Arc::clone(&packed));
    Ok(packed)
}

fn summary<'a>(sent: &[Sent], files: usize, away: impl Iterator<Item = &'a str>) -> String {
    let hosts = sent.len();
    let s = if hosts == 1 { "" } else { "s" };
    let bytes: u64 = sent.iter().map(|sent| sent.bytes).sum();
    let mut text = match bytes {
        0 => format!("is on {hosts} host{s} already"),
        _ => {
            let linked: usize = sent.iter().map(|sent| sent.linked).sum();
            let files = files * sent.iter().filter(|sent| sent.bytes > 0).count();
            format!("{bytes} bytes to {hosts} host{s}, {linked} of {files} files linked")
        }
    };
    let away: Vec<_> = away.collect();
    if !away.is_empty() {
        text += &format!("; away: {}", away.join(", "));
    }
    text
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, TargetError> + Send + 'static,
) -> Result<T, TargetError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(error) => Err(infrastructure(error.to_string())),
    }
}
