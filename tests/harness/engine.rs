//! A Docker engine of a test's own, which may be stopped, killed and filled up; and disks
//! that are soon full.
//!
//! It has its own network namespace, so its own bridge, its own containerd, and its own
//! folders. What was started is ended by the pid it was started with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::lab::Ran;
use super::process::{Process, signal, wait_for};

/// How long a daemon may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct OwnEngine {
    folder: tempfile::TempDir,
    // Fields are dropped in their order: the daemon before what it stands on.
    daemon: Option<Process>,
    containerd: Option<Process>,
    /// Where images, volumes and containers are.
    disk: Option<SmallDisk>,
}

impl OwnEngine {
    /// The error says why there can be no such engine on this machine.
    pub fn start() -> Result<Self, String> {
        Self::on(None)
    }

    /// With a disk of `megabytes` for all that it keeps.
    pub fn on_disk_of(megabytes: u32) -> Result<Self, String> {
        Self::on(Some(megabytes))
    }

    fn on(megabytes: Option<u32>) -> Result<Self, String> {
        // Short: a Unix socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("shipline-engine-").tempdir();
        let folder = folder.expect("a scratch folder can be made");
        let path = |name: &str| folder.path().join(name);
        let disk = megabytes.map(|size| SmallDisk::mount(&path("data"), size)).transpose()?;
        let configuration = format!(
            "version = 2\nroot = \"{0}/c/root\"\nstate = \"{0}/c/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{0}/c.sock\"\n",
            folder.path().display()
        );
        std::fs::write(path("containerd.toml"), configuration).expect("written");
        let mut command = Command::new("containerd");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--config").arg(path("containerd.toml"));
        if !Path::new("/usr/bin/containerd").exists() || !Path::new("/usr/sbin/dockerd").exists() {
            return Err("there is no dockerd and containerd".to_owned());
        }
        let containerd = Process::start(&mut command, &path("containerd.log"));
        let mut engine = Self { folder, daemon: None, containerd: Some(containerd), disk };
        let socket = engine.path("c.sock");
        wait_for("containerd", PATIENCE, || socket.exists().then_some(()));
        engine.up()?;
        engine.import("busybox:1");
        Ok(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    pub fn docker(&self, arguments: &[&str]) -> Ran {
        let mut docker = Command::new("docker");
        Ran::of(docker.env("DOCKER_HOST", self.host()).args(arguments))
    }

    /// Starts the daemon, again too.
    pub fn up(&mut self) -> Result<(), String> {
        let mut command = Command::new("unshare");
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\"", "dockerd"])
            .arg(format!("--host={}", self.host()))
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .arg("--containerd")
            .arg(self.path("c.sock"));
        // A daemon that was killed leaves its pid there, and a new one would look for it.
        drop(std::fs::remove_file(self.path("pid")));
        let mut daemon = Process::start(&mut command, &self.path("dockerd.log"));
        let begun = std::time::Instant::now();
        while self.docker(&["version"]).code != 0 {
            if !daemon.is_alive() || begun.elapsed() > PATIENCE {
                let log = daemon.text();
                return Err(log.lines().last().unwrap_or("it does not answer").to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// As `systemctl stop docker` does; containers end with it.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            signal(daemon.pid(), "TERM");
            daemon.wait(PATIENCE);
        }
    }

    /// As a crash does: its containers live until it is back.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Gives it an image of the engine of this machine.
    fn import(&self, image: &str) {
        let archive = self.path("image.tar");
        let saved = Command::new("docker").args(["save", image, "-o"]).arg(&archive).status();
        assert!(saved.expect("docker can be started").success(), "{image} is not there");
        self.docker(&["load", "--quiet", "--input", &archive.to_string_lossy()]).expect(0);
        std::fs::remove_file(archive).expect("removed");
    }

    /// Writes zeros until the disk has no room; [`OwnEngine::make_room`] takes them away.
    pub fn fill(&self) {
        self.disk.as_ref().expect("it has a small disk").fill();
    }

    pub fn make_room(&self) {
        self.disk.as_ref().expect("it has a small disk").make_room();
    }

    /// Containers, networks and volumes of ours, but for volumes that say they stay, and
    /// what serves all runs.
    pub fn left(&self) -> Vec<String> {
        let mut found = Vec::new();
        for arguments in [
            ["ps", "--all", "--format", "container {{.Names}} {{.Labels}}"],
            ["network", "ls", "--format", "network {{.Name}} {{.Labels}}"],
            ["volume", "ls", "--format", "volume {{.Name}} {{.Labels}}"],
        ] {
            let listed = self.docker(&arguments).expect(0).stdout;
            found.extend(listed.lines().map(str::to_owned));
        }
        found.retain(|line| line.contains("shipline.") && !line.contains("shipline.keep="));
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let ours = self.path("data/volumes").display().to_string();
        found.extend(mounts.lines().filter(|line| line.contains(&ours)).map(str::to_owned));
        found
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            let containers =
                Ran::of(Command::new("docker").env("DOCKER_HOST", self.host()).args(["ps", "-aq"]));
            for id in containers.stdout.lines() {
                drop(self.docker(&["rm", "--force", "--volumes", id]));
            }
        }
        self.stop();
        if let Some(mut containerd) = self.containerd.take() {
            containerd.terminate();
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let below = format!("{}/", self.folder.path().display());
        let own = self.disk.as_ref().map(|disk| disk.path.display().to_string());
        for line in mounts.lines().rev() {
            let Some(place) = line.split(' ').nth(1) else { continue };
            if place.starts_with(&below) && Some(place) != own.as_deref() {
                drop(Command::new("umount").args(["--lazy", place]).status());
            }
        }
    }
}

/// A file system in memory that holds little; it needs root.
pub struct SmallDisk {
    pub path: PathBuf,
}

impl SmallDisk {
    pub fn mount(path: &Path, megabytes: u32) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        let mounted = Ran::of(mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path));
        if mounted.code != 0 {
            return Err(mounted.stderr.trim().to_owned());
        }
        Ok(Self { path: path.to_owned() })
    }

    pub fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        Ran::of(Command::new("mount").args(["-o", &size]).arg(&self.path)).expect(0);
    }

    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.path.join("full")).expect("made");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.path.join("full")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.path).status());
    }
}
