//! A terminal for a program under test: it draws what the program writes, takes what a
//! person types, and can be asked what is to be seen.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// Lines above the screen that can still be read.
const SCROLLBACK: usize = 10_000;

pub struct Pty {
    child: Child,
    ours: File,
    drawn: Arc<Mutex<Drawn>>,
    /// Nothing is read: the terminal takes no more than its buffer.
    stuck: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// What a terminal has to show by now.
struct Drawn {
    parser: vt100::Parser<Intrusions>,
    bytes: Vec<u8>,
}

/// What a program did to the terminal beside writing.
#[derive(Default)]
struct Intrusions(Vec<String>);

impl vt100::Callbacks for Intrusions {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.0.push(format!("title {}", String::from_utf8_lossy(title)));
    }

    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _: &[u8], data: &[u8]) {
        self.0.push(format!("clipboard {}", String::from_utf8_lossy(data)));
    }

    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.0.push("bell".to_owned());
    }
}

impl Pty {
    /// Starts a command on a terminal of its own, which is its controlling one.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let ours = ours.expect("there is a terminal left");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a new terminal is ours");
        tcsetwinsize(&ours, size_of(columns, rows)).expect("a terminal has a size");
        let child = spawn(command, &ours);
        let parser = vt100::Parser::new_with_callbacks(
            positive(rows),
            positive(columns),
            SCROLLBACK,
            Intrusions::default(),
        );
        let drawn = Arc::new(Mutex::new(Drawn { parser, bytes: Vec::new() }));
        let ours = File::from(ours);
        let stuck = Arc::new(AtomicBool::new(false));
        let copy = ours.try_clone().expect("a file handle can be cloned");
        let reader = Some(read(copy, &drawn, &stuck));
        Self { child, ours, drawn, stuck, reader }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is to be seen now, row by row.
    pub fn screen(&self) -> String {
        self.with(|drawn| text(drawn.parser.screen()))
    }

    /// What scrolled away, and what is to be seen.
    pub fn everything(&self) -> String {
        self.with(|drawn| {
            let screen = drawn.parser.screen_mut();
            let mut all = String::new();
            for above in (1..=screen.scrollback_len()).rev() {
                screen.set_scrollback(above);
                let columns = screen.size().1.get();
                all.push_str(screen.rows(0, columns).next().unwrap_or_default().trim_end());
                all.push('\n');
            }
            screen.set_scrollback(0);
            all + &text(screen)
        })
    }

    /// Looks at the cells of the screen.
    pub fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        self.with(|drawn| look(drawn.parser.screen()))
    }

    /// Everything that was written, with its control sequences.
    pub fn bytes(&self) -> Vec<u8> {
        self.with(|drawn| drawn.bytes.clone())
    }

    /// Titles, clipboard writes and bells that reached the terminal.
    pub fn intrusions(&self) -> Vec<String> {
        self.with(|drawn| drawn.parser.callbacks().0.clone())
    }

    /// Waits until the screen shows what is wanted; panics with the screen when it is too late.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; there is:\n{}",
                self.everything()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types; `\x03` is Ctrl-C, `\r` is Enter.
    pub fn write(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// Stops reading, as a terminal that is far away does, or goes on.
    pub fn stick(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.with(|drawn| drawn.parser.set_size(positive(rows), positive(columns)));
        tcsetwinsize(&self.ours, size_of(columns, rows)).expect("a terminal has a size");
    }

    /// How the terminal treats what is typed.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.ours).expect("a terminal has settings")
    }

    /// Waits for the end, and for everything that was written until then.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(120);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.everything());
            std::thread::sleep(Duration::from_millis(20));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        status.code().unwrap_or(-1)
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Drawn) -> T) -> T {
        ask(&mut self.drawn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `setsid` makes the terminal the controlling one, so that Ctrl-C is a signal.
fn spawn(command: &Command, ours: &OwnedFd) -> Child {
    let path = ptsname(ours, Vec::new()).expect("a terminal has a name");
    let path = std::ffi::OsString::from_vec(path.into_bytes());
    let theirs = || {
        let opened = File::options().read(true).write(true).open(&path);
        opened.expect("a terminal can be opened")
    };
    let mut child = Command::new("setsid");
    child.arg("--ctty").arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        child.current_dir(folder);
    }
    child.env("TERM", "xterm-256color").env_remove("CI");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => child.env(name, value),
            None => child.env_remove(name),
        };
    }
    child.stdin(theirs()).stdout(theirs()).stderr(theirs());
    child.spawn().unwrap_or_else(|error| panic!("cannot start {child:?}: {error}"))
}

fn read(mut ours: File, drawn: &Arc<Mutex<Drawn>>, stuck: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (drawn, stuck) = (Arc::clone(drawn), Arc::clone(stuck));
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        // The end is an error here: nobody has the other side open any more.
        while let Ok(count @ 1..) = ours.read(&mut piece) {
            let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
            drawn.parser.process(&piece[..count]);
            drawn.bytes.extend_from_slice(&piece[..count]);
            drop(drawn);
            while stuck.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    })
}

fn text(screen: &vt100::Screen) -> String {
    let rows = screen.rows(0, screen.size().1.get());
    let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
    rows.join("\n").trim_end().to_owned() + "\n"
}

fn size_of(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn positive(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).expect("a terminal has a row and a column")
}
