//! The network of a stage with services: small, its own, and gone with it.
//!
//! The engine's own pools end at about thirty networks, so each gets a subnet of a
//! range. Nobody coordinates those who take from it: several runners may use one
//! engine. Each begins to look somewhere else, and the engine has the last word.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::str::FromStr;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use sha2::{Digest, Sha256};

use super::clean::remove_all;
use super::engine::{Engine, fault, status, text};
use super::labels::{self, Kind, Labels};
use super::layer::Attempt;
use crate::backend::{AttemptSpec, BackendError, RunContext};

/// Subnets are of this size, unless more services want addresses.
const SMALLEST: u8 = 28;
/// Addresses nobody of us gets: of the network, of the bridge, of the broadcast.
const NOT_OURS: usize = 3;
/// Subnets that the engine may refuse before it is called at fault.
const REFUSALS: usize = 64;

/// Where subnets are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: u32,
    bits: u8,
}

impl Default for Subnet {
    /// `10.213.0.0/16`
    fn default() -> Self {
        Self { address: Ipv4Addr::new(10, 213, 0, 0).to_bits(), bits: 16 }
    }
}

/// This is not `ADDRESS/BITS` of IPv4.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a range of addresses, as `10.213.0.0/16` is one")]
pub struct NoSubnet(String);

impl FromStr for Subnet {
    type Err = NoSubnet;

    fn from_str(text: &str) -> Result<Self, NoSubnet> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= 32)?;
            Some(Self { address: address.parse::<Ipv4Addr>().ok()?.to_bits(), bits })
        };
        parse().map(Self::whole).ok_or_else(|| NoSubnet(text.to_owned()))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.address), self.bits)
    }
}

impl Subnet {
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The first address, which the bridge has.
    const fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address + 1)
    }

    fn whole(self) -> Self {
        Self { address: self.address & mask(self.bits), ..self }
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.bits.min(other.bits));
        self.address & mask == other.address & mask
    }

    /// How many of `bits` it holds.
    fn count(self, bits: u8) -> u32 {
        1_u32.checked_shl(u32::from(bits.saturating_sub(self.bits))).unwrap_or(u32::MAX)
    }

    fn nth(self, bits: u8, index: u32) -> Self {
        Self { address: self.address + (index << (32 - bits)), bits }
    }

    /// The first that none of `taken` overlaps, looked for from `start` on and around.
    fn free(self, bits: u8, start: u32, taken: &[Self], refused: &BTreeSet<u32>) -> Option<Self> {
        let count = if bits < self.bits { 0 } else { self.count(bits) };
        (0..count)
            .map(|step| self.nth(bits, (start % count).wrapping_add(step) % count))
            .filter(|subnet| !refused.contains(&subnet.address))
            .find(|subnet| !taken.iter().any(|taken| taken.overlaps(*subnet)))
    }
}

const fn mask(bits: u8) -> u32 {
    if bits == 0 { 0 } else { u32::MAX << (32 - bits) }
}

/// The size of a subnet for so many containers.
fn bits_for(containers: usize) -> u8 {
    let addresses = (containers + NOT_OURS).next_power_of_two().trailing_zeros();
    SMALLEST.min(32 - u8::try_from(addresses).unwrap_or(32))
}

/// The name of the network of an attempt: that of its container. `None`: it has none.
pub(super) fn of_attempt(attempt: &AttemptSpec) -> Option<String> {
    (!attempt.services.is_empty()).then(|| attempt.name.clone())
}

/// Makes the network of an attempt, without what a former life left of it.
pub(super) async fn create(
    engine: &Engine,
    run: &RunContext,
    attempt: &AttemptSpec,
) -> Result<(), BackendError> {
    let wanted = Wanted {
        name: &attempt.name,
        of: &attempt.stage,
        containers: attempt.services.len() + 1,
        labels: Attempt::of(attempt).labels(engine, run, Kind::Network),
        sealed: false,
    };
    make(engine, &wanted, || remove_former(engine, run, attempt)).await.map(drop)
}

/// A network that is to be made.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    /// Whose it is, for people.
    pub(super) of: &'a str,
    pub(super) containers: usize,
    pub(super) labels: Labels,
    /// From it nothing is reached but the machine it is on.
    pub(super) sealed: bool,
}

/// Makes a network, after `remove` if one of the name is there; returns the address that
/// the machine has on it.
pub(super) async fn make<R>(
    engine: &Engine,
    wanted: &Wanted<'_>,
    remove: impl Fn() -> R,
) -> Result<Ipv4Addr, BackendError>
where
    R: Future<Output = Result<(), BackendError>>,
{
    let bits = bits_for(wanted.containers);
    // Any number that others do not have.
    let of = (wanted.labels.instance(), wanted.name);
    let [first, second, third, fourth, ..] = <[u8; 32]>::from(Sha256::digest(format!("{of:?}")));
    let start = u32::from_be_bytes([first, second, third, fourth]);
    let mut refused = BTreeSet::new();
    loop {
        let networks = engine.docker.list_networks(None::<ListNetworksOptions>).await;
        let networks = networks.map_err(|error| fault("networks cannot be listed", &error))?;
        if networks.iter().any(|network| network.name.as_deref() == Some(wanted.name)) {
            remove().await?;
        }
        let taken: Vec<Subnet> = networks.iter().flat_map(subnets).collect();
        let free = engine.subnets.free(bits, start, &taken, &refused);
        let Some(subnet) = free.filter(|_| refused.len() < REFUSALS) else {
            let message = format!(
                "no /{bits} of {} is free for the network of `{}`: `[runner] subnets` of the configuration is where they come from",
                engine.subnets, wanted.of
            );
            return Err(BackendError::Infrastructure { part: "docker", message });
        };
        match engine.create_network(body(wanted, subnet)).await {
            Ok(()) => return Ok(subnet.gateway()),
            // Somebody was faster, or a route of the machine that no network shows is there.
            Err(error) if is_taken(&text(&error)) => drop(refused.insert(subnet.address)),
            Err(error) => {
                let what = format!("the network of `{}` cannot be made", wanted.of);
                return Err(fault(what, &error));
            }
        }
    }
}

fn is_taken(said: &str) -> bool {
    // The second is of two bridges that got one address.
    ["overlap", "address already in use"].iter().any(|word| said.to_lowercase().contains(word))
}

/// Removes the network and the services of an attempt that was begun before.
async fn remove_former(
    engine: &Engine,
    run: &RunContext,
    attempt: &AttemptSpec,
) -> Result<(), BackendError> {
    let (id, number) = (run.run.to_string(), attempt.attempt.to_string());
    let of_attempt = [
        (labels::INSTANCE, run.instance.as_str()),
        (labels::RUN, &id),
        (labels::STAGE, &attempt.stage),
        (labels::ATTEMPT, &number),
    ];
    let kinds = [Kind::Service, Kind::Network, Kind::Stage].map(Kind::text);
    let goes = |object: &super::clean::Object| {
        object.labels.get(labels::KIND).is_some_and(|kind| kinds.contains(&kind.as_str()))
    };
    remove_all(engine, &of_attempt, goes).await.map(drop)
}

fn body(wanted: &Wanted<'_>, subnet: Subnet) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: wanted.name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(wanted.sealed),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                gateway: Some(subnet.gateway().to_string()),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        labels: Some(wanted.labels.clone().map()),
        ..Default::default()
    }
}

/// Removes a network; one that is gone, or still has somebody on it, is left to the clean-up.
pub(super) async fn remove(engine: &Engine, name: &str) {
    match engine.docker.remove_network(name).await {
        Err(error) if status(&error) != Some(404) => {
            tracing::debug!("left to the clean-up: network `{name}`: {}", text(&error));
        }
        _ => {}
    }
}

fn subnets(network: &Network) -> Vec<Subnet> {
    let config = network.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    let subnets = config.into_iter().flatten().filter_map(|config| config.subnet.as_deref());
    subnets.filter_map(|subnet| subnet.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_an_address_and_bits() {
        assert_eq!(Subnet::default(), subnet("10.213.0.0/16"));
        assert_eq!(subnet("10.213.7.9/16"), Subnet::default());
        for wrong in ["", "10.213.0.0", "10.213/16", "10.213.0.0/33", "fd00::/64"] {
            let error = wrong.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` is not a range")), "{error}");
        }
    }

    #[test]
    fn a_free_subnet_overlaps_with_none_and_everyone_begins_elsewhere() {
        let range = subnet("10.213.0.0/24");
        let free = |start, taken: &[&str]| {
            let taken: Vec<_> = taken.iter().map(|taken| subnet(taken)).collect();
            range.free(28, start, &taken, &BTreeSet::new()).map(|free| free.to_string())
        };
        assert_eq!(free(0, &[]).as_deref(), Some("10.213.0.0/28"));
        assert_eq!(free(15, &[]).as_deref(), Some("10.213.0.240/28"));
        assert_eq!(free(15, &["10.213.0.240/30"]).as_deref(), Some("10.213.0.0/28"));
        assert_eq!(free(16 + 2, &["172.17.0.0/16"]).as_deref(), Some("10.213.0.32/28"));
        assert_eq!(free(u32::MAX, &["10.213.0.128/25"]).as_deref(), Some("10.213.0.0/28"));
        assert_eq!(free(3, &["10.0.0.0/8"]), None);
        assert_eq!(free(3, &["0.0.0.0/0"]), None);
        let refused = BTreeSet::from([range.address]);
        let second = range.free(28, 0, &[], &refused).unwrap();
        assert_eq!(second.to_string(), "10.213.0.16/28");
        assert_eq!(subnet("10.213.0.0/29").free(28, 0, &[], &refused), None, "it is too small");
    }

    #[test]
    fn a_subnet_has_an_address_for_everyone() {
        assert_eq!([1, 2, 13].map(bits_for), [28, 28, 28]);
        assert_eq!([14, 29, 30].map(bits_for), [27, 27, 26]);
    }
}
