//! What not every machine lends to a test: mounts, and engines of its own.

/// The variable in which somebody says what this machine cannot have.
const LACKING: &str = "SHIPLINE_TESTS_LACK";

/// Fails a test whose world cannot be had: one that passes has seen what it is about. Where a
/// machine lacks it for good, whoever runs the tests says so.
#[track_caller]
pub fn had<T>(what: &str, made: Result<T, String>) -> Option<T> {
    let reason = match made {
        Ok(made) => return Some(made),
        Err(reason) => reason,
    };
    let lacking = std::env::var(LACKING).unwrap_or_default();
    assert!(
        lacking.split(',').any(|one| one.trim() == what),
        "{what} cannot be had on this machine: {reason}\n`make setup` of root brings what it \
         needs; where it cannot, `{LACKING}={what}` leaves the tests out that need it"
    );
    eprintln!("left out: {what} cannot be had on this machine: {reason}");
    None
}
