//! The steps of a unit on its host, and its traffic.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use proxy::control::Target as RouteTarget;

use super::connection::{Host, Input};
use super::profile::Hooks;
use super::trouble::Trouble;
use super::unit::{UnitFile, UnitView};
use super::{HOOK, HostsTarget, done, infrastructure, key_of, quoted};
use crate::switch::Member;
use crate::target::process::artifact_name;
use crate::{Op, OpOutcome, Spec, TargetError, UnitId, UnitState};

impl HostsTarget {
    /// Writes a unit down on its host; one that is there and made as wanted is adopted.
    pub(super) async fn create(
        &self,
        there: Option<&UnitView>,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if let Some(there) = there {
            if there.file.spec == spec.unit_hash() {
                return Ok(done("is already there"));
            }
            self.remove(there, spec, fence).await?;
        }
        let staged = self.staged(spec, op).await?;
        let host = self.host(op.slot)?;
        let file = UnitFile {
            instance: self.instance.clone(),
            kind: "unit".to_owned(),
            project: spec.project.clone(),
            env: spec.environment.clone(),
            slot: op.slot,
            release: spec.release,
            deploy: op.deployment,
            fence,
            spec: spec.unit_hash(),
            artifact: artifact_name(&spec.artifact),
            port: spec.expose.as_ref().map(|expose| expose.port),
            traffic: host.access.traffic,
            hooks: Hooks::of(spec),
            keep_warm: spec.unit.keep_warm,
        };
        let mut variables = staged.placed.variables.clone();
        variables.extend(spec.env.clone());
        variables.extend(host.access.env.clone());
        variables.insert("SHIPLINE_HOST".to_owned(), host.access.name.clone());
        variables
            .insert("SHIPLINE_GROUP".to_owned(), host.access.group.clone().unwrap_or_default());
        variables.insert("SHIPLINE_RELEASE".to_owned(), spec.release.to_string());
        let text = serde_json::to_string(&file).unwrap_or_default();
        let input = Input::Text(format!("{text}\n{}", written(&variables)).into_bytes());
        let release = spec.release.to_string();
        self.tell(host, spec, "create", fence, &op.unit, &[&release], &input).await?;
        Ok(done(host.access.name.clone()))
    }

    /// Switches a host to the release of a unit, and brings its service up.
    pub(super) async fn start(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let (host, id, hook) = (&unit.host, &unit.seen.unit, &unit.file.hooks.start);
        let cleared = self.clear(unit, spec, fence).await?;
        let hooks = [&**hook];
        let starting = host.told(spec, "start", fence, id, &hooks, &Input::Nothing, HOOK);
        match self.kept_out(unit, true, spec, fence, starting).await {
            Ok(said) if said.trim() == "already" => Ok(done("runs already")),
            Ok(_) => Ok(done(format!("{}: current{cleared}", host.access.name))),
            // What the release made of it is no fault of the host.
            Err(Trouble::Hook(said)) => Ok(unhealthy(&host.access.name, &said)),
            Err(trouble) => Err(trouble.error(&host.access.name)),
        }
    }

    /// Ends the service of a unit that no request is routed to.
    pub(super) async fn stop(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        let (id, hooks) = (&unit.seen.unit, [&*unit.file.hooks.stop]);
        let stopping = self.tell(&unit.host, spec, "stop", fence, id, &hooks, &Input::Nothing);
        self.kept_out(unit, false, spec, fence, stopping).await?;
        Ok(done("stopped"))
    }

    pub(super) async fn remove(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.take_away(unit, spec, fence).await.map(|_| done("removed"))
    }

    /// Removes a unit, and returns what its host says of it.
    pub(super) async fn take_away(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<String, TargetError> {
        if !self.empty_behind(unit, spec, fence).await? {
            self.confirm_out(unit, spec, fence).await?;
            if let Some(port) = unit.file.routed() {
                // Requests that it still has in flight.
                self.drain_routed(unit, port, spec, fence).await?;
            }
        }
        let (host, id, hooks) = (&unit.host, &unit.seen.unit, [&*unit.file.hooks.stop]);
        let removing = host.told(spec, "remove", fence, id, &hooks, &Input::Nothing, HOOK);
        let said = self.kept_out(unit, false, spec, fence, removing).await;
        said.map_err(|trouble| trouble.error(&host.access.name))
    }

    /// Routes to `unit` in place of the one it replaces. Without `expose` a mark on the
    /// host says which unit is the slot's current one.
    pub(super) async fn admit(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let id = &unit.seen.unit;
        if unit.seen.state != UnitState::Running {
            return Err(infrastructure(format!("{id} does not run")));
        }
        if let Some(admitted) = self.admit_behind(unit, op, spec, fence).await? {
            return Ok(admitted);
        }
        let Some(port) = unit.file.routed() else {
            self.tell(&unit.host, spec, "admit", fence, id, &[], &Input::Nothing).await?;
            return Ok(done(""));
        };
        let ip = unit.host.address().await;
        let ip = ip.map_err(|trouble| trouble.error(&unit.host.access.name))?;
        let _alone = self.traffic.alone().await;
        let units = self.units(&key_of(spec)).await?;
        let target = RouteTarget {
            unit: id.0.clone(),
            address: SocketAddr::new(ip, port).to_string(),
            release: unit.seen.release.to_string(),
            weight: 100,
        };
        let known = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
        self.traffic.admit(spec, target, op.replaces.as_ref(), known, fence).await?;
        Ok(done(""))
    }

    /// Gives the slot back to the unit that `op` replaced, if that one runs.
    pub(super) async fn undo_admit(
        &self,
        unit: &UnitView,
        units: &[UnitView],
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let replaced = units.iter().find(|known| Some(&known.seen.unit) == op.replaces.as_ref());
        match replaced.filter(|replaced| replaced.seen.state == UnitState::Running) {
            Some(replaced) => {
                let back = Op {
                    unit: replaced.seen.unit.clone(),
                    replaces: Some(op.unit.clone()),
                    ..op.clone()
                };
                self.admit(replaced, &back, spec, fence).await
            }
            None => self.drain(unit, spec, fence).await,
        }
    }

    pub(super) async fn drain(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if let Some(drained) = self.drain_behind(unit, spec, fence).await? {
            return Ok(drained);
        }
        if let Some(port) = unit.file.routed() {
            return self.drain_routed(unit, port, spec, fence).await;
        }
        self.tell(&unit.host, spec, "drain", fence, &unit.seen.unit, &[], &Input::Nothing).await?;
        Ok(done("no route"))
    }

    /// Drains a unit behind the proxy, which asks for no address.
    async fn drain_routed(
        &self,
        unit: &UnitView,
        port: u16,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let (unit, name) = (unit.seen.unit.clone(), unit.host.access.name.clone());
        self.traffic.drain(&Member { unit, address, name }, spec, fence).await
    }

    pub(super) async fn confirm_out(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        if unit.file.routed().is_some() && !self.is_out_behind(unit, spec).await? {
            self.traffic.confirm_out(&spec.route(), &unit.seen.unit, fence).await?;
        }
        if unit.seen.admitted {
            return Err(infrastructure(format!("{} still gets traffic", unit.seen.unit)));
        }
        Ok(())
    }

    /// A change of one unit, under the fence.
    pub(super) async fn tell(
        &self,
        host: &Host,
        spec: &Spec,
        verb: &str,
        fence: u64,
        unit: &UnitId,
        more: &[&str],
        input: &Input,
    ) -> Result<(), TargetError> {
        let told = host.told(spec, verb, fence, unit, more, input, HOOK).await;
        told.map(drop).map_err(|trouble| trouble.error(&host.access.name))
    }
}

impl Host {
    async fn told(
        &self,
        spec: &Spec,
        verb: &str,
        fence: u64,
        unit: &UnitId,
        more: &[&str],
        input: &Input,
        deadline: std::time::Duration,
    ) -> Result<String, Trouble> {
        let fence = fence.to_string();
        let arguments: Vec<_> =
            [&*fence, &*unit.0].into_iter().chain(more.iter().copied()).collect();
        self.call(&self.root(&spec.project), verb, &arguments, input, deadline).await
    }
}

fn unhealthy(host: &str, said: &str) -> OpOutcome {
    let mut lines: Vec<_> = said.lines().map(str::to_owned).collect();
    let how = lines.pop().unwrap_or_default();
    OpOutcome::Unhealthy { reason: format!("host {host}: {how}"), logs: lines }
}

/// Variables as a shell and the service manager read them.
fn written(variables: &BTreeMap<String, String>) -> String {
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let named = variables.iter().filter(|(name, _)| !name.is_empty() && is_name(name));
    named.map(|(name, value)| format!("{name}={}\n", quoted(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes() {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let variables =
            BTreeMap::from([of("A", "it's; $(x)"), of("b c", "1"), of("2", "1"), of("D", "")]);
        assert_eq!(written(&variables), "A='it'\\''s; $(x)'\nD=''\n");
    }
}
