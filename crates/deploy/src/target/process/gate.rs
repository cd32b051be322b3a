//! The health of a unit: does its process run, is it the one that listens on its
//! port, and does it answer.
//!
//! A port that was free when the unit was made may be taken when it begins to
//! listen. Its answers would then be somebody else's, so before each question the
//! kernel is asked who holds the socket; a unit whose port is taken is started
//! again on the next one. Without `health`, a unit with `expose` must listen on its
//! port, and any other must run for a second.

use std::process::Stdio;
use std::time::Duration;

use pipeline::Probe;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::logs;
use super::run::{end_of, in_own_session};
use super::system::{Listener, Process, listener};
use super::unit::UnitView;
use super::{ProcessTarget, done, key_of};
use crate::health::{Look, Pace, Verdict, gate, probe, watch};
use crate::{OpOutcome, Spec, TargetError};

const LOG_LINES: u32 = 200;
/// How often a unit gets another port before its gate fails.
const MOVES: u32 = 5;
/// The word before a verdict about a port that somebody else has.
const TAKEN: &str = "port taken: ";

/// What to ask a unit, and how often.
pub(super) struct Check {
    probe: Option<(Probe, Duration)>,
    pace: Pace,
}

pub(super) fn check_of(spec: &Spec) -> Check {
    if let Some(health) = &spec.health {
        let probe = Some((health.probe.clone(), health.timeout.std()));
        return Check { probe, pace: Pace::from(health) };
    }
    let pace = Pace {
        interval: Duration::from_millis(250),
        successes: if spec.expose.is_some() { 3 } else { 5 },
        failures: 3,
        deadline: Duration::from_secs(60),
    };
    let probe =
        spec.expose.as_ref().map(|expose| (Probe::Tcp(expose.port), Duration::from_secs(2)));
    Check { probe, pace }
}

impl ProcessTarget {
    pub(super) async fn gate(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let check = check_of(spec);
        let mut moves = 0;
        let mut unit = unit.clone();
        let begun = Instant::now();
        loop {
            let deadline = match moves {
                0 => check.pace.deadline,
                _ => check.pace.deadline.saturating_sub(begun.elapsed()),
            };
            let pace = Pace { deadline, ..check.pace };
            let verdict = gate(pace, || look(&unit, &check), cancel).await?;
            let taken = matches!(&verdict, Verdict::Unhealthy(why) if why.starts_with(TAKEN));
            // One that is in traffic is routed to where it is.
            if !taken || unit.seen.admitted || moves == MOVES || cancel.is_cancelled() {
                return Ok(judge(&unit, verdict));
            }
            moves += 1;
            self.end(&unit).await?;
            self.move_port(&unit.seen.unit, spec, fence).await?;
            self.start(&unit.seen.unit, &key_of(spec), fence).await?;
            unit = self.find(&unit.seen.unit).await?;
        }
    }

    pub(super) async fn bake(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let check = check_of(spec);
        let length = spec.strategy.bake.std();
        let verdict = watch(check.pace, length, || look(unit, &check), cancel).await?;
        Ok(judge(unit, verdict))
    }
}

fn judge(unit: &UnitView, verdict: Verdict) -> OpOutcome {
    match verdict {
        Verdict::Healthy { looks, took } => {
            let s = if looks == 1 { "" } else { "s" };
            done(format!("healthy, {looks} look{s} in {:.1} s", took.as_secs_f64()))
        }
        Verdict::Unhealthy(reason) => {
            OpOutcome::Unhealthy { reason, logs: logs::last_lines(&unit.folder, LOG_LINES) }
        }
        // The caller asked for it and knows.
        Verdict::Cancelled => done("cancelled"),
    }
}

pub(super) async fn look(unit: &UnitView, check: &Check) -> Result<Look, TargetError> {
    let Some(process) = unit.process else {
        return Ok(Look::Dead("it was not started".to_owned()));
    };
    let asks_port = matches!(&check.probe, Some((Probe::Http { .. } | Probe::Tcp(_), _)));
    let holder = if asks_port { owner(unit, process).await } else { Listener::Unit };
    if holder == Listener::Another {
        let why = format!("{TAKEN}another process listens on {}", unit.address());
        return Ok(Look::Dead(why));
    }
    if !process.is_alive() {
        return Ok(Look::Dead(ended(unit, process).await));
    }
    let Some((probe_of, timeout)) = &check.probe else { return Ok(Look::Good) };
    if holder == Listener::Nobody {
        return Ok(Look::Bad(format!("nothing listens on {}", unit.address())));
    }
    // Whatever port the file names, a unit has the one it was given.
    let asked = match probe_of {
        Probe::Http { path, .. } => Probe::Http { path: path.clone(), port: unit.file.port },
        Probe::Tcp(_) => Probe::Tcp(unit.file.port),
        Probe::Cmd(command) => return Ok(run(unit, command, *timeout).await),
    };
    let (ip, release) = (unit.address().ip(), unit.file.release);
    let seen = probe(&asked, ip, release, *timeout).await;
    Ok(seen.unwrap_or_else(|| Look::Bad("it cannot be asked".to_owned())))
}

/// Reads a few files of the kernel per process of the machine.
async fn owner(unit: &UnitView, process: Process) -> Listener {
    let port = unit.file.port;
    let looking = tokio::task::spawn_blocking(move || listener(port, process));
    looking.await.unwrap_or(Listener::Nobody)
}

/// How it ended is written down a moment after it did.
async fn ended(unit: &UnitView, process: Process) -> String {
    let unknown = end_of(&unit.folder, Process { pid: 0, ..process });
    for _ in 0..10 {
        let known = end_of(&unit.folder, process);
        if known != unknown {
            return known;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unknown
}

/// Runs a check that is a command, beside the unit.
async fn run(unit: &UnitView, words: &[String], timeout: Duration) -> Look {
    let Some((program, arguments)) = words.split_first() else {
        return Look::Bad("the check has no command".to_owned());
    };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .current_dir(&unit.file.directory)
        .env_clear()
        .envs(&unit.file.variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    in_own_session(&mut command);
    let shown = words.join(" ");
    match tokio::time::timeout(timeout, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Look::Good,
        Ok(Ok(output)) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let said = text.trim().lines().last().map(|line| format!(": {line}"));
            let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
            Look::Bad(format!("`{shown}` ended with {code}{}", said.unwrap_or_default()))
        }
        Ok(Err(error)) => Look::Bad(format!("`{shown}`: {error}")),
        Err(_) => Look::Bad(format!("`{shown}`: not done within {} s", timeout.as_secs_f64())),
    }
}
