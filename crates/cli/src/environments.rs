//! Environments of a project: a server's, or those of the pipeline file here. What is said
//! of them is the same JSON from both.

use chrono::{DateTime, Utc};
use deploy::{LogOptions, Order};
use event::{Decision, Event};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use server::UnitOutput;
use tokio::sync::mpsc;

use crate::arguments::PlaceArguments;
use crate::client::{Client, segment};
use crate::error::CommandError;
use crate::local_environment::{self, LocalEnvironments, whoami};

/// A mail server is part of a server's configuration.
pub(crate) const NO_MAIL: &str = "without a server no mail is sent";

/// Deployments looked through for the one that is held: later ones wait for it.
const LATELY: u32 = 50;

/// The sentence about who gets a mail, from what a server said.
pub(crate) fn told(answer: &Value) -> Option<String> {
    let to: Vec<&str> = answer["told"].as_array()?.iter().filter_map(Value::as_str).collect();
    let note = answer["note"].as_str();
    let mailed = (!to.is_empty()).then(|| format!("mail goes to {}", to.join(", ")));
    let parts: Vec<&str> = mailed.as_deref().into_iter().chain(note).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

pub(crate) enum Environments {
    Server(ServerEnvironments),
    Local(Box<LocalEnvironments>),
}

pub(crate) struct ServerEnvironments {
    client: Client,
    project: String,
}

impl Environments {
    /// Those of the server, where one is named.
    pub(crate) async fn open(place: &PlaceArguments) -> Result<Self, CommandError> {
        match Client::of(&place.server)? {
            Some(client) => {
                let project = local_environment::project_name(place).await?;
                Ok(Self::Server(ServerEnvironments { client, project }))
            }
            None => Ok(Self::Local(Box::new(LocalEnvironments::open(place).await?))),
        }
    }

    pub(crate) async fn names(&self) -> Result<Vec<String>, CommandError> {
        match self {
            Self::Server(server) => server.names().await,
            Self::Local(local) => Ok(local.names()),
        }
    }

    pub(crate) async fn status(&self, environment: &str) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => server.client.get(&server.path(environment, "")).await,
            Self::Local(local) => local.status(environment).await,
        }
    }

    /// What an order would do.
    pub(crate) async fn preview(
        &self,
        environment: &str,
        order: &Order,
    ) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => server.order(environment, "?dry-run=true", order).await,
            Self::Local(local) => local.preview(environment, order).await,
        }
    }

    /// Deployments, newest first.
    pub(crate) async fn history(
        &self,
        environment: &str,
        limit: u32,
    ) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => {
                let path = server.path(environment, &format!("/deployments?limit={limit}"));
                server.client.get(&path).await
            }
            Self::Local(local) => local.history(environment, limit).await,
        }
    }

    /// What was found wrong, the newest first.
    pub(crate) async fn incidents(
        &self,
        environment: &str,
        limit: u32,
    ) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => {
                let path = server.path(environment, &format!("/incidents?limit={limit}"));
                server.client.get(&path).await
            }
            Self::Local(local) => local.incidents(environment, limit).await,
        }
    }

    /// Releases of the project, and what they are to an environment.
    pub(crate) async fn releases(&self, environment: Option<&str>) -> Result<Value, CommandError> {
        match (self, environment) {
            (Self::Server(server), Some(environment)) => {
                server.client.get(&server.path(environment, "/releases")).await
            }
            (Self::Server(server), None) => {
                let path = format!("/api/v1/projects/{}/releases", segment(&server.project));
                server.client.get(&path).await
            }
            (Self::Local(local), environment) => local.releases(environment).await,
        }
    }

    pub(crate) async fn deployment(&self, id: &str) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => {
                server.client.get(&format!("/api/v1/deployments/{}", segment(id))).await
            }
            Self::Local(local) => local.deployment(id).await,
        }
    }

    pub(crate) async fn mark(
        &self,
        id: &str,
        verdict: event::Verdict,
        reason: Option<&str>,
    ) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => {
                let path = format!("/api/v1/deployments/{}/verdict", segment(id));
                let body = json!({ "verdict": verdict, "reason": reason });
                server.client.post(&path, &body).await
            }
            Self::Local(local) => local.mark(id, verdict, reason).await,
        }
    }

    /// The deployment to an environment that waits for a decision, if one does.
    pub(crate) async fn held(&self, environment: &str) -> Result<Option<Value>, CommandError> {
        let history = self.history(environment, LATELY).await?;
        let mut deployments = history.as_array().into_iter().flatten();
        Ok(deployments.find(|deployment| !deployment["held_until"].is_null()).cloned())
    }

    pub(crate) async fn decide(
        &self,
        id: &str,
        decision: Decision,
        reason: Option<&str>,
    ) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => {
                let path = format!("/api/v1/deployments/{}/decision", segment(id));
                let body = json!({ "decision": decision, "reason": reason });
                server.client.post(&path, &body).await
            }
            Self::Local(local) => local.decide(id, decision, reason).await,
        }
    }

    pub(crate) async fn lock(
        &self,
        environment: &str,
        reason: &str,
        until: DateTime<Utc>,
        mine: bool,
    ) -> Result<Value, CommandError> {
        match self {
            Self::Server(server) => {
                let body = json!({ "reason": reason, "until": until, "mine": mine });
                server.client.put(&server.path(environment, "/lock"), &body).await
            }
            Self::Local(local) => local.lock(environment, reason, until, mine).await,
        }
    }

    /// Opens an environment; by force, returns a sentence about who is told of it.
    pub(crate) async fn unlock(
        &self,
        environment: &str,
        force: bool,
    ) -> Result<Option<String>, CommandError> {
        match self {
            Self::Server(server) => {
                let path = server.path(environment, &format!("/lock?force={force}"));
                Ok(told(&server.client.delete(&path).await?))
            }
            Self::Local(local) => {
                let owner = local.unlock(environment, force).await?;
                let another = owner.filter(|owner| force && *owner != whoami());
                Ok(another.map(|owner| format!("{owner} had locked it and is not told: {NO_MAIL}")))
            }
        }
    }

    /// Hands out what a unit has written, and with `follow` what it will.
    pub(crate) async fn unit_log(
        &self,
        environment: &str,
        unit: &str,
        options: LogOptions,
        pieces: &mpsc::Sender<UnitOutput>,
    ) -> Result<(), CommandError> {
        match self {
            Self::Server(server) => server.unit_log(environment, unit, options, pieces).await,
            Self::Local(local) => local.unit_log(environment, unit, options, pieces).await,
        }
    }

    /// Hands out the events of a deployment as they come, until its end.
    pub(crate) async fn follow(
        &self,
        id: &str,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<(), CommandError> {
        match self {
            Self::Server(server) => server.follow(id, events).await,
            Self::Local(local) => local.follow(id, events).await,
        }
    }
}

impl ServerEnvironments {
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    fn path(&self, environment: &str, rest: &str) -> String {
        let (project, environment) = (segment(&self.project), segment(environment));
        format!("/api/v1/projects/{project}/environments/{environment}{rest}")
    }

    async fn names(&self) -> Result<Vec<String>, CommandError> {
        let path = format!("/api/v1/projects/{}/environments", segment(&self.project));
        let environments = self.client.get(&path).await?;
        let environments = environments.as_array().into_iter().flatten();
        let names = environments.filter_map(|environment| environment["environment"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Hands in an order; the answer names the deployment.
    pub(crate) async fn order(
        &self,
        environment: &str,
        query: &str,
        order: &Order,
    ) -> Result<Value, CommandError> {
        let body = serde_json::to_value(order).map_err(|error| {
            CommandError::environment(format_args!("the order is no JSON: {error}"))
        })?;
        self.client.post(&self.path(environment, &format!("/deployments{query}")), &body).await
    }

    async fn unit_log(
        &self,
        environment: &str,
        unit: &str,
        options: LogOptions,
        pieces: &mpsc::Sender<UnitOutput>,
    ) -> Result<(), CommandError> {
        let since = options.since.map(|since| since.format("%Y-%m-%dT%H:%M:%SZ"));
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let rest = format!("/units/{}/log?follow={}{since}", segment(unit), options.follow);
        let mut lines = self.client.stream(&self.path(environment, &rest)).await?;
        while let Some(line) = lines.next().await {
            let piece = serde_json::from_str(&line?).map_err(|error| {
                CommandError::environment(format_args!(
                    "the server sent output that cannot be read: {error}"
                ))
            })?;
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn follow(
        &self,
        id: &str,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<(), CommandError> {
        let path = format!("/api/v1/deployments/{}/events?follow=true", segment(id));
        let mut ended = false;
        self.client
            .lines(&path, |line| {
                let event: Event = serde_json::from_str(line).map_err(|error| {
                    CommandError::environment(format_args!(
                        "the server sent an event that cannot be read: {error}"
                    ))
                })?;
                ended |= event.kind.is_terminal();
                // Nobody listens any more: the stream is read to its end all the same.
                let _ = events.send(event);
                Ok(())
            })
            .await?;
        if ended {
            return Ok(());
        }
        Err(CommandError::environment(
            "the server ended the stream before the end of the deployment",
        )
        .hint(format_args!("`shipline status --deployment {id} --wait` follows it again")))
    }
}
