//! Where the observations of a run are shown: as JSON lines, as a tree, or as text lines.

use std::io::Stdout;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use pipeline::SourceFile;
use runner::Observation;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::arguments::Format;
use crate::terminal::{
    Excerpts, Reporter, Screen, Size, Style, Tree, shows_a_tree, width_of_stdout,
};

/// A terminal is drawn ten times a second at most.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines that may wait for the next drawing.
const LINES: usize = 256;
/// As a shell says it of a process that SIGQUIT ended.
const QUIT: i32 = 128 + 3;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum View {
    Json,
    Lines,
    Tree { verbose: bool, clock: Clock },
}

impl View {
    /// A tree needs a terminal that can be drawn on.
    pub(crate) fn of(format: Format, verbose: bool, clock: Clock) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Text if shows_a_tree() => Self::Tree { verbose, clock },
            Format::Text => Self::Lines,
        }
    }
}

/// Whose time it is that a tree shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Clock {
    /// It happens now.
    Wall,
    /// It happened: the time of the last event, and so many seconds a second since then.
    Recorded(f64),
}

/// Asks the display for the terminal, to put a question to whoever sits there.
#[derive(Clone)]
pub(crate) struct Turns(mpsc::Sender<Request>);

/// What [`display`] hears of [`Turns`].
pub(crate) type Requests = mpsc::Receiver<Request>;

pub(crate) struct Request {
    granted: oneshot::Sender<()>,
    over: oneshot::Receiver<()>,
}

/// The terminal is its owner's until this is dropped.
pub(crate) struct Turn {
    _over: Option<oneshot::Sender<()>>,
}

pub(crate) fn turns() -> (Turns, Requests) {
    let (send, receive) = mpsc::channel(1);
    (Turns(send), receive)
}

impl Turns {
    /// Waits until nothing is drawn any more. What happens meanwhile is shown afterwards.
    pub(crate) async fn take(&self) -> Turn {
        let (granted, wait) = oneshot::channel();
        let (end, over) = oneshot::channel();
        let asked = self.0.send(Request { granted, over }).await;
        // Where nothing is shown any more the terminal is free.
        if asked.is_err() || wait.await.is_err() {
            return Turn { _over: None };
        }
        Turn { _over: Some(end) }
    }
}

/// Shows what was written before the run was observed, and then the run. It blocks, on a
/// thread that may: a slow terminal slows the run and takes no memory. `files` are the
/// texts of its plan, as far as they are at hand.
pub(crate) fn display(
    view: View,
    files: Vec<SourceFile>,
    queued: &[event::Event],
    observations: mpsc::Receiver<Observation>,
    requests: Requests,
) -> std::io::Result<()> {
    let queued = queued.iter().map(|event| Observation::Event(Box::new(event.clone())));
    let excerpts = Excerpts { files, columns: width_of_stdout() };
    match view {
        View::Json => {
            let mut out = std::io::BufWriter::new(std::io::stdout());
            lines(queued, observations, requests, |observation| json_line(&mut out, observation))
        }
        View::Lines => {
            // A frame may be many lines, and stdout alone would write each by itself.
            let out = std::io::BufWriter::new(std::io::stdout());
            let mut reporter = Reporter::new(out, Style::of_stdout(), excerpts);
            lines(queued, observations, requests, |observation| {
                match observation {
                    Observation::Event(event) => reporter.event(event)?,
                    Observation::Frame(frame) => reporter.frame(frame)?,
                    Observation::Waiting(line) => reporter.waiting(line)?,
                }
                reporter.hand_on()
            })
        }
        View::Tree { verbose, clock } => {
            let mut drawing = Drawing::new(verbose, clock, excerpts);
            queued.for_each(|observation| drawing.observe(&observation));
            Handle::current().block_on(drawing.follow(observations, requests))
        }
    }
}

/// Shows line by line. There is nothing to take away for a question.
fn lines(
    queued: impl Iterator<Item = Observation>,
    mut observations: mpsc::Receiver<Observation>,
    requests: Requests,
    mut show: impl FnMut(&Observation) -> std::io::Result<()>,
) -> std::io::Result<()> {
    drop(requests);
    let mut result = queued.into_iter().try_for_each(|observation| show(&observation));
    // After a broken pipe the run goes on: its verdict is recorded all the same.
    while let Some(observation) = observations.blocking_recv() {
        if result.is_ok() {
            result = show(&observation);
        }
    }
    result
}

pub(crate) fn json_line(
    out: &mut impl std::io::Write,
    observation: &Observation,
) -> std::io::Result<()> {
    match observation {
        Observation::Event(event) => serde_json::to_writer(&mut *out, event)?,
        Observation::Frame(frame) => serde_json::to_writer(&mut *out, frame)?,
        // No event, and so no line of those who read events.
        Observation::Waiting(_) => return Ok(()),
    }
    writeln!(out)?;
    out.flush()
}

/// A tree on a screen, in the course of time.
struct Drawing {
    tree: Tree,
    screen: Screen<Stdout>,
    clock: Clock,
    drawn: Instant,
    /// When the last event happened, and when it was told.
    last: Option<(DateTime<Utc>, Instant)>,
    changed: bool,
    /// Ends when somebody else has had the terminal.
    taken: Option<oneshot::Receiver<()>>,
    failed: Option<std::io::Error>,
}

impl Drawing {
    fn new(verbose: bool, clock: Clock, excerpts: Excerpts) -> Self {
        Self {
            tree: Tree::new(Style::of_stdout(), excerpts, verbose),
            screen: Screen::new(std::io::stdout()),
            clock,
            drawn: Instant::now(),
            last: None,
            changed: true,
            taken: None,
            failed: None,
        }
    }

    fn observe(&mut self, observation: &Observation) {
        match observation {
            Observation::Event(event) => {
                self.last = Some((event.at, Instant::now()));
                self.tree.event(event);
            }
            Observation::Frame(frame) => self.tree.frame(frame),
            Observation::Waiting(line) => self.tree.waits(line),
        }
        self.changed = true;
    }

    async fn follow(
        mut self,
        mut observations: mpsc::Receiver<Observation>,
        mut requests: Requests,
    ) -> std::io::Result<()> {
        let mut resized = signal(SignalKind::window_change())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut stopped = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
        self.draw();
        loop {
            // Whoever has the terminal for long makes the run wait, not the memory grow.
            let full = self.taken.is_some() && self.tree.waiting() >= LINES;
            let look = self.next_look();
            tokio::select! {
                biased;
                observation = observations.recv(), if !full => match observation {
                    Some(observation) => self.observe(&observation),
                    None => break,
                },
                () = over(&mut self.taken), if self.taken.is_some() => {
                    self.taken = None;
                    self.draw();
                }
                Some(request) = requests.recv(), if self.taken.is_none() => self.give(request),
                () = came(&mut resized) => {
                    self.tree.resized(width_of_stdout());
                    self.screen.resized();
                    self.draw();
                }
                () = came(&mut stopped) => self.stop(),
                () = came(&mut quit) => {
                    drop(self.screen.close());
                    std::process::exit(QUIT);
                }
                () = tokio::time::sleep(look.unwrap_or_default()), if look.is_some() => self.draw(),
            }
            // An endless stream of observations must not keep the screen from being drawn.
            let due = self.drawn.elapsed() >= PAUSE || self.tree.waiting() >= LINES;
            if self.changed && due {
                self.draw();
            }
        }
        if let Some(taken) = self.taken.take() {
            drop(taken.await);
        }
        self.draw();
        let closed = self.screen.close();
        self.failed.map_or(closed, Err)
    }

    /// How long nothing needs to be drawn; `None` while nothing changes by itself.
    fn next_look(&self) -> Option<Duration> {
        if self.taken.is_some() || self.failed.is_some() {
            return None;
        }
        let rest = PAUSE.saturating_sub(self.drawn.elapsed());
        if self.changed {
            return Some(rest);
        }
        let step = self.tree.next_look(self.now()).map(Duration::from_millis)?;
        match self.clock {
            Clock::Wall => Some(step.max(rest)),
            Clock::Recorded(speed) if speed > 0.0 => Some(step.div_f64(speed).max(rest)),
            Clock::Recorded(_) => None,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        match (self.clock, self.last) {
            (Clock::Wall, _) | (_, None) => Utc::now(),
            (Clock::Recorded(speed), Some((at, told))) => {
                let passed = told.elapsed().as_secs_f64() * speed * 1000.0;
                at + TimeDelta::milliseconds(passed as i64)
            }
        }
    }

    fn draw(&mut self) {
        if self.taken.is_some() {
            return;
        }
        self.drawn = Instant::now();
        self.changed = false;
        let lines = self.tree.take_lines();
        if self.failed.is_some() {
            return;
        }
        let rows = self.tree.rows(self.now(), Size::of_stdout());
        // After a broken pipe the run goes on: its verdict is recorded all the same.
        self.failed = self.screen.show(&lines, rows).err();
    }

    fn give(&mut self, request: Request) {
        self.draw();
        let closed = self.screen.close();
        self.failed = self.failed.take().or(closed.err());
        if request.granted.send(()).is_ok() {
            self.taken = Some(request.over);
        }
    }

    /// As SIGTSTP does, with the cursor where the shell wants it.
    fn stop(&mut self) {
        drop(self.screen.close());
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::STOP);
        // Another thread may have taken it: this one goes on for a moment.
        std::thread::sleep(PAUSE);
        self.screen.resized();
        self.draw();
    }
}

async fn came(signal: &mut Signal) {
    // It ends with the process, never before.
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn over(taken: &mut Option<oneshot::Receiver<()>>) {
    if let Some(taken) = taken {
        // Dropped or sent, the turn is over.
        drop(taken.await);
    }
}
