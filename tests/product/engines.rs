//! Engines that are not Docker: what they are given and what they do with it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::guide::block;
use crate::harness::lab::{Lab, Ran};
use crate::harness::machine::had;
use crate::local_run::{assert_gapless, output_of, repository, result_of};

/// Who runs the Podman without root; `make setup` makes it, of root.
const USER: &str = "shipline-test";

/// Podman with storage, networks and a socket of its own.
struct Podman {
    folder: tempfile::TempDir,
    /// The number of the user who runs it; `None` is who runs the tests.
    user: Option<u32>,
    service: Option<Child>,
}

impl Podman {
    /// The error says why Podman cannot be tried on this machine.
    fn start(user: Option<u32>) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("shipline-podman-").tempdir();
        let folder = folder.expect("a scratch folder can be made");
        let mut podman = Self { folder, user, service: None };
        if let Some(user) = user {
            let folders = [podman.folder.path().to_owned(), run_folder(user)];
            for folder in &folders {
                std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
                std::os::unix::fs::chown(folder, Some(user), Some(user))
                    .map_err(|error| error.to_string())?;
            }
        }
        // Limits that this process may pass on, and no systemd to ask for groups. Runc
        // also knows machines that have both versions of control groups.
        let files = limit("open files").min(1 << 20);
        std::fs::write(
            podman.path("containers.conf"),
            format!(
                "[containers]\ndefault_ulimits = [\"nofile={files}:{files}\", \"nproc=4096:4096\"]\n\
                 [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n\
                 [network]\nnetwork_backend = \"netavark\"\n"
            ),
        )
        .expect("written");
        podman.import("busybox:1")?;
        let alone = podman.run(&["run", "--rm", "--network=none", "busybox:1", "true"])?;
        alone.success()?;
        if user.is_some() {
            // Networks without root stand on things that not every machine lends.
            podman.run(&["network", "create", "try"])?.success()?;
            podman.run(&["run", "--rm", "--network=try", "busybox:1", "true"])?.success()?;
            podman.run(&["network", "rm", "try"])?.success()?;
        }
        let socket = format!("unix://{}", podman.socket().display());
        let log = std::fs::File::create(podman.path("service.log")).expect("made");
        // As the page on local runs has it, at a socket of its own.
        let page = block("running-locally.md", "podman system service");
        let begin = page[0].strip_prefix("# podman ").expect("a command of root");
        let begin = begin.strip_suffix(" unix:///run/podman/podman.sock &").expect("its socket");
        let service = podman
            .command()
            .args(begin.split(' '))
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        podman.service = Some(service.map_err(|error| format!("podman: {error}"))?);
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(podman.socket()).is_err() {
            if begun.elapsed() > Duration::from_secs(20) {
                return Err("the service of Podman does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(podman)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("podman.sock")
    }

    fn command(&self) -> Command {
        let mut command = match self.user {
            None => Command::new("podman"),
            Some(user) => {
                let mut command = as_user(user, "podman");
                command.arg("--storage-driver=vfs");
                command.env("XDG_RUNTIME_DIR", run_folder(user)).env("HOME", self.folder.path());
                command
            }
        };
        command.current_dir(self.folder.path());
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env_remove("DOCKER_HOST").env_remove("CONTAINER_HOST");
        for (option, value) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
            ("--network-config-dir", "networks"),
            ("--volumepath", "root/volumes"),
        ] {
            command.arg(option).arg(self.path(value));
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Said, String> {
        let mut command = self.command();
        let output = command.args(arguments).stdin(Stdio::null()).output();
        Ok(Said(Ran::from(output.map_err(|error| format!("podman: {error}"))?)))
    }

    /// Gives it an image of Docker by the name that it has there.
    fn import(&self, image: &str) -> Result<(), String> {
        let archive = self.path("image.tar");
        let saved = Command::new("docker").arg("save").arg("-o").arg(&archive).arg(image).status();
        assert!(saved.expect("docker can be started").success(), "{image} is not there");
        let readable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&archive, readable).map_err(|error| error.to_string())?;
        let text = archive.to_string_lossy().into_owned();
        self.run(&["load", "--quiet", "--input", &text])?.success()?;
        // An archive of Docker has the short name, which Podman takes for one of this machine.
        let (local, full) = (format!("localhost/{image}"), format!("docker.io/library/{image}"));
        self.run(&["tag", &local, &full])?.success()?;
        std::fs::remove_file(archive).map_err(|error| error.to_string())
    }

    /// The names that `list` prints, one a line.
    fn names(&self, list: &[&str]) -> Vec<String> {
        let said = self.run(list).and_then(Said::success).expect("Podman answers");
        said.lines().map(str::to_owned).collect()
    }
}

/// Where a session of the user would have its sockets.
fn run_folder(user: u32) -> PathBuf {
    format!("/run/user/{user}").into()
}

struct Said(Ran);

impl Said {
    fn success(self) -> Result<String, String> {
        let Ran { code, stdout, stderr } = self.0;
        if code == 0 { Ok(stdout) } else { Err(format!("podman: {}", stderr.trim())) }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            // It is ours, and a child of this process.
            drop(service.kill());
            drop(service.wait());
        }
        drop(self.run(&["rm", "--all", "--force", "--time=0"]));
        drop(self.run(&["network", "prune", "--force"]));
        // Its storage mounts itself.
        drop(Command::new("umount").arg(self.path("root/overlay")).stderr(Stdio::null()).status());
    }
}

/// The hard limit of this process.
fn limit(name: &str) -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.to_lowercase().starts_with(&format!("max {name}")));
    let hard = line.and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
    hard.unwrap_or(1 << 20)
}

const PIPELINE: &str = r#"
image: busybox:1
stages:
  make: { run: 'mkdir d; echo a >d/a; echo b >b; cat README', artifacts: { paths: [b] } }
  left: { needs: [make], run: ['echo l >l; rm b; echo "v=7" >>$SHIPLINE_OUTPUT'], outputs: [v] }
  right:
    needs: [make]
    run: 'cat /kept/n 2>/dev/null || echo nothing; echo cached >/kept/n; mv d e'
    cache: { key: k, paths: [/kept] }
  join:
    needs: [left, right]
    env: { V: "${{ stages.left.outputs.v }}" }
    run: ['cat l e/a; test ! -e b; test ! -e d; echo got $V']
  ask:
    needs: [make]
    services:
      web: { image: busybox:1, command: [sh, -c, nc -ll -p 80 -e echo served], ready: { tcp: 80 } }
    run: nc -w 3 web 80 </dev/null
"#;

#[test]
fn podman_of_root_runs_a_pipeline_like_docker() {
    let Some(podman) = had("podman", Podman::start(None)) else { return };
    runs_a_pipeline(&podman);
}

#[test]
fn podman_without_root_runs_a_pipeline_on_copied_workspaces() {
    let Some(user) = had("podman-without-root", test_user()) else { return };
    let Some(podman) = had("podman-without-root", Podman::start(Some(user))) else { return };
    runs_a_pipeline(&podman);
}

fn runs_a_pipeline(podman: &Podman) {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let run = |arguments: &[&str]| shipline(&lab, podman, &folder, arguments);

    let lines = run(&["run", "--format", "json"]).expect(0).lines();
    assert_gapless(&lines);
    assert_eq!(output_of(&lines, "make"), "hello\n");
    let told = lines.iter().any(|line| line.to_string().contains("workspaces are copied"));
    assert_eq!(told, podman.user.is_some(), "only a kernel without root refuses overlays");
    assert_eq!(output_of(&lines, "right"), "nothing\n");
    assert_eq!(output_of(&lines, "join"), "l\na\ngot 7\n");
    assert_eq!(output_of(&lines, "ask"), "served\n");
    let out = folder.join(".shipline/out/make/b");
    assert_eq!(std::fs::read_to_string(out).expect("the artifact"), "b\n");

    // What a run keeps is all that is left, and the next one finds it.
    assert_eq!(podman.names(&["ps", "--all", "--format", "{{.Names}}"]), [""; 0]);
    assert_eq!(podman.names(&["network", "ls", "--format", "{{.Name}}"]), ["podman"]);
    let unlabelled = |names: Vec<String>| {
        names.into_iter().filter(|name| !name.contains("shipline.keep")).collect::<Vec<_>>()
    };
    let volumes = ["volume", "ls", "--format", "{{.Name}} {{.Labels}}"];
    assert_eq!(unlabelled(podman.names(&volumes)), [""; 0]);
    let again = run(&["run", "--only", "join", "--format", "json"]).expect(0).lines();
    assert_eq!(result_of(&again, "make"), "unchanged", "the layer of the first run is there");
    let whole = run(&["run", "--no-reuse", "--format", "json"]).expect(0).lines();
    assert_eq!(output_of(&whole, "right"), "cached\n");

    // Where the engine holds limits, as it does of root, who breaks one is told by its name.
    if podman.user.is_none() {
        let grows = "image: busybox:1\nstages:\n  memory:\n    resources: { memory: 32Mi }\n    run: \
                     awk 'BEGIN { s = \"0123456789abcdef\"; while (1) s = s s }'\n";
        std::fs::write(folder.join(".shipline.yml"), grows).expect("written");
        let lines = run(&["run", "--format", "json"]).expect(1).lines();
        assert_eq!(result_of(&lines, "memory"), "resource-limit");
    }

    // Its own builder sees what the stages before wrote.
    std::fs::write(
        folder.join(".shipline.yml"),
        "image: busybox:1\nstages:\n  make: echo made >made\n  image: { needs: [make], build: { file: \
         Dockerfile } }\n",
    )
    .expect("written");
    std::fs::write(folder.join("Dockerfile"), "FROM busybox:1\nCOPY made /\n").expect("written");
    let built = run(&["run", "--format", "json"]).expect(0).lines();
    assert_eq!(result_of(&built, "image"), "passed");

    run(&["clean", "--all", "--caches"]).expect(0);
    assert_eq!(podman.names(&["volume", "ls", "--quiet"]), [""; 0]);
    let images = podman.names(&["images", "--format", "{{.Repository}}"]);
    assert!(!images.iter().any(|name| name.contains("shipline")), "{images:?}");
    // Nothing is left for the lab, which would clean up on another engine.
    std::fs::remove_file(lab.home().join("state.db")).expect("removed");
}

fn shipline(lab: &Lab, podman: &Podman, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = lab.shipline();
    command.env("DOCKER_HOST", format!("unix://{}", podman.socket().display()));
    Ran::of(command.current_dir(folder).args(arguments))
}

/// A Docker daemon of a user, in the user's own namespaces.
struct Rootless {
    folder: tempfile::TempDir,
    user: u32,
    daemon: Child,
}

impl Rootless {
    fn start(user: u32) -> Result<Self, String> {
        let script = "/usr/share/docker.io/contrib/dockerd-rootless.sh";
        let there = Path::new(script).exists().then_some(()).ok_or(format!("no {script}"));
        there?;
        let folder = tempfile::Builder::new().prefix("shipline-rootless-").tempdir();
        let folder = folder.expect("a scratch folder can be made");
        for folder in [folder.path().to_owned(), run_folder(user)] {
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let owned = std::os::unix::fs::chown(&folder, Some(user), Some(user));
            owned.map_err(|error| error.to_string())?;
        }
        let path = |name: &str| folder.path().join(name);
        let log = std::fs::File::create(path("dockerd.log")).expect("made");
        let daemon = as_user(user, script)
            .current_dir(folder.path())
            .env("XDG_RUNTIME_DIR", run_folder(user))
            .env("HOME", folder.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg(format!("--host=unix://{}", path("docker.sock").display()))
            .arg("--storage-driver=vfs")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let daemon = daemon.map_err(|error| error.to_string())?;
        let rootless = Self { folder, user, daemon };
        let begun = Instant::now();
        while rootless.docker(&["version"]).code != 0 {
            if begun.elapsed() > Duration::from_secs(30) {
                let log = std::fs::read_to_string(rootless.folder.path().join("dockerd.log"));
                let log = log.unwrap_or_default();
                return Err(log.lines().last().unwrap_or("it does not answer").to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(rootless)
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    fn docker(&self, arguments: &[&str]) -> Ran {
        let mut docker = Command::new("docker");
        Ran::of(docker.env("DOCKER_HOST", self.socket()).args(arguments))
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        // The daemon takes its containers along; the script around it ends with it.
        if let Ok(pid) = std::fs::read_to_string(self.folder.path().join("pid")) {
            let stop = as_user(self.user, "kill").arg(pid.trim()).status();
            drop(stop);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(15) {
            if matches!(self.daemon.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn as_user(user: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    command.args([&uid, &gid, "--clear-groups", program]);
    command
}

#[test]
fn docker_without_root_runs_and_builds_on_copied_workspaces() {
    let Some(user) = had("docker-without-root", test_user()) else { return };
    let Some(rootless) = had("docker-without-root", Rootless::start(user)) else { return };
    let archive = rootless.folder.path().join("image.tar");
    let saved = Command::new("docker").args(["save", "busybox:1", "-o"]).arg(&archive).status();
    assert!(saved.expect("docker can be started").success());
    let archive = archive.to_string_lossy().into_owned();
    assert_eq!(rootless.docker(&["load", "--quiet", "--input", &archive]).code, 0);

    let lab = Lab::new();
    let build = "  image: { needs: [join], build: { file: Dockerfile } }\n";
    let folder = repository(&lab, &format!("{PIPELINE}{build}"));
    std::fs::write(folder.join("Dockerfile"), "FROM busybox:1\nCOPY l /l\n").expect("written");
    let run = |arguments: &[&str]| {
        let mut command = lab.shipline();
        command.env("DOCKER_HOST", rootless.socket()).current_dir(&folder);
        Ran::of(command.args(arguments))
    };
    let lines = run(&["run", "--format", "json"]).expect(0).lines();
    assert_gapless(&lines);
    assert_eq!(output_of(&lines, "join"), "l\na\ngot 7\n");
    assert_eq!(output_of(&lines, "ask"), "served\n");
    assert_eq!(result_of(&lines, "image"), "passed");
    let told = lines.iter().any(|line| line.to_string().contains("workspaces are copied"));
    assert!(told, "a kernel without root refuses overlays");
    let again = run(&["run", "--only", "join", "--format", "json"]).expect(0).lines();
    assert_eq!(result_of(&again, "make"), "unchanged", "the layer of the first run is there");
    run(&["clean", "--all", "--caches"]).expect(0);
    assert_eq!(rootless.docker(&["ps", "--all", "--quiet"]).stdout, "");
    assert_eq!(rootless.docker(&["volume", "ls", "--quiet"]).stdout, "");
    // Nothing is left for the lab, which would clean up on another engine.
    std::fs::remove_file(lab.home().join("state.db")).expect("removed");
}

/// The number of the user who runs engines without root.
fn test_user() -> Result<u32, String> {
    let number = Command::new("id").args(["-u", USER]).output().expect("id can be started");
    let number = String::from_utf8_lossy(&number.stdout).trim().parse();
    number.map_err(|_| format!("there is no user {USER}"))
}
