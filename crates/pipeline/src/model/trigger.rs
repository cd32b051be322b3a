//! `on`: what starts a run.

use std::collections::BTreeMap;

use crate::Duration;
use crate::pattern::Pattern;
use crate::plan::Param;

/// What is absent starts nothing. `auto: false` in a trigger makes the run and
/// holds it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Triggers {
    pub(crate) push: Option<PushTrigger>,
    pub(crate) tag: Option<TagTrigger>,
    pub(crate) pull_request: Option<PullRequestTrigger>,
    pub(crate) schedules: Vec<Schedule>,
    /// `auto` of the manual trigger; `None` when it starts nothing.
    pub(crate) manual: Option<bool>,
    /// Parameters of a manual run.
    pub(crate) params: BTreeMap<String, Param>,
    pub(crate) gerrit: Option<GerritTrigger>,
    pub(crate) svn: Option<SvnTrigger>,
}

impl Triggers {
    /// Without `on`.
    pub(crate) fn builtin() -> Self {
        Self {
            push: Some(PushTrigger { auto: true, ..PushTrigger::default() }),
            pull_request: Some(PullRequestTrigger {
                auto: true,
                types: vec!["opened".to_owned(), "updated".to_owned()],
                ..PullRequestTrigger::default()
            }),
            manual: Some(true),
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PushTrigger {
    pub(crate) auto: bool,
    /// `None`: every branch.
    pub(crate) branch: Option<Vec<Pattern>>,
    /// `None`: whatever changed.
    pub(crate) changed: Option<Vec<Pattern>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TagTrigger {
    pub(crate) auto: bool,
    /// `None`: every tag.
    pub(crate) name: Option<Vec<Pattern>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PullRequestTrigger {
    pub(crate) auto: bool,
    /// Of the branch it is to be merged into.
    pub(crate) branch: Option<Vec<Pattern>>,
    pub(crate) changed: Option<Vec<Pattern>>,
    pub(crate) types: Vec<String>,
}

/// One line of a timetable.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) auto: bool,
    pub(crate) cron: String,
    pub(crate) timezone: String,
    /// `None`: the default branch.
    pub(crate) branch: Option<String>,
    pub(crate) params: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GerritTrigger {
    pub(crate) auto: bool,
    pub(crate) events: Vec<String>,
    pub(crate) branch: Option<Vec<Pattern>>,
    /// A regular expression on comments.
    pub(crate) comment: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct SvnTrigger {
    pub(crate) auto: bool,
    pub(crate) paths: Option<Vec<Pattern>>,
    pub(crate) poll: Duration,
}
