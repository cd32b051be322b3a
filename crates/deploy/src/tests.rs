//! Deployments against a target and a ledger in memory.

mod budget;
mod crash;
mod failure;
mod history;
mod hold;
mod invariants;
mod kinds;
mod lease;
mod preflight;
mod scope;
mod stop_first;
mod success;
mod verify;
mod world;

/// The documentation names a test for every invariant.
#[test]
fn every_invariant_has_tests_and_they_exist() {
    let text = include_str!("../../../docs/deployments.md");
    let tests = [
        include_str!("tests/budget.rs"),
        include_str!("tests/crash.rs"),
        include_str!("tests/hold.rs"),
        include_str!("tests/invariants.rs"),
        include_str!("tests/kinds.rs"),
        include_str!("tests/lease.rs"),
        include_str!("tests/preflight.rs"),
        include_str!("tests/success.rs"),
        include_str!("keep.rs"),
    ];
    for number in 1..=15 {
        let row = text.lines().find(|line| line.starts_with(&format!("| I{number} |"))).unwrap();
        let names: Vec<_> =
            row.split('`').skip(1).step_by(2).filter(|name| name.starts_with('i')).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(tests.iter().any(|test| test.contains(&format!("fn {name}("))), "{name}");
        }
    }
}
