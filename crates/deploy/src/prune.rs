//! What releases of long ago left on the target, cleared away when a deployment has
//! succeeded.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use event::{DeploymentKind, EventKind};

use crate::fault::Fault;
use crate::session::Session;
use crate::{
    Artifact, KeepPolicy, KeepSet, Ledger, LedgerError, Place, Pruned, Release, Target,
    TargetError, keep_set,
};

/// Deployments of an environment that say what is still of use.
const HISTORY: u32 = 200;
/// What the target may take to say what runs in one environment.
const OBSERVE: Duration = Duration::from_secs(10);
/// What all of it may take.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum PruneError {
    #[error("not done within {} s", DEADLINE.as_secs())]
    Late,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("what is to be kept cannot be read: {0}")]
    Ledger(#[from] LedgerError),
}

/// Removes the artifacts of the project's releases that nobody needs any more, and
/// writes down which. That it is not possible is told and no failure: the deployment has
/// happened, and the next one tries again.
pub(crate) async fn prune(session: &Session) -> Result<(), Fault> {
    let deployment = session.deployment();
    if !matches!(deployment.kind, DeploymentKind::Deploy | DeploymentKind::Rollback) {
        return Ok(());
    }
    let project = &deployment.spec.project;
    let pruning =
        tokio::time::timeout(DEADLINE, removed(&*session.target, &*session.ledger, project));
    let (removed, error) = match pruning.await.unwrap_or(Err(PruneError::Late)) {
        Ok(Pruned { removed }) if removed.is_empty() => return Ok(()),
        Ok(Pruned { removed }) => {
            let (count, s) = (removed.len(), if removed.len() == 1 { "" } else { "s" });
            session.reporter.line(format!("pruned   {count} old release{s}")).await;
            (removed, None)
        }
        Err(error) => {
            tracing::warn!(project, "old releases are not pruned: {error}");
            session.reporter.line(format!("warning: old releases are not pruned: {error}")).await;
            (Vec::new(), Some(error.to_string()))
        }
    };
    session.write(EventKind::DeploymentPruned { removed, error }).await
}

async fn removed(
    target: &dyn Target,
    ledger: &dyn Ledger,
    project: &str,
) -> Result<Pruned, PruneError> {
    let mut places = Vec::new();
    for key in ledger.environments(project).await? {
        let history = ledger.history(&key, HISTORY).await?;
        // Of one that is on another target nothing runs here; where nobody can look, all
        // that its history names is kept.
        let seen = tokio::time::timeout(OBSERVE, target.observe(&key)).await;
        places.push((history, seen.ok().and_then(Result::ok)));
    }
    let releases = ledger.releases(project).await?;
    let places: Vec<_> =
        places.iter().map(|(history, seen)| Place { history, seen: seen.as_ref() }).collect();
    let now = SystemTime::now().into();
    let keep: KeepSet = keep_set(&places, &releases, &KeepPolicy::default(), now);
    let pruned = target.prune(project, &keep).await?;
    for path in files(&releases, &keep) {
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), "a release is not pruned here: {error}");
            }
            _ => {}
        }
    }
    Ok(pruned)
}

/// Returns the files of this machine that only releases of no further use are made of. They
/// are ours where their name begins with their hash.
fn files(releases: &[Release], keep: &KeepSet) -> BTreeSet<PathBuf> {
    let of = |kept: bool| {
        let chosen = releases.iter().filter(move |release| keep.keeps(release.id) == kept);
        let files = chosen.filter_map(|release| match &release.artifact {
            Artifact::File { path, sha256 } => {
                let name = path.file_name()?.to_str()?;
                name.starts_with(sha256.as_str()).then(|| path.clone())
            }
            _ => None,
        });
        files.collect::<BTreeSet<_>>()
    };
    &of(false) - &of(true)
}

#[cfg(test)]
mod tests {
    use event::ReleaseId;
    use uuid::Uuid;

    use super::*;
    use crate::Kept;

    #[test]
    fn a_file_goes_with_the_last_release_that_is_made_of_it() {
        let release = |number: u128, path: &str, sha256: &str| Release {
            id: ReleaseId::new(Uuid::from_u128(number)),
            project: "web".to_owned(),
            version: String::new(),
            branch: None,
            sha: String::new(),
            committer: String::new(),
            artifact: Artifact::File { path: path.into(), sha256: sha256.to_owned() },
            built_at: chrono::DateTime::UNIX_EPOCH,
        };
        let releases = [
            release(1, "/r/web/aa.tar.zst", "aa"),
            release(2, "/r/web/bb.tar.zst", "bb"),
            release(3, "/r/web/aa.tar.zst", "aa"),
            release(4, "/home/ann/app.tar", "cc"),
            release(5, "/r/web/dd.tgz", "dd"),
        ];
        let mut keep = KeepSet {
            known: Some(releases.iter().map(|release| release.id).collect()),
            ..KeepSet::default()
        };
        keep.releases.insert(releases[2].id, Kept::Running);
        let gone: Vec<_> = files(&releases, &keep).into_iter().collect();
        let wanted = ["/r/web/bb.tar.zst", "/r/web/dd.tgz"].map(PathBuf::from);
        assert_eq!(gone, wanted);
    }
}
