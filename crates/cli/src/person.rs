//! The person at the terminal: asked for approvals, and what to do about a failed stage.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use event::{Decision, Outputs, RunId};
use pipeline::{Git, Param};
use runner::backend::docker::DockerBackend;
use runner::{AfterBreak, Answer, Approver, Breakpoint, CancelNote, Question, Registries};
use store::Store;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::display::{Turn, Turns};
use crate::error::{CommandError, Context as _};
use crate::keyboard;
use crate::question::{can_ask, choose};
use crate::shell;
use crate::terminal::visible;

/// Whose approvals and interruptions local runs record.
const WHO: &str = "local";

/// Speaks with one stage at a time, while nothing is drawn.
#[derive(Clone)]
pub(crate) struct Person {
    one: Arc<Mutex<()>>,
    turns: Turns,
}

impl Person {
    pub(crate) fn new(turns: Turns) -> Self {
        Self { one: Arc::default(), turns }
    }

    async fn turn(&self) -> (MutexGuard<'_, ()>, Turn) {
        (self.one.lock().await, self.turns.take().await)
    }
}

/// Asks on the terminal, but for what was approved beforehand.
pub(crate) struct LocalApprover {
    pub(crate) person: Person,
    pub(crate) approved: BTreeSet<String>,
}

#[async_trait]
impl Approver for LocalApprover {
    async fn ask(&self, question: &Question) -> Answer {
        if self.approved.contains(&question.stage) {
            return beforehand(question);
        }
        if !can_ask() {
            return Answer::Nobody(format!(
                "nobody can be asked without a terminal; `--approve {}` approves beforehand",
                question.stage
            ));
        }
        let _turn = self.person.turn().await;
        match ask(question).await {
            Ok(answer) => answer,
            Err(error) => Answer::Nobody(format!("nobody could be asked: {error}")),
        }
    }

    async fn decide(&self, stage: &str, reason: &str) -> Option<Decision> {
        if !can_ask() {
            return None;
        }
        let _turn = self.person.turn().await;
        say(&format!("\nthe deployment of `{stage}` is held: {reason}"));
        choose().await
    }
}

/// Approval with every field at its default.
fn beforehand(question: &Question) -> Answer {
    let mut fields = Outputs::new();
    for (name, field) in &question.fields {
        match &field.default {
            Some(default) => drop(fields.insert(name.clone(), default.clone())),
            None if field.required => {
                return Answer::Nobody(format!(
                    "field `{name}` has no default, so it cannot be approved beforehand"
                ));
            }
            None => {}
        }
    }
    Answer::Given { by: WHO.to_owned(), fields }
}

async fn ask(question: &Question) -> Result<Answer, CommandError> {
    say(&format!("\n{}", question.message));
    let refused = |reason: Option<String>| Answer::Refused { by: WHO.to_owned(), reason };
    loop {
        match keyboard::line("approve? yes or no", "no").await?.as_deref() {
            Some("y" | "yes") => break,
            Some("n" | "no") => {
                let reason = keyboard::line("why", "").await?.filter(|text| !text.is_empty());
                return Ok(refused(reason));
            }
            Some(_) => {}
            None => return Ok(refused(None)),
        }
    }
    let mut fields = Outputs::new();
    for (name, field) in &question.fields {
        match fill(name, field).await? {
            Some(value) => drop(fields.insert(name.clone(), value)),
            None if field.required => return Ok(refused(None)),
            None => {}
        }
    }
    Ok(Answer::Given { by: WHO.to_owned(), fields })
}

/// Asks until the value fits; `None` is none.
async fn fill(name: &str, field: &Param) -> Result<Option<serde_json::Value>, CommandError> {
    let about = match &field.description {
        Some(description) => format!("{name} ({}: {description})", field.kind.name()),
        None => format!("{name} ({})", field.kind.name()),
    };
    let default = field.default.as_ref().map(pipeline::value_text).unwrap_or_default();
    loop {
        let Some(text) = keyboard::line(&about, &default).await? else { return Ok(None) };
        if text.is_empty() && !field.required {
            return Ok(None);
        }
        match field.read(&text) {
            Ok(value) => return Ok(Some(value)),
            Err(rule) => say(&format!("`{name}`: {rule}")),
        }
    }
}

/// Shows a failed stage to the person.
pub(crate) struct LocalBreakpoint {
    pub(crate) person: Person,
    pub(crate) run: RunId,
    pub(crate) project: String,
    pub(crate) git: Git,
    pub(crate) store: Store,
    pub(crate) backend: Arc<DockerBackend>,
    pub(crate) registries: Registries,
    pub(crate) cancel: CancellationToken,
    pub(crate) note: CancelNote,
}

#[async_trait]
impl Breakpoint for LocalBreakpoint {
    async fn failed(&self, stage: &str, attempt: u32, reason: &str) -> AfterBreak {
        let _turn = self.person.turn().await;
        if self.cancel.is_cancelled() {
            return AfterBreak::Continue;
        }
        say(&format!("\n`{stage}` failed in attempt {attempt}: {reason}"));
        loop {
            let asked = tokio::select! {
                asked = keyboard::line("shell, retry, continue or abort", "shell") => asked,
                () = self.cancel.cancelled() => return AfterBreak::Continue,
            };
            match asked.ok().flatten().as_deref() {
                Some("s" | "shell") => {
                    if let Err(error) = self.shell(stage).await {
                        error.print();
                    }
                }
                Some("r" | "retry") => return AfterBreak::Retry,
                Some("c" | "continue") | None => return AfterBreak::Continue,
                Some("a" | "abort") => {
                    self.note.write(format!("aborted when `{stage}` failed"), WHO);
                    self.cancel.cancel();
                    return AfterBreak::Continue;
                }
                Some(_) => {}
            }
        }
    }
}

impl LocalBreakpoint {
    async fn shell(&self, stage: &str) -> Result<(), CommandError> {
        let state = self.store.run_state(self.run).await.environment("cannot read the run")?;
        let scene = runner::scene(&state, stage, &self.project, &self.git).ok_or_else(|| {
            CommandError::usage(format_args!("stage `{stage}` has no container to look into"))
        })?;
        let instance = self.store.instance();
        shell::open(&self.backend, instance, &scene, &self.registries, &[]).await?;
        Ok(())
    }
}

fn say(text: &str) {
    let text: Vec<String> = text.lines().map(visible).collect();
    // A closed stderr changes nothing: the question is not answered then.
    let _ = writeln!(std::io::stderr(), "{}", text.join("\n"));
}
