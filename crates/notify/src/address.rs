//! Mail addresses, as narrow as people use them.
//!
//! An [`Address`] cannot carry a line break, a bracket or a second address, so
//! nothing that is sent to one can become a command or a header of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a mail address", .0.escape_debug())]
pub struct AddressError(String);

impl Address {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let valid = text.len() <= 254
            && text
                .split_once('@')
                .is_some_and(|(local, domain)| is_local(local) && is_domain(domain));
        match valid {
            true => Ok(Self(text.to_owned())),
            false => Err(AddressError(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The dot-atom of RFC 5322; quoted local parts are not used by people.
fn is_local(local: &str) -> bool {
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.len() <= 64 && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 253 && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_people_use_are_accepted() {
        for text in [
            "team@example.net",
            "first.last+ci@mail.example.co.uk",
            "root@localhost",
            "o'neil@example.net",
            "x@xn--bcher-kva.example",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn what_could_become_a_command_or_a_header_is_not_an_address() {
        for text in [
            "",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@b, c@d",
            "Team <team@example.net>",
            "<a@b>",
            "\"a b\"@c",
            ".a@b",
            "a..b@c",
            "a@-b",
            "a@b..c",
            "a@b>\r\nRCPT TO:<x@y>",
            "a@b\r\nBcc: x@y",
            "a@b\n",
            "a@b\0",
            "ä@b",
            "a@b\u{202e}c",
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(!error.to_string().contains(['\r', '\n', '\0']), "{error}");
            let json = serde_json::Value::from(text);
            serde_json::from_value::<Address>(json).expect_err("refused from the outbox, too");
        }
        format!("{}@b", "a".repeat(65)).parse::<Address>().expect_err("too long");
        format!("a@{}b", "b.".repeat(200)).parse::<Address>().expect_err("too long");
    }
}
