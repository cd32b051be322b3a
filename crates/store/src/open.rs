//! Opening the file: make it or check it, migrate it, name its instance.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use uuid::Uuid;

use crate::error::{SQLITE_BUSY, SQLITE_CORRUPT, SQLITE_NOTADB, primary_code};
use crate::meta;
use crate::migrations::migrator;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// Larger files are not read as a whole at every start of a command; SQLite
/// still refuses a broken page when it meets one, and [`crate::Store::check`]
/// looks for it.
const CHECKED_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the database `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the database `{}` is damaged: {problem}; nothing was changed, and a backup can be restored over it",
        path.display()
    )]
    Damaged { path: PathBuf, problem: String },
    #[error(
        "the database `{}` was written by a newer version of shipline; nothing was changed",
        path.display()
    )]
    Newer { path: PathBuf },
    #[error("the database `{}` is held by another process", path.display())]
    Busy {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("cannot open the database `{}`", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("cannot bring the database `{}` up to date", path.display())]
    Migrate {
        path: PathBuf,
        #[source]
        source: MigrateError,
    },
}

pub(crate) struct Opened {
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    pub(crate) instance: String,
}

pub(crate) async fn open(path: &Path) -> Result<Opened, OpenError> {
    let size =
        make_private(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let writer = connect_writer(path).await?;
    let checked = match size {
        ..=CHECKED_BYTES => check(&writer, path).await,
        _ => Ok(()),
    };
    let prepared = match checked {
        Ok(()) => prepare(&writer, path).await,
        Err(error) => Err(error),
    };
    match prepared {
        Ok(instance) => Ok(Opened { reader: reader(path), writer, instance }),
        Err(error) => {
            writer.close().await;
            Err(error)
        }
    }
}

/// Makes the file where there is none, for its owner alone; SQLite gives the
/// files beside it the same mode. Returns its size.
fn make_private(path: &Path) -> Result<u64, std::io::Error> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    Ok(file.metadata()?.len())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

async fn connect_writer(path: &Path) -> Result<SqlitePool, OpenError> {
    let options = options(path).journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
    // A full disk makes SQLite take a transaction back by itself, and the driver counts it as
    // open for ever: every later one would be refused.
    let pool = pool.before_acquire(|connection, _| {
        let usable = !connection.is_in_transaction();
        Box::pin(async move { Ok(usable) })
    });
    let mut waited = Duration::ZERO;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            // Turning a fresh file to WAL needs it alone and, unlike any other
            // lock, does not wait for it: two first starts at once meet here.
            Err(error) if primary_code(&error) == Some(SQLITE_BUSY) && waited < BUSY_TIMEOUT => {
                let pause = Duration::from_millis(20);
                tokio::time::sleep(pause).await;
                waited += pause;
            }
            Err(error) => return Err(failed(path, error)),
        }
    }
}

/// Readers connect when first used.
fn reader(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_lazy_with(options(path).pragma("query_only", "ON"))
}

/// Reads the whole file and refuses it where its structure is broken.
pub(crate) async fn check(pool: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    let problems: Vec<String> = sqlx::query_scalar("pragma quick_check(3)")
        .fetch_all(pool)
        .await
        .map_err(|error| failed(path, error))?;
    match problems.first().map(String::as_str) {
        None | Some("ok") => Ok(()),
        Some(_) => Err(OpenError::Damaged { path: path.to_owned(), problem: problems.join(", ") }),
    }
}

/// Migrates in one transaction: two processes that start at once do it once,
/// and one that dies midway leaves the old tables.
async fn prepare(writer: &SqlitePool, path: &Path) -> Result<String, OpenError> {
    let mut transaction =
        writer.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failed(path, error))?;
    migrator().run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) => OpenError::Newer { path: path.to_owned() },
        MigrateError::Execute(source) => failed(path, source),
        source => OpenError::Migrate { path: path.to_owned(), source },
    })?;

    let failed = |error| failed(path, error);
    let format = meta::read(&mut transaction, meta::EVENT_FORMAT).await.map_err(failed)?;
    match format.map(|format| format.parse::<u32>()) {
        Some(Ok(format)) if format == event::FORMAT => {}
        Some(Ok(format)) if format > event::FORMAT => {
            return Err(OpenError::Newer { path: path.to_owned() });
        }
        _ => {
            let format = event::FORMAT.to_string();
            meta::write(&mut transaction, meta::EVENT_FORMAT, &format).await.map_err(failed)?;
        }
    }
    let instance = match meta::read(&mut transaction, meta::INSTANCE).await.map_err(failed)? {
        Some(instance) => instance,
        None => {
            let instance = Uuid::now_v7().to_string();
            meta::write(&mut transaction, meta::INSTANCE, &instance).await.map_err(failed)?;
            instance
        }
    };
    transaction.commit().await.map_err(failed)?;
    Ok(instance)
}

fn failed(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&source) {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => {
            let problem = source
                .as_database_error()
                .map_or_else(String::new, |error| error.message().to_owned());
            OpenError::Damaged { path, problem }
        }
        Some(SQLITE_BUSY) => OpenError::Busy { path, source },
        _ => OpenError::Database { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn a_store_keeps_its_instance() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        let first = Store::open(&path).await.expect("made");
        let instance = first.instance().to_owned();
        assert!(instance.parse::<Uuid>().is_ok(), "{instance}");
        first.close().await;
        let again = Store::open(&path).await.expect("opened");
        assert_eq!(again.instance(), instance);
    }

    #[tokio::test]
    async fn nobody_else_may_read_the_files() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        let _store = Store::open(&path).await.expect("made");
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let mode =
                std::fs::metadata(directory.path().join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn eight_first_starts_at_once_make_one_store() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                tokio::spawn(async move { Store::open(&path).await })
            })
            .collect();
        let mut instances = Vec::new();
        for start in starts {
            let store = start.await.expect("no panic").expect("opened");
            instances.push(store.instance().to_owned());
        }
        instances.dedup();
        assert_eq!(instances.len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_by_name_and_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        let text = "this is a letter to a friend, not a database\n".repeat(100);
        std::fs::write(&path, &text).expect("written");
        let error = Store::open(&path).await.err().expect("refused");
        assert_eq!(
            error.to_string(),
            format!(
                "the database `{}` is damaged: file is not a database; nothing was changed, and a \
                 backup can be restored over it",
                path.display()
            )
        );
        assert_eq!(std::fs::read_to_string(&path).expect("kept"), text);
    }

    #[tokio::test]
    async fn a_broken_page_is_refused_by_name_and_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        Store::open(&path).await.expect("made").close().await;
        let mut bytes = std::fs::read(&path).expect("read");
        // The fifth page is a table or an index of the first migration.
        bytes[4 * 4096..5 * 4096].fill(0xa5);
        std::fs::write(&path, &bytes).expect("written");
        let error = Store::open(&path).await.err().expect("refused");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read(&path).expect("kept"), bytes);
    }

    #[tokio::test]
    async fn a_page_that_breaks_later_is_found_by_a_check() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        Store::open(&path).await.expect("made").close().await;
        let store = Store::open(&path).await.expect("opened");
        store.check().await.expect("whole");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[4 * 4096..5 * 4096].fill(0xa5);
        std::fs::write(&path, &bytes).expect("written");
        let error = store.check().await.expect_err("broken");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_cut_file_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        Store::open(&path).await.expect("made").close().await;
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
        let error = Store::open(&path).await.err().expect("refused");
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_file_of_a_newer_version_is_refused_and_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("state.db");
        for statement in [
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'later', true, x'00', 0)",
            "update meta set value = '9999' where key = 'event-format'",
        ] {
            let store = Store::open(&path).await.expect("made");
            let mut transaction = store.write().await.expect("begun");
            sqlx::query(statement).execute(&mut *transaction).await.expect("written");
            transaction.commit().await.expect("committed");
            store.close().await;
            let error = Store::open(&path).await.err().expect("refused");
            assert_eq!(
                error.to_string(),
                format!(
                    "the database `{}` was written by a newer version of shipline; nothing was changed",
                    path.display()
                )
            );
            std::fs::remove_file(&path).expect("removed");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("nowhere/state.db");
        let error = Store::open(&path).await.err().expect("refused");
        assert_eq!(error.to_string(), format!("cannot open the database `{}`", path.display()));
    }
}
