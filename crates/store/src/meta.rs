//! Facts about the store itself.

use sqlx::SqliteConnection;

/// The id of this store, given once.
pub(crate) const INSTANCE: &str = "instance";
/// The newest format of events that was ever written here.
pub(crate) const EVENT_FORMAT: &str = "event-format";

pub(crate) async fn read(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select value from meta where key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await
}

pub(crate) async fn write(
    connection: &mut SqliteConnection,
    key: &str,
    value: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into meta (key, value) values ($1, $2)
         on conflict (key) do update set value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}
