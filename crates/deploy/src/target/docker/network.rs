//! The network of an instance, whose addresses Shipline alone allots.
//!
//! Addresses are fixed because dynamic ones may be handed to another container
//! after a restart, and a proxy that remembers them would route to a stranger.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use super::call::call;
use super::unit::{INSTANCE, KIND};
use super::{CALL, DockerTarget};
use crate::TargetError;

/// Networks are /24 out of this /16.
const RANGE: [u8; 2] = [10, 214];
/// Addresses units get. The rest of the network is left to the engine, for
/// containers that somebody connects by hand.
const UNITS: std::ops::RangeInclusive<u8> = 2..=247;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitNetwork {
    pub(super) name: String,
    id: String,
    /// The third byte of its addresses.
    third: u8,
}

impl UnitNetwork {
    /// Returns the first address that none of `taken` has.
    pub(super) fn free_address(
        &self,
        taken: impl Iterator<Item = Ipv4Addr>,
    ) -> Result<Ipv4Addr, TargetError> {
        let taken: BTreeSet<_> = taken.collect();
        UNITS
            .map(|last| Ipv4Addr::new(RANGE[0], RANGE[1], self.third, last))
            .find(|address| !taken.contains(address))
            .ok_or_else(|| TargetError::Infrastructure {
                part: "docker".to_owned(),
                message: format!("network {} has no free address", self.name),
            })
    }
}

impl DockerTarget {
    /// Returns the network of the instance, which is made when there is none.
    pub(super) async fn network(&self) -> Result<UnitNetwork, TargetError> {
        let name = network_name(&self.instance);
        let mut refused: BTreeSet<u8> = BTreeSet::new();
        // The units of a batch are made at once, and the engine makes a network of a name
        // as often as it is asked.
        let _alone = self.allotting.lock().await;
        let mut made = None;
        loop {
            let networks = self.networks().await?;
            if let Some(network) = self.own_network(&networks, &name) {
                self.remove_second(&network, made).await;
                return Ok(network);
            }
            let third =
                free_third(&networks, &refused).ok_or_else(|| TargetError::Infrastructure {
                    part: "docker".to_owned(),
                    message: format!("no free /24 in {}.{}.0.0/16", RANGE[0], RANGE[1]),
                })?;
            let creating = self.docker.create_network(self.network_body(&name, third));
            match call(CALL, "create network", creating).await {
                // Looked at again: another process may have made one at once.
                Ok(answer) => made = Some(answer.id),
                // The engine knows of routes that no network shows.
                Err(error) if error.message.contains("overlap") => drop(refused.insert(third)),
                Err(error) if error.status == Some(409) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes the network that was just made if another process was faster: of two with
    /// one name the engine takes none.
    async fn remove_second(&self, network: &UnitNetwork, made: Option<String>) {
        let Some(made) = made.filter(|made| *made != network.id) else { return };
        let removing = self.docker.remove_network(&made);
        if let Err(error) = call(CALL, "remove network", removing).await {
            tracing::warn!("network {made} could not be removed: {}", error.message);
        }
    }

    /// Returns the engine's own address in the network of the instance, if that is
    /// there already.
    pub(super) async fn gateway(&self) -> Result<Option<Ipv4Addr>, TargetError> {
        let network = self.own_network(&self.networks().await?, &network_name(&self.instance));
        Ok(network.map(|network| Ipv4Addr::new(RANGE[0], RANGE[1], network.third, 1)))
    }

    /// Removes the network of this instance once no unit is on it.
    pub async fn remove_network_if_unused(&self) -> Result<(), TargetError> {
        let name = network_name(&self.instance);
        if !self.taken_addresses().await?.is_empty() {
            return Ok(());
        }
        for network in self.networks().await?.iter().filter(|network| self.is_ours(network, &name))
        {
            let Some(id) = network.id.as_deref() else { continue };
            match call(CALL, "remove network", self.docker.remove_network(id)).await {
                Ok(()) => {}
                // 403: somebody has connected a container; it is theirs now.
                Err(error) if matches!(error.status, Some(403 | 404 | 409)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(in crate::target) async fn networks(&self) -> Result<Vec<Network>, TargetError> {
        let listing = self.docker.list_networks(None::<ListNetworksOptions>);
        Ok(call(CALL, "list networks", listing).await?)
    }

    /// Of several, which only two processes at once can make, all take the same.
    fn own_network(&self, networks: &[Network], name: &str) -> Option<UnitNetwork> {
        let ours = networks.iter().filter(|network| self.is_ours(network, name));
        let (third, id) = ours
            .flat_map(|network| {
                let id = network.id.clone().unwrap_or_default();
                subnets(network).into_iter().map(move |(address, _)| (address.octets(), id.clone()))
            })
            .filter(|(octets, _)| octets[..2] == RANGE)
            .map(|(octets, id)| (octets[2], id))
            .min()?;
        Some(UnitNetwork { name: name.to_owned(), id, third })
    }

    fn is_ours(&self, network: &Network, name: &str) -> bool {
        let labels = network.labels.as_ref();
        let label = |key| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        network.name.as_deref() == Some(name)
            && label(INSTANCE) == Some(&self.instance)
            && label(KIND) == Some("network")
    }

    fn network_body(&self, name: &str, third: u8) -> NetworkCreateRequest {
        let prefix = format!("{}.{}.{third}", RANGE[0], RANGE[1]);
        NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(format!("{prefix}.0/24")),
                    gateway: Some(format!("{prefix}.1")),
                    ip_range: Some(format!("{prefix}.248/29")),
                    ..Default::default()
                }]),
                ..Default::default()
            }),
            labels: Some(HashMap::from([
                (INSTANCE.to_owned(), self.instance.clone()),
                (KIND.to_owned(), "network".to_owned()),
            ])),
            ..Default::default()
        }
    }
}

/// Returns `shipline-<short>`, where the short form of an instance is, as with
/// every id, its last eight characters.
pub(super) fn network_name(instance: &str) -> String {
    let letters: Vec<char> = instance.chars().filter(char::is_ascii_alphanumeric).collect();
    let short: String = letters[letters.len().saturating_sub(8)..].iter().collect();
    format!("shipline-{short}")
}

/// Returns the third byte of the first /24 that overlaps with no network.
fn free_third(networks: &[Network], refused: &BTreeSet<u8>) -> Option<u8> {
    let taken: Vec<_> = networks.iter().flat_map(subnets).collect();
    (0..=u8::MAX).filter(|third| !refused.contains(third)).find(|third| {
        let candidate = Ipv4Addr::new(RANGE[0], RANGE[1], *third, 0);
        !taken.iter().any(|taken| overlap(*taken, (candidate, 24)))
    })
}

fn subnets(network: &Network) -> Vec<(Ipv4Addr, u8)> {
    let config = network.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    let subnet = |config: &IpamConfig| {
        let (address, bits) = config.subnet.as_deref()?.split_once('/')?;
        Some((address.parse().ok()?, bits.parse().ok().filter(|bits| *bits <= 32)?))
    };
    config.into_iter().flatten().filter_map(subnet).collect()
}

fn overlap(a: (Ipv4Addr, u8), b: (Ipv4Addr, u8)) -> bool {
    let bits = a.1.min(b.1);
    let prefix = |address: Ipv4Addr| u64::from(address.to_bits()) >> (32 - bits);
    prefix(a.0) == prefix(b.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnet: &str) -> Network {
        let config = IpamConfig { subnet: Some(subnet.to_owned()), ..Default::default() };
        let ipam = Ipam { config: Some(vec![config]), ..Default::default() };
        Network { ipam: Some(ipam), ..Default::default() }
    }

    #[test]
    fn a_free_network_overlaps_with_none() {
        let none = BTreeSet::new();
        assert_eq!(free_third(&[], &none), Some(0));
        assert_eq!(
            free_third(&[network("172.17.0.0/16"), network("10.214.0.0/24")], &none),
            Some(1)
        );
        assert_eq!(free_third(&[network("10.214.0.0/20")], &none), Some(16));
        assert_eq!(free_third(&[network("10.214.0.128/25"), network("fd00::/64")], &none), Some(1));
        assert_eq!(free_third(&[], &BTreeSet::from([0, 1])), Some(2));
        assert_eq!(free_third(&[network("10.0.0.0/8")], &none), None);
        assert_eq!(free_third(&[network("0.0.0.0/0")], &none), None);
    }

    #[test]
    fn addresses_are_allotted_from_the_first_free_one() {
        let network = UnitNetwork { name: "shipline-x".to_owned(), id: "1".to_owned(), third: 7 };
        let address = |last| Ipv4Addr::new(10, 214, 7, last);
        let free = |taken: &[u8]| network.free_address(taken.iter().map(|last| address(*last)));
        assert_eq!(free(&[]).ok(), Some(address(2)));
        assert_eq!(free(&[2, 3, 5]).ok(), Some(address(4)));
        let all: Vec<u8> = UNITS.collect();
        assert!(free(&all).is_err());
    }

    #[test]
    fn a_network_is_named_by_the_end_of_the_instance() {
        assert_eq!(network_name("019a2b3c-0000-7000-8000-0123456789ab"), "shipline-456789ab");
        assert_eq!(network_name("demo"), "shipline-demo");
    }
}
