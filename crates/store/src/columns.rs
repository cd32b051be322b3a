//! How values of the domain lie in columns.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

type Read<T> = Result<T, sqlx::Error>;

/// Microseconds since 1970.
pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// Sequence numbers, fences and durations; none comes near the end of an `i64`.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The word of a unit variant, as events and API spell it.
pub(crate) fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only words are written as words: {other:?}"),
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a type of the domain has string keys and serialises")
}

pub(crate) fn read_time(row: &SqliteRow, column: &str) -> Read<DateTime<Utc>> {
    time(column, row.try_get(column)?)
}

pub(crate) fn read_optional_time(row: &SqliteRow, column: &str) -> Read<Option<DateTime<Utc>>> {
    row.try_get::<Option<i64>, _>(column)?.map(|micros| time(column, micros)).transpose()
}

pub(crate) fn read_count(row: &SqliteRow, column: &str) -> Read<u64> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|error| broken(column, error))
}

pub(crate) fn read_parsed<T>(row: &SqliteRow, column: &str) -> Read<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.try_get::<String, _>(column)?.parse().map_err(|error| broken(column, error))
}

pub(crate) fn read_optional_parsed<T>(row: &SqliteRow, column: &str) -> Read<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|error| broken(column, error))).transpose()
}

pub(crate) fn read_word<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Read<T> {
    let word = serde_json::Value::String(row.try_get(column)?);
    serde_json::from_value(word).map_err(|error| broken(column, error))
}

pub(crate) fn read_optional_word<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
) -> Read<Option<T>> {
    let word: Option<String> = row.try_get(column)?;
    word.map(|word| {
        serde_json::from_value(serde_json::Value::String(word))
            .map_err(|error| broken(column, error))
    })
    .transpose()
}

pub(crate) fn read_json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Read<T> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| broken(column, error))
}

pub(crate) fn read_optional_json<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
) -> Read<Option<T>> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| broken(column, error))).transpose()
}

pub(crate) fn read_optional_u32(row: &SqliteRow, column: &str) -> Read<Option<u32>> {
    let count: Option<i64> = row.try_get(column)?;
    count.map(|count| u32::try_from(count).map_err(|error| broken(column, error))).transpose()
}

fn time(column: &str, micros: i64) -> Read<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| broken(column, std::io::Error::other("not a point in time")))
}

fn broken(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
}
