//! HAProxy as the switch, over its runtime API.
//!
//! Each place has one server of the backend, found by its address, else by its name. It is
//! drained with `state drain`, which lets requests in flight end, and brought back with
//! `state ready`. A reload starts a process that knows of no drain unless HAProxy is told
//! to keep its state: what is to be out is looked at again with every look, and drained
//! again. Requests of the process before are that process's: until it is gone, or the time
//! is over, a server that was drained across a reload counts as busy.

mod answer;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pipeline::HaproxySpec;
use tokio::time::Instant;

use self::answer::{Info, Server, Standing, find, servers, standing};
use super::reach::Reach;
use super::{Idle, LOOK, Member, Order, Switch, SwitchAccess, SwitchCaps, Up, broken, found};
use crate::{Check, EnvironmentKey, Finding, TargetError, UnitId};

const CONFIG: &str = "/etc/haproxy/haproxy.cfg";
/// What a look at a file or a process may take.
const CALL: Duration = Duration::from_secs(10);
/// A socket is gone for a moment while HAProxy reloads.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(300);

pub(super) struct Haproxy {
    socket: String,
    backend: String,
    config: String,
    reach: Reach,
}

impl Haproxy {
    pub(super) fn new(spec: &HaproxySpec, access: &SwitchAccess) -> Self {
        Self {
            socket: spec.socket.clone(),
            backend: spec.backend.clone(),
            config: spec.config.clone().unwrap_or_else(|| CONFIG.to_owned()),
            reach: Reach::new(spec.ssh.as_deref(), access),
        }
    }

    /// Whether processes and files of its machine can be looked at.
    fn is_near(&self) -> bool {
        let loopback = ["127.", "localhost:", "[::1]"];
        !self.reach.is_here()
            || self.socket.starts_with('/')
            || loopback.iter().any(|start| self.socket.starts_with(start))
    }

    async fn ask(&self, command: &str) -> Result<String, TargetError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.reach.ask(&self.socket, &format!("{command}\n")).await {
                Ok(said) => return Ok(said),
                Err(_) if tries < TRIES => tokio::time::sleep(PAUSE).await,
                Err(failure) => return Err(broken("haproxy", failure.cause, &failure.fix)),
            }
        }
    }

    /// Tells it something; a good answer is an empty one.
    async fn tell(&self, command: &str, order: &Order<'_>) -> Result<(), TargetError> {
        (order.held)().await?;
        let said = self.ask(command).await?;
        match said.trim() {
            "" => Ok(()),
            said if said.contains("Permission denied") => Err(self.no_admin()),
            said => Err(broken("haproxy", format!("`{command}`: {said}"), "look at its log")),
        }
    }

    fn no_admin(&self) -> TargetError {
        let cause = format!("{} does not let anybody change servers", self.socket);
        broken("haproxy", cause, "write `level admin` in its `stats socket` line")
    }

    async fn servers(&self) -> Result<Vec<Server>, TargetError> {
        let said = self.ask(&format!("show servers state {}", self.backend)).await?;
        servers(&said).ok_or_else(|| {
            let said = said.lines().next().unwrap_or("it said nothing");
            let cause = format!("backend `{}` is not known: {said}", self.backend);
            broken("haproxy", cause, "name a backend of its configuration in `switch`")
        })
    }

    async fn server(&self, member: &Member) -> Result<Server, TargetError> {
        let servers = self.servers().await?;
        find(&servers, member).cloned().map_err(|unfound| {
            let cause = format!("backend `{}`: {unfound}", self.backend);
            broken("haproxy", cause, "give each host one server with its address there")
        })
    }

    async fn standing(&self, server: &Server) -> Result<Standing, TargetError> {
        let said = self.ask(&format!("show stat {} 4 -1", server.backend)).await?;
        standing(&said, &server.name).ok_or_else(|| {
            let cause = format!("it tells nothing of server `{}/{}`", self.backend, server.name);
            broken("haproxy", cause, "look at its configuration")
        })
    }

    async fn info(&self) -> Result<Info, TargetError> {
        let said = self.ask("show info").await?;
        Info::read(&said).ok_or_else(|| {
            broken("haproxy", "it does not say which process it is", "update it to 2.0 or later")
        })
    }

    async fn set(&self, server: &Server, what: &str, order: &Order<'_>) -> Result<(), TargetError> {
        self.tell(&format!("set server {}/{} {what}", self.backend, server.name), order).await
    }

    /// Whether one of these processes is still there. Where nobody can look, all are.
    async fn lives(&self, processes: &[u32]) -> bool {
        if processes.is_empty() || !self.is_near() {
            return !processes.is_empty();
        }
        let processes: Vec<String> = processes.iter().map(ToString::to_string).collect();
        let arguments: Vec<&str> = processes.iter().map(String::as_str).collect();
        // One that ended and that nobody has asked for its code is gone as well.
        let script = "for p; do grep -Eqs '^State:[[:space:]]+[^ZX[:space:]]' /proc/$p/status && exit 0; done; exit 1";
        let looked = self.reach.run(script, &arguments, Vec::new(), CALL).await;
        looked.is_ok_and(|said| said.code == 0)
    }

    /// Says whether a reload keeps drains; `None` where its configuration cannot be read.
    async fn keeps_state(&self) -> Option<bool> {
        if !self.is_near() {
            return None;
        }
        let looked = self.reach.run("cat -- \"$1\"", &[&self.config], Vec::new(), CALL).await;
        let text = looked.ok().filter(|said| said.code == 0)?.out;
        Some(text.lines().any(|line| line.trim_start().starts_with("load-server-state-from-file")))
    }

    /// What stands in the way of one host.
    fn check_member(&self, servers: &[Server], member: &Member) -> Option<Finding> {
        let backend = &self.backend;
        let server = match find(servers, member) {
            Ok(server) => server,
            Err(unfound) => {
                let at = member.address;
                return Some(Check::Switch.finding(
                    format!("haproxy: backend `{backend}`: {unfound}"),
                    format!("write `server {} {at} check` there", member.name),
                ));
            }
        };
        let name = &server.name;
        server.is_in_maintenance().then(|| {
            Check::Switch.finding(
                format!("haproxy: somebody has put server `{backend}/{name}` into maintenance"),
                format!("leave that host out, or `set server {backend}/{name} state ready`"),
            )
        })
    }
}

#[async_trait]
impl Switch for Haproxy {
    fn caps(&self) -> SwitchCaps {
        SwitchCaps::HAPROXY
    }

    async fn check(
        &self,
        members: &[Member],
        _key: &EnvironmentKey,
    ) -> Result<Vec<Finding>, TargetError> {
        let servers = match self.servers().await {
            Ok(servers) => servers,
            Err(error) => return Ok(vec![found(error)?]),
        };
        let mut findings: Vec<_> =
            members.iter().filter_map(|member| self.check_member(&servers, member)).collect();
        let ours: Vec<_> = members.iter().filter_map(|it| find(&servers, it).ok()).collect();
        if let Some(first) = ours.first() {
            // Without anything to set, it tells those who may how to.
            let probe = format!("set server {}/{}", self.backend, first.name);
            if self.ask(&probe).await?.contains("Permission denied") {
                findings.push(found(self.no_admin())?);
            }
        }
        let (mut unchecked, mut kept) = (Vec::new(), Vec::new());
        for server in ours {
            let standing = self.standing(server).await?;
            // One in maintenance is not checked meanwhile, whatever its line says.
            if !standing.is_checked() && !server.is_in_maintenance() {
                unchecked.push(format!("`{}`", server.name));
            }
            if standing.has_cookie {
                kept.push(format!("`{}`", server.name));
            }
        }
        if !unchecked.is_empty() {
            findings.push(Check::Switch.warning(
                format!(
                    "haproxy: nobody checks {}: it says UP of whatever is there",
                    unchecked.join(", ")
                ),
                "write `check` behind its address",
            ));
        }
        if !kept.is_empty() {
            findings.push(Check::Switch.warning(
                format!(
                    "haproxy: clients with a cookie come back to {} while it is drained",
                    kept.join(", ")
                ),
                "take `cookie` out of the backend, or expect drains to be as long as `drain` says",
            ));
        }
        if self.keeps_state().await == Some(false) {
            findings.push(Check::Switch.warning(
                format!("haproxy: a reload forgets drains: {} has no `load-server-state-from-file`", self.config),
                "write `server-state-file` in `global` and `load-server-state-from-file global` in `defaults`, and save `show servers state` there before each reload",
            ));
        }
        Ok(findings)
    }

    async fn admitted(
        &self,
        members: &[Member],
        _key: &EnvironmentKey,
    ) -> Result<BTreeSet<UnitId>, TargetError> {
        if members.is_empty() {
            return Ok(BTreeSet::new());
        }
        let servers = self.servers().await?;
        let serves = |member: &&Member| find(&servers, member).is_ok_and(|server| !server.is_out());
        Ok(members.iter().filter(serves).map(|member| member.unit.clone()).collect())
    }

    async fn leads_to(&self, member: &Member, _key: &EnvironmentKey) -> Result<bool, TargetError> {
        Ok(!self.server(member).await?.is_out())
    }

    async fn drain(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError> {
        let server = self.server(member).await?;
        match server.is_out() {
            true => Ok(()),
            false => self.set(&server, "state drain", order).await,
        }
    }

    async fn wait_idle(
        &self,
        member: &Member,
        timeout: Duration,
        order: &Order<'_>,
    ) -> Result<Idle, TargetError> {
        let began = Instant::now();
        let mut now = self.info().await?;
        // One that has just begun may have left a process with requests behind it.
        let settled = timeout.saturating_sub(now.uptime);
        let mut before: Vec<u32> = Vec::new();
        let mut unfinished = 0;
        loop {
            let info = self.info().await?;
            if info.pid != now.pid {
                before.push(now.pid);
                now = info;
            }
            let server = self.server(member).await?;
            if !server.is_out() {
                self.set(&server, "state drain", order).await?;
            }
            let current = self.standing(&server).await?.sessions;
            let unseen = began.elapsed() < settled || self.lives(&before).await;
            let took = began.elapsed();
            if current == 0 && !unseen {
                return Ok(Idle::Counted { cut: 0, took });
            }
            if took >= timeout {
                if current > 0 {
                    let command =
                        format!("shutdown sessions server {}/{}", self.backend, server.name);
                    self.tell(&command, order).await?;
                }
                // Of a process before, the last that was seen is all that is known.
                let of_before = if self.lives(&before).await { unfinished } else { 0 };
                return Ok(Idle::Counted { cut: current + of_before, took });
            }
            if before.is_empty() {
                unfinished = current;
            }
            tokio::time::sleep(LOOK.min(timeout.saturating_sub(took))).await;
        }
    }

    async fn undrain(
        &self,
        member: &Member,
        _replaces: Option<&UnitId>,
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        let server = self.server(member).await?;
        match server.is_out() {
            true => self.set(&server, "state ready", order).await,
            false => Ok(()),
        }
    }

    async fn is_up(&self, member: &Member) -> Result<Up, TargetError> {
        let server = self.server(member).await?;
        let standing = self.standing(&server).await?;
        Ok(match standing.is_up() {
            true => Up::Yes,
            false => Up::No(format!(
                "haproxy says {}/{} {}",
                self.backend,
                server.name,
                standing.words()
            )),
        })
    }

    async fn set_weights(
        &self,
        shares: &[(&Member, u32)],
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        let servers = self.servers().await?;
        for (member, percent) in shares {
            let Ok(server) = find(&servers, member) else { continue };
            if server.share() != *percent {
                self.set(server, &format!("weight {percent}%"), order).await?;
            }
        }
        Ok(())
    }

    /// Nothing is written down anywhere.
    async fn forget(&self, _key: &EnvironmentKey) -> Result<bool, TargetError> {
        Ok(false)
    }
}
