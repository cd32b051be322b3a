//! What a server builds: repositories with their settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{micros, read_optional_time, read_time};
use crate::error::is_duplicate;
use crate::{Store, StoreError};

#[derive(Clone, PartialEq, Eq)]
pub struct NewProject {
    /// A slug: labels, routes and folders carry it as it is.
    pub name: String,
    pub git_url: String,
    pub default_branch: String,
    /// Between two polls, where it is not the server's own pace.
    pub poll: Option<Duration>,
    /// Kept as given, in a file that only its owner can read.
    pub hook_secret: Option<String>,
    pub git_key: Option<PathBuf>,
    pub at: DateTime<Utc>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    pub git_url: String,
    pub default_branch: String,
    pub poll: Option<Duration>,
    pub hook_secret: Option<String>,
    pub git_key: Option<PathBuf>,
    pub created_at: DateTime<Utc>,
    /// `None` until its heads were first recorded.
    pub polled_at: Option<DateTime<Utc>>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateProjectError {
    #[error("project `{0}` already exists")]
    Exists(String),
    #[error("`{0}` is not a project's name: at most 63 of a-z, 0-9 and `-`, not at its ends")]
    Name(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    pub async fn create_project(&self, new: &NewProject) -> Result<Project, CreateProjectError> {
        if !is_slug(&new.name) {
            return Err(CreateProjectError::Name(new.name.clone()));
        }
        let mut transaction = self.write().await?;
        let row = sqlx::query_as(
            "insert into projects
                 (name, git_url, default_branch, poll_ms, hook_secret, git_key, created_at)
             values ($1, $2, $3, $4, $5, $6, $7) returning *",
        )
        .bind(&new.name)
        .bind(&new.git_url)
        .bind(&new.default_branch)
        .bind(new.poll.map(milliseconds))
        .bind(&new.hook_secret)
        .bind(new.git_key.as_ref().map(|path| path.to_string_lossy().into_owned()))
        .bind(micros(new.at))
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| match is_duplicate(&error) {
            true => CreateProjectError::Exists(new.name.clone()),
            false => CreateProjectError::Store(error.into()),
        })?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(row)
    }

    /// All projects by name.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let query = sqlx::query_as("select * from projects order by name");
        Ok(query.fetch_all(self.reader()).await?)
    }

    pub async fn project(&self, name: &str) -> Result<Option<Project>, StoreError> {
        let query = sqlx::query_as("select * from projects where name = $1").bind(name);
        Ok(query.fetch_optional(self.reader()).await?)
    }
}

fn is_slug(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl FromRow<'_, SqliteRow> for Project {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let poll: Option<i64> = row.try_get("poll_ms")?;
        let git_key: Option<String> = row.try_get("git_key")?;
        Ok(Self {
            name: row.try_get("name")?,
            git_url: row.try_get("git_url")?,
            default_branch: row.try_get("default_branch")?,
            poll: poll.map(|poll| Duration::from_millis(poll.unsigned_abs())),
            hook_secret: row.try_get("hook_secret")?,
            git_key: git_key.map(PathBuf::from),
            created_at: read_time(row, "created_at")?,
            polled_at: read_optional_time(row, "polled_at")?,
        })
    }
}

/// A secret says only that it is there.
fn hidden(secret: Option<&String>) -> Option<&'static str> {
    secret.map(|_| "***")
}

impl fmt::Debug for NewProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewProject")
            .field("name", &self.name)
            .field("git_url", &self.git_url)
            .field("default_branch", &self.default_branch)
            .field("poll", &self.poll)
            .field("hook_secret", &hidden(self.hook_secret.as_ref()))
            .field("git_key", &self.git_key)
            .field("at", &self.at)
            .finish()
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project")
            .field("name", &self.name)
            .field("git_url", &self.git_url)
            .field("default_branch", &self.default_branch)
            .field("poll", &self.poll)
            .field("hook_secret", &hidden(self.hook_secret.as_ref()))
            .field("git_key", &self.git_key)
            .field("created_at", &self.created_at)
            .field("polled_at", &self.polled_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, at};

    fn orders() -> NewProject {
        NewProject {
            name: "orders".into(),
            git_url: "https://git.example.net/orders.git".into(),
            default_branch: "main".into(),
            poll: Some(Duration::from_secs(2)),
            hook_secret: Some("a secret".into()),
            git_key: Some("/etc/shipline/orders.key".into()),
            at: at(0),
        }
    }

    #[tokio::test]
    async fn a_project_is_what_it_was_made_with() {
        let sample = Sample::new().await;
        let made = sample.store.create_project(&orders()).await.expect("made");
        let expected = Project {
            name: "orders".into(),
            git_url: "https://git.example.net/orders.git".into(),
            default_branch: "main".into(),
            poll: Some(Duration::from_secs(2)),
            hook_secret: Some("a secret".into()),
            git_key: Some("/etc/shipline/orders.key".into()),
            created_at: at(0),
            polled_at: None,
        };
        assert_eq!(made, expected);
        assert_eq!(sample.store.project("orders").await.expect("read"), Some(expected.clone()));
        assert_eq!(sample.store.projects().await.expect("read"), [expected]);
        assert_eq!(sample.store.project("other").await.expect("read"), None);
    }

    #[tokio::test]
    async fn a_name_is_given_once() {
        let sample = Sample::new().await;
        sample.store.create_project(&orders()).await.expect("made");
        let other =
            NewProject { git_url: "https://elsewhere.example.net/x.git".into(), ..orders() };
        let error = sample.store.create_project(&other).await.expect_err("refused");
        assert_eq!(error.to_string(), "project `orders` already exists");
        let kept = sample.store.project("orders").await.expect("read").expect("there");
        assert_eq!(kept.git_url, orders().git_url);
    }

    #[tokio::test]
    async fn a_name_is_a_slug() {
        let sample = Sample::new().await;
        let long = "a".repeat(64);
        for name in ["", "..", "a/b", "Orders", "-x", "x-", "a b", "a\nb", "ü", &long] {
            let new = NewProject { name: name.into(), ..orders() };
            let error = sample.store.create_project(&new).await.expect_err(name);
            assert!(matches!(error, CreateProjectError::Name(_)), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn a_hook_secret_is_not_printed() {
        let sample = Sample::new().await;
        let made = sample.store.create_project(&orders()).await.expect("made");
        assert!(!format!("{made:?} {:?}", orders()).contains("a secret"));
    }
}
