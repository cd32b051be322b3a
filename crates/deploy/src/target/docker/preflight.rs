//! What can be known before any change: does the engine answer, can it give units
//! what is asked for, is there room, are its units within reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bollard::models::SystemInfo;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::net::TcpStream;

use super::call::call;
use super::create::image_of;
use super::settings::ports_misfit;
use super::{CALL, DockerTarget};
use crate::{Check, Finding, Observed, Spec, TargetError};

/// An image that is yet to be pulled is seldom larger, packed and unpacked.
const ROOM_BYTES: u64 = 2 << 30;
const REACH: Duration = Duration::from_secs(3);
/// How far two clocks may be apart.
const SKEW: TimeDelta = TimeDelta::seconds(30);
/// Ports below this one are for root.
const OF_ROOT: u16 = 1024;

impl DockerTarget {
    pub(super) async fn findings(
        &self,
        spec: &Spec,
        seen: &Observed,
    ) -> Result<Vec<Finding>, TargetError> {
        let asked = Utc::now();
        let info = match call(CALL, "ask the engine", self.docker.info()).await {
            Ok(info) => info,
            Err(error) => {
                let fix = "look whether the engine runs, and whether this user may use it";
                return Ok(vec![Check::Engine.finding(error.message, fix)]);
            }
        };
        let mut findings = Vec::from_iter(skew(&info, asked, Utc::now()));
        let image = self.check_image(spec).await?;
        findings.extend(self.traffic.check(spec, &[]).await?);
        findings.extend(image);
        findings.extend(ports_misfit(spec));
        findings.extend(self.missing_networks(spec).await?);
        findings.extend(too_much(spec, &info));
        if !self.has_image(&spec.artifact).await? {
            findings.extend(self.little_room(&info, seen).await);
        }
        findings.extend(self.out_of_reach(spec).await?);
        findings.extend(self.is_root(spec).await?);
        findings.extend(unlimited(spec));
        findings.extend(low_port(spec));
        Ok(findings)
    }

    /// Looks where the engine keeps its images: on this machine, or on the other side of
    /// SSH. Behind TCP nobody can; that is said once, before there are units that tell
    /// by being there that there was room.
    pub(super) async fn little_room(&self, info: &SystemInfo, seen: &Observed) -> Option<Finding> {
        let folder = info.docker_root_dir.as_deref()?;
        let is_here = self.is_here;
        let free = match &self.tunnel {
            Some(tunnel) => tunnel.free_bytes(folder).await,
            None if is_here => free_bytes(Path::new(folder)),
            None => None,
        };
        match free {
            Some(free) => too_little(folder, free),
            None if !is_here && seen.units.is_empty() => Some(Check::Disk.warning(
                format!("nobody here can say how much room there is for an image in {folder} of the engine"),
                "look there with `df`, or reach the engine by `ssh://`, which can be asked",
            )),
            None => None,
        }
    }

    /// An image that is yet to be pulled is looked at the next time.
    pub(in crate::target) async fn is_root(
        &self,
        spec: &Spec,
    ) -> Result<Option<Finding>, TargetError> {
        if !self.has_image(&spec.artifact).await? {
            return Ok(None);
        }
        let image = image_of(&spec.artifact);
        let found = match call(CALL, "inspect image", self.docker.inspect_image(image)).await {
            Ok(found) => found,
            Err(error) if error.status == Some(404) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let user = found.config.and_then(|config| config.user).unwrap_or_default();
        let name = user.split(':').next().unwrap_or_default();
        Ok(matches!(name, "" | "0" | "root").then(|| {
            Check::User.warning(
                "units run as root: the image names no other user",
                "end its Dockerfile with `USER 10001`, or with a user that it makes",
            )
        }))
    }

    /// Units are asked and routed to at their own addresses, which only the machine of
    /// the engine has. The network's own address there is as near as they are, and
    /// answers, if only to refuse.
    async fn out_of_reach(&self, spec: &Spec) -> Result<Option<Finding>, TargetError> {
        let by_address = matches!(
            spec.health.as_ref().map(|health| &health.probe),
            Some(pipeline::Probe::Http { .. } | pipeline::Probe::Tcp(_))
        );
        if !by_address && spec.expose.is_none() {
            return Ok(None);
        }
        let Some(gateway) = self.gateway().await? else { return Ok(None) };
        if answers(gateway).await {
            return Ok(None);
        }
        Ok(Some(Check::Address.finding(
            format!("the addresses of units cannot be reached from here: {gateway} does not answer"),
            "run shipline on the machine of the engine, or route its network; a unit without `expose` can be asked by `health: {cmd: …}`",
        )))
    }
}

/// Whether anything is there; that it refuses is an answer.
async fn answers(gateway: Ipv4Addr) -> bool {
    // The port of `discard`, which nobody serves.
    let connecting = TcpStream::connect(SocketAddr::from((gateway, 9)));
    match tokio::time::timeout(REACH, connecting).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

/// Says what a unit is to have and its machine has not.
fn too_much(spec: &Spec, info: &SystemInfo) -> Vec<Finding> {
    let resources = &spec.unit.resources;
    let mut findings = Vec::new();
    let lower = "ask for less in `resources`, or deploy to a larger machine";
    if let (Some(cpu), Some(of_engine)) = (resources.cpu, info.ncpu)
        && cpu > f64::from(i32::try_from(of_engine).unwrap_or(i32::MAX))
    {
        let cause = format!("a unit is to have {cpu} cores, and the engine has {of_engine}");
        findings.push(Check::Setting.finding(cause, lower));
    }
    if let (Some(memory), Some(of_engine)) =
        (resources.memory, info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()))
        && memory > of_engine
    {
        let cause = format!(
            "a unit is to have {} MB of memory, and the engine has {} MB",
            memory >> 20,
            of_engine >> 20
        );
        findings.push(Check::Setting.finding(cause, lower));
    }
    findings
}

fn too_little(folder: &str, free: u64) -> Option<Finding> {
    (free < ROOM_BYTES).then(|| {
        let cause = format!("{folder} has {} MB free, and an image is to come", free >> 20);
        Check::Disk.warning(cause, "make room there, for example with `docker image prune`")
    })
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let statistics = rustix::fs::statvfs(folder).ok()?;
    Some(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

/// The engine said its time between these two moments of ours, or one of the clocks is off.
pub(in crate::target) fn skew(
    info: &SystemInfo,
    asked: DateTime<Utc>,
    answered: DateTime<Utc>,
) -> Option<Finding> {
    let there = DateTime::parse_from_rfc3339(info.system_time.as_deref()?).ok()?;
    let there = there.with_timezone(&Utc);
    let (behind, ahead) = (asked - there, there - answered);
    (behind.max(ahead) >= SKEW).then(|| {
        let (off, how) = match behind > ahead {
            true => (behind, "behind"),
            false => (ahead, "ahead of"),
        };
        Check::Clock.warning(
            format!("the clock of the engine is {} s {how} the one here", off.num_seconds()),
            "let both follow a time server: how long units are kept, and since when they wrote, is told by them",
        )
    })
}

pub(in crate::target) fn unlimited(spec: &Spec) -> Option<Finding> {
    let resources = &spec.unit.resources;
    let missing = match (resources.cpu, resources.memory) {
        (Some(_), Some(_)) => return None,
        (None, Some(_)) => "`cpu`",
        (Some(_), None) => "`memory`",
        (None, None) => "`cpu` and no `memory`",
    };
    Some(Check::Limits.warning(
        format!("`resources` says no {missing}: a unit may take what its neighbours need"),
        "write `resources: { cpu: 1, memory: 512M }`, with what a unit needs at most",
    ))
}

pub(in crate::target) fn low_port(spec: &Spec) -> Option<Finding> {
    let port = spec.expose.as_ref().map(|expose| expose.port).filter(|port| *port < OF_ROOT)?;
    Some(Check::Port.warning(
        format!("units listen on port {port}, which takes the rights of root"),
        "let them listen on one from 1024, and name it in `expose`; the proxy answers on any port all the same",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_this_machine_answers_and_one_of_nobody_does_not() {
        assert!(answers(Ipv4Addr::LOCALHOST).await);
        // Of all, and so of nobody.
        assert!(!answers(Ipv4Addr::BROADCAST).await);
    }

    fn engine_at(seconds: i64) -> SystemInfo {
        let at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds);
        SystemInfo { system_time: Some(at.to_rfc3339()), ..SystemInfo::default() }
    }

    #[test]
    fn a_clock_that_is_off_is_told_and_a_slow_answer_is_none() {
        let at = |seconds| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let found = |there| skew(&engine_at(there), at(1_000), at(1_040));
        for there in [971, 1_000, 1_020, 1_069] {
            assert_eq!(found(there), None, "{there}");
        }
        let (behind, ahead) = (found(900).unwrap(), found(1_100).unwrap());
        assert_eq!((behind.id.as_str(), behind.severity), ("clock", event::Severity::Warning));
        assert!(behind.cause.contains("is 100 s behind the one here"), "{behind}");
        assert!(ahead.cause.contains("is 60 s ahead of the one here"), "{ahead}");
        assert_eq!(skew(&SystemInfo::default(), at(0), at(0)), None);
    }

    #[test]
    fn what_a_machine_wants_protected_is_told_with_what_to_write() {
        let mut spec = crate::testing::spec("web", "prod");
        let cause = unlimited(&spec).unwrap().cause;
        assert!(cause.contains("no `cpu` and no `memory`"), "{cause}");
        spec.unit.resources.memory = Some(512 << 20);
        assert!(unlimited(&spec).unwrap().cause.contains("no `cpu`:"));
        spec.unit.resources.cpu = Some(1.0);
        assert_eq!(unlimited(&spec), None);
        assert_eq!(low_port(&spec), None);
        let expose = |port| pipeline::Expose { port, host: "*".to_owned(), path: "/".to_owned() };
        spec.expose = Some(expose(80));
        assert!(low_port(&spec).unwrap().cause.contains("port 80"));
        spec.expose = Some(expose(1024));
        assert_eq!(low_port(&spec), None);
    }

    #[test]
    fn little_room_is_told_in_megabytes() {
        let found = too_little("/var/lib/docker", 100 << 20).unwrap();
        assert!(found.cause.starts_with("/var/lib/docker has 100 MB free"), "{found}");
        assert_eq!(too_little("/var/lib/docker", ROOM_BYTES), None);
    }
}
