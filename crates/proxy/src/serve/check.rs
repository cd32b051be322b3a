//! What a route may say, checked once where it comes in.

use std::net::SocketAddr;

use super::state::Saved;
use crate::control::{LeaseRequest, Page, RouteMatch, RouteOptions, Target};

const LONGEST_NAME: usize = 128;
const MOST_TARGETS: usize = 1000;
const HEAVIEST: u32 = 1_000_000;
const LONGEST_HOLDER: usize = 256;
const LONGEST_REASON: usize = 1024;
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=30 * 24 * 3600 * 1000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error("`{name}` is no name: use up to {LONGEST_NAME} letters, digits, `-`, `_` and `.`")]
    Name { name: String },
    #[error("`match` is empty: name at least a host and a path, such as `*` and `/`")]
    NoMatch,
    #[error("host `{host}` is neither `*` nor a host name without port")]
    Host { host: String },
    #[error("path `{path}` is no path prefix: it begins with `/` and has no `?`, `#` or spaces")]
    Path { path: String },
    #[error("host `{host}` with path `{path}` is there twice")]
    MatchTwice { host: String, path: String },
    #[error("host `{host}` with path `{path}` belongs to route `{route}`")]
    Taken { host: String, path: String, route: String },
    #[error("{count} targets are more than {MOST_TARGETS}")]
    TooManyTargets { count: usize },
    #[error("a target has no unit")]
    NoUnit,
    #[error("unit `{unit}` is there twice")]
    UnitTwice { unit: String },
    #[error("unit `{unit}` has no release")]
    NoRelease { unit: String },
    #[error("address `{address}` of unit `{unit}` is not an IP address with a port")]
    Address { unit: String, address: String },
    #[error("weight {weight} of unit `{unit}` is more than {HEAVIEST}")]
    Weight { unit: String, weight: u32 },
    #[error("status {status} is no status of an error page: use 400 to 599")]
    PageStatus { status: u16 },
    #[error("`{lease}` is no lease: name a project and an environment as `PROJECT/ENVIRONMENT`")]
    Lease { lease: String },
    #[error("a holder of a lease has a name of 1 to {LONGEST_HOLDER} printable bytes")]
    Holder,
    #[error("a key of a lease has 1 to {LONGEST_HOLDER} bytes")]
    Key,
    #[error("a reason of {length} bytes is longer than {LONGEST_REASON}")]
    Reason { length: usize },
    #[error("a lease of {ttl_ms} ms is not between 1 second and 30 days")]
    LeaseTime { ttl_ms: u64 },
}

pub fn check_name(name: &str) -> Result<(), CheckError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(CheckError::Name { name: name.to_owned() })
}

pub fn check_route(matches: &[RouteMatch], targets: &[Target]) -> Result<(), CheckError> {
    if matches.is_empty() {
        return Err(CheckError::NoMatch);
    }
    for (index, entry) in matches.iter().enumerate() {
        check_match(entry)?;
        if matches[..index].iter().any(|other| same(entry, other)) {
            let RouteMatch { host, path } = entry.clone();
            return Err(CheckError::MatchTwice { host, path });
        }
    }
    if targets.len() > MOST_TARGETS {
        let count = targets.len();
        return Err(CheckError::TooManyTargets { count });
    }
    for (index, target) in targets.iter().enumerate() {
        check_target(target)?;
        if targets[..index].iter().any(|other| other.unit == target.unit) {
            let unit = target.unit.clone();
            return Err(CheckError::UnitTwice { unit });
        }
    }
    Ok(())
}

/// Two routes for one host and path would share its requests by chance.
pub fn check_taken(name: &str, matches: &[RouteMatch], saved: &Saved) -> Result<(), CheckError> {
    for (other, route) in &saved.routes {
        if other == name {
            continue;
        }
        let taken = |entry: &&RouteMatch| route.matches.iter().any(|of| same(entry, of));
        if let Some(RouteMatch { host, path }) = matches.iter().find(taken).cloned() {
            let route = other.clone();
            return Err(CheckError::Taken { host, path, route });
        }
    }
    Ok(())
}

pub fn check_page(page: &Page) -> Result<(), CheckError> {
    if (400..600).contains(&page.status) {
        return Ok(());
    }
    let status = page.status;
    Err(CheckError::PageStatus { status })
}

pub fn check_options(options: &RouteOptions) -> Result<(), CheckError> {
    let Some(lease) = &options.lease else {
        return Ok(());
    };
    match lease.split_once('/') {
        Some((project, environment)) => {
            check_name(project)?;
            check_name(environment)
        }
        None => Err(CheckError::Lease { lease: lease.clone() }),
    }
}

pub fn check_lease(request: &LeaseRequest) -> Result<(), CheckError> {
    let LeaseRequest { holder, key, ttl_ms, reason, .. } = request;
    if key.as_ref().is_some_and(|key| !(1..=LONGEST_HOLDER).contains(&key.len())) {
        return Err(CheckError::Key);
    }
    if !(1..=LONGEST_HOLDER).contains(&holder.len()) || holder.chars().any(char::is_control) {
        return Err(CheckError::Holder);
    }
    if reason.len() > LONGEST_REASON {
        return Err(CheckError::Reason { length: reason.len() });
    }
    if !LEASE_MS.contains(ttl_ms) {
        return Err(CheckError::LeaseTime { ttl_ms: *ttl_ms });
    }
    Ok(())
}

fn check_match(RouteMatch { host, path }: &RouteMatch) -> Result<(), CheckError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // An IPv6 address stands in brackets, as in the `Host` header.
    let address = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let named = !host.is_empty() && !host.ends_with('.') && host.bytes().all(good);
    if host != "*" && !named && !address(host) {
        let host = host.clone();
        return Err(CheckError::Host { host });
    }
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    if !path.starts_with('/') || !path.bytes().all(good) {
        let path = path.clone();
        return Err(CheckError::Path { path });
    }
    Ok(())
}

fn check_target(target: &Target) -> Result<(), CheckError> {
    let unit = target.unit.clone();
    if unit.is_empty() {
        return Err(CheckError::NoUnit);
    }
    if target.release.is_empty() {
        return Err(CheckError::NoRelease { unit });
    }
    // No names: what a name resolves to may be a stranger by the time of the request.
    match target.address.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => {}
        _ => {
            let address = target.address.clone();
            return Err(CheckError::Address { unit, address });
        }
    }
    if target.weight > HEAVIEST {
        let weight = target.weight;
        return Err(CheckError::Weight { unit, weight });
    }
    Ok(())
}

/// `/api` and `/api/` are the same prefix, and hosts know no case.
fn same(one: &RouteMatch, other: &RouteMatch) -> bool {
    one.host.eq_ignore_ascii_case(&other.host)
        && one.path.trim_end_matches('/') == other.path.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matches: &[(&str, &str)], targets: &[(&str, &str, &str, u32)]) -> String {
        let matches: Vec<RouteMatch> = matches
            .iter()
            .map(|(host, path)| RouteMatch { host: (*host).to_owned(), path: (*path).to_owned() })
            .collect();
        let targets: Vec<Target> = targets
            .iter()
            .map(|(unit, address, release, weight)| Target {
                unit: (*unit).to_owned(),
                address: (*address).to_owned(),
                release: (*release).to_owned(),
                weight: *weight,
            })
            .collect();
        match check_route(&matches, &targets) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn good_routes_pass() {
        let target = ("web-0", "172.30.0.7:8080", "r1", 100);
        assert_eq!(check(&[("*", "/")], &[]), "ok");
        assert_eq!(check(&[("*", "/")], &[target]), "ok");
        assert_eq!(
            check(
                &[("shop.example.com", "/"), ("shop.example.com", "/api"), ("[::1]", "/")],
                &[target, ("web-1", "[fd00::1]:80", "r2", 0)]
            ),
            "ok"
        );
    }

    #[test]
    fn each_mistake_is_said_in_its_own_words() {
        let every = [("*", "/")];
        let cases = [
            (
                check(&[], &[]),
                "`match` is empty: name at least a host and a path, such as `*` and `/`",
            ),
            (
                check(&[("shop:8080", "/")], &[]),
                "host `shop:8080` is neither `*` nor a host name without port",
            ),
            (
                check(&[("*", "api")], &[]),
                "path `api` is no path prefix: it begins with `/` and has no `?`, `#` or spaces",
            ),
            (
                check(&[("Shop", "/api"), ("shop", "/api/")], &[]),
                "host `shop` with path `/api/` is there twice",
            ),
            (check(&every, &[("", "127.0.0.1:80", "r", 1)]), "a target has no unit"),
            (
                check(&every, &[("web-0", "localhost:80", "r", 1)]),
                "address `localhost:80` of unit `web-0` is not an IP address with a port",
            ),
            (
                check(&every, &[("web-0", "127.0.0.1:0", "r", 1)]),
                "address `127.0.0.1:0` of unit `web-0` is not an IP address with a port",
            ),
            (check(&every, &[("web-0", "127.0.0.1:80", "", 1)]), "unit `web-0` has no release"),
            (
                check(&every, &[("web-0", "127.0.0.1:80", "r", 2_000_000)]),
                "weight 2000000 of unit `web-0` is more than 1000000",
            ),
            (
                check(
                    &every,
                    &[("web-0", "127.0.0.1:80", "r", 1), ("web-0", "127.0.0.1:81", "r", 1)],
                ),
                "unit `web-0` is there twice",
            ),
        ];
        for (said, expected) in cases {
            assert_eq!(said, expected);
        }
        assert!(check_name("web-prod").is_ok());
        for name in ["", "web/prod", "web prod", "ü", &"w".repeat(129)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
