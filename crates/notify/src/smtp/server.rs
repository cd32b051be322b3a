//! Where the mail server is, and how it is spoken to.

use std::net::IpAddr;

pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    encrypted: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Whole,
    StartTls,
    IfOffered,
}

impl Server {
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (encrypted, default) = match scheme {
            "smtp" => (false, 587),
            "smtps" => (true, 465),
            _ => return None,
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => match rest.split_once(']')? {
                (host, "") => (host, None),
                (host, port) => (host, Some(port.strip_prefix(':')?)),
            },
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(default), |port| port.parse().ok())?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        Some(Self { host: host.to_owned(), port, encrypted })
    }

    pub(super) fn encryption(&self) -> Encryption {
        let here = self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match (self.encrypted, here) {
            (true, _) => Encryption::Whole,
            (false, false) => Encryption::StartTls,
            (false, true) => Encryption::IfOffered,
        }
    }
}
