//! A hook as the switch: a program, or a service behind HTTP, that tells a balancer which
//! nobody here knows.
//!
//! It is called with `drain`, `undrain` or `status`, the unit and its address. A program
//! that ends with 0 has done it; one asked for `status` ends with 0 where the unit gets
//! requests, and with 1 where it does not. Of a service, 2xx and 409 are the same.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use pipeline::HookSpec;
use serde_json::json;

use super::reach::Reach;
use super::{Idle, Member, Order, Switch, SwitchAccess, SwitchCaps, Up, broken, found};
use crate::{EnvironmentKey, Finding, TargetError, UnitId};

/// What a program ends with, and a service answers, that says no.
const NO: i32 = 1;
const CONFLICT: u16 = 409;
/// Of what it says, this much is told.
const SAID: usize = 600;
const FIX: &str = "call it by hand, with the same words";

pub(super) struct Hook {
    command: Option<String>,
    url: Option<String>,
    timeout: Duration,
    reach: Reach,
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No(String),
}

impl Hook {
    pub(super) fn new(spec: &HookSpec, access: &SwitchAccess) -> Self {
        let HookSpec { command, url, timeout, ssh } = spec.clone();
        let reach = Reach::new(ssh.as_deref(), access);
        Self { command, url, timeout: timeout.std(), reach }
    }

    /// Calls it; that it says no is an answer of `status` alone.
    async fn call(&self, action: &str, member: &Member) -> Result<Answer, TargetError> {
        match (&self.command, &self.url) {
            (Some(command), _) => self.run(command, action, member).await,
            (None, Some(url)) => self.post(url, action, member).await,
            (None, None) => {
                let message = "the hook has neither `command` nor `url`".to_owned();
                Err(TargetError::Refused { message })
            }
        }
    }

    async fn run(
        &self,
        command: &str,
        action: &str,
        member: &Member,
    ) -> Result<Answer, TargetError> {
        let script = format!("{command} \"$@\"");
        let address = member.address.to_string();
        let arguments = [action, &*member.unit.0, &*address];
        let told = self.reach.run(&script, &arguments, Vec::new(), self.timeout).await;
        let call = format!("`{command} {action} {} {address}`", member.unit);
        let said = told.map_err(|failure| {
            broken("hook", format!("{call}: {}", failure.cause), &failure.fix)
        })?;
        let words = last_words(&[&*said.out, &*said.err].concat());
        match said.code {
            0 => Ok(Answer::Yes),
            NO if action == "status" => Ok(Answer::No(words)),
            code => Err(broken("hook", format!("{call} ended with {code}: {words}"), FIX)),
        }
    }

    async fn post(&self, url: &str, action: &str, member: &Member) -> Result<Answer, TargetError> {
        let call = format!("POST {url} ({action} {})", member.unit);
        let wrong = |why: String| broken("hook", format!("{call}: {why}"), FIX);
        let client = crate::suite::client(false).map_err(wrong)?;
        let body = json!({ "action": action, "unit": member.unit, "address": member.address });
        let asking = async {
            let answer = client.post(url).json(&body).send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        };
        let answered = match tokio::time::timeout(self.timeout, asking).await {
            Ok(answered) => answered.map_err(|error| wrong(error.to_string())),
            Err(_) => Err(wrong(format!("no answer within {} s", self.timeout.as_secs_f64()))),
        };
        let (status, said) = answered?;
        let words = last_words(&said);
        match status {
            200..=299 => Ok(Answer::Yes),
            CONFLICT if action == "status" => Ok(Answer::No(words)),
            status => Err(wrong(format!("answered {status}: {words}"))),
        }
    }

    async fn act(
        &self,
        action: &str,
        member: &Member,
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        (order.held)().await?;
        self.call(action, member).await.map(drop)
    }
}

/// The end of what was said, on one line.
fn last_words(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    let words = words.join(" ");
    let skipped = words.chars().count().saturating_sub(SAID);
    match words.is_empty() {
        true => "it said nothing".to_owned(),
        false => words.chars().skip(skipped).collect(),
    }
}

#[async_trait]
impl Switch for Hook {
    fn caps(&self) -> SwitchCaps {
        SwitchCaps::HOOK
    }

    /// Asks it for each place, which changes nothing.
    async fn check(
        &self,
        members: &[Member],
        _key: &EnvironmentKey,
    ) -> Result<Vec<Finding>, TargetError> {
        let mut findings = Vec::new();
        for member in members {
            if let Err(error) = self.call("status", member).await {
                findings.push(found(error)?);
            }
        }
        Ok(findings)
    }

    async fn admitted(
        &self,
        members: &[Member],
        _key: &EnvironmentKey,
    ) -> Result<BTreeSet<UnitId>, TargetError> {
        let asking = members.iter().map(async |member| {
            let answer = self.call("status", member).await?;
            Ok::<_, TargetError>((answer == Answer::Yes).then(|| member.unit.clone()))
        });
        Ok(try_join_all(asking).await?.into_iter().flatten().collect())
    }

    async fn leads_to(&self, member: &Member, _key: &EnvironmentKey) -> Result<bool, TargetError> {
        Ok(self.call("status", member).await? == Answer::Yes)
    }

    async fn drain(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError> {
        self.act("drain", member, order).await
    }

    /// A hook that is done with a drain has waited by itself.
    async fn wait_idle(
        &self,
        _member: &Member,
        _timeout: Duration,
        _order: &Order<'_>,
    ) -> Result<Idle, TargetError> {
        Ok(Idle::Said)
    }

    async fn undrain(
        &self,
        member: &Member,
        _replaces: Option<&UnitId>,
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        self.act("undrain", member, order).await
    }

    async fn is_up(&self, member: &Member) -> Result<Up, TargetError> {
        Ok(match self.call("status", member).await? {
            Answer::Yes => Up::Yes,
            Answer::No(said) => {
                Up::No(format!("the hook says that {} is not up: {said}", member.unit))
            }
        })
    }

    /// It has no word for them.
    async fn set_weights(
        &self,
        _shares: &[(&Member, u32)],
        _order: &Order<'_>,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    async fn forget(&self, _key: &EnvironmentKey) -> Result<bool, TargetError> {
        Ok(false)
    }
}
