//! The handle: one writer, some readers, all on one file.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::open::{Opened, check, open};
use crate::{OpenError, StoreError};

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    /// One connection: writers queue here and not at the file's lock.
    writer: SqlitePool,
    reader: SqlitePool,
    instance: Arc<str>,
    path: Arc<PathBuf>,
}

impl Store {
    /// Opens the database at `path`, which is made if there is none. What is
    /// there and cannot be used is refused and left as it is.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let Opened { writer, reader, instance } = open(path).await?;
        Ok(Self { writer, reader, instance: instance.into(), path: Arc::new(path.to_owned()) })
    }

    /// Reads the whole file and refuses it where its structure is broken: about
    /// a second for two gigabytes, which a server takes at its start.
    pub async fn check(&self) -> Result<(), OpenError> {
        check(&self.reader, &self.path).await
    }

    /// Returns the id that this store got when it was made. Labels on engines
    /// and ids of mails carry it.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Waits for what is under way and closes the file. Other clones fail after it.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// Begins a transaction that writes. It takes the file's lock at once: one
    /// that reads first and writes then fails as soon as two do so.
    #[track_caller]
    pub(crate) fn write(&self) -> impl Future<Output = Result<Write, StoreError>> + Send + '_ {
        let by = Location::caller();
        async move {
            let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            Ok(Write { transaction, by })
        }
    }
}

/// A transaction that writes; dropped, it has not happened.
#[derive(Debug)]
pub(crate) struct Write {
    transaction: Transaction<'static, Sqlite>,
    /// Tells one from another.
    by: &'static Location<'static>,
}

impl Write {
    /// Returns when all of it is durable.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        let by = self.by;
        crash::before(|| what(by));
        self.transaction.commit().await?;
        crash::after(|| what(by));
        Ok(())
    }

    #[cfg(test)]
    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

fn what(by: &Location<'_>) -> String {
    let file = by.file().rsplit('/').next().unwrap_or_default();
    format!("commit {file}:{}", by.line())
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Sample;

    #[test]
    fn a_handle_can_be_shared_between_tasks() {
        fn shared<T: Send + Sync + Clone + 'static>() {}
        shared::<Store>();
    }

    #[tokio::test]
    async fn a_database_that_another_process_holds_for_long_is_a_passing_error() {
        let sample = Sample::new().await;
        // Not five seconds, as usual.
        sqlx::query("pragma busy_timeout = 10").execute(&sample.store.writer).await.expect("set");
        let foreign = sample.again().await.write().await.expect("locked");
        let error = sample.store.write().await.expect_err("refused");
        assert!(error.is_temporary(), "{error:?}");
        foreign.rollback().await.expect("released");
        sample.store.write().await.expect("free");
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_took_back_by_itself_blocks_no_later_one() {
        let sample = Sample::new().await;
        let mut broken = sample.store.write().await.expect("begun");
        // As it does where the disk is full.
        sqlx::query("rollback").execute(&mut *broken).await.expect("taken back");
        drop(broken);
        let mut next = sample.store.write().await.expect("a new connection");
        sqlx::query("update meta set value = value").execute(&mut *next).await.expect("written");
        next.commit().await.expect("committed");
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let sample = Sample::new().await;
        let written = sqlx::query("delete from meta").execute(sample.store.reader()).await;
        written.expect_err("refused");
    }
}
