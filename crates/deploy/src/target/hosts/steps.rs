//! The steps of a unit on its host, and its traffic.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use proxy::control::Target as RouteTarget;

use super::connection::{Host, Input};
use super::profile::Hooks;
use super::trouble::Trouble;
use super::unit::{UnitFile, UnitView};
use super::{CALL, HOOK, HostsTarget, done, infrastructure, key_of, quoted};
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
                self.drain_routed(&unit.host, &unit.seen.unit, port, spec, fence).await?;
            }
        }
        let (host, id, hooks) = (&unit.host, &unit.seen.unit, [&*unit.file.hooks.stop]);
        let removing = host.told(spec, "remove", fence, id, &hooks, &Input::Nothing, HOOK);
        let said = self.kept_out(unit, false, spec, fence, removing).await;
        said.map_err(|trouble| trouble.error(&host.access.name))
    }

    /// Routes to a unit in place of the one it replaces, and no longer to units of hosts
    /// that are away. Without `expose` a mark on the host says which unit is the slot's
    /// current one.
    pub(super) async fn admit(
        &self,
        id: &UnitId,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let asked = Instant::now();
        // Those that are asked at the same time come first, and share one look.
        tokio::task::yield_now().await;
        let (key, host) = (key_of(spec), self.host(op.slot)?);
        let is_routed = |unit: &UnitView| unit.file.routed().is_some();
        let known = self.remembered(op.slot, id);
        if !known.is_some_and(|unit| is_routed(&unit)) {
            let units = self.units_of(host, &key, fence).await?;
            let unit = running(&units, id)?;
            if let Some(admitted) = self.admit_behind(unit, op, spec, fence).await? {
                return Ok(admitted);
            }
            if !is_routed(unit) {
                self.tell(host, spec, "admit", fence, id, &[], &Input::Nothing).await?;
                return Ok(done(""));
            }
        }
        let _alone = self.traffic.alone().await;
        let look = self.look_since(asked, &key, fence).await?;
        look.answers(host)?;
        let (units, unit) = (&look.units, running(&look.units, id)?);
        let ip = unit.host.address().await;
        let ip = ip.map_err(|trouble| trouble.error(&unit.host.access.name))?;
        let port = unit.file.routed().unwrap_or_default();
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
                self.admit(&replaced.seen.unit, &back, spec, fence).await
            }
            None => self.drain(unit, spec, fence).await,
        }
    }

    /// Takes a unit out of traffic, also where its host is away: the switch can be told.
    pub(super) async fn leave(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let host = self.host(op.slot)?;
        let mut known = self.remembered(op.slot, &op.unit);
        if known.is_none() {
            let key = key_of(spec);
            known = match host.look(&spec.project, Some(fence)).await {
                Ok(view) => {
                    let units = self.of_host(host, &key, &view).await;
                    units.into_iter().find(|unit| unit.seen.unit == op.unit)
                }
                Err(trouble) if trouble.is_away() && spec.expose.is_some() => {
                    let port = spec.expose.as_ref().map_or(0, |expose| expose.port);
                    return self.drain_routed(host, &op.unit, port, spec, fence).await;
                }
                Err(trouble) if trouble.is_away() => return Ok(done("its host is away")),
                Err(trouble) => return Err(trouble.error(&host.access.name)),
            };
        }
        match known {
            Some(unit) => self.drain(&unit, spec, fence).await,
            None => Ok(done("is gone")),
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
            return self.drain_routed(&unit.host, &unit.seen.unit, port, spec, fence).await;
        }
        let id = &unit.seen.unit;
        let told = unit.host.told(spec, "drain", fence, id, &[], &Input::Nothing, CALL).await;
        match told {
            Ok(_) => Ok(done("no route")),
            Err(trouble) if trouble.is_away() => Ok(done("its host is away")),
            Err(trouble) => Err(trouble.error(&unit.host.access.name)),
        }
    }

    /// Tells the switch to drain a unit, which it knows by name or by its host's address.
    async fn drain_routed(
        &self,
        host: &Host,
        unit: &UnitId,
        port: u16,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let ip = host.address().await.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (unit, name) = (unit.clone(), host.access.name.clone());
        let member = Member { unit, address: SocketAddr::new(ip, port), name };
        self.traffic.drain(&member, spec, fence).await
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

/// The unit that is to get traffic, which must run.
fn running<'u>(units: &'u [UnitView], id: &UnitId) -> Result<&'u UnitView, TargetError> {
    let unit = units.iter().find(|unit| unit.seen.unit == *id);
    let unit = unit.ok_or_else(|| infrastructure(format!("{id} does not exist")))?;
    match unit.seen.state {
        UnitState::Running => Ok(unit),
        _ => Err(infrastructure(format!("{id} does not run"))),
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
