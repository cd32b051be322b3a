//! Changes of an environment: asked for, followed as they go, and told with their end.
//! Deploy, rollback, scale, restart, stop and start are one way through here.

use std::io::Stdout;
use std::pin::Pin;
use std::time::{Duration, Instant};

use chrono::Utc;
use deploy::{DeployError, Deployed, Order, Progress};
use event::{Decision, Event};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::outcome::{exit_code, sentence};
use super::preview::preview_text;
use super::status::held_text;
use crate::arguments::{ChangeArguments, Format};
use crate::environments::{Environments, NO_MAIL, told as told_of};
use crate::error::CommandError;
use crate::interrupt::Interrupts;
use crate::local_environment::Begun;
use crate::question::{can_ask, choose};
use crate::terminal::{Rollout, Screen, Size, Style, shows_a_tree};

/// How often a table is drawn.
const PAUSE: Duration = Duration::from_millis(100);
/// After so long somebody wants to know who holds the lock.
const PATIENCE: Duration = Duration::from_secs(2);
/// As a shell says it of a process that SIGINT ended.
pub(super) const INTERRUPTED: u8 = 130;

pub(super) async fn change(
    environment: &str,
    order: Order,
    arguments: &ChangeArguments,
) -> Result<u8, CommandError> {
    let order = Order {
        reason: arguments.reason.clone(),
        lock_wait_ms: arguments
            .lock_wait
            .map(|wait| u64::try_from(wait.std().as_millis()).unwrap_or(u64::MAX)),
        ..order
    };
    let environments = Environments::open(&arguments.place).await?;
    if arguments.dry_run {
        let preview = environments.preview(environment, &order).await?;
        super::show(arguments.format, &preview, preview_text)?;
        return Ok(u8::from(has_errors(&preview)));
    }
    match &environments {
        Environments::Server(server) => {
            let before = environments.status(environment).await?;
            let begun = server.order(environment, "", &order).await?;
            if let Some(told) = told_of(&begun) {
                super::note(&told);
            }
            let id = begun["deployment"].as_str().unwrap_or_default().to_owned();
            if arguments.detach {
                super::show(arguments.format, &begun, |_| format!("{id}\n"))?;
                return Ok(0);
            }
            let mut view = View::new(arguments.format, &before);
            let followed = follow(&environments, environment, &id, None, &mut view).await?;
            told(&environments, &id, followed, view, arguments.format).await
        }
        Environments::Local(_) if arguments.detach => Err(CommandError::usage(
            "`--detach` needs a server: without one it is this process that deploys",
        )
        .hint("give `--server URL` or set SHIPLINE_SERVER")),
        Environments::Local(local) => {
            let interrupts = Interrupts::listen()?;
            let before = environments.status(environment).await?;
            let mut begun = local.begin(environment, &order, &interrupts.cancel).await?;
            if order.emergency {
                super::note(&format!("nobody is told of the emergency: {NO_MAIL}"));
            }
            if !local.is_recorded(&begun).await? {
                return Err(lost(begun).await);
            }
            let id = begun.id.to_string();
            let mut view = View::new(arguments.format, &before);
            let Begun { work, progress, .. } = &mut begun;
            let own = Own { work, progress, interrupts: &interrupts };
            let followed = follow(&environments, environment, &id, Some(own), &mut view).await?;
            if followed == Followed::Broken {
                view.close();
                return Err(lost(begun).await);
            }
            told(&environments, &id, followed, view, arguments.format).await
        }
    }
}

/// Follows a deployment that goes on elsewhere, and exits as whoever began it would.
pub(super) async fn wait_for(
    environments: &Environments,
    id: &str,
    format: Format,
) -> Result<u8, CommandError> {
    let deployment = environments.deployment(id).await?;
    let environment = deployment["environment"].as_str().unwrap_or_default();
    let before = environments.status(environment).await?;
    let mut view = View::new(format, &before);
    let followed = follow(environments, environment, id, None, &mut view).await?;
    told(environments, id, followed, view, format).await
}

/// Whether the checks of a preview would end the deployment before it begins.
fn has_errors(preview: &Value) -> bool {
    let mut findings = preview["findings"].as_array().into_iter().flatten();
    findings.any(|finding| finding["severity"] == "error")
}

/// A deployment of this process.
struct Own<'a> {
    work: &'a JoinHandle<Result<Deployed, DeployError>>,
    progress: &'a mut mpsc::Receiver<Progress>,
    interrupts: &'a Interrupts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// To its end.
    Ended,
    /// Somebody pressed Ctrl-C: a server goes on with it.
    Detached,
    /// Somebody pressed it twice: the next start goes on with it.
    Killed,
    /// Its engine gave up without an end.
    Broken,
}

/// Shows a deployment as it goes.
async fn follow(
    environments: &Environments,
    environment: &str,
    id: &str,
    own: Option<Own<'_>>,
    view: &mut View,
) -> Result<Followed, CommandError> {
    let (work, mut progress, interrupts) = match own {
        Some(Own { work, progress, interrupts }) => (Some(work), Some(progress), Some(interrupts)),
        None => (None, None, None),
    };
    // Our own one is cancelled by Ctrl-C, another is left alone.
    let elsewhere = match interrupts {
        Some(_) => None,
        None => Some(Interrupts::listen()?),
    };
    view.title(&environments.deployment(id).await?);
    let (send, mut events) = mpsc::unbounded_channel();
    let mut following = std::pin::pin!(environments.follow(id, &send));
    let mut followed = None;
    let (mut cancelled, mut asked) = (false, false);
    let begun = Instant::now();
    let mut question = Asking::default();
    loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => {
                view.event(&event);
                question.follow(view);
            }
            decision = question.answer() => {
                let decided = match decision {
                    Some(decision) => environments.decide(id, decision, None).await.map(drop),
                    None => Ok(()),
                };
                // Somebody else may have been quicker.
                if let Err(error) = decided {
                    error.warn();
                }
            }
            ended = &mut following, if followed.is_none() => followed = Some(ended),
            () = interrupted(elsewhere.as_ref()), if elsewhere.is_some() => {
                return Ok(Followed::Detached);
            }
            () = interrupted(interrupts), if interrupts.is_some() && !cancelled => {
                cancelled = true;
                view.say("cancelled: what was made is undone; Ctrl-C again leaves it to the next start");
            }
            () = killed(interrupts), if cancelled => return Ok(Followed::Killed),
            Some(line) = next_line(progress.as_deref_mut()), if progress.is_some() => {
                // What a unit printed before it failed, and for whom it waits, is told only
                // while it happens.
                if line.starts_with("  | ") || line.starts_with("waiting: ") {
                    view.say(&line);
                }
            }
            () = tokio::time::sleep(PAUSE) => {
                if !asked && work.is_none() && !view.rollout.is_locked() && begun.elapsed() > PATIENCE {
                    asked = true;
                    let status = environments.status(environment).await;
                    view.waiting(status.ok().as_ref());
                }
                if work.is_some_and(JoinHandle::is_finished) && view.rollout.end().is_none() {
                    // The last events may just have been written.
                    tokio::time::sleep(PAUSE).await;
                    drain(&mut events, view);
                    if view.rollout.end().is_none() {
                        return Ok(Followed::Broken);
                    }
                }
            }
        }
        if events.is_empty()
            && let Some(ended) = followed.take()
        {
            return ended.map(|()| Followed::Ended);
        }
        if !question.is_open() {
            view.draw(false);
        }
    }
}

/// A question to whoever sits at the terminal: what becomes of a deployment that is held.
#[derive(Default)]
struct Asking {
    open: Option<Pin<Box<dyn Future<Output = Option<Decision>>>>>,
}

impl Asking {
    const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Asks as soon as it is held, while nothing is drawn, and no longer than that.
    fn follow(&mut self, view: &mut View) {
        match (view.rollout.held(), &self.open) {
            (Some(_), None) if view.format == Format::Text && can_ask() => {
                view.close();
                self.open = Some(Box::pin(choose()));
            }
            (None, Some(_)) => {
                self.open = None;
                // The line of the question has no end.
                super::note("it is decided");
            }
            _ => {}
        }
    }

    /// Returns what was chosen; `None` if nobody is there any more.
    async fn answer(&mut self) -> Option<Decision> {
        match &mut self.open {
            Some(asked) => {
                let decision = asked.await;
                self.open = None;
                decision
            }
            None => std::future::pending().await,
        }
    }
}

fn drain(events: &mut mpsc::UnboundedReceiver<Event>, view: &mut View) {
    while let Ok(event) = events.try_recv() {
        view.event(&event);
    }
}

async fn interrupted(interrupts: Option<&Interrupts>) {
    if let Some(interrupts) = interrupts {
        interrupts.cancel.cancelled().await;
    }
}

async fn killed(interrupts: Option<&Interrupts>) {
    if let Some(interrupts) = interrupts {
        interrupts.kill.cancelled().await;
    }
}

async fn next_line(progress: Option<&mut mpsc::Receiver<Progress>>) -> Option<String> {
    progress?.recv().await.map(|progress| progress.line)
}

/// Why a deployment of this process has no end.
async fn lost(begun: Begun) -> CommandError {
    let what = "the deployment has no end yet";
    let error = match begun.work.await {
        Ok(Err(error)) => CommandError::caused(crate::error::Kind::Environment, what, &error),
        Ok(Ok(_)) => CommandError::environment(what),
        Err(error) => CommandError::caused(crate::error::Kind::Environment, what, &error),
    };
    error.hint("the next `shipline run` or change of an environment ends it")
}

/// Tells how it ended, and returns the exit code.
async fn told(
    environments: &Environments,
    id: &str,
    followed: Followed,
    mut view: View,
    format: Format,
) -> Result<u8, CommandError> {
    match followed {
        Followed::Ended => {}
        Followed::Detached => {
            view.close();
            super::note(&format!(
                "deployment {id} goes on; `shipline cancel {id}` ends it, `shipline status --deployment {id} --wait` follows it"
            ));
            return Ok(INTERRUPTED);
        }
        Followed::Killed | Followed::Broken => {
            view.close();
            super::note(&format!(
                "deployment {id} has no end yet: the next start of shipline goes on from what is written down"
            ));
            return Ok(INTERRUPTED);
        }
    }
    view.last();
    let mut deployment = environments.deployment(id).await?;
    let environment = deployment["environment"].as_str().unwrap_or_default().to_owned();
    let status = environments.status(&environment).await.unwrap_or(Value::Null);
    let code = exit_code(&deployment);
    match format {
        Format::Text => super::print(&sentence(&deployment, &status, view.rollout.end()))?,
        Format::Json => {
            deployment["units"] = status["units"].clone();
            if let Some(end) = view.rollout.end() {
                deployment["duration_ms"] = end.duration_ms.into();
            }
            deployment["exit"] = code.into();
            super::print(&format!("{deployment:#}\n"))?;
        }
    }
    Ok(code)
}

/// Where a deployment is shown: nowhere, as lines, or as a table.
struct View {
    rollout: Rollout,
    format: Format,
    screen: Option<Screen<Stdout>>,
    drawn: Option<Instant>,
}

impl View {
    fn new(format: Format, before: &Value) -> Self {
        let draws = format == Format::Text && shows_a_tree();
        let rollout = Rollout::new(Style::of_stdout(), !draws, before);
        let screen = draws.then(|| Screen::new(std::io::stdout()));
        Self { rollout, format, screen, drawn: None }
    }

    fn title(&mut self, deployment: &Value) {
        let version = deployment["version"].as_str().unwrap_or_default();
        let release = deployment["release"].as_str().unwrap_or_default();
        let short = release.get(release.len().saturating_sub(8)..).unwrap_or(release);
        if !version.is_empty() {
            self.rollout.name_release(short, version);
        }
        let name = deployment["name"].as_str().filter(|name| !name.is_empty());
        let short = deployment["short"].as_str().unwrap_or_default();
        let kind = deployment["kind"].as_str().unwrap_or_default();
        self.rollout.say(&format!("{}  {kind} {short}", name.unwrap_or_default()));
    }

    fn event(&mut self, event: &Event) {
        self.rollout.event(event);
    }

    fn say(&mut self, line: &str) {
        self.rollout.say(line);
    }

    /// Says who keeps the lock.
    fn waiting(&mut self, status: Option<&Value>) {
        let Some(status) = status else { return };
        let mut deployments = status["deployments"].as_array().into_iter().flatten();
        if let Some(held) = deployments.find(|deployment| !deployment["held_until"].is_null()) {
            self.say(held_text(held).trim_end());
        }
        if let Some(holder) = status["locked_by"].as_str() {
            self.say(&format!("waiting: held by {holder}"));
        } else if let Some(owner) = status["lock"]["owner"].as_str() {
            let reason = status["lock"]["reason"].as_str().unwrap_or_default();
            self.say(&format!("waiting: locked by {owner}: {reason}"));
        }
    }

    /// Shows what is new; a table not too often.
    fn draw(&mut self, anyway: bool) {
        if self.format == Format::Json {
            self.rollout.take_lines();
            return;
        }
        match &mut self.screen {
            Some(screen) => {
                if !anyway && self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
                    return;
                }
                self.drawn = Some(Instant::now());
                let lines = self.rollout.take_lines();
                let rows = self.rollout.rows(Utc::now(), Size::of_stdout());
                // A reader that went away is no reason to stop waiting for the end.
                let _ = screen.show(&lines, rows);
            }
            None => {
                for line in self.rollout.take_lines() {
                    let _ = super::print(&format!("{line}\n"));
                }
            }
        }
    }

    fn close(&mut self) {
        self.draw(true);
        if let Some(screen) = &mut self.screen {
            let _ = screen.close();
        }
    }

    /// Leaves the table as it stands in the end.
    fn last(&mut self) {
        self.close();
        if self.screen.is_some() {
            for line in self.rollout.last_table() {
                let _ = super::print(&format!("{line}\n"));
            }
        }
    }
}
