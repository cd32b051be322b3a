//! Which mails a finished run causes: a pure function of state, event and context.

use std::collections::BTreeSet;

use event::{Event, EventKind, RunState, Stream};
use pipeline::{MailEvent, MailRule, Plan};
use sha2::{Digest, Sha256};

use crate::fact::Facts;
use crate::template::render;
use crate::view::{Telling, View};
use crate::{Address, MailContext, Message};

/// The recipient that stands for whoever pushed.
const COMMITTER: &str = "committer";

/// Returns the mails that `event` causes; `state` is the run's after it.
///
/// Only the end of a run mails, so a retry that healed a flake is silent. Rules
/// with the same recipients are one mail, and nobody gets two.
pub fn messages(state: &RunState, event: &Event, context: &MailContext) -> Vec<Message> {
    let EventKind::RunFinished { result, duration_ms } = event.kind else { return Vec::new() };
    let (Stream::Run(run), Some(plan)) = (event.stream, state.plan.as_deref()) else {
        return Vec::new();
    };
    let facts = Facts::of(state, result, context);
    let committer = context.committer.as_deref();
    let audiences = audiences(&plan.notify, |event| facts.matches(event), committer);
    if audiences.is_empty() {
        return Vec::new();
    }

    let telling = Telling {
        state,
        plan,
        fact: facts.worst,
        duration_ms,
        at: event.at,
        notes: notes(state, context),
    };
    let rendered = render("run", &View::of(telling, context));
    let references = Some(thread(plan, context));
    (1..)
        .zip(audiences)
        .map(|(number, to)| {
            let part = if number == 1 { String::new() } else { format!(".{number}") };
            let message_id = format!("<{run}.{}{part}@{}>", event.seq, context.instance);
            Message {
                to: to.into_iter().collect(),
                subject: rendered.subject.clone(),
                text: rendered.text.clone(),
                html: rendered.html.clone(),
                dedupe_key: message_id.clone(),
                message_id,
                references: references.clone(),
                at: event.at,
            }
        })
        .collect()
}

/// Recipients that the rules name and nobody can write to, in words for the run.
pub fn notes(state: &RunState, context: &MailContext) -> Vec<String> {
    let rules = state.plan.iter().flat_map(|plan| &plan.notify);
    let mut notes: Vec<String> = Vec::new();
    for to in rules.flat_map(|rule| &rule.to) {
        let note = match (to.as_str(), &context.committer) {
            (COMMITTER, None) => "`committer` got no mail: without a forge that names the pusher \
                                  there is no address to trust"
                .to_owned(),
            (COMMITTER, Some(committer)) => match committer.parse::<Address>() {
                Ok(_) => continue,
                Err(error) => format!("`committer` got no mail: {error}"),
            },
            (other, _) => match other.parse::<Address>() {
                Ok(_) => continue,
                Err(error) => error.to_string(),
            },
        };
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// The recipients of the rules that hold, in the order of the file; each once.
pub(crate) fn audiences(
    rules: &[MailRule],
    holds: impl Fn(MailEvent) -> bool,
    committer: Option<&str>,
) -> Vec<BTreeSet<Address>> {
    let mut told: BTreeSet<Address> = BTreeSet::new();
    let mut audiences = Vec::new();
    for rule in rules {
        if !rule.on.iter().any(|event| holds(*event)) {
            continue;
        }
        let addresses = rule.to.iter().filter_map(|to| match to.as_str() {
            COMMITTER => committer?.parse().ok(),
            address => address.parse::<Address>().ok(),
        });
        let new: BTreeSet<Address> = addresses.filter(|it| told.insert(it.clone())).collect();
        if !new.is_empty() {
            audiences.push(new);
        }
    }
    audiences
}

/// The id of a mail nobody sent, by which all mails of a branch hang together.
fn thread(plan: &Plan, context: &MailContext) -> String {
    let reference = plan.branch.as_deref().or(plan.tag.as_deref()).unwrap_or_default();
    thread_of(&[&context.project, &plan.pipeline, reference], &context.instance)
}

pub(crate) fn thread_of(parts: &[&str], instance: &str) -> String {
    // The lengths keep `a` + `bc` and `ab` + `c` apart.
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    format!("<{}@{instance}>", hex::encode(&digest.finalize()[..12]))
}

#[cfg(test)]
mod tests;
