//! Those who take turns, each with the settings it comes with, but for what is needed to
//! keep connections to the upstream, which ours does anyway.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ports::free_port;

const UP_WITHIN: Duration = Duration::from_secs(20);

pub struct Contestant {
    /// As people know it, with its version.
    pub name: String,
    pub port: u16,
    /// Where the route is told to, of ours.
    control: Option<PathBuf>,
    upstream: u16,
    child: Option<Child>,
}

impl Contestant {
    /// The proxy that is measured, from the binary of this build.
    pub fn shipline(folder: &Path, upstream: u16) -> io::Result<Self> {
        let (port, control) = (free_port(), folder.join("control.sock"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipline"));
        command.args(["proxy", "--listen", &format!("127.0.0.1:{port}"), "--control"]);
        command.arg(&control).arg("--state").arg(folder.join("routes.json"));
        let child = Some(start(&mut command)?);
        let name = crate::table::OWN.to_owned();
        Ok(Self { name, port, control: Some(control), upstream, child })
    }

    /// No proxy at all.
    pub fn direct(upstream: u16) -> Self {
        let name = "no proxy".to_owned();
        Self { name, port: upstream, control: None, upstream, child: None }
    }

    pub fn nginx(program: &Path, folder: &Path, upstream: u16) -> io::Result<Self> {
        let (port, home) = (free_port(), folder.join("nginx"));
        std::fs::create_dir_all(&home)?;
        let text = format!(
            "worker_processes auto; daemon off; pid {home}/pid; error_log {home}/errors;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off;\n\
             client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;\n\
             uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
             keepalive_requests 1000000;\n\
             upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
            home = home.display()
        );
        let file = home.join("nginx.conf");
        std::fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&home).arg("-e").arg(home.join("errors")).arg("-c").arg(file);
        let version = said(Command::new(program).arg("-v"));
        let version = version.rsplit('/').next().unwrap_or_default().trim().to_owned();
        let child = Some(start(&mut command)?);
        Ok(Self { name: format!("nginx {version}"), port, control: None, upstream, child })
    }

    pub fn haproxy(program: &Path, folder: &Path, upstream: u16) -> io::Result<Self> {
        let port = free_port();
        let text = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             \x20 http-reuse always\n\
             frontend in\n  bind 127.0.0.1:{port}\n  default_backend up\n\
             backend up\n  server one 127.0.0.1:{upstream}\n"
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(file);
        let said = said(Command::new(program).arg("-v"));
        let version = said.split_whitespace().find(|word| word.starts_with(char::is_numeric));
        let version = version.and_then(|version| version.split('-').next()).unwrap_or_default();
        let child = Some(start(&mut command)?);
        Ok(Self { name: format!("HAProxy {version}"), port, control: None, upstream, child })
    }

    /// Waits until it answers as the upstream does.
    pub fn is_up(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(io::Error::other(format!("{} ended: {status}", self.name)));
            }
            let answered = self.route().and_then(|()| ask(self.port));
            match answered {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() > UP_WITHIN => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn route(&self) -> io::Result<()> {
        let Some(control) = &self.control else { return Ok(()) };
        let body = format!(
            r#"{{"fence":1,"match":[{{"host":"*","path":"/"}}],"targets":[{{"unit":"up-0","address":"127.0.0.1:{}","release":"r1"}}]}}"#,
            self.upstream
        );
        let request = format!(
            "PUT /v1/routes/up HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(control)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(()),
            false => Err(io::Error::other(answer)),
        }
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // nginx ends its workers when it is asked to, not when it is killed.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let begun = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < UP_WITHIN {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(command: &mut Command) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// What a program says of itself, on either of its ways out.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return String::new() };
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&all).lines().next().unwrap_or_default().to_owned()
}

fn ask(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") && answer.contains("ok") {
        true => Ok(()),
        false => Err(io::Error::other(format!("port {port}: {answer}"))),
    }
}
