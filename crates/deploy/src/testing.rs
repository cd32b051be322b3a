//! A target and a ledger in memory, for tests of this crate and of its users.
//!
//! Both keep the contracts of their traits. The target follows a script of
//! faults, and samples after every effect what traffic it would have served.

mod ledger;
mod target;

pub use ledger::{Hang, MemoryLedger};
pub use target::{Fault, FaultKind, MemoryTarget, Sample};

/// One unit of some release, without configuration.
pub fn spec(project: &str, environment: &str) -> crate::Spec {
    crate::Spec {
        project: project.to_owned(),
        environment: environment.to_owned(),
        release: event::ReleaseId::new(uuid::Uuid::from_u128(1)),
        artifact: crate::Artifact::ImageId("sha256:1".to_owned()),
        replicas: 1,
        expose: None,
        health: None,
        strategy: pipeline::Strategy::default(),
        verify: Vec::new(),
        checks: crate::CheckSettings::default(),
        hosts: Vec::new(),
        env: std::collections::BTreeMap::new(),
        unit: crate::UnitSettings::default(),
    }
}
