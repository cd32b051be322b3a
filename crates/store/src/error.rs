//! What a read or a plain write of the store may say.

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("event {seq} of {stream} has format {found}; this version reads up to {known}")]
    NewerEvent { stream: String, seq: u64, found: u32, known: u32 },
    #[error("event {seq} of {stream} cannot be read")]
    BrokenEvent {
        stream: String,
        seq: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the events of run {run} contradict each other")]
    IllegalHistory {
        run: event::RunId,
        #[source]
        source: event::IllegalEvent,
    },
}

impl StoreError {
    /// Whether the same call may succeed later: somebody else holds the
    /// database, or its disk is full. Nothing was written.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::PoolTimedOut) => true,
            Self::Database(error) => {
                matches!(primary_code(error), Some(SQLITE_BUSY | SQLITE_LOCKED | SQLITE_FULL))
            }
            Self::NewerEvent { .. } | Self::BrokenEvent { .. } | Self::IllegalHistory { .. } => {
                false
            }
        }
    }
}

pub(crate) const SQLITE_BUSY: i32 = 5;
pub(crate) const SQLITE_LOCKED: i32 = 6;
pub(crate) const SQLITE_CORRUPT: i32 = 11;
pub(crate) const SQLITE_FULL: i32 = 13;
pub(crate) const SQLITE_NOTADB: i32 = 26;

/// Whether `error`, or what caused it, is a disk without room.
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let database = error.downcast_ref::<sqlx::Error>().and_then(primary_code);
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
        if database == Some(SQLITE_FULL) || kind.is_some_and(|kind| full.contains(&kind)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns SQLite's result code without what extends it.
pub(crate) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Whether a statement was refused since a row with the same key exists.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
