//! Stages that ask people: `approve`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event::{Decision, EventKind, Outputs};
use pipeline::{ApproveWork, Param};

use crate::executor::Attempt;
use crate::limit::{Ended, GRACE};
use crate::verdict::Verdict;

/// What people are asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub stage: String,
    /// In the words of the pipeline, or ours.
    pub message: String,
    /// Users, or `group:NAME`, who may answer.
    pub by: Vec<String>,
    /// How many have to agree.
    pub count: u32,
    /// What they fill in, by name.
    pub fields: BTreeMap<String, Param>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Given {
        by: String,
        fields: Outputs,
    },
    Refused {
        by: String,
        reason: Option<String>,
    },
    /// Nobody can be asked; why.
    Nobody(String),
}

/// Asks people. It is dropped when there is no more time, or the run is cancelled.
#[async_trait]
pub trait Approver: Send + Sync {
    async fn ask(&self, question: &Question) -> Answer;

    /// Asks what becomes of a deployment that is held, and why it is. It is dropped when
    /// that is decided elsewhere; `None` leaves it to whoever decides there.
    async fn decide(&self, _stage: &str, _reason: &str) -> Option<Decision> {
        None
    }
}

pub(crate) async fn approve(
    attempt: &mut Attempt<'_>,
    work: &ApproveWork,
) -> Result<Verdict, Verdict> {
    let Some(approver) = attempt.shared.approver.clone() else {
        return Err(Verdict::failed(Some("E018"), "nobody can be asked here"));
    };
    let (shared, stage) = (attempt.shared, attempt.stage.name.clone());
    let question = Question {
        stage: stage.clone(),
        message: work.message.clone().unwrap_or_else(|| format!("Go on with `{stage}`?")),
        by: work.by.clone(),
        count: work.count,
        fields: work.fields.clone(),
    };
    let number = attempt.assignment.attempt;
    let asked_before = attempt.assignment.begun.as_ref().and_then(|begun| begun.deadline());
    match asked_before {
        Some(deadline) => attempt.limit.deadline = shared.clock.instant(deadline),
        None => attempt.report_started(None).await,
    }
    let requested = EventKind::ApprovalRequested {
        stage: stage.clone(),
        attempt: number,
        message: shared.masker.text(&question.message),
        by: question.by.clone(),
    };
    if asked_before.is_none() {
        shared.report(requested).await;
    }
    let asked = attempt.limit.on(GRACE, |token| {
        let (approver, question) = (&approver, &question);
        async move {
            tokio::select! {
                biased;
                answer = approver.ask(question) => Some(answer),
                () = token.cancelled() => None,
            }
        }
    });
    let answer = match asked.await {
        Ended::Done(answer) => answer,
        Ended::Late(_, cause) | Ended::GivenUp(cause) => {
            return Err(Verdict::cut(attempt.cut(cause)));
        }
    };
    match answer {
        Some(Answer::Given { by, fields }) => {
            let given = EventKind::ApprovalGiven {
                stage,
                attempt: number,
                by: by.clone(),
                fields: fields.clone(),
            };
            shared.report(given).await;
            let mut outputs = fields;
            outputs.insert("by".to_owned(), by.into());
            Ok(Verdict::passed(outputs))
        }
        Some(Answer::Refused { by, reason }) => {
            let refused = EventKind::ApprovalRefused {
                stage,
                attempt: number,
                by: by.clone(),
                reason: reason.clone(),
            };
            shared.report(refused).await;
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            Err(Verdict::failed(None, format!("refused by {by}{reason}")))
        }
        Some(Answer::Nobody(why)) => Err(Verdict::failed(None, why)),
        None => Err(Verdict::infrastructure("the question was given up")),
    }
}
