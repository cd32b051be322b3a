//! The handle: one writer, some readers, all on one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};

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
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
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
    async fn readers_cannot_write() {
        let sample = Sample::new().await;
        let written = sqlx::query("delete from meta").execute(sample.store.reader()).await;
        written.expect_err("refused");
    }
}
