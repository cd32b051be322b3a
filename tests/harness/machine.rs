//! What not every machine lends to a test: mounts, and engines of its own; and where its own
//! engine reaches it.

use std::net::{IpAddr, Ipv4Addr};

use super::lab::docker;

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

/// The address of this machine on the engine's bridge, where containers reach it. An engine
/// tells it only from its second start on; until then it is the first of the bridge's range.
pub fn bridge_address() -> IpAddr {
    let format = "{{with index .IPAM.Config 0}}{{.Gateway}} {{.Subnet}}{{end}}";
    let told = docker(&["network", "inspect", "bridge", "--format", format]);
    let (gateway, subnet) = told.trim_end().split_once(' ').expect("a bridge has a range");
    if let Ok(gateway) = gateway.parse() {
        return gateway;
    }
    let first = subnet.split_once('/').and_then(|(first, _)| first.parse::<Ipv4Addr>().ok());
    let first = first.unwrap_or_else(|| panic!("{subnet} is no range of a bridge"));
    Ipv4Addr::from(u32::from(first) + 1).into()
}
