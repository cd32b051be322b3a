//! What is checked on every host before any change.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use super::connection::{Host, Input};
use super::trouble::Trouble;
use super::unit::HostView;
use super::{CALL, HostsTarget};
use crate::{Artifact, Check, Finding, Severity, Spec, TargetError};

/// How far the clock of a host may be from ours.
const SKEW: Duration = Duration::from_secs(30);

/// What a host says of what it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) missing: Vec<String>,
    time: Option<u64>,
    pub(super) free_kib: Option<u64>,
    pub(super) readonly: Option<String>,
    pub(super) user: Option<String>,
    pub(super) runtimes: Vec<String>,
    /// Those of a project that are not there.
    pub(super) folders: Vec<String>,
}

impl Facts {
    pub(super) fn read(said: &str) -> Self {
        let mut facts = Self::default();
        for (word, rest) in said.lines().filter_map(|line| line.split_once('\t')) {
            match word {
                "missing" => facts.missing.push(rest.to_owned()),
                "time" => facts.time = rest.parse().ok(),
                "free" => facts.free_kib = rest.parse().ok(),
                "readonly" => facts.readonly = Some(rest.to_owned()),
                "user" => facts.user = Some(rest.to_owned()),
                "runtime" => facts.runtimes.push(rest.to_owned()),
                "folder" => facts.folders.push(rest.to_owned()),
                _ => {}
            }
        }
        facts
    }
}

impl HostsTarget {
    pub(super) async fn findings(&self, spec: &Spec) -> Result<Vec<Finding>, TargetError> {
        let mut findings: Vec<_> = unsupported(spec).chain(self.misfits(spec)).collect();
        findings.extend(self.check_traffic(spec).await?);
        findings.extend(self.check_artifact(spec).await?);
        let hosts = self.wanted(spec);
        let mut away = Vec::new();
        for (host, checked) in
            hosts.iter().zip(join_all(hosts.iter().map(|host| check(host, spec))).await)
        {
            match checked {
                Ok(found) => findings.extend(found),
                Err(trouble) if trouble.is_away() => away.push(trouble.finding(&host.access.name)),
                Err(trouble) => findings.push(trouble.finding(&host.access.name)),
            }
        }
        let tolerated = away.len() <= spec.strategy.tolerate as usize && away.len() < hosts.len();
        let severity = if tolerated { Severity::Warning } else { Severity::Error };
        findings.extend(away.into_iter().map(|finding| Finding { severity, ..finding }));
        Ok(findings)
    }

    /// What hosts in general cannot do.
    fn misfits(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        let count = self.hosts.len();
        if count == 0 {
            findings.push(Check::Setting.finding(
                "`only` of the environment selects no host of its target",
                "look at `group` and `labels` of the hosts there",
            ));
            return findings;
        }
        let known = spec.choices("group");
        let unknown = spec.strategy.groups.iter().filter(|group| !known.contains(group.as_str()));
        findings.extend(unknown.map(|group| {
            let known: Vec<_> = known.iter().copied().collect();
            let there = match known.as_slice() {
                [] => "its hosts are in none".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            };
            Check::Setting
                .finding(format!("no host of the target is in the group `{group}`"), there)
        }));
        if spec.replicas as usize > count {
            let s = if count == 1 { "" } else { "s" };
            findings.push(Check::Setting.finding(
                format!("{} units are wanted, and the target has {count} host{s}", spec.replicas),
                format!("write `replicas: {count}`, or add hosts to the target"),
            ));
        }
        if (spec.replicas as usize) < count {
            findings.push(Check::Setting.warning(
                format!("only the first {} of {count} hosts are wanted", spec.replicas),
                format!("write `replicas: {count}` for all of them"),
            ));
        }
        if !spec.stops_first() {
            findings.push(Check::Setting.finding(
                "a host serves one release at a time, so a new one cannot start beside the old",
                "write `order: stop-first` in `strategy`",
            ));
        }
        findings
    }
}

/// Says which keys of `spec` a host cannot have.
fn unsupported(spec: &Spec) -> impl Iterator<Item = Finding> {
    let unit = &spec.unit;
    let keys = [
        ("resources", !unit.resources.is_empty(), "limits are of the host's own services"),
        ("volumes", !unit.volumes.is_empty(), "what stays is in the folder `shared`"),
        ("networks", !unit.networks.is_empty(), "a host has its own"),
        ("ports", !unit.ports.is_empty(), "the host's own service listens"),
    ];
    keys.into_iter().filter(|(_, used, _)| *used).map(|(key, _, why)| {
        Check::Setting.finding(format!("a `hosts` target takes no `{key}`: {why}"), "remove it")
    })
}

/// Looks at one host.
async fn check(host: &Host, spec: &Spec) -> Result<Vec<Finding>, Trouble> {
    let root = host.root(&spec.project);
    let before = now();
    let said = host.call(&root, "facts", &[], &Input::Nothing, CALL).await?;
    let facts = Facts::read(&said);
    let mut findings = Vec::new();
    if !facts.missing.is_empty() {
        findings.push(Check::Host.finding(
            format!("host {} lacks {}", host.access.name, facts.missing.join(", ")),
            "install them there",
        ));
        return Ok(findings);
    }
    findings.extend(facts.readonly.as_ref().map(|place| {
        Check::Host.finding(
            format!("host {}: its user may not write into {place}", host.access.name),
            format!("make {} there, and give it to that user", root.display()),
        )
    }));
    findings.extend(skewed(host, facts.time, before, now()));
    findings.extend(too_small(host, &facts, spec));
    let view = HostView::read(&said);
    findings.extend(taken(host, &view, spec));
    findings.extend(moved(host, &view, spec));
    Ok(findings)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The host looked at its clock between two looks at ours.
fn skewed(host: &Host, time: Option<u64>, before: u64, after: u64) -> Option<Finding> {
    let time = time?;
    let skew = before.saturating_sub(time).max(time.saturating_sub(after));
    (skew >= SKEW.as_secs()).then(|| {
        let way = if time < before { "behind" } else { "ahead of" };
        Check::Clock.finding(
            format!("the clock of host {} is {skew} s {way} this machine's", host.access.name),
            "set both by a time server",
        )
    })
}

/// Only of a file is it known before it is unpacked how large it is.
fn too_small(host: &Host, facts: &Facts, spec: &Spec) -> Option<Finding> {
    let Artifact::File { path, .. } = &spec.artifact else { return None };
    let (length, free) = (fs::metadata(path).ok()?.len(), facts.free_kib? << 10);
    (free < length.saturating_mul(2)).then(|| {
        Check::Disk.finding(
            format!(
                "host {} has {} MB free, and the release wants twice its {} MB",
                host.access.name,
                free >> 20,
                length >> 20
            ),
            "make room there",
        )
    })
}

/// A folder is of one environment: it has one `current`.
fn taken(host: &Host, view: &HostView, spec: &Spec) -> Option<Finding> {
    let other = view
        .units
        .iter()
        .map(|(_, _, file)| file)
        .find(|file| (&file.project, &file.env) != (&spec.project, &spec.environment))?;
    Some(Check::Current.finding(
        format!(
            "{} on host {} is of environment `{}` of project `{}`",
            host.root(&spec.project).display(),
            host.access.name,
            other.env,
            other.project
        ),
        "give one of them another `path`",
    ))
}

/// What somebody else has made of `current`.
fn moved(host: &Host, view: &HostView, spec: &Spec) -> Option<Finding> {
    let root = host.root(&spec.project);
    let name = &host.access.name;
    if let Some(occupied) = &view.occupied {
        return Some(Check::Current.finding(
            format!("{occupied} on host {name} is no symbolic link"),
            "move it away: what the service reads is switched by that link",
        ));
    }
    let started = view.started.as_ref()?;
    let (_, _, file) = view.units.iter().find(|(unit, _, _)| unit.0 == *started)?;
    (!view.leads_to(file)).then(|| {
        let leads = match &view.current {
            Some(current) => format!("leads to {current}"),
            None => "is gone".to_owned(),
        };
        let wanted = format!("releases/{}", file.release);
        Check::Current.finding(
            format!("{}/current on host {name} {leads}, and {wanted} was deployed", root.display()),
            format!("find out who changed it, then `ln -sfnT {wanted} {}/current`", root.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_far_as_they_are_known() {
        let facts = Facts::read("missing\tzstd\ntime\t17\nfree\tmany\nreadonly\t/srv\nodd\n");
        let wanted = Facts {
            missing: vec!["zstd".to_owned()],
            time: Some(17),
            free_kib: None,
            readonly: Some("/srv".to_owned()),
            ..Facts::default()
        };
        assert_eq!(facts, wanted);
    }
}
