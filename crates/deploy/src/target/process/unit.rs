//! Units as they are seen, and their traffic.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use proxy::control::Target as RouteTarget;

use super::record::{Root, UnitFile};
use super::system::Process;
use super::{ProcessTarget, blocking, done, infrastructure, key_of};
use crate::switch::Member;
use crate::{EnvironmentKey, ObservedUnit, Op, OpOutcome, Spec, TargetError, UnitId, UnitState};

/// A unit with what only this target knows of it.
#[derive(Clone, Debug)]
pub(in crate::target) struct UnitView {
    pub(super) seen: ObservedUnit,
    pub(super) file: UnitFile,
    pub(super) folder: PathBuf,
    /// The last one it was started as, dead or alive.
    pub(super) process: Option<Process>,
}

impl UnitView {
    pub(super) const fn address(&self) -> SocketAddr {
        address_of(self.file.port)
    }

    /// As a switch knows it.
    pub(super) fn member(&self) -> Member {
        let unit = self.seen.unit.clone();
        Member { name: unit.0.clone(), unit, address: self.address() }
    }

    fn of(root: &Root, unit: UnitId, file: UnitFile) -> Result<Self, TargetError> {
        let folder = root.unit(&unit)?;
        let process = Process::recorded(&folder.join("process"));
        let state = match process {
            None => UnitState::Created,
            Some(process) if process.is_alive() => UnitState::Running,
            Some(_) => UnitState::Exited,
        };
        let address = (state == UnitState::Running).then(|| address_of(file.port));
        let seen = ObservedUnit {
            unit,
            slot: file.slot,
            release: file.release,
            deployment: file.deploy,
            spec: file.spec.clone(),
            state,
            admitted: false,
            address,
            image: file.artifact.clone(),
            fence: file.fence,
        };
        Ok(Self { seen, file, folder, process })
    }
}

const fn address_of(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl ProcessTarget {
    /// Returns the units of an environment, by slot, then name.
    pub(super) async fn units(&self, key: &EnvironmentKey) -> Result<Vec<UnitView>, TargetError> {
        let (root, instance, of) = (self.root.clone(), self.instance.clone(), key.clone());
        let mut units = blocking(move || {
            let ours = |file: &UnitFile| {
                file.instance == instance
                    && file.project == of.project
                    && file.env == of.environment
            };
            let units = root.all()?.into_iter().filter(|(_, file)| ours(file));
            units.map(|(unit, file)| UnitView::of(&root, unit, file)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
        let routed = match units.iter().any(|unit| unit.file.routed) {
            true => {
                let routed = units.iter().filter(|unit| unit.file.routed);
                let members: Vec<_> = routed.map(UnitView::member).collect();
                self.traffic.in_traffic(key, &members).await?
            }
            false => std::collections::BTreeSet::new(),
        };
        for unit in &mut units {
            unit.seen.admitted = match unit.file.routed {
                true => routed.contains(&unit.seen.unit),
                // Without a route, the mark of one that comes back is that of the
                // slot's current unit.
                false => unit.file.comes_back,
            };
        }
        Ok(units)
    }

    /// Returns the environments of this instance that have units here, sorted.
    pub async fn environments(&self) -> Result<Vec<EnvironmentKey>, TargetError> {
        let (root, instance) = (self.root.clone(), self.instance.clone());
        blocking(move || {
            let ours = root.all()?.into_iter().filter(|(_, file)| file.instance == instance);
            let key = |(_, file): (UnitId, UnitFile)| EnvironmentKey {
                project: file.project,
                environment: file.env,
            };
            let keys: std::collections::BTreeSet<_> = ours.map(key).collect();
            Ok(keys.into_iter().collect())
        })
        .await
    }

    /// Reads one unit of this instance, whatever environment it is of.
    pub(super) async fn view(&self, unit: &UnitId) -> Result<Option<UnitView>, TargetError> {
        let (root, instance, unit) = (self.root.clone(), self.instance.clone(), unit.clone());
        blocking(move || match root.read(&unit)? {
            Some(file) if file.instance == instance => UnitView::of(&root, unit, file).map(Some),
            _ => Ok(None),
        })
        .await
    }

    /// Routes to `unit` in place of the one it replaces. Without `expose` the record
    /// alone says which unit is the slot's current one.
    pub(super) async fn admit(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if unit.seen.state != UnitState::Running {
            return Err(infrastructure(format!("{} does not run", op.unit)));
        }
        let _alone = self.traffic.alone().await;
        let units = self.units(&key_of(spec)).await?;
        let target = RouteTarget {
            unit: unit.seen.unit.0.clone(),
            address: unit.address().to_string(),
            release: unit.seen.release.to_string(),
            weight: 100,
        };
        // A unit whose folder somebody removed would be routed to for ever.
        let known = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
        self.traffic.admit(spec, target, op.replaces.as_ref(), known, fence).await?;
        self.set_comes_back(&unit.seen.unit, true, &key_of(spec), fence).await?;
        let replaced = units.iter().find(|known| Some(&known.seen.unit) == op.replaces.as_ref());
        if let Some(replaced) = replaced.filter(|replaced| !replaced.file.routed) {
            self.set_comes_back(&replaced.seen.unit, false, &key_of(spec), fence).await?;
        }
        Ok(done(""))
    }

    pub(super) async fn drain(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if unit.file.routed {
            return self.traffic.drain(&unit.member(), spec, fence).await;
        }
        self.set_comes_back(&unit.seen.unit, false, &key_of(spec), fence).await?;
        Ok(done("no route"))
    }

    pub(super) async fn confirm_out(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        self.traffic.confirm_out(&spec.route(), &unit.seen.unit, fence).await?;
        if unit.seen.admitted {
            return Err(infrastructure(format!("{} still gets traffic", unit.seen.unit)));
        }
        Ok(())
    }

    pub(super) async fn set_comes_back(
        &self,
        unit: &UnitId,
        comes_back: bool,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<(), TargetError> {
        let (root, unit, key) = (self.root.clone(), unit.clone(), key.clone());
        blocking(move || {
            let _alone = root.lock_fence(&key, fence)?;
            match root.read(&unit)? {
                Some(file) if file.comes_back != comes_back => {
                    root.write(&unit, &UnitFile { comes_back, ..file })
                }
                _ => Ok(()),
            }
        })
        .await
    }
}
