//! Processes and calls, measured in turns.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What one turn took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub wall: Duration,
    /// Of the process and those it waited for; of a call in this process nothing is known.
    pub cpu: Option<Duration>,
    /// The most memory that one of them held, in bytes.
    pub memory: Option<u64>,
}

/// One of those that take turns.
pub struct Contestant<'a> {
    pub name: &'static str,
    /// So many turns; a slow one takes fewer than others.
    turns: usize,
    run: Box<dyn FnMut() -> io::Result<Sample> + 'a>,
    samples: Vec<Sample>,
    /// Why it takes no further turns.
    pub failed: Option<io::Error>,
}

impl<'a> Contestant<'a> {
    pub fn new(
        name: &'static str,
        turns: usize,
        run: impl FnMut() -> io::Result<Sample> + 'a,
    ) -> Self {
        Self { name, turns, run: Box::new(run), samples: Vec::new(), failed: None }
    }

    /// Takes no turns any more, and needs nothing any more. Ours must not have failed.
    pub fn over(self) -> io::Result<Contestant<'static>> {
        let Self { name, turns, samples, failed, .. } = self;
        match failed {
            Some(error) if name == crate::table::OWN => Err(error),
            failed => {
                let run = Box::new(|| Err(io::Error::other("it is over")));
                Ok(Contestant { name, turns, run, samples, failed })
            }
        }
    }

    fn turn(&mut self, turn: usize) {
        if turn < self.turns && self.failed.is_none() {
            match (self.run)() {
                Ok(sample) => self.samples.push(sample),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// The medians of its turns; `None` if it failed.
    pub fn median(&self) -> Option<Sample> {
        if self.failed.is_some() || self.samples.is_empty() {
            return None;
        }
        Some(Sample {
            wall: median(self.samples.iter().map(|sample| sample.wall))?,
            cpu: median(self.samples.iter().filter_map(|sample| sample.cpu)),
            memory: self.samples.iter().filter_map(|sample| sample.memory).max(),
        })
    }
}

/// Lets all take their turns, one after another: A B C, A B C …
pub fn interleave(contestants: &mut [Contestant<'_>]) {
    let turns = contestants.iter().map(|contestant| contestant.turns).max().unwrap_or_default();
    for turn in 0..turns {
        for contestant in &mut *contestants {
            contestant.turn(turn);
        }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Runs a command that must succeed, with its output thrown away.
pub fn process(command: &mut Command) -> io::Result<Sample> {
    ended(command, |status| status.success())
}

/// Runs a command that must end as `right` has it.
pub fn ended(command: &mut Command, right: impl FnOnce(ExitStatus) -> bool) -> io::Result<Sample> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let child = command.spawn()?;
    let (status, cpu, memory) = wait(child.id())?;
    let wall = begun.elapsed();
    if !right(status) {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(Sample { wall, cpu: Some(cpu), memory: Some(memory) })
}

/// Measures a call of this process.
pub fn call(work: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let begun = Instant::now();
    work()?;
    Ok(Sample { wall: begun.elapsed(), ..Sample::default() })
}

/// Waits for a child; returns its processor time and the most memory it held.
pub fn wait(pid: u32) -> io::Result<(ExitStatus, Duration, u64)> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are those of locals of the right type, and the child is ours.
    #[expect(unsafe_code, reason = "std gives no rusage")]
    let usage = unsafe {
        if libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) != pid {
            return Err(io::Error::last_os_error());
        }
        usage.assume_init()
    };
    let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
    Ok((ExitStatus::from_raw(status), cpu, usage.ru_maxrss.unsigned_abs() << 10))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs())
        + Duration::from_micros(time.tv_usec.unsigned_abs())
}
