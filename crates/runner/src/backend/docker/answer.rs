//! Whose fault it is when a registry does not do what was asked.

/// Whose fault an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not there, or not for us: the user's.
    Refused,
    /// May be better next time.
    Passing,
    /// Its certificate or protocol is wrong, and will be next time.
    Untrusted,
}

/// Judges by the engine's words, since it gives most failures of a registry as its
/// own 500.
pub(super) fn judge(said: &str, status: Option<u16>) -> Answer {
    const UNTRUSTED: [&str; 2] = ["x509:", "server gave HTTP response to HTTPS client"];
    const REFUSED: [&str; 13] = [
        "unauthorized",
        "denied",
        "authentication required",
        "incorrect username or password",
        "no basic auth",
        "forbidden",
        "not found",
        "unknown: manifest",
        "manifest unknown",
        "name unknown",
        "does not exist",
        "no matching manifest",
        "invalid reference format",
    ];
    let lower = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(&word.to_ascii_lowercase()));
    if has(&UNTRUSTED) {
        Answer::Untrusted
    } else if is_passing(said) {
        Answer::Passing
    } else if has(&REFUSED) || matches!(status, Some(400 | 401 | 403 | 404)) {
        Answer::Refused
    } else {
        Answer::Passing
    }
}

/// Says whether the words are those of a network or registry that may recover.
pub(super) fn is_passing(said: &str) -> bool {
    const PASSING: [&str; 17] = [
        "toomanyrequests",
        "too many requests",
        "rate limit",
        "no such host",
        "server misbehaving",
        "connection refused",
        "connection reset",
        "network is unreachable",
        "no route to host",
        "timeout",
        "deadline exceeded",
        "unexpected eof",
        "500 internal",
        "502 bad gateway",
        "503 service",
        "504 gateway",
        "unexpected http status: 5",
    ];
    let lower = said.to_ascii_lowercase();
    PASSING.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_the_engine_words_them() {
        for (said, expected) in [
            ("manifest for a:1 not found: manifest unknown: manifest unknown", Answer::Refused),
            (
                "pull access denied for a, repository does not exist or may require 'docker login'",
                Answer::Refused,
            ),
            ("Get https://h/v2/: unauthorized: authentication required", Answer::Refused),
            ("no basic auth credentials", Answer::Refused),
            (
                "no matching manifest for linux/arm64/v8 in the manifest list entries",
                Answer::Refused,
            ),
            ("dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: no such host", Answer::Passing),
            ("dial tcp 127.0.0.1:1: connect: connection refused", Answer::Passing),
            ("toomanyrequests: You have reached your pull rate limit", Answer::Passing),
            ("received unexpected HTTP status: 503 Service Unavailable", Answer::Passing),
            ("net/http: TLS handshake timeout", Answer::Passing),
            ("unexpected EOF", Answer::Passing),
            ("x509: certificate signed by unknown authority", Answer::Untrusted),
        ] {
            assert_eq!(judge(said, Some(500)), expected, "{said}");
        }
        assert_eq!(judge("something", Some(404)), Answer::Refused);
        assert_eq!(judge("something", Some(500)), Answer::Passing);
    }
}
