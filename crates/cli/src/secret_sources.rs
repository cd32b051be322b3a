//! Secrets that `.shipline/secrets.env` does not have: from the keyring, or from whoever
//! sits at the terminal.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use pipeline::{Decision, Plan};
use runner::Secrets;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, Context as _};
use crate::keyboard;
use crate::question;

/// Of libsecret; it speaks to the keyring of GNOME, KDE and others.
const KEYRING: &str = "secret-tool";
/// A keyring that is locked asks its owner first.
const PATIENCE: Duration = Duration::from_secs(120);

/// Adds what stages that are to run name and `secrets` does not have yet; what nobody
/// knows stays away, and the stage says so. Returns whether nobody interrupted.
pub(crate) async fn complete(
    plan: &Plan,
    project: &str,
    carried: impl Fn(&str) -> bool,
    secrets: &mut Secrets,
    cancel: &CancellationToken,
) -> Result<bool, CommandError> {
    let runs =
        plan.stages.iter().filter(|stage| stage.state == Decision::Run && !carried(&stage.name));
    for stage in runs {
        for secret in &stage.secrets {
            if secrets.0.contains_key(&secret.name) {
                continue;
            }
            let find = find(project, &secret.name, &stage.name);
            let Some(found) = cancel.run_until_cancelled(find).await else { return Ok(false) };
            // An empty one is remembered too, so that nobody is asked twice.
            secrets.0.insert(secret.name.clone(), found?);
        }
    }
    secrets.0.retain(|_, value| !value.is_empty());
    Ok(!cancel.is_cancelled())
}

async fn find(project: &str, name: &str, stage: &str) -> Result<String, CommandError> {
    if let Some(value) = of_keyring(project, name).await {
        return Ok(value);
    }
    if question::can_ask() { ask(name, stage).await } else { Ok(String::new()) }
}

/// A keyring that is not there, locked, or without the secret is none.
async fn of_keyring(project: &str, name: &str) -> Option<String> {
    let attributes = ["service", "shipline", "project", project, "secret", name];
    let mut lookup = Command::new(KEYRING);
    lookup.arg("lookup").args(attributes).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, lookup.output()).await.ok()?.ok()?;
    let value = String::from_utf8(output.stdout).ok()?;
    let value = value.strip_suffix('\n').unwrap_or(&value);
    (output.status.success() && !value.is_empty()).then(|| value.to_owned())
}

async fn ask(name: &str, stage: &str) -> Result<String, CommandError> {
    let question =
        format!("secret `{name}` for `{stage}`, not shown while you type (Enter leaves it out)");
    let silence = Silence::enter()?;
    let line = keyboard::exact_line(&question).await;
    drop(silence);
    Ok(line?.unwrap_or_default())
}

/// The terminal without echo, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn enter() -> Result<Self, CommandError> {
        const WHAT: &str = "cannot set up the terminal";
        let before = termios::tcgetattr(std::io::stdin()).environment(WHAT)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).environment(WHAT)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        // Enter was not shown either.
        let _ = writeln!(std::io::stderr());
    }
}
