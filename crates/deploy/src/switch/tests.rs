//! Switches held against the programs themselves, which the tests start in folders of
//! their own. Of Traefik there is none to be had: what is written for it is read by a
//! reader of YAML.

pub(crate) mod haproxy;
mod hook;
pub(crate) mod nginx;
pub(crate) mod origin;
mod traefik;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Member, Order, SwitchAccess, trusted};
use crate::{EnvironmentKey, UnitId};

const PATIENCE: Duration = Duration::from_secs(20);

fn key() -> EnvironmentKey {
    EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
}

fn order(key: &EnvironmentKey, fence: u64) -> Order<'_> {
    Order { key, fence, held: &trusted }
}

fn member(name: &str, address: SocketAddr) -> Member {
    Member { unit: UnitId(format!("unit-{name}")), address, name: name.to_owned() }
}

fn access(spec: pipeline::SwitchSpec) -> SwitchAccess {
    SwitchAccess { spec, identity: None, known_hosts: None }
}

/// A place to listen at, of an address that no client and no other test has.
fn place() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 100).unwrap();
    let ip = Ipv4Addr::new(127, 100 + process, NEXT.fetch_add(1, Ordering::Relaxed), 1);
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
