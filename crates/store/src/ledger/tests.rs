use std::collections::BTreeMap;

use chrono::TimeDelta;
use deploy::{Artifact, Deployment, Spec};
use event::{DeploymentKind, OpState, ReleaseId};
use pipeline::Strategy;
use uuid::Uuid;

use super::*;
use crate::samples::{Sample, at, run_id};
use crate::{Held, OpRow};

const TTL: Duration = Duration::from_secs(30);

fn key(environment: &str) -> EnvironmentKey {
    EnvironmentKey { project: "orders".into(), environment: environment.into() }
}

fn release(digest: &str) -> Release {
    Release {
        id: ReleaseId::new(Uuid::now_v7()),
        project: "orders".into(),
        version: "main-01234567".into(),
        branch: Some("main".into()),
        sha: "0123456789abcdef0123456789abcdef01234567".into(),
        committer: "jdoe".into(),
        artifact: Artifact::Digest {
            reference: format!("harbor.example.net/orders@sha256:{digest}"),
            credential: Some("harbor".into()),
        },
        built_at: at(0),
    }
}

fn deployment(environment: &str, release: &Release) -> Deployment {
    Deployment {
        id: DeploymentId::new(Uuid::now_v7()),
        kind: DeploymentKind::Deploy,
        spec: Spec {
            project: "orders".into(),
            environment: environment.into(),
            release: release.id,
            artifact: release.artifact.clone(),
            replicas: 3,
            expose: None,
            health: None,
            strategy: Strategy::default(),
            env: BTreeMap::new(),
        },
        by: "jdoe".into(),
        reason: Some("because".into()),
        run: Some(run_id()),
        stage: Some("deploy".into()),
    }
}

/// Records a release and a deployment of it.
async fn requested(sample: &Sample, environment: &str, minute: i64) -> Deployment {
    let release = sample.store.release(release("aa")).await.expect("release");
    let deployment = deployment(environment, &release);
    let new = NewDeployment { deployment: deployment.clone(), at: at(minute) };
    sample.store.request(new).await.expect("requested");
    deployment
}

async fn kinds(sample: &Sample, deployment: DeploymentId) -> Vec<(u64, EventKind)> {
    let stream = Stream::Deployment(deployment);
    let events = sample.store.events(stream, 0, 100).await.expect("read");
    events.into_iter().map(|event| (event.seq, event.kind)).collect()
}

#[tokio::test]
async fn the_same_artifact_is_one_release() {
    let sample = Sample::new().await;
    let first = sample.store.release(release("aa")).await.expect("recorded");
    let mut again = release("aa");
    again.built_at = at(5);
    assert_eq!(sample.store.release(again).await.expect("recorded"), first);

    let mut second = release("bb");
    second.built_at = at(1);
    assert_eq!(sample.store.release(second.clone()).await.expect("recorded"), second);
    assert_eq!(sample.store.releases("orders").await.expect("read"), [second, first]);
    assert_eq!(sample.store.releases("other").await.expect("read"), []);
}

#[tokio::test]
async fn a_deployment_is_told_from_request_to_end() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await;
    let record = DeploymentRecord {
        deployment: deployment.clone(),
        requested_at: at(0),
        finished_at: None,
        state: None,
        outcome: None,
        fence: 0,
    };
    assert_eq!(
        sample.store.history(&key("test"), 10).await.expect("read"),
        std::slice::from_ref(&record)
    );
    assert_eq!(sample.store.unfinished().await.expect("read"), std::slice::from_ref(&record));
    let run = deployment.run.expect("of a run");
    assert_eq!(
        sample.store.deployments_of_run(run).await.expect("read"),
        std::slice::from_ref(&record)
    );

    let lease =
        sample.store.acquire(&key("test"), deployment.id, "here", TTL).await.expect("lease");
    let held = sample.store.unfinished().await.expect("read");
    assert_eq!(held, [DeploymentRecord { fence: lease.fence, ..record.clone() }]);
    let intended = EventKind::OpIntended {
        op: 1,
        action: "create".into(),
        unit: "orders-test-0".into(),
        batch: Some(1),
        undo: false,
    };
    let events = vec![EventKind::DeploymentLocked { fence: lease.fence }, intended.clone()];
    Ledger::append(&sample.store, deployment.id, events).await.expect("appended");
    let reason = Some("gate failed".to_owned());
    sample
        .store
        .finish(deployment.id, DeploymentState::RolledBack, reason.clone(), 41_000)
        .await
        .expect("finished");

    let told = sample.store.deployment(deployment.id).await.expect("read").expect("there");
    assert_eq!(
        told,
        DeploymentRecord {
            finished_at: told.finished_at,
            state: Some(DeploymentState::RolledBack),
            outcome: reason.clone(),
            fence: lease.fence,
            ..record
        }
    );
    assert!(told.finished_at.is_some());
    assert_eq!(sample.store.unfinished().await.expect("read"), []);
    assert_eq!(
        kinds(&sample, deployment.id).await,
        [
            (
                1,
                EventKind::DeploymentRequested {
                    project: "orders".into(),
                    environment: "test".into(),
                    change: DeploymentKind::Deploy,
                    release: deployment.spec.release,
                    by: "jdoe".into(),
                    reason: Some("because".into()),
                }
            ),
            (2, EventKind::DeploymentLocked { fence: 1 }),
            (3, intended),
            (
                4,
                EventKind::DeploymentFinished {
                    state: DeploymentState::RolledBack,
                    reason,
                    duration_ms: 41_000
                }
            ),
        ]
    );
    let error = sample.store.finish(deployment.id, DeploymentState::Stuck, None, 1).await;
    assert!(matches!(error, Err(LedgerError::Store(_))), "{error:?}");
}

#[tokio::test]
async fn ops_show_their_last_result_and_an_intent_without_one_is_open() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await.id;
    let intended = |op, undo| EventKind::OpIntended {
        op,
        action: "admit".into(),
        unit: "u".into(),
        batch: None,
        undo,
    };
    let finished = |op, state| EventKind::OpFinished {
        op,
        action: "admit".into(),
        unit: "u".into(),
        state,
        detail: Some("gate 3/3".into()),
        duration_ms: 12,
    };
    let events = vec![
        intended(1, false),
        finished(1, OpState::Done),
        intended(2, true),
        // An engine that came back counts anew.
        intended(1, false),
        finished(1, OpState::Failed),
    ];
    Ledger::append(&sample.store, deployment, events).await.expect("appended");
    let ops = sample.store.ops(deployment).await.expect("read");
    let told: Vec<_> = ops.iter().map(|op| (op.seq, op.op, op.undo, op.state)).collect();
    assert_eq!(
        told,
        [
            (2, 1, false, Some(OpState::Done)),
            (4, 2, true, None),
            (5, 1, false, Some(OpState::Failed))
        ]
    );
    assert_eq!(
        ops[0],
        OpRow {
            seq: 2,
            op: 1,
            action: "admit".into(),
            unit: "u".into(),
            batch: None,
            undo: false,
            state: Some(OpState::Done),
            detail: Some("gate 3/3".into()),
            intended_at: ops[0].intended_at,
            finished_at: ops[0].finished_at,
            duration_ms: Some(12),
        }
    );
}

#[tokio::test]
async fn history_is_newest_first_and_of_one_environment() {
    let sample = Sample::new().await;
    let mut expected = Vec::new();
    for minute in 0..4 {
        expected.insert(0, requested(&sample, "test", minute).await.id);
    }
    requested(&sample, "prod", 9).await;
    let records = sample.store.history(&key("test"), 3).await.expect("read");
    let ids: Vec<_> = records.iter().map(|record| record.deployment.id).collect();
    assert_eq!(ids, expected[..3]);
    assert_eq!(sample.store.unfinished().await.expect("read").len(), 5);
}

#[tokio::test]
async fn one_holder_has_an_environment_until_the_lease_expires() {
    let sample = Sample::new().await;
    let first = requested(&sample, "test", 0).await.id;
    let second = requested(&sample, "test", 1).await.id;
    let acquire = |deployment, holder: &'static str, at: DateTime<Utc>| {
        let store = sample.store.clone();
        async move { store.acquire_at(&key("test"), deployment, holder, TTL, at).await }
    };
    let lease = acquire(first, "a", at(0)).await.expect("lease");
    assert_eq!(
        lease,
        Lease { key: key("test"), deployment: first, fence: 1, expires_at: at(0) + TTL }
    );
    let before = at(0) + TTL - TimeDelta::microseconds(1);
    for (deployment, holder) in [(second, "b"), (second, "a"), (first, "b")] {
        let error = acquire(deployment, holder, before).await.expect_err("held");
        assert_eq!(
            error.to_string(),
            format!("environment `test` is held by a until {}", at(0) + TTL)
        );
    }
    let other = sample.store.acquire_at(&key("prod"), second, "b", TTL, before).await;
    assert_eq!(other.expect("another environment").fence, 1);

    let held = Held { holder: "a".into(), deployment: first, until: at(0) + TTL };
    assert_eq!(sample.store.held(&key("test"), before).await.expect("read"), Some(held));
    assert_eq!(sample.store.held(&key("test"), at(0) + TTL).await.expect("read"), None);

    sample.store.renew_at(&lease, TTL, before).await.expect("renewed");
    acquire(second, "b", at(0) + TTL).await.expect_err("renewed, hence held");
    let taken = acquire(second, "b", before + TTL).await.expect("expired");
    assert_eq!(taken.fence, 2);

    let fenced = sample.store.renew_at(&lease, TTL, before + TTL).await.expect_err("fenced");
    assert_eq!(fenced.to_string(), "the lock of environment `test` was lost to somebody else");
    let fenced = sample.store.unlock(&lease).await.expect_err("fenced");
    assert!(matches!(fenced, LedgerError::Fenced(_)), "{fenced:?}");
    acquire(first, "a", before + TTL).await.expect_err("what was fenced unlocked nothing");
}

#[tokio::test]
async fn the_fence_grows_with_every_lease_for_good() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await.id;
    for fence in 1..=3 {
        let lease = sample.store.acquire(&key("test"), deployment, "a", TTL).await.expect("lease");
        assert_eq!(lease.fence, fence);
        sample.store.unlock(&lease).await.expect("unlocked");
        sample.store.unlock(&lease).await.expect("again changes nothing");
    }
    // Unlocked is given up: it cannot be renewed.
    let lease = sample.store.acquire(&key("test"), deployment, "a", TTL).await.expect("lease");
    sample.store.unlock(&lease).await.expect("unlocked");
    sample.store.renew(&lease, TTL).await.expect_err("given up");

    sample.store.close().await;
    let store = sample.again().await;
    let lease = store.acquire(&key("test"), deployment, "a", TTL).await.expect("lease");
    assert_eq!(lease.fence, 5);
    assert_eq!(store.deployment(deployment).await.expect("read").expect("there").fence, 5);
}

#[tokio::test]
async fn who_comes_back_for_the_same_deployment_gets_the_lock_at_once_and_a_new_fence() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await.id;
    let before = sample.store.acquire(&key("test"), deployment, "a", TTL).await.expect("lease");
    let after =
        sample.again().await.acquire(&key("test"), deployment, "a", TTL).await.expect("lease");
    assert_eq!((before.fence, after.fence), (1, 2));
    sample.store.renew(&before, TTL).await.expect_err("fenced");
}

#[tokio::test]
async fn the_lease_of_a_dead_engine_can_be_ended_before_its_time_and_the_fence_still_grows() {
    let sample = Sample::new().await;
    let dead = requested(&sample, "test", 0).await.id;
    let next = requested(&sample, "test", 1).await.id;
    let lease = sample.store.acquire(&key("test"), dead, "dead", TTL).await.expect("lease");
    assert!(!sample.store.forfeit_lock(next).await.expect("written"), "it holds nothing");
    assert!(sample.store.forfeit_lock(dead).await.expect("written"));
    let taken = sample.store.acquire(&key("test"), next, "next", TTL).await.expect("free");
    assert_eq!(taken.fence, 2);
    assert!(!sample.store.forfeit_lock(dead).await.expect("written"), "the lock is another's");
    sample.store.renew(&lease, TTL).await.expect_err("fenced");
}

#[tokio::test]
async fn of_many_who_want_an_environment_one_gets_it() {
    let sample = Sample::new().await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let deployment = requested(&sample, "test", 0).await.id;
        let store = sample.store.clone();
        tasks.push(tokio::spawn(async move {
            store.acquire(&key("test"), deployment, "a", TTL).await.is_ok()
        }));
    }
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.expect("no panic"));
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn what_was_never_requested_is_unknown() {
    let sample = Sample::new().await;
    let nobody = DeploymentId::new(Uuid::now_v7());
    let error = sample.store.acquire(&key("test"), nobody, "a", TTL).await.expect_err("unknown");
    assert!(matches!(error, LedgerError::Unknown(id) if id == nobody), "{error:?}");
    let error =
        sample.store.finish(nobody, DeploymentState::Failed, None, 0).await.expect_err("unknown");
    assert!(matches!(error, LedgerError::Unknown(id) if id == nobody), "{error:?}");
    // The refused lock was not taken either.
    let deployment = requested(&sample, "test", 0).await.id;
    sample.store.acquire(&key("test"), deployment, "b", TTL).await.expect("free");
}
