//! Passes that may stand for others, by what they depend on.

use chrono::{DateTime, Utc};
use event::Reused;
use sqlx::sqlite::SqliteRow;

use crate::columns::{micros, read_count, read_parsed};
use crate::{Store, StoreError};

/// What a pass is known by.
#[derive(Clone, Copy, Debug)]
pub struct PassKey<'a> {
    pub project: &'a str,
    pub trusted: bool,
    pub stage: &'a str,
    pub digest: &'a str,
}

impl Store {
    /// Notes a pass, in place of one that was known by that key.
    pub async fn remember_pass(
        &self,
        key: PassKey<'_>,
        pass: Reused,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "insert into results
               (project, trusted, stage, digest, run, stage_index, attempt, used_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (project, trusted, stage, digest) do update set
               run = excluded.run, stage_index = excluded.stage_index,
               attempt = excluded.attempt, used_at = excluded.used_at",
        )
        .bind(key.project)
        .bind(key.trusted)
        .bind(key.stage)
        .bind(key.digest)
        .bind(pass.run.to_string())
        .bind(i64::from(pass.index))
        .bind(i64::from(pass.attempt))
        .bind(micros(at))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the pass of that key, which is now the one used last.
    pub async fn pass(
        &self,
        key: PassKey<'_>,
        at: DateTime<Utc>,
    ) -> Result<Option<Reused>, StoreError> {
        let mut transaction = self.write().await?;
        let row = sqlx::query(
            "update results set used_at = $5
             where project = $1 and trusted = $2 and stage = $3 and digest = $4 returning *",
        )
        .bind(key.project)
        .bind(key.trusted)
        .bind(key.stage)
        .bind(key.digest)
        .bind(micros(at))
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    pub async fn forget_pass(&self, key: PassKey<'_>) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "delete from results
             where project = $1 and trusted = $2 and stage = $3 and digest = $4",
        )
        .bind(key.project)
        .bind(key.trusted)
        .bind(key.stage)
        .bind(key.digest)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets all passes but the `count` used last, and returns those that stay.
    pub async fn passes_within(&self, count: u32) -> Result<Vec<Reused>, StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "delete from results where (project, trusted, stage, digest) in
               (select project, trusted, stage, digest from results
                order by used_at desc, digest limit -1 offset $1)",
        )
        .bind(i64::from(count))
        .execute(&mut *transaction)
        .await?;
        let rows = sqlx::query("select * from results").fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        rows.iter().map(|row| Ok(read(row)?)).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Reused, sqlx::Error> {
    let number = |name| Ok::<_, sqlx::Error>(u32::try_from(read_count(row, name)?).unwrap_or(0));
    Ok(Reused {
        run: read_parsed(row, "run")?,
        index: number("stage_index")?,
        attempt: number("attempt")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, at};

    #[tokio::test]
    async fn the_passes_used_last_stay_and_trust_keeps_them_apart() {
        let sample = Sample::new().await;
        let (store, run) = (&sample.store, sample.run("orders", "main", at(0)).await.id);
        let key = |digest| PassKey { project: "orders", trusted: true, stage: "test", digest };
        let pass = |index| Reused { run, index, attempt: 1 };
        for (minute, digest) in [(1, "a"), (2, "b"), (3, "c")] {
            store.remember_pass(key(digest), pass(minute), at(minute.into())).await.expect("noted");
        }
        assert_eq!(store.pass(key("a"), at(9)).await.expect("read"), Some(pass(1)));
        let untrusted = PassKey { trusted: false, ..key("a") };
        assert_eq!(store.pass(untrusted, at(9)).await.expect("read"), None);

        let mut kept = store.passes_within(2).await.expect("kept");
        kept.sort_by_key(|pass| pass.index);
        assert_eq!(kept, [pass(1), pass(3)]);
        assert_eq!(store.pass(key("b"), at(9)).await.expect("read"), None);
        store.remember_pass(key("a"), pass(7), at(10)).await.expect("noted");
        assert_eq!(store.pass(key("a"), at(11)).await.expect("read"), Some(pass(7)));
        store.forget_pass(key("a")).await.expect("forgotten");
        assert_eq!(store.pass(key("a"), at(12)).await.expect("read"), None);
    }
}
