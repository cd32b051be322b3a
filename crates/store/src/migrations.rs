//! The steps from an empty file to today's tables.
//!
//! Steps only go forward, and a released step is never edited: a new one is a
//! new file and a line here.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const STEPS: [(&str, &str); 10] = [
    ("spine", include_str!("../migrations/0001_spine.sql")),
    ("tests", include_str!("../migrations/0002_tests.sql")),
    ("artifacts", include_str!("../migrations/0003_artifacts.sql")),
    ("results", include_str!("../migrations/0004_results.sql")),
    ("groups", include_str!("../migrations/0005_groups.sql")),
    ("deployments", include_str!("../migrations/0006_deployments.sql")),
    ("closures", include_str!("../migrations/0007_closures.sql")),
    ("outcomes", include_str!("../migrations/0008_outcomes.sql")),
    ("reservations", include_str!("../migrations/0009_reservations.sql")),
    ("incidents", include_str!("../migrations/0010_incidents.sql")),
];

pub(crate) fn migrator() -> Migrator {
    let steps = (1..).zip(STEPS).map(|(version, (description, sql))| {
        Migration::new(
            version,
            Cow::Borrowed(description),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(steps.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_step_in_order() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let steps: Vec<String> = (1..)
            .zip(STEPS)
            .map(|(version, (description, _))| format!("{version:04}_{description}.sql"))
            .collect();
        assert_eq!(files, steps);
    }
}
