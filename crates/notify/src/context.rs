//! What a mail tells besides the state of its run; the caller looks it up.

use std::collections::BTreeMap;

use event::{DeploymentState, RunResult};

#[derive(Clone, Debug, Default)]
pub struct MailContext {
    pub project: String,
    /// The store's id; mails' ids end with it.
    pub instance: String,
    /// Where people see the run; `None` when the server does not know its own address.
    pub run_url: Option<String>,
    /// Of the last run of this pipeline and branch that says something about the code.
    pub previous: Option<RunResult>,
    /// The pusher's address as the forge authenticated it; polling knows none.
    pub committer: Option<String>,
    /// Since the last success, newest first.
    pub commits: Vec<Commit>,
    /// The last masked lines of stages that did not end well, by name.
    pub logs: BTreeMap<String, Vec<String>>,
    /// What the deploy stages did.
    pub deployments: Vec<Deployment>,
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub sha: String,
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub stage: String,
    pub environment: String,
    /// The release's name for people.
    pub version: String,
    pub state: DeploymentState,
    pub reason: Option<String>,
    /// As observed when it ended.
    pub units: Vec<Unit>,
}

#[derive(Clone, Debug)]
pub struct Unit {
    pub name: String,
    /// The version it runs now.
    pub version: String,
    /// `running`, `unhealthy`, `exited` …
    pub state: String,
}
