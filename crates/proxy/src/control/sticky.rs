//! What keeps the requests of one client together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Written `cookie`, `ip` or `header:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sticky {
    /// A cookie of the proxy's own names the unit and its release.
    Cookie,
    /// Requests from one address go to one unit.
    Ip,
    /// Requests with one value of this header go to one unit.
    Header(String),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("sticky `{said}` is neither `cookie`, `ip` nor `header:` with the name of a header")]
pub struct StickyError {
    said: String,
}

impl FromStr for Sticky {
    type Err = StickyError;

    fn from_str(said: &str) -> Result<Sticky, StickyError> {
        let token = |name: &str| {
            let good =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !name.is_empty() && name.bytes().all(good)
        };
        match said.split_once(':') {
            None if said == "cookie" => Ok(Sticky::Cookie),
            None if said == "ip" => Ok(Sticky::Ip),
            Some(("header", name)) if token(name) => Ok(Sticky::Header(name.to_ascii_lowercase())),
            _ => Err(StickyError { said: said.to_owned() }),
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sticky::Cookie => formatter.write_str("cookie"),
            Sticky::Ip => formatter.write_str("ip"),
            Sticky::Header(name) => write!(formatter, "header:{name}"),
        }
    }
}

impl TryFrom<String> for Sticky {
    type Error = StickyError;

    fn try_from(said: String) -> Result<Sticky, StickyError> {
        said.parse()
    }
}

impl From<Sticky> for String {
    fn from(sticky: Sticky) -> String {
        sticky.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_are_understood_and_nothing_else() {
        for (said, read) in [("cookie", "cookie"), ("ip", "ip"), ("header:X-User", "header:x-user")]
        {
            assert_eq!(said.parse::<Sticky>().unwrap().to_string(), read);
        }
        for said in ["", "cookies", "header", "header:", "header:a b", "ip:4"] {
            let error = said.parse::<Sticky>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("sticky `{said}` is ")), "{error}");
        }
    }
}
