//! nginx itself, as a balancer that includes what is written for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pipeline::{NginxSpec, SwitchSpec};

use super::origin::{Origin, Visitor, get};
use super::{access, key, member, order, place, until};
use crate::TargetError;
use crate::switch::{Idle, SwitchAccess};
use crate::target::hosts::tests::sshd::run;

const PROGRAM: &str = "/usr/sbin/nginx";

/// An nginx with one upstream, which ends with the test.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    master: Child,
}

impl Nginx {
    pub(crate) async fn start(servers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = place();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(folder.path().join("web.conf"), servers).unwrap();
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {pid};\nerror_log {log};\nevents {{}}\n\
             http {{\n  access_log off;\n  client_body_temp_path {body};\n  \
             proxy_temp_path {body};\n  fastcgi_temp_path {body};\n  uwsgi_temp_path {body};\n  \
             scgi_temp_path {body};\n  upstream web {{ include {web}; }}\n  \
             server {{ listen {address}; location / {{ proxy_pass http://web; \
             proxy_next_upstream off; }} }}\n}}\n",
            pid = at("pid"),
            log = at("log"),
            body = at("body"),
            web = at("web.conf"),
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let log = std::fs::File::create(folder.path().join("out")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(folder.path().join("nginx.conf"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let master = command.spawn().expect("tests/setup/packages.sh installs nginx");
        let nginx = Self { address, folder, master };
        until("nginx listens", async || tokio::net::TcpStream::connect(address).await.is_ok())
            .await;
        nginx
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("web.conf")
    }

    pub(crate) fn access(&self) -> SwitchAccess {
        let config = self.folder.path().join("nginx.conf").display().to_string();
        access(SwitchSpec::Nginx(NginxSpec {
            file: self.file().display().to_string(),
            test: Some(format!("nginx -t -c {config}")),
            reload: Some(format!("nginx -s reload -c {config}")),
            ssh: None,
        }))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along, as long as it is not killed.
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

#[tokio::test]
async fn a_server_is_taken_down_and_comes_back_by_a_reload() {
    let origins = [Origin::start("one").await, Origin::start("two").await];
    let members = [member("web-1", origins[0].address), member("web-2", origins[1].address)];
    // As somebody has it before there is a Shipline.
    let before = members.each_ref().map(|it| format!("server {};\n", it.address)).concat();
    let nginx = Nginx::start(&before).await;
    let (switch, key) = (nginx.access().open(), key());
    let order = order(&key, 3);
    assert!(switch.check(&members, &key).await.unwrap().is_empty());
    assert!(switch.leads_to(&members[0], &key).await.unwrap());
    let visitor = Visitor::of(nginx.address, 2);
    for member in &members {
        let other = if member.name == "web-1" { "two" } else { "one" };
        switch.drain(member, &order).await.unwrap();
        let time = Duration::from_millis(1_500);
        assert_eq!(switch.wait_idle(member, time, &order).await.unwrap(), Idle::Waited(time));
        for _ in 0..6 {
            assert_eq!(get(nginx.address, "/").await.as_deref(), Some(other));
        }
        assert!(!switch.leads_to(member, &key).await.unwrap());
        switch.admit(member, None, &order).await.unwrap().unwrap();
        until("it gets requests again", async || {
            get(nginx.address, "/").await.is_some_and(|said| said != other)
        })
        .await;
    }
    let (sent, failed) = visitor.go_home().await;
    assert!(sent > 20, "{sent}");
    assert_eq!(failed, 0, "of {sent}");
    let text = std::fs::read_to_string(nginx.file()).unwrap();
    assert!(text.starts_with("# shipline environment=web/prod fence=3\n"), "{text}");
    assert!(
        text.contains(&format!("server {} weight=100; # unit unit-web-1\n", members[0].address))
    );
    // What it was told is taken back; nginx can still read the file.
    assert!(switch.forget(&key).await.unwrap());
    let text = std::fs::read_to_string(nginx.file()).unwrap();
    assert!(text.contains("server 127.0.0.1:9 down;") && !text.contains("# unit unit"), "{text}");
}

#[tokio::test]
async fn what_nginx_refuses_is_taken_back_and_goes_on_serving() {
    let origin = Origin::start("one").await;
    let one = member("web-1", origin.address);
    let nginx = Nginx::start(&format!("server {};\n", origin.address)).await;
    let (switch, key) = (nginx.access().open(), key());
    let before = std::fs::read_to_string(nginx.file()).unwrap();
    // Somebody has broken another part of the configuration meanwhile.
    let config = nginx.folder.path().join("nginx.conf");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{good}\nnonsense on;\n")).unwrap();
    let error = switch.drain(&one, &order(&key, 3)).await.unwrap_err().to_string();
    assert!(error.contains("unknown directive \"nonsense\""), "{error}");
    assert!(error.contains("what it had before is in force"), "{error}");
    assert_eq!(std::fs::read_to_string(nginx.file()).unwrap(), before);
    assert_eq!(get(nginx.address, "/").await.as_deref(), Some("one"));
    let found = switch.check(std::slice::from_ref(&one), &key).await.unwrap();
    assert!(found[0].cause.contains("nonsense"), "{found:?}");
    std::fs::write(&config, good).unwrap();
    switch.drain(&one, &order(&key, 3)).await.unwrap();
    let late = switch.undrain(&one, None, &order(&key, 2)).await.unwrap_err();
    assert!(matches!(late, TargetError::Fenced(_)), "{late}");
    // Killed by nobody: the pid file is that of the master.
    let pid = std::fs::read_to_string(nginx.folder.path().join("pid")).unwrap();
    run("kill", &["-0", pid.trim()], nginx.folder.path());
}

#[tokio::test]
async fn a_file_that_nobody_includes_yet_is_asked_for() {
    let nginx = Nginx::start("server 127.0.0.1:9 down;\n").await;
    std::fs::remove_file(nginx.file()).unwrap();
    let found = nginx.access().open().check(&[], &key()).await.unwrap();
    assert!(found[0].cause.contains("which its upstream is to include"), "{found:?}");
    assert!(found[0].fix.contains("`server 127.0.0.1:9 down;`"), "{found:?}");
}
