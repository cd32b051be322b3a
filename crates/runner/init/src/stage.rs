//! The role `stage`: runs the commands of one attempt, as PID 1 of its container.
//!
//! One thread and one loop around poll: signals, the two pipes of the shell,
//! and our own stdout. Nothing here waits for a reader, so TERM is always heard.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shipline_init::frame::{Began, Ended, Kind, OUTPUTS_LIMIT, Ready, Request};
use shipline_init::user::{self, User};

use crate::network;
use crate::output::Output;
use crate::records::Records;
use crate::script::script;
use crate::system::{self, Change, Polled, Signals};
use crate::usage;

const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// The container itself could not work, as `docker run` says it.
const OWN_FAULT: u8 = 125;
/// How long killed processes may hold the pipes: one may hang in the kernel.
const LEFTOVERS: Duration = Duration::from_secs(5);
/// Before it is asked again whether they are gone.
const AGAIN: Duration = Duration::from_millis(2);
/// What a stopped shell can have left in the two pipes.
const IN_PIPES: usize = 2 * (64 << 10);
/// What the kernel of a stage is told to pass on.
const FORWARDED: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// Why the shell never ran, and the exit code that says so.
struct Refused {
    code: u8,
    message: String,
}

impl Refused {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Where the records are kept, and how many bytes of them before the last ones.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    pub(crate) path: &'a Path,
    pub(crate) limit: u64,
}

/// Runs the stage and returns its exit code.
pub(crate) fn run(kept: Option<Kept<'_>>) -> u8 {
    let stdout = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(descriptor) => File::from(descriptor),
        Err(_) => return OWN_FAULT,
    };
    let Ok(mut output) = Output::new(stdout) else { return OWN_FAULT };
    let ended = match keep(kept, &mut output).and_then(|()| attempt(&mut output)) {
        Ok(ended) => ended,
        Err(Refused { code, message }) => {
            output.push(Kind::Notice, message.as_bytes());
            by_code(code)
        }
    };
    let ended = Ended { alone: system::is_alone(), ..ended };
    output.push(Kind::Exit, &ended.encode());
    output.finish();
    // Whoever reads them finds out what is missing.
    drop(output.sync());
    ended.code
}

fn keep(kept: Option<Kept<'_>>, output: &mut Output) -> Result<(), Refused> {
    let Some(Kept { path, limit }) = kept else { return Ok(()) };
    output.keep(Records::create(path, limit).map_err(|error| unkept(&error))?);
    Ok(())
}

fn unkept(error: &io::Error) -> Refused {
    Refused::new(OWN_FAULT, format!("the records of the stage cannot be kept: {error}"))
}

fn attempt(output: &mut Output) -> Result<Ended, Refused> {
    let own = |error: io::Error| Refused::new(OWN_FAULT, format!("shipline-init: {error}"));
    system::hide_from_stage().map_err(own)?;
    let mut signals =
        Signals::block(&[libc::SIGCHLD].into_iter().chain(FORWARDED).collect::<Vec<_>>())
            .map_err(own)?;
    // PID 1 never gets a signal that it did not ask for: before this, TERM is lost.
    output.push(Kind::Ready, &ready(network::current().ok()).encode());
    output.flush();
    let request = match receive(&mut signals).map_err(own)? {
        Received::Request(request) => *request,
        Received::Signal(signal) => return Ok(by_signal(signal)),
    };
    // Before anything runs: whoever does not find it may begin the stage again.
    output.push(Kind::Accepted, b"1");
    output.sync().map_err(|error| unkept(&error))?;
    system::clear_umask();
    // The root of a fresh layer belongs to root; every user of the stage may write there.
    drop(fs::set_permissions(&request.workspace, PermissionsExt::from_mode(0o777)));
    let user = find_user(&request)?;
    open_caches(&request, user.as_ref());
    let outputs = prepare(&request, user.as_ref()).map_err(own)?;

    let (child, pipes) = spawn(&request, user.as_ref(), &outputs)?;
    system::prefer_to_kill(child);
    if request.as_argument {
        output.push(Kind::Command, &Began { index: 0, at_ms: 0 }.encode());
    }
    let ended = supervise(child, pipes, &mut signals, output).map_err(own)?;
    return_outputs(&outputs, output);
    let usage = usage::read(&[&request.workspace, "/tmp", "/dev/shm"]);
    output.push(Kind::Usage, &usage.encode());
    Ok(ended)
}

/// What is said first.
pub(crate) fn ready(network: Option<u64>) -> Ready {
    Ready { version: env!("CARGO_PKG_VERSION").to_owned(), network }
}

const fn by_signal(signal: i32) -> Ended {
    Ended { code: 128 + signal as u8, signal: Some(signal as i64), alone: false }
}

const fn by_code(code: u8) -> Ended {
    Ended { code, signal: None, alone: false }
}

enum Received {
    Request(Box<Request>),
    Signal(i32),
}

/// Waits for the request, or for the signal that ends the attempt before it began.
fn receive(signals: &mut Signals) -> io::Result<Received> {
    struct Stdin<'a> {
        signals: &'a mut Signals,
        signal: Option<i32>,
    }
    impl Read for Stdin<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            loop {
                let mut polled = [Polled::read(self.signals.descriptor()), Polled::read(0)];
                system::poll(&mut polled, None)?;
                if let Some(signal) = self.signals.next()
                    && signal != libc::SIGCHLD
                {
                    self.signal = Some(signal);
                    return Err(io::Error::other("stopped before the request"));
                }
                if polled[1].is_ready() {
                    return io::stdin().as_fd().try_clone_to_owned().map(File::from)?.read(buffer);
                }
            }
        }
    }
    let mut stdin = Stdin { signals, signal: None };
    match Request::read(&mut stdin) {
        Ok(request) => Ok(Received::Request(Box::new(request))),
        Err(error) => stdin.signal.map(Received::Signal).ok_or(error),
    }
}

fn find_user(request: &Request) -> Result<Option<User>, Refused> {
    let Some(name) = &request.user else { return Ok(None) };
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    user::find(name, &passwd, &group).map(Some).map_err(|error| Refused::new(NOT_EXECUTABLE, error))
}

/// Lets the user write the mounts of caches, and the directories of its home that the
/// engine made to mount them in. What cannot be had is missed by the stage itself.
fn open_caches(request: &Request, user: Option<&User>) {
    for cache in &request.caches {
        drop(fs::set_permissions(cache, PermissionsExt::from_mode(0o777)));
        let Some(User { uid, gid, home: Some(home) }) = user else { continue };
        let above = Path::new(cache).ancestors().skip(1);
        for directory in above.take_while(|path| path.starts_with(home) && *path != Path::new(home))
        {
            let made = fs::metadata(directory).is_ok_and(|found| found.uid() == 0);
            if made {
                drop(chown(directory, Some(*uid), Some(*gid)));
            }
        }
    }
}

/// Writes the secrets and makes the file of `$SHIPLINE_OUTPUT`, whose path it returns.
fn prepare(request: &Request, user: Option<&User>) -> io::Result<PathBuf> {
    let run = Path::new(&request.run);
    let owner = user.map(|user| user.uid);
    for secret in request.secrets.iter().filter(|secret| secret.env.is_none()) {
        let directory = run.join("secrets");
        fs::create_dir_all(&directory)?;
        let path = directory.join(&secret.name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
        file.write_all(secret.value.as_bytes())?;
        chown(&path, owner, None)?;
    }
    let directory = run.join("shipline");
    fs::create_dir_all(&directory)?;
    let outputs = directory.join("output");
    File::create(&outputs)?;
    chown(&outputs, owner, None)?;
    Ok(outputs)
}

/// The pipes of the shell; `None` once they have ended.
struct Pipes {
    stdout: Option<io::PipeReader>,
    stderr: Option<io::PipeReader>,
}

/// Starts the shell in a process group of its own.
fn spawn(request: &Request, user: Option<&User>, outputs: &Path) -> Result<(i32, Pipes), Refused> {
    let own = |error: io::Error| Refused::new(OWN_FAULT, format!("shipline-init: {error}"));
    let Some((shell, options)) = request.shell.split_first() else {
        return Err(Refused::new(NOT_EXECUTABLE, "no shell is given"));
    };
    if !Path::new(&request.workdir).is_dir() {
        let message = format!("the working directory `{}` does not exist", request.workdir);
        return Err(Refused::new(NOT_EXECUTABLE, message));
    }
    let mut file = system::anonymous_file().map_err(own)?;
    let arguments = if request.as_argument {
        vec![request.commands.join("\n")]
    } else {
        let descriptor = file.as_raw_fd();
        file.write_all(script(&request.commands, descriptor).as_bytes()).map_err(own)?;
        // Read as a file by `.`, the script is no argument, and `$0` is the shell's name.
        vec!["-c".to_owned(), format!(". /proc/self/fd/{descriptor}"), shell.clone()]
    };
    let (stdout, stdout_writer) = io::pipe().map_err(own)?;
    let (stderr, stderr_writer) = io::pipe().map_err(own)?;
    for pipe in [&stdout, &stderr] {
        system::set_nonblocking(pipe).map_err(own)?;
    }

    let mut command = Command::new(shell);
    command
        .args(options)
        .args(arguments)
        .current_dir(&request.workdir)
        .stdin(Stdio::null())
        .stdout(stdout_writer)
        .stderr(stderr_writer)
        .process_group(0)
        .envs(user.and_then(|user| user.home.as_ref()).map(|home| ("HOME", home)))
        .envs(&request.env)
        .envs(
            request.secrets.iter().filter_map(|secret| Some((secret.env.as_ref()?, &secret.value))),
        )
        .env("SHIPLINE_OUTPUT", outputs);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    system::unblock_in_child(&mut command);
    let child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Refused::new(NOT_FOUND, format!("`{shell}` is not in the image")),
        _ => Refused::new(NOT_EXECUTABLE, format!("`{shell}` cannot be run: {error}")),
    })?;
    let pid = i32::try_from(child.id()).map_err(|_| Refused::new(OWN_FAULT, "no such pid"))?;
    // `command` goes out of scope here, and with it our ends of the pipes for writing.
    Ok((pid, Pipes { stdout: Some(stdout), stderr: Some(stderr) }))
}

/// Passes on output and signals until the shell has ended and all it wrote is read.
fn supervise(
    child: i32,
    mut pipes: Pipes,
    signals: &mut Signals,
    output: &mut Output,
) -> io::Result<Ended> {
    let started = Instant::now();
    let mut index = 0;
    let mut at_marker = false;
    let mut ended = None;
    let mut deadline: Option<Instant> = None;
    loop {
        output.flush();
        let overdue = deadline.is_some_and(|deadline| deadline <= Instant::now());
        let lingers =
            ended.is_some() && pipes.are_closed() && system::is_init() && !system::is_alone();
        if let Some(ended) = ended
            && (overdue || (pipes.are_closed() && !lingers))
        {
            return Ok(ended);
        }
        let room = output.has_room();
        let mut polled = [
            Polled::read(signals.descriptor()),
            pipes
                .stdout
                .as_ref()
                .filter(|_| room)
                .map_or_else(Polled::nothing, |pipe| Polled::read(pipe.as_raw_fd())),
            pipes
                .stderr
                .as_ref()
                .filter(|_| room)
                .map_or_else(Polled::nothing, |pipe| Polled::read(pipe.as_raw_fd())),
            if output.is_empty() { Polled::nothing() } else { Polled::write(output.descriptor()) },
        ];
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // What came in from outside is no child, so nothing tells that it is gone.
        let timeout = if lingers { timeout.map(|timeout| timeout.min(AGAIN)) } else { timeout };
        system::poll(&mut polled, timeout)?;

        while let Some(signal) = signals.next() {
            if signal != libc::SIGCHLD {
                system::signal_all(child, signal);
            }
        }
        while let Some((pid, change)) = system::reap() {
            match change {
                _ if pid != child => {}
                Change::Stopped(signal) => at_marker |= signal == libc::SIGSTOP,
                Change::Exited(code) => ended = Some(by_code(code)),
                Change::Killed(signal) => ended = Some(by_signal(signal)),
            }
        }
        if ended.is_some() && deadline.is_none() {
            // What the stage left in the background ends with it.
            system::signal_all(child, libc::SIGKILL);
            deadline = Some(Instant::now() + LEFTOVERS);
        }
        if at_marker {
            // The shell stands still: what is in the pipes belongs to the commands before.
            pipes.drain(output, IN_PIPES)?;
            let at_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            output.push(Kind::Command, &Began { index, at_ms }.encode());
            index += 1;
            at_marker = false;
            system::resume(child);
        } else if room {
            pipes.take(output)?;
        }
    }
}

impl Pipes {
    fn are_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Reads each pipe once; returns how much came.
    fn take(&mut self, output: &mut Output) -> io::Result<usize> {
        let mut read = 0;
        for (kind, slot) in [(Kind::Stdout, &mut self.stdout), (Kind::Stderr, &mut self.stderr)] {
            let Some(pipe) = slot else { continue };
            match output.take(kind, pipe) {
                Ok(0) => *slot = None,
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Reads until the pipes are empty, or `limit` bytes: something in the background may go on writing.
    fn drain(&mut self, output: &mut Output, limit: usize) -> io::Result<()> {
        let mut read = 0;
        while read < limit {
            match self.take(output)? {
                0 => break,
                count => read += count,
            }
        }
        Ok(())
    }
}

fn return_outputs(path: &Path, output: &mut Output) {
    let mut contents = Vec::new();
    // One more than is allowed, so that what is too long is seen.
    let limit = OUTPUTS_LIMIT as u64 + 1;
    // A stage that removed the file has no outputs.
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut contents));
    if read.is_err() || contents.is_empty() {
        return;
    }
    output.push(Kind::Outputs, &contents);
}
