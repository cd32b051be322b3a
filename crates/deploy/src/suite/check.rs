//! Carrying out the checks of a batch, and of one unit of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use event::{DeploymentId, EventKind};
use reqwest::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::http::{ask, client};
use super::tally::{broke_off, tally};
use super::{CheckLine, CheckRunner, Commands, Ran, Reach, RunStep, VerifyStep};
use crate::op::Reporter;
use crate::{Observed, ObservedUnit, OpOutcome, Spec, TargetError, UnitId};

/// How long a container may take to be gone after its time was over.
pub(crate) const CLEARING: Duration = Duration::from_secs(30);
/// Lines on their way to whoever watches.
const LINES: usize = 256;
/// Of the output this much is written down with the deployment, from its end.
const KEPT_LINES: usize = 100;
const KEPT_BYTES: usize = 16 << 10;

/// What checks of one deployment are carried out with.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) runner: Option<Arc<dyn CheckRunner>>,
    /// For units, at their own addresses.
    direct: OnceLock<Client>,
    /// For addresses on the switch.
    public: OnceLock<Client>,
}

/// What is tested.
pub(crate) struct Tested<'a> {
    pub(crate) deployment: DeploymentId,
    pub(crate) spec: &'a Spec,
    pub(crate) seen: &'a Observed,
    /// Where the switch takes requests.
    pub(crate) entrance: Option<SocketAddr>,
    /// The unit, where it is one.
    pub(crate) unit: Option<&'a UnitId>,
}

/// What the checks came to, and what is to be written down of them.
pub(crate) struct Checked {
    pub(crate) outcome: OpOutcome,
    pub(crate) events: Vec<EventKind>,
}

/// Why a check did not pass.
enum Wrong {
    Failed(String),
    Cancelled,
}

impl Checks {
    pub(crate) fn new(runner: Option<Arc<dyn CheckRunner>>) -> Self {
        Self { runner, ..Self::default() }
    }

    /// Makes the checks of one unit, or those of all at once.
    pub(crate) async fn make(
        &self,
        tested: &Tested<'_>,
        reporter: &Reporter,
        cancel: &CancellationToken,
    ) -> Result<Checked, TargetError> {
        let of_unit = tested.unit.is_some();
        let steps = tested.spec.verify.iter().filter(|step| step.is_of_unit() == of_unit);
        let steps: Vec<_> = steps.collect();
        let mut events = Vec::new();
        for (passed, step) in steps.iter().enumerate() {
            let made = match step {
                VerifyStep::Http(step) => {
                    tokio::select! {
                        asked = self.http(step, tested) => asked?,
                        () = cancel.cancelled() => Err(Wrong::Cancelled),
                    }
                }
                VerifyStep::Run(step) => {
                    self.commands(step, tested, reporter, &mut events, cancel).await?
                }
            };
            match made {
                Ok(()) => {}
                Err(Wrong::Cancelled) => {
                    let outcome = OpOutcome::Done { detail: "cancelled".to_owned() };
                    return Ok(Checked { outcome, events });
                }
                Err(Wrong::Failed(wrong)) => {
                    let reason = format!("{}{wrong}", broke_off(&steps, passed));
                    let outcome = OpOutcome::Unhealthy { reason, logs: Vec::new() };
                    return Ok(Checked { outcome, events });
                }
            }
        }
        let outcome = OpOutcome::Done { detail: tally(&steps, steps.len()) };
        Ok(Checked { outcome, events })
    }

    async fn http(
        &self,
        step: &super::HttpStep,
        tested: &Tested<'_>,
    ) -> Result<Result<(), Wrong>, TargetError> {
        let asked = match tested.unit {
            None => ask(ready(&self.public, false)?, &step.http, step).await,
            Some(unit) => match address(tested, unit) {
                None => Err(format!("{unit} has no address to be asked at")),
                Some(address) => {
                    let address = format!("http://{address}{}", step.http);
                    ask(ready(&self.direct, true)?, &address, step).await
                }
            },
        };
        Ok(asked.map_err(Wrong::Failed))
    }

    async fn commands(
        &self,
        step: &RunStep,
        tested: &Tested<'_>,
        reporter: &Reporter,
        events: &mut Vec<EventKind>,
        cancel: &CancellationToken,
    ) -> Result<Result<(), Wrong>, TargetError> {
        let Some(runner) = &self.runner else {
            let message = format!("nothing here can run the check in `{}`", step.image);
            return Err(TargetError::Refused { message });
        };
        let commands = commands(step, tested);
        let slot = tested.unit.and_then(|unit| tested.seen.unit(unit)).map(|unit| unit.slot);
        let (output, lines) = mpsc::channel(LINES);
        let token = cancel.child_token();
        let running = async {
            let ran = run(&**runner, &commands, &output, &token).await;
            drop(output);
            ran
        };
        let (ran, kept) = tokio::join!(running, told(lines, slot, reporter));
        let (exit, wrong) = match ran {
            _ if cancel.is_cancelled() => return Ok(Err(Wrong::Cancelled)),
            None => {
                let seconds = step.timeout.std().as_secs();
                (None, Some(format!("the check in `{}` took over {seconds} s", step.image)))
            }
            Some(Ok(Ran { exit })) => {
                let last = kept.last.map(|line| format!(", last line: `{line}`"));
                let wrong = format!(
                    "the check in `{}` ended with {exit}{}",
                    step.image,
                    last.unwrap_or_default()
                );
                (Some(exit), (exit != 0).then_some(wrong))
            }
            Some(Err(error)) => return Err(not_run(step, error)),
        };
        events.push(EventKind::DeploymentTested {
            suite: step.suite.clone(),
            unit: tested.unit.map(|unit| unit.0.clone()),
            image: step.image.clone(),
            exit,
            lines: kept.lines.into(),
            left_out: kept.left_out,
        });
        Ok(wrong.map_or(Ok(()), |wrong| Err(Wrong::Failed(wrong))))
    }
}

/// Runs to the end, or to the time-out, after which nothing of it may be left either:
/// `None` then.
async fn run(
    runner: &dyn CheckRunner,
    commands: &Commands<'_>,
    output: &mpsc::Sender<CheckLine>,
    token: &CancellationToken,
) -> Option<Result<Ran, TargetError>> {
    let mut running = std::pin::pin!(runner.run(commands, output, token));
    tokio::select! {
        ran = &mut running => return Some(ran),
        () = tokio::time::sleep(commands.step.timeout.std()) => token.cancel(),
    }
    if tokio::time::timeout(CLEARING, running).await.is_err() {
        tracing::warn!("a check whose time was over is not gone yet");
    }
    None
}

/// That a check could not be run is not the fault of what was deployed.
fn not_run(step: &RunStep, error: TargetError) -> TargetError {
    let what = match &step.suite {
        Some(suite) => format!("suite `{suite}` could not be run in `{}`", step.image),
        None => format!("the check in `{}` could not be run", step.image),
    };
    match error {
        TargetError::Fenced(by) => TargetError::Fenced(by),
        TargetError::Refused { message } => {
            TargetError::Refused { message: format!("{what}: {message}") }
        }
        TargetError::Infrastructure { part, message } => {
            TargetError::Infrastructure { part, message: format!("{what}: {message}") }
        }
    }
}

/// The end of what a check has written.
#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    left_out: u64,
    /// What a command wrote last.
    last: Option<String>,
}

impl Kept {
    fn add(&mut self, CheckLine { text: line, echo }: CheckLine) {
        if !echo && !line.trim().is_empty() {
            self.last = Some(line.clone());
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > KEPT_LINES || self.bytes > KEPT_BYTES && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
            self.left_out += 1;
        }
    }
}

/// Tells lines as they come; several units may be tested at once, so each is named.
async fn told(
    mut lines: mpsc::Receiver<CheckLine>,
    slot: Option<u32>,
    reporter: &Reporter,
) -> Kept {
    let mut kept = Kept::default();
    let before = slot.map(|slot| format!("{slot}: ")).unwrap_or_default();
    while let Some(line) = lines.recv().await {
        reporter.line(format!("  | {before}{}", line.text)).await;
        kept.add(line);
    }
    kept
}

fn commands<'a>(step: &'a RunStep, tested: &Tested<'_>) -> Commands<'a> {
    let Tested { deployment, spec, seen, entrance, unit } = tested;
    let units: Vec<&ObservedUnit> = match unit {
        Some(unit) => seen.unit(unit).into_iter().collect(),
        None => new_units(spec, seen),
    };
    let slots: Vec<_> = units.iter().map(|unit| unit.slot.to_string()).collect();
    let mut env = spec.checks.env.clone();
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    set("SHIPLINE_PROJECT", spec.project.clone());
    set("SHIPLINE_ENVIRONMENT", spec.environment.clone());
    set("SHIPLINE_RELEASE", spec.release.to_string());
    set("SHIPLINE_DEPLOYMENT", deployment.to_string());
    set("SHIPLINE_SLOTS", slots.join(" "));
    if let Some(unit) = unit {
        set("SHIPLINE_UNIT", unit.to_string());
    }
    let plain =
        |variable, addresses| Reach { variable, addresses, before: "", after: String::new() };
    let addresses: Vec<SocketAddr> = units.iter().filter_map(|unit| unit.address).collect();
    let mut reaches = vec![plain("SHIPLINE_UNITS", addresses.clone())];
    if unit.is_some() {
        reaches.push(Reach { before: "http://", ..plain("SHIPLINE_UNIT_URL", addresses) });
    }
    if let (Some(expose), Some(entrance)) = (&spec.expose, entrance) {
        let host = if expose.host == "*" { String::new() } else { expose.host.clone() };
        set("SHIPLINE_HOST", host);
        let after = expose.path.trim_end_matches('/').to_owned();
        let url = plain("SHIPLINE_URL", vec![*entrance]);
        reaches.push(Reach { before: "http://", after, ..url });
    }
    Commands { step, deployment: *deployment, env, reaches }
}

/// The units in traffic that are made from the specification.
fn new_units<'a>(spec: &Spec, seen: &'a Observed) -> Vec<&'a ObservedUnit> {
    let wanted = spec.unit_hash();
    seen.units.iter().filter(|unit| unit.admitted && unit.spec == wanted).collect()
}

fn address(tested: &Tested<'_>, unit: &UnitId) -> Option<SocketAddr> {
    tested.seen.unit(unit).and_then(|unit| unit.address)
}

fn ready(cell: &OnceLock<Client>, direct: bool) -> Result<&Client, TargetError> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let failed = |message| TargetError::Infrastructure { part: "verify".to_owned(), message };
    let client = client(direct).map_err(failed)?;
    Ok(cell.get_or_init(|| client))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> CheckLine {
        CheckLine { text: text.to_owned(), echo: false }
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let mut kept = Kept::default();
        for number in 0..150 {
            kept.add(line(&format!("line {number}")));
        }
        assert_eq!((kept.lines.len(), kept.left_out), (KEPT_LINES, 50));
        assert_eq!(kept.lines.back().map(String::as_str), Some("line 149"));
        kept.add(line(&"x".repeat(2 * KEPT_BYTES)));
        assert_eq!((kept.lines.len(), kept.left_out), (1, 150));
        kept.add(line("short"));
        kept.add(CheckLine { echo: true, ..line("$ next") });
        assert_eq!(kept.last.as_deref(), Some("short"));
        assert_eq!((kept.lines.len(), kept.bytes), (2, 11));
    }
}
