//! The table of capabilities names tests that there are.

use std::path::Path;

use crate::harness::lab::repository_root;

#[test]
fn every_capability_that_is_there_is_shown_by_a_test_of_that_name() {
    let root = repository_root();
    let table =
        std::fs::read_to_string(root.join("docs/capabilities.md")).expect("the table is there");
    let mut sources = String::new();
    for folder in ["tests/product", "crates"] {
        read(&root.join(folder), &mut sources);
    }
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| {
            line.starts_with("| ") && line.chars().nth(2).is_some_and(|c| c.is_ascii_digit())
        })
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let numbers: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(numbers, (1..=102).map(|number| number.to_string()).collect::<Vec<_>>());
    for row in rows {
        let tests: Vec<&str> = row.get(3).unwrap_or(&"").split('`').skip(1).step_by(2).collect();
        let claims = row[2] == "there" || row[2].starts_with("in part: ");
        assert!(claims || matches!(row[2], "missing" | "out of scope"), "{row:?}");
        assert_eq!(claims, !tests.is_empty(), "{row:?}");
        for test in tests {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "{}: no test is called `{test}`",
                row[0]
            );
        }
    }
}

fn read(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("fuzz") {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).expect("a file can be read"));
        }
    }
}
