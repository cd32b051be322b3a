//! What goes wrong between the engine and a host: each with a cause and what to do.

use std::time::Duration;

use crate::{Check, Finding, TargetError};

/// Codes of the script.
pub(super) const FENCED: i32 = 20;
pub(super) const IN_THE_WAY: i32 = 21;
pub(super) const HOOK_FAILED: i32 = 22;
pub(super) const NOT_THERE: i32 = 23;
pub(super) const NOT_AS_IT_WAS: i32 = 24;
pub(super) const IN_TRAFFIC: i32 = 25;
pub(super) const LEASED: i32 = 26;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody answers there.
    Unreachable(String),
    /// The connection was there and is gone.
    Lost(String),
    Late {
        what: String,
        deadline: Duration,
    },
    /// Another key than the one that is pinned.
    KeyChanged,
    KeyUnknown,
    /// Who we are is not enough.
    Denied,
    /// Of this machine: a file of the configuration, the client.
    Setup(String),
    Full(String),
    Fenced(String),
    InTheWay(String),
    /// Its last line tells the code; those before it are what the hook wrote.
    Hook(String),
    NotThere(String),
    NotAsItWas(String),
    InTraffic(String),
    /// Whose the lease is, and since when.
    Leased(String),
    Failed(String),
}

impl Trouble {
    /// Whether a host is merely away, which a deployment may tolerate; all else is for
    /// somebody to look at.
    pub(super) const fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Lost(_) | Self::Late { .. })
    }

    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Unreachable(why) => format!("it cannot be reached: {why}"),
            Self::Lost(why) if why.is_empty() => "the connection was lost".to_owned(),
            Self::Lost(why) => format!("the connection was lost: {why}"),
            Self::Late { what, deadline } => {
                format!("`{what}` was not done within {} s", deadline.as_secs())
            }
            Self::KeyChanged => "its key has changed: it is another machine, was installed \
                                 anew, or somebody is in between"
                .to_owned(),
            Self::KeyUnknown => "its key is not known".to_owned(),
            Self::Denied => "it does not take our key: permission denied".to_owned(),
            Self::Full(why) => format!("no space is left there: {why}"),
            Self::Setup(why)
            | Self::Fenced(why)
            | Self::InTheWay(why)
            | Self::Hook(why)
            | Self::NotThere(why)
            | Self::NotAsItWas(why)
            | Self::InTraffic(why)
            | Self::Leased(why)
            | Self::Failed(why) => why.clone(),
        }
    }

    pub(crate) const fn fix(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable(_) | Self::Lost(_) | Self::Late { .. } => {
                "look whether it runs, and whether its address is right"
            }
            Self::KeyChanged => {
                "find out why; only if it is right, remove the old key from the list of known \
                 hosts and add the new one"
            }
            Self::KeyUnknown => {
                "compare its key, then add it to the list of known hosts with `ssh-keyscan`"
            }
            Self::Denied => "add the public key to `authorized_keys` of the user there",
            Self::Full(_) => "make room there",
            Self::InTheWay(_) => "move it away, then deploy again",
            Self::Setup(_)
            | Self::Fenced(_)
            | Self::Hook(_)
            | Self::NotThere(_)
            | Self::NotAsItWas(_)
            | Self::InTraffic(_)
            | Self::Leased(_)
            | Self::Failed(_) => return None,
        })
    }

    /// As a finding of a check before any change.
    pub(super) fn finding(&self, host: &str) -> Finding {
        let check = match self {
            Self::Full(_) => Check::Disk,
            Self::InTheWay(_) => Check::Current,
            _ => Check::Host,
        };
        let fix = self.fix().unwrap_or("look at the host, then deploy again");
        check.finding(format!("host {host}: {}", self.cause()), fix)
    }

    /// As an error of a call.
    pub(super) fn error(&self, host: &str) -> TargetError {
        let part = format!("host {host}");
        match self {
            Self::Fenced(by) => TargetError::Fenced(format!("{part}: {by}")),
            _ => {
                let fix = self.fix().map(|fix| format!("; {fix}")).unwrap_or_default();
                let message = format!("{}{fix}", self.cause());
                TargetError::Infrastructure { part, message }
            }
        }
    }
}

/// What the words of the SSH client mean.
pub(super) fn meaning(said: &str) -> Trouble {
    let has = |word: &str| said.contains(word);
    if has("IDENTIFICATION HAS CHANGED") {
        return Trouble::KeyChanged;
    }
    if has("Host key verification failed") || has("host key is known") {
        return Trouble::KeyUnknown;
    }
    if has("Permission denied (") || has("Too many authentication failures") {
        return Trouble::Denied;
    }
    Trouble::Unreachable(said.lines().last().unwrap_or(said).trim().to_owned())
}

/// What the end of a verb means; `None` where it ended well.
pub(super) fn trouble_of(code: i32, said: &str) -> Option<Trouble> {
    let said = said.trim();
    let last = said.lines().last().unwrap_or("it said nothing").to_owned();
    Some(match code {
        0 => return None,
        FENCED => Trouble::Fenced(last),
        IN_THE_WAY => Trouble::InTheWay(last),
        HOOK_FAILED => Trouble::Hook(said.to_owned()),
        NOT_THERE => Trouble::NotThere(last),
        IN_TRAFFIC => Trouble::InTraffic(last),
        LEASED => Trouble::Leased(last),
        _ => match said.lines().find(|line| line.contains("No space left on device")) {
            Some(line) => Trouble::Full(line.to_owned()),
            None if code == NOT_AS_IT_WAS => Trouble::NotAsItWas(last),
            None => Trouble::Failed(last),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says_has_a_name() {
        let changed = "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n\
                       Host key verification failed.";
        assert_eq!(meaning(changed), Trouble::KeyChanged);
        let unknown = "No ED25519 host key is known for web-1 and you have requested strict \
                       checking.\r\nHost key verification failed.";
        assert_eq!(meaning(unknown), Trouble::KeyUnknown);
        assert_eq!(meaning("ann@web-1: Permission denied (publickey)."), Trouble::Denied);
        let refused = "connect to host web-1 port 22: Connection refused";
        assert_eq!(meaning(refused), Trouble::Unreachable(refused.to_owned()));
        assert!(meaning(refused).is_away() && !Trouble::KeyChanged.is_away());
    }

    #[test]
    fn an_error_names_the_host_and_what_to_do() {
        let error = Trouble::KeyUnknown.error("web-1").to_string();
        assert_eq!(
            error,
            "host web-1: its key is not known; compare its key, then add it to the list of \
             known hosts with `ssh-keyscan`"
        );
    }

    #[test]
    fn a_full_disk_is_found_in_the_words_of_any_tool() {
        let said = "tar: ./a: Cannot write: No space left on device\ntar: Exiting\n";
        let line = "tar: ./a: Cannot write: No space left on device".to_owned();
        assert_eq!(trouble_of(2, said), Some(Trouble::Full(line)));
        assert_eq!(trouble_of(2, ""), Some(Trouble::Failed("it said nothing".to_owned())));
        assert_eq!(trouble_of(0, "whatever"), None);
    }
}
