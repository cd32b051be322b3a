use std::collections::BTreeMap;

use chrono::TimeDelta;
use deploy::{Artifact, Deployment, Spec};
use event::{
    Decision, DeploymentKind, DeploymentState, Event, Incident, IncidentKind, OpState,
    OpenIncidents, ReleaseId, Resolution, Verdict,
};
use pipeline::Strategy;
use uuid::Uuid;

use super::*;
use crate::samples::{Sample, at, run_id};
use crate::{Closing, Closure, Held, OpRow};

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
            verify: Vec::new(),
            checks: deploy::CheckSettings::default(),
            hosts: Vec::new(),
            strategy: Strategy::default(),
            unit: deploy::UnitSettings::default(),
            env: BTreeMap::new(),
        },
        by: "jdoe".into(),
        reason: Some("because".into()),
        name: String::new(),
        run: Some(run_id()),
        stage: Some("deploy".into()),
        scope: deploy::Scope::default(),
    }
}

fn end(state: DeploymentState, reason: Option<String>, duration_ms: u64) -> Finish {
    let (caught, mixed, infrastructure, cut) = (None, false, false, 0);
    Finish { state, reason, caught, mixed, infrastructure, cut, duration_ms }
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
        moved_at: Some(at(0)),
        ..DeploymentRecord::new(deployment.clone(), at(0))
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
    let ended = Finish {
        infrastructure: true,
        cut: 3,
        ..end(DeploymentState::RolledBack, reason.clone(), 41_000)
    };
    sample.store.finish(deployment.id, ended.clone()).await.expect("finished");

    let told = sample.store.deployment(deployment.id).await.expect("read").expect("there");
    assert_eq!(
        told,
        DeploymentRecord {
            finished_at: told.finished_at,
            state: Some(DeploymentState::RolledBack),
            outcome: reason,
            infrastructure: true,
            cut: 3,
            fence: lease.fence,
            moved_at: told.moved_at,
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
            (4, ended.event()),
        ]
    );
    let error = sample.store.finish(deployment.id, end(DeploymentState::Stuck, None, 1)).await;
    assert!(matches!(error, Err(LedgerError::Store(_))), "{error:?}");
}

#[tokio::test]
async fn a_fence_is_raised_for_the_target_and_forgone_where_that_is_held() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await;
    let fence = async || {
        let record = sample.store.deployment(deployment.id).await.expect("read");
        record.expect("there").fence
    };
    let acquire = async || sample.store.acquire(&key("test"), deployment.id, "here", TTL).await;
    let lease = acquire().await.expect("lease");
    let raised = sample.store.raise(&lease, 40).await.expect("raised");
    assert_eq!((raised.fence, fence().await), (40, 40));
    assert!(matches!(sample.store.renew(&lease, TTL).await, Err(LedgerError::Fenced(_))));
    sample.store.renew(&raised, TTL).await.expect("renewed");

    sample.store.forgo(&raised, 0).await.expect("forgone");
    assert_eq!(fence().await, 0);
    assert!(matches!(sample.store.raise(&raised, 50).await, Err(LedgerError::Fenced(_))));
    let next = acquire().await.expect("free");
    assert_eq!(next.fence, 41, "fences grow on from there");
    sample.store.forgo(&raised, 7).await.expect("no longer its own");
    assert_eq!(fence().await, 41);
}

#[tokio::test]
async fn an_end_for_want_of_a_target_is_told_from_other_failures() {
    let sample = Sample::new().await;
    let id = requested(&sample, "test", 0).await.id;
    let away = Finish { infrastructure: true, ..end(DeploymentState::Failed, None, 1) };
    sample.store.finish(id, away).await.expect("finished");
    let told = sample.store.deployment(id).await.expect("read").expect("there");
    assert_eq!((told.state, told.infrastructure), (Some(DeploymentState::Failed), true));
}

#[tokio::test]
async fn the_environments_of_a_project_are_those_with_a_history() {
    let sample = Sample::new().await;
    for environment in ["prod", "test", "prod"] {
        requested(&sample, environment, 0).await;
    }
    let project = key("test").project;
    let keys = sample.store.environments(&project).await.expect("read");
    assert_eq!(keys, [key("prod"), key("test")]);
    assert_eq!(sample.store.environments("other").await.expect("read"), []);
}

#[tokio::test]
async fn what_is_settled_replaces_what_was_asked_and_a_mark_follows_the_end() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await;
    let before = deploy::Before::default();
    let planned = deploy::Planned {
        spec: Spec { replicas: 5, ..deployment.spec.clone() },
        declared: 3,
        before: before.clone(),
        batches: 2,
        ops: 12,
    };
    sample.store.planned(deployment.id, planned.clone()).await.expect("planned");
    let told = sample.store.deployment(deployment.id).await.expect("read").expect("there");
    assert_eq!(told.deployment, Deployment { spec: planned.spec.clone(), ..deployment.clone() });
    assert_eq!(
        (told.declared, told.before, told.verdict),
        (Some(3), Some(before), Verdict::Unknown)
    );

    let mark = || sample.store.mark(deployment.id, Verdict::Bad, "ann", Some("slow".into()));
    assert!(matches!(mark().await, Err(LedgerError::Unknown(_))), "it has not ended");
    sample
        .store
        .finish(deployment.id, end(DeploymentState::Succeeded, None, 1))
        .await
        .expect("finished");
    mark().await.expect("marked");
    mark().await.expect("marked again");
    let told = sample.store.deployment(deployment.id).await.expect("read").expect("there");
    assert_eq!((told.state, told.verdict), (Some(DeploymentState::Succeeded), Verdict::Bad));
    let kinds = kinds(&sample, deployment.id).await;
    assert_eq!(kinds[1].1, planned.event());
    assert!(matches!(&kinds[4].1, EventKind::DeploymentMarked { by, .. } if by == "ann"));
    let again = sample.store.finish(deployment.id, end(DeploymentState::Stuck, None, 1)).await;
    assert!(matches!(again, Err(LedgerError::Store(_))), "a mark does not open it again");
}

#[tokio::test]
async fn incidents_follow_the_end_and_the_table_is_the_fold_of_them() {
    let sample = Sample::new().await;
    let id = requested(&sample, "test", 0).await.id;
    sample.store.finish(id, end(DeploymentState::Succeeded, None, 1)).await.expect("finished");
    let stream = Stream::Deployment(id);
    let incident = |place: &str, kind| Incident {
        place: place.into(),
        kind,
        slot: Some(1),
        unit: None,
        cause: "no unit serves it".into(),
    };
    let opened = |place, kind| EventKind::IncidentOpened { incident: incident(place, kind) };
    let write = async |kind, minute| {
        let seq = sample.store.next_seq(stream).await.expect("read");
        let event = Event { format: event::FORMAT, seq, at: at(minute), stream, kind };
        sample.store.append(&[event], &[]).await
    };
    write(opened("health/1", IncidentKind::Missing), 1).await.expect("appended");
    write(opened("drift/0", IncidentKind::Release), 2).await.expect("appended");
    let twice = write(opened("health/1", IncidentKind::Missing), 2).await;
    assert!(twice.is_err(), "there is one at a place");
    let changed = EventKind::IncidentChanged { incident: incident("health/1", IncidentKind::Dead) };
    write(changed, 3).await.expect("appended");
    let (place, reason) = ("health/1".to_owned(), "three tries".to_owned());
    write(EventKind::IncidentGivenUp { place, tries: 3, reason }, 4).await.expect("appended");
    let resolved = EventKind::IncidentResolved {
        place: "drift/0".into(),
        kind: IncidentKind::Release,
        because: Resolution::Recovered,
        open_ms: 1,
    };
    write(resolved, 5).await.expect("appended");

    let open = sample.store.open_incidents(&key("test")).await.expect("read");
    let told: Vec<_> =
        open.iter().map(|row| (row.incident.clone(), row.since, row.given_up_at)).collect();
    assert_eq!(told, [(incident("health/1", IncidentKind::Dead), at(1), Some(at(4)))]);
    let all = sample.store.incidents(&key("test"), 10).await.expect("read");
    let ends: Vec<_> = all.iter().map(|row| (row.resolved_at, row.because)).collect();
    assert_eq!(ends, [(Some(at(5)), Some(Resolution::Recovered)), (None, None)]);
    assert_eq!(sample.store.incidents(&key("other"), 10).await.expect("read"), []);

    let events = sample.store.events(stream, 0, 100).await.expect("read");
    let folded = OpenIncidents::fold(&events).expect("legal");
    let of_fold = folded.by_place.into_values().map(|open| (open.incident, open.since));
    let of_table = open.iter().map(|row| (row.incident.clone(), row.since));
    assert_eq!(of_fold.collect::<Vec<_>>(), of_table.collect::<Vec<_>>());
    let again = sample.store.finish(id, end(DeploymentState::Stuck, None, 1)).await;
    assert!(matches!(again, Err(LedgerError::Store(_))), "it stays ended");
}

#[tokio::test]
async fn what_is_held_waits_for_one_decision_and_units_that_failed_are_known() {
    let sample = Sample::new().await;
    let id = requested(&sample, "test", 0).await.id;
    let append = |event| Ledger::append(&sample.store, id, vec![event]);
    let intended = |op, unit: &str| EventKind::OpIntended {
        op,
        action: "gate".into(),
        unit: unit.into(),
        batch: Some(1),
        undo: false,
    };
    let finished = |op, unit: &str, state| EventKind::OpFinished {
        op,
        action: "gate".into(),
        unit: unit.into(),
        state,
        detail: None,
        duration_ms: 1,
    };
    for (op, unit, state) in [
        (0, "web-0", OpState::Unhealthy),
        (1, "web-1", OpState::Cancelled),
        (2, "web-2", OpState::Failed),
        (3, "web-0", OpState::Failed),
    ] {
        append(intended(op, unit)).await.expect("appended");
        append(finished(op, unit, state)).await.expect("appended");
    }
    let failed = sample.store.failed_units(id).await.expect("read");
    assert_eq!(failed, [deploy::UnitId("web-0".into()), deploy::UnitId("web-2".into())]);

    let decide = || sample.store.decide(id, Decision::Continue, "ann", None);
    assert!(matches!(decide().await, Err(LedgerError::NotHeld(_))));
    assert_eq!(sample.store.holding(id).await.expect("read"), None);
    let units = vec!["web-0".to_owned()];
    let held = EventKind::DeploymentHeld { reason: "bad".into(), units, until: at(30) };
    append(held.clone()).await.expect("held");
    let record = || async { sample.store.deployment(id).await.expect("read").expect("there") };
    assert_eq!(record().await.held_until, Some(at(30)));
    assert_eq!(sample.store.decision(id).await.expect("read"), None);
    decide().await.expect("decided");
    assert_eq!(sample.store.decision(id).await.expect("read"), Some(Decision::Continue));
    assert!(matches!(decide().await, Err(LedgerError::NotHeld(_))), "once is enough");
    append(held).await.expect("held again");
    assert_eq!(sample.store.decision(id).await.expect("read"), None);
    append(EventKind::DeploymentRollingBack { reason: "bad".into() }).await.expect("appended");
    let record = record().await;
    assert_eq!((record.held_until, record.rolling_back), (None, true));
    let holding = sample.store.holding(id).await.expect("read").expect("it was held");
    let units = vec![deploy::UnitId("web-0".into())];
    assert_eq!(holding, deploy::Holding { reason: "bad".into(), units, until: at(30) });
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
    let error = sample
        .store
        .finish(nobody, end(DeploymentState::Failed, None, 0))
        .await
        .expect_err("unknown");
    assert!(matches!(error, LedgerError::Unknown(id) if id == nobody), "{error:?}");
    // The refused lock was not taken either.
    let deployment = requested(&sample, "test", 0).await.id;
    sample.store.acquire(&key("test"), deployment, "b", TTL).await.expect("free");
}

#[tokio::test]
async fn what_somebody_closed_takes_rollbacks_only_until_its_end() {
    let sample = Sample::new().await;
    let closure = |owner: &str, minutes| Closure {
        owner: owner.to_owned(),
        reason: "QA has trunk".to_owned(),
        since: at(0),
        until: at(0) + TimeDelta::minutes(minutes),
        reserved: false,
    };
    let store = &sample.store;
    let key = key("test");
    let closed = store.close_environment(&key, &closure("ada", 60)).await.expect("closed");
    assert_eq!(closed, Closing::Done);
    assert_eq!(store.closure(&key, at(59)).await.expect("read"), Some(closure("ada", 60)));

    let deploy = requested(&sample, "test", 0).await;
    let acquire = |id, minute| store.acquire_at(&key, id, "here", TTL, at(minute));
    let refused = acquire(deploy.id, 1).await.expect_err("closed");
    let said = refused.to_string();
    assert!(said.starts_with("environment `test` is locked by ada until "), "{said}");
    assert!(said.ends_with(": QA has trunk"), "{said}");

    let release = store.release(release("aa")).await.expect("release");
    let back = Deployment { kind: DeploymentKind::Rollback, ..self::deployment("test", &release) };
    store.request(NewDeployment { deployment: back.clone(), at: at(1) }).await.expect("requested");
    let lease = acquire(back.id, 1).await.expect("a way back is never barred");
    store.unlock(&lease).await.expect("given back");
    acquire(deploy.id, 61).await.expect("it has ended by itself");
}

#[tokio::test]
async fn a_reservation_lets_its_owner_deploy_and_nobody_else() {
    let sample = Sample::new().await;
    let (store, key) = (&sample.store, key("test"));
    let reserved = |owner: &str| Closure {
        owner: owner.to_owned(),
        reason: "new prices".to_owned(),
        since: at(0),
        until: at(60),
        reserved: true,
    };
    let deploy = requested(&sample, "test", 0).await;
    let acquire = || store.acquire_at(&key, deploy.id, "here", TTL, at(1));
    store.close_environment(&key, &reserved("ada")).await.expect("closed");
    let refused = acquire().await.expect_err("reserved for ada").to_string();
    assert!(refused.starts_with("environment `test` is locked by ada until "), "{refused}");
    store.open_environment(&key, "ada", false, at(1)).await.expect("opened");
    store.close_environment(&key, &reserved(&deploy.by)).await.expect("closed");
    assert_eq!(store.closure(&key, at(1)).await.expect("read"), Some(reserved(&deploy.by)));
    acquire().await.expect("it is theirs");
}

#[tokio::test]
async fn only_its_owner_or_force_opens_what_was_closed() {
    let sample = Sample::new().await;
    let store = &sample.store;
    let key = key("test");
    let closure = |owner: &str| Closure {
        owner: owner.to_owned(),
        reason: "why".to_owned(),
        since: at(0),
        until: at(60),
        reserved: false,
    };
    let open = |owner: &'static str, force| store.open_environment(&key, owner, force, at(1));
    assert_eq!(open("ada", false).await.expect("read"), Closing::Nothing);
    store.close_environment(&key, &closure("ada")).await.expect("closed");
    let others = Closing::Others(closure("ada"));
    assert_eq!(store.close_environment(&key, &closure("bob")).await.expect("read"), others);
    assert_eq!(open("bob", false).await.expect("read"), others);
    assert_eq!(open("ada", false).await.expect("opened"), Closing::Done);
    store.close_environment(&key, &closure("ada")).await.expect("closed");
    assert_eq!(open("bob", true).await.expect("opened"), Closing::Done);
    assert_eq!(store.closure(&key, at(1)).await.expect("read"), None);
}

#[tokio::test]
async fn a_deployment_is_found_by_the_end_of_its_id() {
    let sample = Sample::new().await;
    let deployment = requested(&sample, "test", 0).await;
    let short = deployment.id.short().to_uppercase();
    let found = sample.store.deployment_by_short(&short).await.expect("read");
    assert_eq!(found.map(|record| record.deployment.id), Some(deployment.id));
    assert_eq!(sample.store.deployment_by_short("00000000").await.expect("read"), None);
}
