//! HAProxy itself, with its runtime API, reloads and all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pipeline::{HaproxySpec, SwitchSpec};
use tokio::time::Instant;

use super::origin::{Origin, Visitor, get};
use super::{access, key, member, order, place, until};
use crate::switch::{Idle, Member, SwitchAccess, Up};
use crate::target::hosts::tests::sshd::{Keys, Sshd, run};
use crate::{Finding, TargetError};

const PROGRAM: &str = "/usr/sbin/haproxy";

/// A HAProxy with one backend `web`, which ends with the test.
pub(crate) struct Haproxy {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    master: Child,
}

impl Haproxy {
    /// Starts it with lines of the backend, and the level of those who use its socket.
    pub(crate) async fn start(servers: &str) -> Self {
        Self::with(servers, "admin", false).await
    }

    async fn with(servers: &str, level: &str, keeps_state: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = place();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (state, load) = match keeps_state {
            true => (
                format!("  server-state-file {}\n", at("state")),
                "  load-server-state-from-file global\n",
            ),
            false => (String::new(), ""),
        };
        let config = format!(
            "global\n  stats socket {} mode 600 level {level} expose-fd listeners\n{state}\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  \
             timeout server 30s\n{load}\
             frontend web\n  bind {address}\n  default_backend web\n\
             backend web\n  option httpchk GET /\n{servers}",
            at("admin.sock"),
        );
        std::fs::write(folder.path().join("haproxy.cfg"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["-W", "-db", "-f"]).arg(folder.path().join("haproxy.cfg"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let master = command.spawn().expect("tests/setup/packages.sh installs haproxy");
        let haproxy = Self { address, folder, master };
        let socket = haproxy.socket();
        until("haproxy answers", async || tokio::net::UnixStream::connect(&socket).await.is_ok())
            .await;
        haproxy
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub(crate) fn access(&self) -> SwitchAccess {
        access(SwitchSpec::Haproxy(self.spec()))
    }

    fn spec(&self) -> HaproxySpec {
        HaproxySpec {
            socket: self.socket().display().to_string(),
            backend: "web".to_owned(),
            config: Some(self.folder.path().join("haproxy.cfg").display().to_string()),
            ssh: None,
        }
    }

    /// Asks its runtime API, as an administrator does.
    pub(crate) async fn ask(&self, command: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let mut said = String::new();
        if let Ok(mut stream) = tokio::net::UnixStream::connect(self.socket()).await {
            stream.write_all(format!("{command}\n").as_bytes()).await.unwrap();
            stream.read_to_string(&mut said).await.unwrap();
        }
        said
    }

    /// The administrative state of a server.
    pub(crate) async fn state(&self, server: &str) -> String {
        let said = self.ask("show servers state web").await;
        let row = said.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut row = row.filter(|row| row.get(3) == Some(&server));
        row.next().map(|row| row[6].to_owned()).unwrap_or_default()
    }

    async fn process(&self) -> String {
        let said = self.ask("show info").await;
        said.lines().find(|line| line.starts_with("Pid:")).unwrap_or_default().to_owned()
    }

    /// Puts a new process in the place of the one that serves.
    pub(crate) async fn reload(&self) {
        let before = self.process().await;
        run("kill", &["-USR2", &self.master.id().to_string()], self.folder.path());
        until("another process answers", async || {
            let now = self.process().await;
            !now.is_empty() && now != before
        })
        .await;
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // The master takes its processes along, as long as it is not killed.
        let _ = Command::new("kill").args(["-TERM", &self.master.id().to_string()]).status();
        for _ in 0..100 {
            if !matches!(self.master.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

/// Two servers behind it, each as a member.
async fn two() -> (Haproxy, [Origin; 2], [Member; 2]) {
    let origins = [Origin::start("one").await, Origin::start("two").await];
    let members = [member("web-1", origins[0].address), member("web-2", origins[1].address)];
    let server = |it: &Member| format!("  server {} {} check inter 50ms\n", it.name, it.address);
    let haproxy = Haproxy::start(&members.each_ref().map(server).concat()).await;
    let open = haproxy.access().open();
    for member in &members {
        until("it is up", async || open.is_up(member).await.unwrap() == Up::Yes).await;
    }
    (haproxy, origins, members)
}

/// Of an engine that has lost its lock.
fn lost<'a>() -> BoxFuture<'a, Result<(), TargetError>> {
    Box::pin(async { Err(TargetError::Fenced("somebody else".to_owned())) })
}

fn ids(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_drain_waits_for_the_last_request_and_counts_what_it_cuts() {
    let (haproxy, _origins, [one, two]) = two().await;
    let (switch, key) = (haproxy.access().open(), key());
    let order = order(&key, 1);
    // Until the process is older than a drain, what one before may have left is waited for.
    tokio::time::sleep(Duration::from_secs(4)).await;
    switch.drain(&two, &order).await.unwrap();
    let address = haproxy.address;
    let slow = tokio::spawn(async move { get(address, "/slow/1200").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    switch.undrain(&two, None, &order).await.unwrap();
    switch.drain(&one, &order).await.unwrap();
    // Twice is once.
    switch.drain(&one, &order).await.unwrap();
    for _ in 0..10 {
        assert_eq!(get(address, "/").await.as_deref(), Some("two"));
    }
    let idle = switch.wait_idle(&one, Duration::from_secs(3), &order).await.unwrap();
    let Idle::Counted { cut: 0, took } = idle else { panic!("{idle:?}") };
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(slow.await.unwrap().as_deref(), Some("one"));

    // One that takes longer than it may is cut, and told.
    switch.undrain(&one, None, &order).await.unwrap();
    switch.drain(&two, &order).await.unwrap();
    let slow = tokio::spawn(async move { get(address, "/slow/5000").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    switch.drain(&one, &order).await.unwrap();
    let idle = switch.wait_idle(&one, Duration::from_millis(400), &order).await.unwrap();
    assert!(matches!(idle, Idle::Counted { cut: 1, .. }), "{idle:?}");
    assert_eq!(slow.await.unwrap(), None);
    assert_eq!(haproxy.state("web-1").await, "8");
}

#[tokio::test]
async fn a_drain_outlives_a_reload_in_its_middle_and_waits_for_the_process_before() {
    let (haproxy, _origins, [one, two]) = two().await;
    let (switch, key) = (haproxy.access().open(), key());
    let order = order(&key, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    switch.drain(&two, &order).await.unwrap();
    let (address, began) = (haproxy.address, Instant::now());
    let slow = tokio::spawn(async move {
        let said = get(address, "/slow/3000").await;
        (said, Instant::now())
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    switch.undrain(&two, None, &order).await.unwrap();
    switch.drain(&one, &order).await.unwrap();
    let visitor = Visitor::of(address, 2);
    let waiting = switch.wait_idle(&one, Duration::from_secs(8), &order);
    let reloading = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        haproxy.reload().await;
    };
    let (idle, ()) = tokio::join!(waiting, reloading);
    let ended = Instant::now();
    // The new process knew of no drain, and has it.
    assert_eq!(haproxy.state("web-1").await, "8");
    assert!(matches!(idle.unwrap(), Idle::Counted { cut: 0, .. }));
    let (said, answered) = slow.await.unwrap();
    assert_eq!(said.as_deref(), Some("one"));
    assert!(answered <= ended && ended - began >= Duration::from_secs(3), "{:?}", ended - began);
    let (sent, failed) = visitor.go_home().await;
    assert!(sent > 20, "{sent}");
    assert_eq!(failed, 0, "of {sent}");
}

#[tokio::test]
async fn a_stream_of_requests_is_lost_nowhere_while_servers_come_and_go() {
    let (haproxy, origins, members) = two().await;
    let (switch, key) = (haproxy.access().open(), key());
    let order = order(&key, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let visitor = Visitor::of(haproxy.address, 8);
    for _ in 0..5 {
        for (member, origin) in members.iter().zip(&origins) {
            switch.drain(member, &order).await.unwrap();
            let idle = switch.wait_idle(member, Duration::from_secs(2), &order).await.unwrap();
            assert!(matches!(idle, Idle::Counted { cut: 0, .. }), "{idle:?}");
            // Whoever comes now gets an error.
            origin.well.store(false, Ordering::Relaxed);
            until("haproxy sees that it is not well", async || {
                haproxy.ask("show stat -1 4 -1").await.contains("L7STS")
            })
            .await;
            origin.well.store(true, Ordering::Relaxed);
            switch.admit(member, None, &order).await.unwrap().unwrap();
        }
    }
    let (sent, failed) = visitor.go_home().await;
    assert!(sent > 300, "{sent}");
    assert_eq!(failed, 0, "of {sent}");
}

#[tokio::test]
async fn it_says_that_a_server_is_up_when_its_own_check_does() {
    let (haproxy, origins, [one, _]) = two().await;
    let (switch, key) = (haproxy.access().open(), key());
    let order = order(&key, 1);
    switch.drain(&one, &order).await.unwrap();
    origins[0].well.store(false, Ordering::Relaxed);
    until("it is seen", async || haproxy.ask("show stat -1 4 -1").await.contains(",DOWN,")).await;
    switch.undrain(&one, None, &order).await.unwrap();
    let Up::No(why) = switch.is_up(&one).await.unwrap() else { panic!("it is not well") };
    assert!(why.starts_with("haproxy says web/web-1 is DOWN (L7STS"), "{why}");
    origins[0].well.store(true, Ordering::Relaxed);
    assert_eq!(switch.admit(&one, None, &order).await.unwrap(), Ok(()));
    assert_eq!(switch.is_up(&one).await.unwrap(), Up::Yes);
}

#[tokio::test]
async fn a_unit_comes_back_with_its_whole_share() {
    let (haproxy, _origins, [one, _]) = two().await;
    let (switch, key) = (haproxy.access().open(), key());
    let order = order(&key, 1);
    switch.set_weights(&[(&one, 0)], &order).await.unwrap();
    assert!(haproxy.ask("get weight web/web-1").await.starts_with("0 (initial 1)"));
    switch.admit(&one, None, &order).await.unwrap().unwrap();
    assert!(haproxy.ask("get weight web/web-1").await.starts_with("1 (initial 1)"));
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_to_do() {
    let (haproxy, origins, [one, _]) = two().await;
    let key = key();
    let order = order(&key, 1);
    let said = |error: TargetError| error.to_string();
    let with = |change: &dyn Fn(&mut HaproxySpec)| {
        let mut spec = haproxy.spec();
        change(&mut spec);
        access(SwitchSpec::Haproxy(spec)).open()
    };
    let unknown = with(&|spec| spec.backend = "shop".to_owned());
    let error = said(unknown.drain(&one, &order).await.unwrap_err());
    assert!(error.starts_with("haproxy: backend `shop` is not known: "), "{error}");
    let gone = with(&|spec| spec.socket = "/nonexistent/admin.sock".to_owned());
    let error = said(gone.drain(&one, &order).await.unwrap_err());
    assert!(
        error.starts_with("haproxy: there is no socket /nonexistent/admin.sock; look"),
        "{error}"
    );
    let stranger = member("web-9", "127.0.0.9:1".parse().unwrap());
    let error = said(with(&|_| ()).drain(&stranger, &order).await.unwrap_err());
    assert!(
        error.contains("no server with the address 127.0.0.9:1 or the name `web-9`"),
        "{error}"
    );
    // Whom it does not let change anything it tells so.
    let server = format!("  server web-1 {}\n", origins[0].address);
    let reader = Haproxy::with(&server, "user", true).await;
    let error = said(reader.access().open().drain(&one, &order).await.unwrap_err());
    assert!(error.contains("write `level admin`"), "{error}");
    // A lock that was lost is looked at before anything is changed.
    let late = crate::switch::Order { key: &key, fence: 1, held: &lost };
    let refused = with(&|_| ()).drain(&one, &late).await;
    assert!(matches!(refused, Err(TargetError::Fenced(_))), "{refused:?}");
    assert_eq!(haproxy.state("web-1").await, "0");
}

#[tokio::test]
async fn before_any_change_everything_is_looked_at() {
    let (haproxy, origins, [one, two]) = two().await;
    let key = key();
    let stranger = member("web-9", "127.0.0.9:1".parse().unwrap());
    haproxy.ask("set server web/web-2 state maint").await;
    let switch = haproxy.access().open();
    let found = switch.check(&[one.clone(), two, stranger], &key).await.unwrap();
    let found = ids(&found);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("put server `web/web-2` into maintenance"), "{found:?}");
    assert!(found[1].contains("`server web-9 127.0.0.9:1 check`"), "{found:?}");
    assert!(found[2].contains("no `load-server-state-from-file`"), "{found:?}");
    let server = format!("  cookie X insert\n  server web-1 {} cookie a\n", origins[0].address);
    let loose = Haproxy::with(&server, "user", true).await;
    let found = ids(&loose.access().open().check(std::slice::from_ref(&one), &key).await.unwrap());
    // Of cookies it tells only those who may change something.
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("`level admin`"), "{found:?}");
    assert!(found[1].contains("nobody checks `web-1`"), "{found:?}");
    let sticky = Haproxy::with(&server, "admin", true).await;
    let found = ids(&sticky.access().open().check(&[one], &key).await.unwrap());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].contains("clients with a cookie come back to `web-1`"), "{found:?}");
}

#[tokio::test]
async fn one_on_another_machine_is_reached_over_ssh() {
    let (haproxy, _origins, [one, _]) = two().await;
    let (keys, tools) = (Keys::new(), tempfile::tempdir().unwrap());
    let mut sshd = Sshd::start(&keys, 77, tools.path());
    keys.known("known", "host", [&sshd]);
    let user = run("id", &["-un"], std::path::Path::new("/"));
    let mut spec = haproxy.spec();
    spec.ssh = Some(format!("{user}@{}", sshd.at));
    let far = SwitchAccess {
        spec: SwitchSpec::Haproxy(spec),
        identity: Some(keys.path("client")),
        known_hosts: Some(keys.path("known")),
    };
    let (switch, key) = (far.open(), key());
    let order = order(&key, 1);
    switch.drain(&one, &order).await.unwrap();
    assert_eq!(haproxy.state("web-1").await, "8");
    // A connection that was lost is made again.
    sshd.cut();
    switch.undrain(&one, None, &order).await.unwrap();
    assert_eq!(haproxy.state("web-1").await, "0");
    let found = ids(&switch.check(std::slice::from_ref(&one), &key).await.unwrap());
    assert!(found.len() == 1 && found[0].contains("load-server-state-from-file"), "{found:?}");
    sshd.die().await;
    let error = switch.drain(&one, &order).await.unwrap_err().to_string();
    assert!(error.contains("host 127.0.1.77: "), "{error}");
}
