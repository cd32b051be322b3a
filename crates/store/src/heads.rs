//! Where the references of a project's repository stood when it was last asked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Row as _, SqliteConnection};

use crate::columns::micros;
use crate::triggers::{NewTrigger, insert};
use crate::{Store, StoreError, Trigger};

/// Full reference (`refs/heads/main`) to full commit.
pub type Heads = BTreeMap<String, String>;

/// A reference that is not where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub reference: String,
    pub from: Option<String>,
    /// `None` when it was deleted.
    pub to: Option<String>,
}

/// Returns what differs, by name of the reference.
pub fn moved(before: &Heads, now: &Heads) -> Vec<Moved> {
    let mut references: Vec<&String> = before.keys().chain(now.keys()).collect();
    references.sort_unstable();
    references.dedup();
    references
        .into_iter()
        .filter(|reference| before.get(*reference) != now.get(*reference))
        .map(|reference| Moved {
            reference: reference.clone(),
            from: before.get(reference).cloned(),
            to: now.get(reference).cloned(),
        })
        .collect()
}

impl Store {
    /// Returns the recorded heads; `None` when the project was never polled.
    pub async fn heads(&self, project: &str) -> Result<Option<Heads>, StoreError> {
        let polled: Option<i64> =
            sqlx::query_scalar("select 1 from projects where name = $1 and polled_at is not null")
                .bind(project)
                .fetch_optional(self.reader())
                .await?;
        if polled.is_none() {
            return Ok(None);
        }
        let rows = sqlx::query("select reference, sha from heads where project = $1")
            .bind(project)
            .fetch_all(self.reader())
            .await?;
        let heads = rows.iter().map(|row| Ok((row.try_get("reference")?, row.try_get("sha")?)));
        Ok(Some(heads.collect::<Result<_, sqlx::Error>>()?))
    }

    /// Records what the repository answered when asked at `asked_at`, and with
    /// it a trigger for each reference that moved or is new; returns those. The
    /// first record of a project starts nothing.
    ///
    /// What a delivery recorded after `asked_at` is newer than the answer and stays.
    pub async fn record_heads(
        &self,
        project: &str,
        heads: &Heads,
        asked_at: DateTime<Utc>,
    ) -> Result<Vec<Trigger>, StoreError> {
        let mut transaction = self.write().await?;
        let polled: Option<i64> =
            sqlx::query_scalar("select polled_at from projects where name = $1")
                .bind(project)
                .fetch_one(&mut *transaction)
                .await?;
        let rows = sqlx::query("select reference, sha, seen_at from heads where project = $1")
            .bind(project)
            .fetch_all(&mut *transaction)
            .await?;
        let mut before = Heads::new();
        let mut now = heads.clone();
        for row in rows {
            let (reference, sha): (String, String) =
                (row.try_get("reference")?, row.try_get("sha")?);
            if row.try_get::<i64, _>("seen_at")? > micros(asked_at) {
                now.insert(reference.clone(), sha.clone());
            }
            before.insert(reference, sha);
        }

        let mut triggers = Vec::new();
        for Moved { reference, to, .. } in moved(&before, &now) {
            let Some(sha) = to else {
                sqlx::query("delete from heads where project = $1 and reference = $2")
                    .bind(project)
                    .bind(reference)
                    .execute(&mut *transaction)
                    .await?;
                continue;
            };
            set_head(&mut transaction, project, &reference, &sha, asked_at).await?;
            if polled.is_some() {
                let trigger = NewTrigger {
                    project: project.to_owned(),
                    source: "poll".to_owned(),
                    delivery: None,
                    received_at: asked_at,
                    reference: Some(reference),
                    sha: Some(sha),
                    by: None,
                    body: Vec::new(),
                    moves_head: false,
                };
                triggers.push(insert(&mut transaction, trigger).await?);
            }
        }
        sqlx::query("update projects set polled_at = $1 where name = $2")
            .bind(micros(asked_at))
            .bind(project)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(triggers)
    }
}

pub(crate) async fn set_head(
    connection: &mut SqliteConnection,
    project: &str,
    reference: &str,
    sha: &str,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into heads (project, reference, sha, seen_at) values ($1, $2, $3, $4)
         on conflict (project, reference)
         do update set sha = excluded.sha, seen_at = excluded.seen_at",
    )
    .bind(project)
    .bind(reference)
    .bind(sha)
    .bind(micros(at))
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn head(
    connection: &mut SqliteConnection,
    project: &str,
    reference: &str,
) -> Result<Option<String>, StoreError> {
    let query = sqlx::query_scalar("select sha from heads where project = $1 and reference = $2")
        .bind(project)
        .bind(reference);
    Ok(query.fetch_optional(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, at};
    use crate::{Recorded, Verdict};

    fn heads(pairs: &[(&str, &str)]) -> Heads {
        pairs.iter().map(|(name, sha)| (format!("refs/heads/{name}"), (*sha).to_owned())).collect()
    }

    fn seen(triggers: &[Trigger]) -> Vec<(Option<&str>, Option<&str>)> {
        triggers.iter().map(|it| (it.reference.as_deref(), it.sha.as_deref())).collect()
    }

    #[test]
    fn a_reference_that_is_new_elsewhere_or_gone_has_moved() {
        let before = heads(&[("gone", "a"), ("main", "a"), ("stays", "a")]);
        let now = heads(&[("main", "b"), ("new", "a"), ("stays", "a")]);
        let text: Vec<String> = moved(&before, &now)
            .into_iter()
            .map(|it| format!("{} {:?} {:?}", it.reference, it.from, it.to))
            .collect();
        assert_eq!(
            text,
            [
                r#"refs/heads/gone Some("a") None"#,
                r#"refs/heads/main Some("a") Some("b")"#,
                r#"refs/heads/new None Some("a")"#,
            ]
        );
    }

    #[tokio::test]
    async fn the_first_poll_records_and_starts_nothing_and_the_next_triggers_what_moved() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        assert_eq!(sample.store.heads("orders").await.expect("read"), None);

        let first = heads(&[("main", "a"), ("old", "a")]);
        let triggers = sample.store.record_heads("orders", &first, at(0)).await.expect("recorded");
        assert_eq!(triggers, []);
        assert_eq!(sample.store.heads("orders").await.expect("read"), Some(first));

        let second = heads(&[("main", "b"), ("new", "c")]);
        let triggers = sample.store.record_heads("orders", &second, at(1)).await.expect("recorded");
        assert_eq!(
            seen(&triggers),
            [(Some("refs/heads/main"), Some("b")), (Some("refs/heads/new"), Some("c"))]
        );
        assert_eq!(sample.store.heads("orders").await.expect("read"), Some(second.clone()));
        assert_eq!(sample.store.pending_triggers().await.expect("read"), triggers);

        let again = sample.store.record_heads("orders", &second, at(2)).await.expect("recorded");
        assert_eq!(again, []);
    }

    #[tokio::test]
    async fn the_first_push_to_an_empty_repository_is_a_trigger() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        sample.store.record_heads("orders", &Heads::new(), at(0)).await.expect("recorded");
        assert_eq!(sample.store.heads("orders").await.expect("read"), Some(Heads::new()));
        let first = heads(&[("main", "a")]);
        let triggers = sample.store.record_heads("orders", &first, at(1)).await.expect("recorded");
        assert_eq!(seen(&triggers), [(Some("refs/heads/main"), Some("a"))]);
    }

    #[tokio::test]
    async fn a_delivery_and_a_poll_of_the_same_push_start_one_run() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        sample
            .store
            .record_heads("orders", &heads(&[("main", "a")]), at(0))
            .await
            .expect("recorded");

        // The delivery first.
        let delivery = sample.delivery("orders", "1", "refs/heads/main", "b", at(2));
        let recorded = sample.store.record_trigger(delivery).await.expect("recorded");
        assert!(matches!(&recorded, Recorded::New(it) if it.verdict == Verdict::Pending));
        let triggers = sample
            .store
            .record_heads("orders", &heads(&[("main", "b")]), at(3))
            .await
            .expect("recorded");
        assert_eq!(triggers, []);

        // The poll first.
        let triggers = sample
            .store
            .record_heads("orders", &heads(&[("main", "c")]), at(4))
            .await
            .expect("recorded");
        assert_eq!(triggers.len(), 1);
        let delivery = sample.delivery("orders", "2", "refs/heads/main", "c", at(5));
        let recorded = sample.store.record_trigger(delivery).await.expect("recorded");
        let Recorded::New(trigger) = recorded else { panic!("{recorded:?}") };
        assert_eq!(trigger.verdict, Verdict::Ignored);
        assert_eq!(
            trigger.reason.as_deref(),
            Some("ignored: `refs/heads/main` was already reported at c")
        );
    }

    #[tokio::test]
    async fn a_delivery_starts_a_run_of_a_commit_that_only_the_first_poll_has_seen() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        sample
            .store
            .record_heads("orders", &heads(&[("main", "a")]), at(0))
            .await
            .expect("recorded");
        let delivery = sample.delivery("orders", "1", "refs/heads/main", "a", at(1));
        let recorded = sample.store.record_trigger(delivery).await.expect("recorded");
        assert!(matches!(&recorded, Recorded::New(it) if it.verdict == Verdict::Pending));
    }

    #[tokio::test]
    async fn an_answer_older_than_a_delivery_does_not_move_the_reference_back() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        let old = heads(&[("main", "a")]);
        sample.store.record_heads("orders", &old, at(0)).await.expect("recorded");
        let delivery = sample.delivery("orders", "1", "refs/heads/main", "b", at(2));
        sample.store.record_trigger(delivery).await.expect("recorded");
        // Asked before the delivery, answered after it.
        let triggers = sample.store.record_heads("orders", &old, at(1)).await.expect("recorded");
        assert_eq!(triggers, []);
        let known = sample.store.heads("orders").await.expect("read");
        assert_eq!(known, Some(heads(&[("main", "b")])));
    }
}
