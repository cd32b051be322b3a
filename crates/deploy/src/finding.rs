//! Checks before any change, and what they find.
//!
//! All findings of a deployment appear at once, each with its cause and what to do
//! about it. The ids are stable: `docs/preflight.md` lists them.

use event::{Finding, Severity};

/// A check that is made before anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The environment was not stopped on purpose.
    Stopped,
    /// As many units serve, healthy, as the strategy never goes below.
    Capacity,
    /// Somebody can ask the units for their health.
    Health,
    /// The checks of `verify` can be made.
    Verify,
    /// What runs now could be had again, should the way back need it.
    LastGood,
    /// Nobody else has changed what runs since the last deployment.
    ForeignChange,
    /// The artifact is named by its digest.
    Digest,
    /// The artifact can be had where the units are to run.
    Artifact,
    /// There is a proxy to route requests.
    Proxy,
    /// The balancer in front of the units can be reached and knows them.
    Switch,
    /// Nobody else has the requests that `expose` asks for.
    Route,
    /// The target can give units what the stage asks for.
    Setting,
    /// The target has room for the artifact, packed and unpacked.
    Disk,
    /// The engine answers, and speaks a version that is known.
    Engine,
    /// Units can be reached at their addresses.
    Address,
    /// The target's clock and ours agree.
    Clock,
    /// Units run as an ordinary user.
    User,
    /// What a unit may take of its machine is said.
    Limits,
    /// Units listen where an ordinary user may.
    Port,
    /// A host can be reached, and has what it takes.
    Host,
    /// What a host serves is switched by us and nobody else.
    Current,
}

impl Check {
    /// All checks, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::Stopped,
        Self::Capacity,
        Self::Health,
        Self::Verify,
        Self::LastGood,
        Self::ForeignChange,
        Self::Digest,
        Self::Artifact,
        Self::Proxy,
        Self::Switch,
        Self::Route,
        Self::Setting,
        Self::Disk,
        Self::Engine,
        Self::Address,
        Self::Clock,
        Self::User,
        Self::Limits,
        Self::Port,
        Self::Host,
        Self::Current,
    ];

    pub const fn id(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Capacity => "capacity",
            Self::Health => "health",
            Self::Verify => "verify",
            Self::LastGood => "last-good",
            Self::ForeignChange => "foreign-change",
            Self::Digest => "digest",
            Self::Artifact => "artifact",
            Self::Proxy => "proxy",
            Self::Switch => "switch",
            Self::Route => "route",
            Self::Setting => "setting",
            Self::Disk => "disk",
            Self::Engine => "engine",
            Self::Address => "address",
            Self::Clock => "clock",
            Self::User => "user",
            Self::Limits => "limits",
            Self::Port => "port",
            Self::Host => "host",
            Self::Current => "current",
        }
    }

    /// Whether what it finds is told only where policy asks for more than that units work.
    pub(crate) fn is_of_policy(finding: &Finding) -> bool {
        [Self::User, Self::Limits, Self::Port].iter().any(|check| check.id() == finding.id)
    }

    /// Returns what the check found, which ends the deployment before it begins.
    pub fn finding(self, cause: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            id: self.id().to_owned(),
            severity: Severity::Error,
            unit: None,
            cause: cause.into(),
            fix: fix.into(),
        }
    }

    /// As [`Check::finding`], and the deployment goes on.
    pub fn warning(self, cause: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..self.finding(cause, fix) }
    }
}

/// Returns a finding about one unit.
pub(crate) fn about(unit: &crate::UnitId, finding: Finding) -> Finding {
    Finding { unit: Some(unit.0.clone()), ..finding }
}

/// Returns the findings that end a deployment, as one sentence each.
pub(crate) fn errors(findings: &[Finding]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_documented_and_no_other() {
        let text = include_str!("../../../docs/preflight.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let ids: Vec<_> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(rows.collect::<Vec<_>>(), ids);
    }
}
