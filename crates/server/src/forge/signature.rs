//! The signature of a webhook: an HMAC over its time and its body.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far the time of a delivery may be from ours, in both directions.
pub(super) const WINDOW_SECONDS: u64 = 300;
const WINDOW: TimeDelta = TimeDelta::seconds(WINDOW_SECONDS as i64);

/// Why a delivery is refused. Callers are told the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("the delivery is not signed")]
    Missing,
    #[error("the project has no secret, so nothing can be verified")]
    NoSecret,
    #[error("the signature does not match")]
    Mismatch,
    #[error("the delivery is older or newer than 5 minutes")]
    Window,
}

/// Checks `sha256=HEX`, which must be the HMAC-SHA256 of `timestamp "." body`.
///
/// The comparison takes the same time wherever the difference is, and is made
/// also where there is no secret, so that an answer does not tell which.
pub(crate) fn verify(
    secret: Option<&str>,
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(), SignatureError> {
    let secret = secret.filter(|secret| !secret.is_empty());
    let timestamp = timestamp.unwrap_or_default();
    let presented = signature
        .and_then(|signature| signature.strip_prefix("sha256="))
        .and_then(|digits| hex::decode(digits).ok())
        .unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.unwrap_or_default().as_bytes())
        .expect("an HMAC takes a key of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let matches = mac.verify_slice(&presented).is_ok();
    if secret.is_none() {
        return Err(SignatureError::NoSecret);
    }
    if timestamp.is_empty() || signature.is_none() {
        return Err(SignatureError::Missing);
    }
    if !matches {
        return Err(SignatureError::Mismatch);
    }
    let at = timestamp.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    match at {
        Some(at) if (now - at).abs() <= WINDOW => Ok(()),
        _ => Err(SignatureError::Window),
    }
}

/// Signs as a sender does.
#[cfg(test)]
pub(crate) fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_772_000_000;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).expect("in range")
    }

    #[test]
    fn the_signature_is_the_plain_hmac_of_time_dot_body() {
        assert_eq!(sign("Jefe", "1772000000", b"{}"), KNOWN);
        assert_eq!(verify(Some("Jefe"), Some("1772000000"), Some(KNOWN), b"{}", now()), Ok(()));
    }

    // printf '1772000000.{}' | openssl dgst -sha256 -hmac Jefe
    const KNOWN: &str = "sha256=6120621822326c4477c5cbcc2567ac4eaa71bcfb9366d5df830a8ddbdaf496c5";

    #[test]
    fn one_changed_byte_anywhere_is_a_mismatch() {
        let time = NOW.to_string();
        let good = sign("key", &time, b"body");
        let check = |secret, time, signature: &str, body: &[u8]| {
            verify(Some(secret), Some(time), Some(signature), body, now())
        };
        assert_eq!(check("key", &time, &good, b"body"), Ok(()));
        assert_eq!(check("kez", &time, &good, b"body"), Err(SignatureError::Mismatch));
        assert_eq!(check("key", &time, &good, b"bodx"), Err(SignatureError::Mismatch));
        assert_eq!(check("key", "1772000001", &good, b"body"), Err(SignatureError::Mismatch));
        assert_eq!(
            check("key", &time, &good.replace("sha256", "sha1"), b"body"),
            Err(SignatureError::Mismatch)
        );
        assert_eq!(
            check("key", &time, &good[..good.len() - 2], b"body"),
            Err(SignatureError::Mismatch)
        );
        assert_eq!(check("key", &time, "sha256=", b"body"), Err(SignatureError::Mismatch));
    }

    #[test]
    fn without_a_secret_everything_is_refused_even_what_an_empty_key_signs() {
        let time = NOW.to_string();
        let signature = sign("", &time, b"body");
        for secret in [None, Some("")] {
            assert_eq!(
                verify(secret, Some(&time), Some(&signature), b"body", now()),
                Err(SignatureError::NoSecret)
            );
        }
    }

    #[test]
    fn an_unsigned_delivery_is_refused() {
        let signature = sign("key", "", b"body");
        assert_eq!(
            verify(Some("key"), None, Some(&signature), b"body", now()),
            Err(SignatureError::Missing)
        );
        assert_eq!(
            verify(Some("key"), Some("1772000000"), None, b"body", now()),
            Err(SignatureError::Missing)
        );
    }

    #[test]
    fn a_delivery_counts_for_five_minutes_either_way() {
        for (seconds, answer) in [
            (NOW - 300, Ok(())),
            (NOW + 300, Ok(())),
            (NOW - 301, Err(SignatureError::Window)),
            (NOW + 301, Err(SignatureError::Window)),
        ] {
            let time = seconds.to_string();
            let signature = sign("key", &time, b"body");
            assert_eq!(verify(Some("key"), Some(&time), Some(&signature), b"body", now()), answer);
        }
        let signature = sign("key", "yesterday", b"body");
        assert_eq!(
            verify(Some("key"), Some("yesterday"), Some(&signature), b"body", now()),
            Err(SignatureError::Window)
        );
    }
}
