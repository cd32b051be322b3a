//! The crates depend on each other as docs/architecture.md says, and not otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::lab::repository_root;

const CRATES: [&str; 10] =
    ["crash", "pipeline", "event", "proxy", "deploy", "store", "notify", "runner", "server", "cli"];

#[test]
fn the_arrows_between_crates_are_those_of_the_architecture() {
    let allowed = documented();
    for (name, may_use) in &allowed {
        let manifest = repository_root().join("crates").join(name).join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).expect("each crate has a manifest");
        let uses: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.split(['.', '=', ' ']).next())
            .filter(|word| CRATES.contains(word))
            .map(str::to_owned)
            .collect();
        let forbidden: Vec<&String> = uses.difference(may_use).collect();
        assert!(forbidden.is_empty(), "{name} uses {forbidden:?}");
    }
    let pure = ["tokio", "sqlx", "bollard", "axum", "reqwest"];
    for name in ["pipeline", "event"] {
        let text =
            std::fs::read_to_string(repository_root().join("crates").join(name).join("Cargo.toml"));
        let text = text.expect("each crate has a manifest");
        let impure: Vec<&&str> =
            pure.iter().filter(|word| text.lines().any(|line| line.starts_with(**word))).collect();
        assert!(impure.is_empty(), "{name} uses {impure:?}");
    }
}

#[test]
fn a_release_has_no_place_where_a_test_lets_it_die() {
    let tree = |edges: &str| {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.current_dir(repository_root()).args(["tree", "--offline", "--package", "shipline"]);
        cargo.args(["--edges", edges, "--format", "{p} {f}"]);
        let text = crate::harness::lab::Ran::of(&mut cargo).expect(0).stdout;
        text.lines()
            .filter(|line| line.contains("shipline-crash "))
            .any(|line| line.contains("armed"))
    };
    assert!(!tree("no-dev"), "what `cargo build --release --bin shipline` builds");
    assert!(tree("all"), "what tests and examples are built with");
}

/// The table of docs/architecture.md.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(repository_root().join("docs/architecture.md"))
        .expect("the document is there");
    let table: BTreeMap<String, BTreeSet<String>> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().trim_end_matches('`').to_owned();
            let uses = cells.next()?;
            CRATES.contains(&name.as_str()).then(|| (name.clone(), crates_in(uses, &name)))
        })
        .collect();
    assert_eq!(table.len(), CRATES.len(), "the table names every crate: {table:?}");
    table
}

fn crates_in(cell: &str, own: &str) -> BTreeSet<String> {
    if cell.contains("none") {
        return BTreeSet::new();
    }
    let all = cell.trim() == "all" || cell.contains("all but cli");
    CRATES
        .iter()
        .filter(|name| **name != own && (all || cell.split([',', ' ']).any(|word| word == **name)))
        .filter(|name| !(cell.contains("all but cli") && **name == "cli"))
        .map(|name| (*name).to_owned())
        .collect()
}
