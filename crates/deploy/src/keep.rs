//! What is kept when old releases are cleared away; everything else that is ours goes.
//!
//! The set says it, never a modification time, and never "all that is stopped": that
//! would take the very units a rollback needs.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use event::{DeploymentState, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::last_good::{good, last_good};
use crate::standing::standing;
use crate::{DeploymentRecord, Observed, Release};

/// How many releases that succeeded an environment keeps, unless somebody says another
/// number.
const LAST: usize = 5;

/// What to keep beyond what is needed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepPolicy {
    /// So many releases that succeeded last, per environment.
    pub last: usize,
    /// Releases that are younger than this.
    pub younger_than: TimeDelta,
    /// Releases somebody has pinned.
    pub pinned: BTreeSet<ReleaseId>,
}

impl Default for KeepPolicy {
    fn default() -> Self {
        Self { last: LAST, younger_than: TimeDelta::zero(), pinned: BTreeSet::new() }
    }
}

/// An environment of the project, as it is and as it was.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Newest first.
    pub history: &'a [DeploymentRecord],
    /// `None` where nobody could look: then all that its history names is kept.
    pub seen: Option<&'a Observed>,
}

/// Why a release is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// A unit is made of it, or should be.
    Running,
    LastGood,
    /// A deployment that has not ended is about it.
    Queued,
    Recent,
    Pinned,
    Young,
    /// Nobody could look whether it runs.
    Unseen,
}

/// The releases of one project that are not pruned, each with why: the first reason in
/// the order of [`Kept`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepSet {
    pub releases: BTreeMap<ReleaseId, Kept>,
    /// All that whoever made the set knows of. Another instance may have a project of
    /// the same name on the same target, and what it needs is not for us to judge.
    /// `None` is an environment that is removed as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<BTreeSet<ReleaseId>>,
}

impl KeepSet {
    pub fn keeps(&self, release: ReleaseId) -> bool {
        let unknown = self.known.as_ref().is_some_and(|known| !known.contains(&release));
        unknown || self.releases.contains_key(&release)
    }

    fn add(&mut self, releases: impl IntoIterator<Item = ReleaseId>, why: Kept) {
        for release in releases {
            let kept = self.releases.entry(release).or_insert(why);
            *kept = why.min(*kept);
        }
    }
}

/// What was cleared away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Names of what is gone, for people.
    pub removed: Vec<String>,
}

/// Returns what to keep of a project, whose environments and releases all are given.
pub fn keep_set(
    places: &[Place<'_>],
    releases: &[Release],
    policy: &KeepPolicy,
    now: DateTime<Utc>,
) -> KeepSet {
    let known = releases.iter().map(|release| release.id).collect();
    let mut keep = KeepSet { known: Some(known), ..KeepSet::default() };
    let of = |record: &DeploymentRecord| record.deployment.spec.release;
    for Place { history, seen } in places {
        match seen {
            Some(seen) => keep.add(seen.units.iter().map(|unit| unit.release), Kept::Running),
            None => keep.add(history.iter().map(of), Kept::Unseen),
        }
        let stands = standing(history).map(|standing| standing.spec().release);
        keep.add(stands, Kept::Running);
        keep.add(last_good(history).map(of), Kept::LastGood);
        // Where a failed way back left two releases, both are needed.
        let open = history.iter().filter(|record| record.state.is_none());
        keep.add(open.map(of), Kept::Queued);
        let stuck = history.first().filter(|record| record.state == Some(DeploymentState::Stuck));
        keep.add(stuck.map(of), Kept::Running);
        let mut recent = BTreeSet::new();
        for record in good(history) {
            if recent.len() < policy.last {
                recent.insert(of(record));
            }
        }
        keep.add(recent, Kept::Recent);
    }
    keep.add(policy.pinned.iter().copied(), Kept::Pinned);
    let is_young = |release: &&Release| now - release.built_at < policy.younger_than;
    keep.add(releases.iter().filter(is_young).map(|release| release.id), Kept::Young);
    keep
}

#[cfg(test)]
mod tests {
    use event::{DeploymentId, DeploymentKind, Verdict};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{Artifact, Deployment, ObservedUnit, Spec, UnitId, UnitState};

    fn id(number: u128) -> ReleaseId {
        ReleaseId::new(Uuid::from_u128(number))
    }

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap()
    }

    fn release(number: u128, hour: i64) -> Release {
        Release {
            id: id(number),
            project: "web".to_owned(),
            version: format!("v{number}"),
            branch: None,
            sha: String::new(),
            committer: String::new(),
            artifact: Artifact::ImageId(format!("sha256:{number}")),
            built_at: at(hour),
        }
    }

    fn record(number: u128, state: Option<DeploymentState>) -> DeploymentRecord {
        let spec = Spec { release: id(number), ..crate::testing::spec("web", "prod") };
        let deployment = Deployment {
            id: DeploymentId::new(Uuid::now_v7()),
            kind: DeploymentKind::Deploy,
            spec,
            by: "ann".to_owned(),
            reason: None,
            name: String::new(),
            run: None,
            stage: None,
            scope: crate::Scope::default(),
        };
        DeploymentRecord { state, ..DeploymentRecord::new(deployment, at(0)) }
    }

    fn unit(number: u128, state: UnitState) -> ObservedUnit {
        ObservedUnit {
            unit: UnitId(format!("web-prod-0-{number}")),
            slot: 0,
            release: id(number),
            deployment: DeploymentId::new(Uuid::from_u128(number)),
            spec: String::new(),
            state,
            admitted: state == UnitState::Running,
            address: None,
            image: String::new(),
            fence: 1,
        }
    }

    const GOOD: Option<DeploymentState> = Some(DeploymentState::Succeeded);

    #[test]
    fn what_runs_waits_or_may_be_gone_back_to_is_kept_and_nothing_else() {
        let mut history: Vec<_> = (1..=9).rev().map(|number| record(number, GOOD)).collect();
        history[1].verdict = Verdict::Bad;
        history.insert(0, record(10, Some(DeploymentState::RolledBack)));
        history.insert(0, record(11, None));
        let seen = Observed {
            units: vec![unit(9, UnitState::Running), unit(3, UnitState::Exited)],
            ..Observed::default()
        };
        let place = Place { history: &history, seen: Some(&seen) };
        let known: Vec<_> = (1..=12).map(|number| release(number, 0)).collect();
        let policy = KeepPolicy { last: 3, pinned: [id(1)].into(), ..KeepPolicy::default() };
        let keep = keep_set(&[place], &known, &policy, at(100));
        let kept: Vec<_> = keep.releases.into_iter().collect();
        assert_eq!(
            kept,
            [
                (id(1), Kept::Pinned),
                (id(3), Kept::Running),
                (id(6), Kept::Recent),
                // 8 was marked bad, so it is no place to go back to.
                (id(7), Kept::LastGood),
                (id(9), Kept::Running),
                (id(11), Kept::Queued),
            ]
        );
    }

    #[test]
    fn an_environment_nobody_could_look_at_keeps_all_it_had() {
        let history = [record(2, Some(DeploymentState::RolledBack)), record(1, GOOD)];
        let place = Place { history: &history, seen: None };
        let policy = KeepPolicy { last: 0, ..KeepPolicy::default() };
        let keep = keep_set(&[place], &[], &policy, at(0));
        assert!(keep.keeps(id(1)) && keep.keeps(id(2)));
    }

    #[test]
    fn what_another_instance_has_is_left_alone() {
        let keep = keep_set(&[], &[release(1, 0)], &KeepPolicy::default(), at(0));
        assert!(!keep.keeps(id(1)), "ours, and of no use");
        assert!(keep.keeps(id(2)), "theirs");
    }

    #[test]
    fn young_releases_are_kept_though_nobody_deployed_them() {
        let known = [release(1, 0), release(2, 90)];
        let policy = KeepPolicy { younger_than: TimeDelta::hours(24), ..KeepPolicy::default() };
        let keep = keep_set(&[], &known, &policy, at(100));
        assert_eq!(keep.releases.into_iter().collect::<Vec<_>>(), [(id(2), Kept::Young)]);
    }

    fn any_state() -> impl Strategy<Value = Option<DeploymentState>> {
        prop_oneof![
            3 => Just(GOOD),
            1 => Just(None),
            1 => Just(Some(DeploymentState::RolledBack)),
            1 => Just(Some(DeploymentState::Stuck)),
        ]
    }

    proptest! {
        /// I8: whatever the history, where a rollback would go is kept.
        #[test]
        fn i8_last_good_is_never_pruned(
            states in prop::collection::vec((1u128..9, any_state(), any::<bool>()), 0..20),
            last in 0usize..6,
        ) {
            let history: Vec<_> = states
                .into_iter()
                .map(|(number, state, bad)| {
                    let verdict = if bad { Verdict::Bad } else { Verdict::Unknown };
                    DeploymentRecord { verdict, ..record(number, state) }
                })
                .collect();
            let seen = Observed::default();
            let places = [Place { history: &history, seen: Some(&seen) }];
            let policy = KeepPolicy { last, ..KeepPolicy::default() };
            let keep = keep_set(&places, &[], &policy, at(0));
            for record in last_good(&history).into_iter().chain(standing(&history).map(|now| now.record)) {
                prop_assert!(keep.keeps(record.deployment.spec.release));
            }
        }
    }
}
