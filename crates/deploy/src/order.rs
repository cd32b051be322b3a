//! What somebody asks of an environment, before it is a deployment: the words of the
//! command line and of the API, turned into a specification in one place.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use event::{DeploymentId, DeploymentKind, ReleaseId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::standing::standing;
use crate::suite::{UnknownSuite, also};
use crate::{
    Artifact, Change, ChangeError, Deployment, EnvironmentKey, Ledger, LedgerError, Policy,
    Release, RollbackError, Scope, ScopeError, Spec, change_spec, rollback_image, rollback_spec,
};

/// Deployments looked through for the configuration of an environment.
const HISTORY: u32 = 200;
/// Releases that are named when none fits.
const NAMED: usize = 10;
/// What `sha256:` is followed by.
const DIGEST: usize = 64;

/// A change of an environment, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Order {
    pub kind: DeploymentKind,
    /// Of `deploy` and `rollback`: an id, its last eight digits, or a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Of `deploy`: the newest release that was built from this branch, tag or commit.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Of `deploy`: an image by its digest, or by its id on the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Of `deploy`: suites to check besides what the configuration says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<String>,
    /// Of `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Takes over what others have changed.
    #[serde(default)]
    pub adopt: bool,
    /// Grants units without a health check where policy demands one.
    #[serde(default)]
    pub no_health: bool,
    /// For the lock; `None` is the default of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_wait_ms: Option<u64>,
    /// Slots or units it is about; all, where none is named. See [`Scope::of`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Of `rollback`: all units at once, unverified and undrained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// Of `rollback`: with the configuration that stands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub image_only: bool,
}

/// Whether asking leaves a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// An image that was never deployed becomes a release.
    Recorded,
    /// As for a preview.
    None,
}

/// Why an order cannot even be asked for; nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("{0}")]
    Contradiction(&'static str),
    #[error("there is no release `{text}` of `{project}`; there are: {}", named(available))]
    NoRelease { project: String, text: String, available: Vec<String> },
    #[error("no release of `{project}` was built yet")]
    NothingBuilt { project: String },
    #[error(
        "no release of `{project}` was built from `{reference}`; there are: {}",
        named(available)
    )]
    NotBuiltFrom { project: String, reference: String, available: Vec<String> },
    #[error(
        "image `{0}` can change after it was deployed: name it with its digest, `@sha256:…`, or by its id, `sha256:…`"
    )]
    Mutable(String),
    #[error(
        "nothing tells how environment `{environment}` is configured: nothing was deployed to it yet"
    )]
    NoConfiguration { environment: String },
    #[error("nothing was ever deployed to all of environment `{environment}`")]
    NothingStands { environment: String },
    #[error("environment `{environment}` was stopped as a whole, and is started so")]
    Stopped { environment: String },
    #[error(transparent)]
    Scope(#[from] ScopeError),
    #[error(transparent)]
    Suite(#[from] UnknownSuite),
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("what was released before cannot be read")]
    Ledger(#[from] LedgerError),
}

fn named(releases: &[String]) -> String {
    if releases.is_empty() { "none".to_owned() } else { releases.join(", ") }
}

impl Order {
    /// An order of a kind that needs nothing else.
    pub const fn new(kind: DeploymentKind) -> Self {
        Self {
            kind,
            release: None,
            reference: None,
            image: None,
            verify: Vec::new(),
            replicas: None,
            reason: None,
            adopt: false,
            no_health: false,
            lock_wait_ms: None,
            only: Vec::new(),
            emergency: false,
            image_only: false,
        }
    }

    /// What it grants, where units must have a health check in production.
    pub const fn policy(&self, production: bool) -> Policy {
        Policy {
            needs_health: production && !self.no_health,
            adopt: self.adopt,
            hardened: production,
        }
    }

    /// Returns the deployment to request, with an id of its own.
    ///
    /// `configure` makes a specification of a release where somebody has written one
    /// down; otherwise a deploy takes the configuration that stands.
    pub async fn deployment(
        &self,
        ledger: &Arc<dyn Ledger>,
        key: &EnvironmentKey,
        by: &str,
        at: DateTime<Utc>,
        trace: Trace,
        configure: impl FnOnce(&Release) -> Option<Spec> + Send,
    ) -> Result<Deployment, OrderError> {
        self.check()?;
        let spec = match self.kind {
            DeploymentKind::Deploy => {
                let release = self.to_deploy(ledger, key, by, at, trace).await?;
                let mut spec = match configure(&release) {
                    Some(spec) => spec,
                    None => configured(ledger, key, release).await?,
                };
                also(&mut spec.verify, &self.verify, &spec.checks.suites)?;
                spec
            }
            DeploymentKind::Rollback => {
                let known = ledger.releases(&key.project).await?;
                let to = self.release.as_deref().map(|text| find(&known, key, text));
                let to = to.transpose()?.map(|release| release.id);
                match self.image_only {
                    false => rollback_spec(ledger, key, to).await?,
                    true => rollback_image(ledger, key, to).await?,
                }
            }
            DeploymentKind::Restart => change_spec(ledger, key, Change::Restart).await?,
            DeploymentKind::Stop => change_spec(ledger, key, Change::Stop).await?,
            DeploymentKind::Start => change_spec(ledger, key, Change::Start).await?,
            DeploymentKind::Repair => change_spec(ledger, key, Change::Repair).await?,
            DeploymentKind::Scale => {
                let replicas = self.replicas.unwrap_or_default();
                change_spec(ledger, key, Change::Scale(replicas)).await?
            }
        };
        let scope = self.scope(ledger, key, &spec).await?;
        Ok(Deployment {
            id: DeploymentId::new(Uuid::now_v7()),
            kind: self.kind,
            spec,
            by: by.to_owned(),
            reason: self.reason.clone(),
            name: String::new(),
            run: None,
            stage: None,
            scope,
        })
    }

    async fn scope(
        &self,
        ledger: &Arc<dyn Ledger>,
        key: &EnvironmentKey,
        spec: &Spec,
    ) -> Result<Scope, OrderError> {
        if self.only.is_empty() {
            return Ok(Scope { emergency: self.emergency, ..Scope::default() });
        }
        let environment = || key.environment.clone();
        let history = ledger.history(key, HISTORY).await?;
        let standing = standing(&history);
        let standing =
            standing.ok_or_else(|| OrderError::NothingStands { environment: environment() })?;
        if standing.is_stopped() {
            return Err(OrderError::Stopped { environment: environment() });
        }
        // The configuration that is asked for does not know its hosts yet.
        let known = Spec { hosts: standing.spec().hosts.clone(), ..spec.clone() };
        Ok(Scope::of(&self.only, &known, standing.spec().replicas)?)
    }

    fn check(&self) -> Result<(), OrderError> {
        let wrong = |text| Err(OrderError::Contradiction(text));
        let ways = [&self.release, &self.reference, &self.image];
        let ways = ways.into_iter().flatten().count();
        let reason = self.reason.as_deref().unwrap_or_default();
        if self.kind != DeploymentKind::Rollback && (self.emergency || self.image_only) {
            return wrong("`emergency` and `image-only` belong to `rollback`");
        }
        if self.emergency && reason.trim().is_empty() {
            return wrong("an emergency has a `reason`: it skips what others rely on");
        }
        if matches!(self.kind, DeploymentKind::Rollback | DeploymentKind::Scale)
            && !self.only.is_empty()
        {
            return wrong("`rollback` and `scale` are about all units: they take no `only`");
        }
        match self.kind {
            DeploymentKind::Scale if self.replicas.is_none() => wrong("`scale` needs `replicas`"),
            DeploymentKind::Scale if ways > 0 => wrong("`scale` takes no release"),
            kind if kind != DeploymentKind::Deploy && !self.verify.is_empty() => {
                wrong("`verify` belongs to `deploy`")
            }
            _ if self.kind != DeploymentKind::Scale && self.replicas.is_some() => {
                wrong("`replicas` belongs to `scale`")
            }
            DeploymentKind::Deploy if ways > 1 => {
                wrong("a release is named in one way: by itself, by `ref` or by `image`")
            }
            DeploymentKind::Rollback if self.reference.is_some() || self.image.is_some() => {
                wrong("`rollback` goes to a release that ran: it takes no `ref` and no `image`")
            }
            DeploymentKind::Restart
            | DeploymentKind::Stop
            | DeploymentKind::Start
            | DeploymentKind::Repair
                if ways > 0 =>
            {
                wrong(
                    "`restart`, `stop`, `start` and `repair` are about what runs: they take no release",
                )
            }
            _ => Ok(()),
        }
    }

    async fn to_deploy(
        &self,
        ledger: &Arc<dyn Ledger>,
        key: &EnvironmentKey,
        by: &str,
        at: DateTime<Utc>,
        trace: Trace,
    ) -> Result<Release, OrderError> {
        let known = ledger.releases(&key.project).await?;
        let project = || key.project.clone();
        if let Some(image) = &self.image {
            let release = of_image(image, key, by, at)?;
            if let Some(same) =
                known.into_iter().find(|known| is_same(&known.artifact, &release.artifact))
            {
                return Ok(same);
            }
            return match trace {
                Trace::Recorded => Ok(ledger.release(release).await?),
                Trace::None => Ok(release),
            };
        }
        if let Some(text) = &self.release {
            return find(&known, key, text).cloned();
        }
        let Some(reference) = &self.reference else {
            return known
                .into_iter()
                .next()
                .ok_or_else(|| OrderError::NothingBuilt { project: project() });
        };
        let found = known.iter().find(|release| is_of(release, reference));
        found.cloned().ok_or_else(|| OrderError::NotBuiltFrom {
            project: project(),
            reference: reference.clone(),
            available: names(&known),
        })
    }
}

/// The configuration that stands, with another release.
async fn configured(
    ledger: &Arc<dyn Ledger>,
    key: &EnvironmentKey,
    release: Release,
) -> Result<Spec, OrderError> {
    let history = ledger.history(key, HISTORY).await?;
    let standing = standing(&history)
        .ok_or_else(|| OrderError::NoConfiguration { environment: key.environment.clone() })?;
    Ok(Spec {
        release: release.id,
        artifact: release.artifact,
        // As it was asked for: what was scaled by hand since is settled by the engine.
        replicas: standing.declared(),
        ..standing.spec().clone().lasting()
    })
}

/// Finds a release by its id, the last eight digits of it, or its version.
fn find<'r>(
    known: &'r [Release],
    key: &EnvironmentKey,
    text: &str,
) -> Result<&'r Release, OrderError> {
    let by_id = |release: &&Release| is_id(release.id, text);
    let by_version = |release: &&Release| release.version == text;
    let found = known.iter().find(by_id).or_else(|| known.iter().find(by_version));
    found.ok_or_else(|| OrderError::NoRelease {
        project: key.project.clone(),
        text: text.to_owned(),
        available: names(known),
    })
}

fn is_id(id: ReleaseId, text: &str) -> bool {
    id.to_string() == text || id.short() == text
}

/// Whether two artifacts are one, whoever may fetch it.
fn is_same(one: &Artifact, other: &Artifact) -> bool {
    match (one, other) {
        (Artifact::Digest { reference: one, .. }, Artifact::Digest { reference: other, .. }) => {
            one == other
        }
        _ => one == other,
    }
}

/// Whether a release was built from a branch, a tag or a commit.
fn is_of(release: &Release, reference: &str) -> bool {
    let name =
        reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"));
    let name = name.unwrap_or(reference);
    let commit = name.len() >= 7 && release.sha.starts_with(name);
    release.branch.as_deref() == Some(name) || release.version == name || commit
}

fn names(known: &[Release]) -> Vec<String> {
    let name = |release: &Release| format!("{} ({})", release.version, release.id.short());
    known.iter().take(NAMED).map(name).collect()
}

/// An image that nobody built here, as a release.
fn of_image(
    image: &str,
    key: &EnvironmentKey,
    by: &str,
    at: DateTime<Utc>,
) -> Result<Release, OrderError> {
    let mutable = || OrderError::Mutable(image.to_owned());
    let (name, digest) = image.rsplit_once("sha256:").ok_or_else(mutable)?;
    let is_digest = digest.len() == DIGEST && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest || !(name.is_empty() || name.len() > 1 && name.ends_with('@')) {
        return Err(mutable());
    }
    let artifact = match name {
        "" => Artifact::ImageId(image.to_owned()),
        _ => Artifact::Digest { reference: image.to_owned(), credential: None },
    };
    Ok(Release {
        id: ReleaseId::new(Uuid::now_v7()),
        project: key.project.clone(),
        version: format!("image-{}", &digest[..12]),
        branch: None,
        sha: String::new(),
        committer: by.to_owned(),
        artifact,
        built_at: at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryLedger;

    const IMAGE: &str = "harbor.example.net/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    fn release(number: u128, version: &str, branch: &str) -> Release {
        Release {
            id: ReleaseId::new(Uuid::from_u128(number)),
            project: "web".to_owned(),
            version: version.to_owned(),
            branch: Some(branch.to_owned()),
            sha: format!("{number:040x}"),
            committer: "ann".to_owned(),
            artifact: Artifact::ImageId(format!("sha256:{number}")),
            built_at: DateTime::UNIX_EPOCH,
        }
    }

    fn spec(release: &Release) -> Spec {
        Spec {
            project: "web".to_owned(),
            environment: "prod".to_owned(),
            release: release.id,
            artifact: release.artifact.clone(),
            replicas: 2,
            ..crate::testing::spec("web", "prod")
        }
    }

    async fn ledger() -> Arc<dyn Ledger> {
        let ledger = MemoryLedger::default();
        for (number, version, branch) in
            [(1, "v1", "main"), (2, "pay-2", "feature/pay"), (3, "v3", "main")]
        {
            ledger.release(release(number, version, branch)).await.unwrap();
        }
        Arc::new(ledger)
    }

    async fn ordered(order: &Order, trace: Trace) -> Result<Deployment, OrderError> {
        let ledger = ledger().await;
        order
            .deployment(&ledger, &key(), "ann", DateTime::UNIX_EPOCH, trace, |release| {
                Some(spec(release))
            })
            .await
    }

    fn deploy() -> Order {
        Order::new(DeploymentKind::Deploy)
    }

    #[tokio::test]
    async fn a_release_is_the_newest_or_the_one_that_is_named() {
        let of = async |order: Order| {
            let deployment = ordered(&order, Trace::None).await.unwrap();
            deployment.spec.release.to_string().parse::<Uuid>().unwrap().as_u128()
        };
        let named = |text: &str| Order { release: Some(text.to_owned()), ..deploy() };
        let from = |text: &str| Order { reference: Some(text.to_owned()), ..deploy() };
        assert_eq!(of(deploy()).await, 3);
        assert_eq!(of(named("v1")).await, 1);
        assert_eq!(of(named("00000002")).await, 2);
        assert_eq!(of(from("main")).await, 3);
        assert_eq!(of(from("refs/heads/feature/pay")).await, 2);
        assert_eq!(of(from("v1")).await, 1);
        assert_eq!(of(from(&format!("{:040x}", 2))).await, 2);
    }

    #[tokio::test]
    async fn what_is_not_there_names_what_is() {
        let unknown = Order { release: Some("v9".to_owned()), ..deploy() };
        assert_eq!(
            ordered(&unknown, Trace::None).await.unwrap_err().to_string(),
            "there is no release `v9` of `web`; there are: v3 (00000003), pay-2 (00000002), v1 (00000001)"
        );
        let unbuilt = Order { reference: Some("develop".to_owned()), ..deploy() };
        let error = ordered(&unbuilt, Trace::None).await.unwrap_err().to_string();
        assert!(
            error.starts_with("no release of `web` was built from `develop`; there are: v3"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_image_is_a_release_once_and_only_by_digest() {
        let image = |text: &str| Order { image: Some(text.to_owned()), ..deploy() };
        let ledger = ledger().await;
        let order = async |trace| {
            let order = image(IMAGE);
            let configure = |release: &Release| Some(spec(release));
            order
                .deployment(&ledger, &key(), "ann", DateTime::UNIX_EPOCH, trace, configure)
                .await
                .unwrap()
        };
        order(Trace::None).await;
        assert_eq!(ledger.releases("web").await.unwrap().len(), 3);
        let first = order(Trace::Recorded).await;
        let again = order(Trace::Recorded).await;
        assert_eq!(first.spec.release, again.spec.release);
        assert_eq!(ledger.releases("web").await.unwrap()[0].version, "image-0123456789ab");
        for text in ["web:1", "web@sha256:12", "@sha256:", IMAGE.trim_end_matches('f')] {
            let error = ordered(&image(text), Trace::None).await.unwrap_err();
            assert!(matches!(error, OrderError::Mutable(_)), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn contradictions_are_refused() {
        let scale = Order::new(DeploymentKind::Scale);
        let stop = Order { release: Some("v1".to_owned()), ..Order::new(DeploymentKind::Stop) };
        let two =
            Order { release: Some("v1".to_owned()), image: Some(IMAGE.to_owned()), ..deploy() };
        let hasty = Order { emergency: true, reason: None, ..Order::new(DeploymentKind::Rollback) };
        let back = Order { only: vec!["0".to_owned()], ..Order::new(DeploymentKind::Rollback) };
        let urgent = Order { emergency: true, reason: Some("fire".to_owned()), ..deploy() };
        let many = Order { replicas: Some(2), ..deploy() };
        for order in [scale, stop, two, many, hasty, back, urgent] {
            let error = ordered(&order, Trace::None).await.unwrap_err();
            assert!(matches!(error, OrderError::Contradiction(_)), "{order:?}: {error}");
        }
    }

    #[tokio::test]
    async fn without_a_configuration_of_its_own_the_one_that_stands_is_taken() {
        let ledger = ledger().await;
        let order = deploy();
        let error = order
            .deployment(&ledger, &key(), "ann", DateTime::UNIX_EPOCH, Trace::None, |_| None)
            .await
            .unwrap_err();
        assert!(matches!(error, OrderError::NoConfiguration { .. }), "{error}");
    }
}
