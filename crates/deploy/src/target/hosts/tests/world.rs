//! Hosts with a service that answers with what `current` leads to, and releases for them,
//! all gone when the test ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use pipeline::{Expose, Health, Probe, RolloutOrder, Strategy};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::sshd::{Keys, Sshd, run};
use crate::switch::stub::StubProxy;
use crate::testing::MemoryLedger;
use crate::{
    Artifact, DeployError, Deployed, Deployment, EnvironmentKey, HostAccess, HostsAccess,
    HostsTarget, Ledger, Limits, Machine, Observed, Policy, Request, Spec, Target, UnitSettings,
    deploy_within,
};

pub(super) const INSTANCE: &str = "019a2b3c-test";

pub(super) struct World {
    pub(super) target: Arc<HostsTarget>,
    pub(super) proxy: StubProxy,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) keys: Keys,
    pub(super) sshds: Vec<Sshd>,
    /// The groups of the hosts, as far as they are in some.
    pub(super) groups: &'static [&'static str],
    /// In place of the proxy.
    pub(super) switch: Option<crate::SwitchAccess>,
    /// Variables of single hosts.
    pub(super) env: BTreeMap<usize, BTreeMap<String, String>>,
    folder: tempfile::TempDir,
    pub(super) port: u16,
    _services: Vec<AbortOnDropHandle<()>>,
}

impl World {
    pub(super) async fn new(hosts: u8) -> Self {
        let (folder, proxy, keys) = (tempfile::tempdir().unwrap(), StubProxy::start(), Keys::new());
        std::fs::create_dir(folder.path().join("tools")).unwrap();
        let mut sshds = Vec::new();
        for number in 1..=hosts {
            let host = folder.path().join(format!("host-{number}"));
            std::fs::create_dir_all(host.join("web")).unwrap();
            sshds.push(Sshd::start(&keys, number, &folder.path().join("tools")));
        }
        let (port, listeners) = listen(hosts).await;
        let service = |(number, listener): (u8, TcpListener)| {
            let root = folder.path().join(format!("host-{number}/web"));
            AbortOnDropHandle::new(tokio::spawn(serve(listener, root)))
        };
        let services = (1..).zip(listeners).map(service).collect();
        keys.known("known", "host", &sshds);
        let mut world = Self {
            target: Arc::new(HostsTarget::new(
                &HostsAccess::default(),
                None,
                String::new(),
                Vec::new(),
                &Machine::default(),
            )),
            proxy,
            ledger: Arc::default(),
            keys,
            sshds,
            groups: &[],
            switch: None,
            env: BTreeMap::new(),
            folder,
            port,
            _services: services,
        };
        world.target = Arc::new(world.engine());
        world
    }

    /// Another engine for the same hosts.
    pub(super) fn engine(&self) -> HostsTarget {
        self.engine_with("client", "known")
    }

    pub(super) fn engine_with(&self, identity: &str, known_hosts: &str) -> HostsTarget {
        let (access, proxy) = (self.access(identity, known_hosts), Some(self.proxy.socket()));
        let machine = Machine::default();
        let target = HostsTarget::new(&access, proxy, INSTANCE.to_owned(), Vec::new(), &machine);
        target.behind(self.switch.clone())
    }

    /// Another engine, which has no proxy and knows of these hosts only.
    pub(super) fn engine_of(&self, numbers: std::ops::RangeInclusive<usize>) -> HostsTarget {
        let mut access = self.access("client", "known");
        access.hosts = access.hosts[numbers.start() - 1..*numbers.end()].to_vec();
        HostsTarget::new(&access, None, INSTANCE.to_owned(), Vec::new(), &Machine::default())
    }

    fn access(&self, identity: &str, known_hosts: &str) -> HostsAccess {
        let user = run("id", &["-un"], Path::new("/"));
        let host = |(number, sshd): (usize, &Sshd)| HostAccess {
            name: format!("web-{number}"),
            address: format!("{user}@{}", sshd.at),
            path: Some(self.root(number)),
            group: self.groups.get(number - 1).map(|group| (*group).to_owned()),
            labels: Vec::new(),
            // Of us alone.
            traffic: self.groups.get(number - 1) != Some(&"preprod"),
            env: self.env.get(&number).cloned().unwrap_or_default(),
        };
        HostsAccess {
            hosts: (1..).zip(&self.sshds).map(host).collect(),
            identity: Some(self.keys.path(identity)),
            known_hosts: Some(self.keys.path(known_hosts)),
        }
    }

    /// Where the releases of host `number` are.
    pub(super) fn root(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("host-{number}/web"))
    }

    /// Puts a program on all hosts in place of the one they have.
    pub(super) fn tool(&self, name: &str, script: &str) {
        let path = self.folder.path().join("tools").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(super) fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    /// Makes an archive of files, and names it as an artifact.
    pub(super) fn artifact(&self, number: u128, files: &BTreeMap<String, Vec<u8>>) -> Artifact {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &**bytes).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let path = self.folder.path().join(format!("release-{number}.tar"));
        std::fs::write(&path, &bytes).unwrap();
        Artifact::File { path, sha256: hex::encode(Sha256::digest(&bytes)) }
    }

    /// Release `number`, which answers with its number, on every host.
    pub(super) fn spec(&self, number: u128) -> Spec {
        self.answering(number, "200")
    }

    pub(super) fn answering(&self, number: u128, status: &str) -> Spec {
        let files = BTreeMap::from([
            ("body".to_owned(), format!("release {number}").into_bytes()),
            ("status".to_owned(), status.as_bytes().to_vec()),
            ("assets/same.css".to_owned(), b"body {}".to_vec()),
        ]);
        self.of(number, &files)
    }

    pub(super) fn of(&self, number: u128, files: &BTreeMap<String, Vec<u8>>) -> Spec {
        let second = pipeline::Duration::from_secs(1);
        Spec {
            project: "web".to_owned(),
            environment: "prod".to_owned(),
            release: ReleaseId::new(Uuid::from_u128(number)),
            artifact: self.artifact(number, files),
            replicas: u32::try_from(self.sshds.len()).unwrap(),
            expose: Some(Expose { port: self.port, host: "*".to_owned(), path: "/".to_owned() }),
            health: Some(Health {
                probe: Probe::Http { path: "/".to_owned(), port: self.port },
                interval: pipeline::Duration::from_millis(50),
                timeout: pipeline::Duration::from_secs(5),
                successes: 2,
                failures: 2,
                start_period: pipeline::Duration::from_secs(0),
                deadline: pipeline::Duration::from_secs(20),
            }),
            verify: Vec::new(),
            checks: crate::CheckSettings::default(),
            hosts: Vec::new(),
            strategy: Strategy {
                order: RolloutOrder::StopFirst,
                drain: second,
                ..Strategy::default()
            },
            env: BTreeMap::from([("WORD".to_owned(), "it's me".to_owned())]),
            unit: UnitSettings::default(),
        }
    }

    /// A release that is never healthy.
    pub(super) fn sick(&self, number: u128) -> Spec {
        let mut spec = self.answering(number, "500");
        if let Some(health) = &mut spec.health {
            health.deadline = pipeline::Duration::from_secs(3);
        }
        spec
    }

    pub(super) async fn deploy(&self, spec: Spec) -> (Deployed, String) {
        let (deployed, said) = self.try_deploy(spec).await;
        (deployed.unwrap(), said)
    }

    pub(super) async fn try_deploy(&self, spec: Spec) -> (Result<Deployed, DeployError>, String) {
        let home = Home { ledger: Arc::clone(&self.ledger), ..Home::of("ann", &self.target) };
        home.try_deploy(spec).await
    }

    pub(super) async fn seen(&self) -> Observed {
        self.target.observe(&Self::key()).await.unwrap()
    }

    /// What host `number` answers to its visitors.
    pub(super) async fn answer(&self, number: u8) -> String {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, number)), self.port);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The fences of all hosts, which every taking of the lease raises.
    pub(super) fn fences(&self) -> Vec<Option<u64>> {
        let fence = |number| std::fs::read_to_string(self.root(number).join(".shipline/fence"));
        let fences = (1..=self.sshds.len()).map(fence);
        fences.map(|fence| fence.ok()?.trim().parse().ok()).collect()
    }

    /// Whose the lease of a host is, as that writes it down.
    pub(super) fn lease(&self, number: usize) -> Option<String> {
        let lease = std::fs::read_to_string(self.root(number).join(".shipline/lease")).ok()?;
        let (_, holder) = lease.lines().last()?.split_once(' ')?;
        Some(holder.to_owned())
    }

    /// What the releases and marks of all hosts are, in words.
    pub(super) fn disk(&self) -> String {
        let mut text = String::new();
        for number in 1..=self.sshds.len() {
            let root = self.root(number);
            let current = std::fs::read_link(root.join("current")).ok();
            text += &format!("{number} {current:?}\n");
            for mark in ["previous", "started", "admitted", "env"] {
                let mark_text = std::fs::read_to_string(root.join(".shipline").join(mark)).ok();
                text += &format!("{mark} {mark_text:?}\n");
            }
            for folder in ["releases", ".shipline/units"] {
                let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten();
                let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
                entries.sort();
                for entry in entries {
                    let record = std::fs::read_to_string(entry.join("unit.json"));
                    let name = entry.file_name().unwrap().to_string_lossy().into_owned();
                    let output = std::fs::read_to_string(entry.join("output"));
                    text += &format!("{name} {}{output:?}\n", record.unwrap_or_default());
                }
            }
        }
        text
    }
}

/// Whoever deploys: an engine with a ledger of its own.
pub(super) struct Home {
    pub(super) person: &'static str,
    pub(super) target: Arc<HostsTarget>,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) limits: Limits,
    pub(super) policy: Policy,
}

impl Home {
    pub(super) fn of(person: &'static str, target: &Arc<HostsTarget>) -> Self {
        Self {
            person,
            target: Arc::clone(target),
            ledger: Arc::default(),
            limits: Limits::default(),
            policy: Policy::default(),
        }
    }

    pub(super) async fn try_deploy(&self, spec: Spec) -> (Result<Deployed, DeployError>, String) {
        let id = DeploymentId::new(Uuid::now_v7());
        let deployment = Deployment {
            id,
            kind: DeploymentKind::Deploy,
            spec,
            by: self.person.to_owned(),
            reason: None,
            name: String::new(),
            run: None,
            stage: None,
            scope: crate::Scope::default(),
        };
        let (policy, holder) = (self.policy, format!("{}'s engine", self.person));
        let request = Request { deployment, holder, policy, runner: None };
        let (progress, mut told) = mpsc::channel(1_000);
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let cancel = CancellationToken::new();
        let deployed = deploy_within(request, self.limits, target, ledger, progress, &cancel).await;
        let mut lines = String::new();
        while let Ok(line) = told.try_recv() {
            lines += &format!("{}\n", line.line);
        }
        (deployed, lines)
    }
}

/// One port that is free at the addresses of all hosts.
async fn listen(hosts: u8) -> (u16, Vec<TcpListener>) {
    'search: loop {
        let mut listeners = vec![TcpListener::bind("127.0.1.1:0").await.unwrap()];
        let port = listeners[0].local_addr().unwrap().port();
        for number in 2..=hosts {
            match TcpListener::bind((Ipv4Addr::new(127, 0, 1, number), port)).await {
                Ok(listener) => listeners.push(listener),
                Err(_) => continue 'search,
            }
        }
        return (port, listeners);
    }
}

/// A service that reads what it answers through `current`, each time anew.
async fn serve(listener: TcpListener, root: PathBuf) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let current = root.join("current");
        // A service that its manager has stopped answers nobody.
        if root.join("down").exists() {
            continue;
        }
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let read = |name: &str| std::fs::read_to_string(current.join(name)).unwrap_or_default();
            let (body, status, about) = (read("body"), read("status"), read("RELEASE.json"));
            let about: serde_json::Value = serde_json::from_str(&about).unwrap_or_default();
            let release = about["shipline.release"].as_str().unwrap_or_default().to_owned();
            let status = if status.is_empty() { "404".to_owned() } else { status };
            let answer =
                format!("HTTP/1.1 {status} Said\r\nX-Shipline-Release: {release}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

pub(super) fn ended(deployed: &Deployed, state: DeploymentState) {
    assert_eq!(deployed.state, state, "{:?}", deployed.reason);
}
