//! Requests of one client to one unit: by a hash, or by a cookie of the proxy's own.
//!
//! Hashes are the same in every process, so that a restart or an upgrade of the
//! proxy moves nobody. Each unit draws a number for the client and the highest
//! one has it (rendezvous hashing, weighted): when a unit leaves, only its own
//! clients move.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::COOKIE;

use super::unit::Unit;
use crate::control::Sticky;

pub const COOKIE_NAME: &str = "shipline-unit";

/// What keeps a request together with others of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bond {
    /// The same number for the same client.
    Hash(u64),
    /// What the client's cookies say, in their order; none yet without one.
    Cookies(Vec<Token>),
}

/// The value of a cookie: a unit and its release, without their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    release: u64,
    unit: u64,
}

impl Bond {
    /// What `sticky` makes of a request; nothing where the request has no such header.
    pub fn of(sticky: &Sticky, client: IpAddr, headers: &HeaderMap) -> Option<Bond> {
        match sticky {
            Sticky::Ip => Some(Bond::Hash(hash(client.to_canonical().to_string().as_bytes()))),
            Sticky::Header(name) => headers.get(name).map(|said| Bond::Hash(hash(said.as_bytes()))),
            Sticky::Cookie => Some(Bond::Cookies(tokens(headers))),
        }
    }
}

impl Token {
    pub fn of(unit: &Unit) -> Token {
        Token { release: hash(unit.release.as_bytes()), unit: hash(unit.name.as_bytes()) }
    }

    pub fn same_release(self, other: Token) -> bool {
        self.release == other.release
    }

    fn read(value: &str) -> Option<Token> {
        let (release, unit) = value.trim().split_once('.')?;
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok();
        Some(Token { release: number(release)?, unit: number(unit)? })
    }

    /// The cookie that binds a client to the unit, for the paths under `prefix`.
    pub fn cookie(self, prefix: &str, secure: bool) -> String {
        let Token { release, unit } = self;
        let path = if prefix.is_empty() { "/" } else { prefix };
        let secure = if secure { "; Secure" } else { "" };
        format!(
            "{COOKIE_NAME}={release:016x}.{unit:016x}; Path={path}; HttpOnly; SameSite=Lax{secure}"
        )
    }
}

/// The number a unit draws for a client: the more it weighs the higher, mostly.
#[expect(clippy::cast_precision_loss, reason = "53 bits of chance are enough")]
pub fn draw(client: u64, unit: Token, weight: u32) -> f64 {
    let chance = mix(client ^ mix(unit.unit));
    // Between 0 and 1, never one of them.
    let chance = ((chance >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / chance.ln()
}

/// Also where a client sends several: those of longer paths come first.
fn tokens(headers: &HeaderMap) -> Vec<Token> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
        .filter_map(Token::read)
        .take(8)
        .collect()
}

/// FNV-1a: short, and the same for ever.
fn hash(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    bytes
        .iter()
        .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Spreads the bits, since numbers that differ by one shall not draw alike.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn unit(name: &str) -> Token {
        Token::of(&Unit::new(name, "127.0.0.1:8080".parse().unwrap(), "r1", Arc::default()))
    }

    fn winner<'a>(client: u64, units: &[(&'a str, u32)]) -> &'a str {
        let drawn = |(name, weight): &(&str, u32)| draw(client, unit(name), *weight);
        units.iter().max_by(|one, other| drawn(one).total_cmp(&drawn(other))).unwrap().0
    }

    #[test]
    fn clients_are_shared_out_by_weight_and_only_those_of_a_unit_that_left_move() {
        let mut units = vec![("a", 100), ("b", 100), ("c", 50)];
        let clients: Vec<u64> = (0..5000).map(|client| hash(&u64::to_le_bytes(client))).collect();
        let before: Vec<String> =
            clients.iter().map(|client| winner(*client, &units).to_owned()).collect();
        let share = |name| before.iter().filter(|unit| *unit == name).count();
        for (name, expected) in [("a", 2000), ("b", 2000), ("c", 1000)] {
            let share = share(name);
            assert!(share.abs_diff(expected) < 200, "{name} has {share} of 5000 clients");
        }
        units.remove(1);
        for (client, was) in clients.iter().zip(&before) {
            if was != "b" {
                assert_eq!(winner(*client, &units), was);
            }
        }
    }

    #[test]
    fn a_cookie_is_read_as_it_was_written_among_others() {
        let token = unit("web-0");
        let cookie = token.cookie("/api", true);
        assert!(cookie.ends_with("; Path=/api; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let value = cookie.split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        let cookies = format!("theme=dark; {COOKIE_NAME}=nonsense; {value};{COOKIE_NAME}s=1.2");
        headers.insert(COOKIE, cookies.parse().unwrap());
        assert_eq!(tokens(&headers), [token]);
        assert!(!cookie.contains("web-0"), "names of units are nobody's business");
    }
}
