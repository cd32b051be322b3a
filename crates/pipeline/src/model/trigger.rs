//! `on`: what starts a run.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::Duration;
use crate::pattern::Pattern;
use crate::plan::Param;
use crate::scalar::CronLine;
use crate::source::Span;

/// What is absent starts nothing. `auto` of a trigger is its own, else that of the
/// file: `false` makes the run and holds it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Triggers {
    pub(crate) push: Option<PushTrigger>,
    pub(crate) tag: Option<TagTrigger>,
    pub(crate) pull_request: Option<PullRequestTrigger>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) manual: Option<ManualTrigger>,
    /// Parameters of a manual run.
    pub(crate) params: BTreeMap<String, Param>,
    /// Where each of them is declared.
    pub(crate) declared: BTreeMap<String, Span>,
    pub(crate) gerrit: Option<GerritTrigger>,
    pub(crate) svn: Option<SvnTrigger>,
}

impl Triggers {
    /// Without `on`.
    pub(crate) fn builtin(auto: bool) -> Self {
        Self {
            push: Some(PushTrigger { auto, branch: None, changed: None }),
            pull_request: Some(PullRequestTrigger {
                auto,
                branch: None,
                changed: None,
                types: PullRequestType::BUILTIN.to_vec(),
            }),
            // Somebody starts it: there is nothing left to wait for.
            manual: Some(ManualTrigger { auto: true, span: None }),
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct PushTrigger {
    pub(crate) auto: bool,
    /// `None`: every branch.
    pub(crate) branch: Option<Vec<Pattern>>,
    /// `None`: whatever changed.
    pub(crate) changed: Option<Vec<Pattern>>,
}

#[derive(Clone, Debug)]
pub(crate) struct TagTrigger {
    pub(crate) auto: bool,
    /// `None`: every tag.
    pub(crate) name: Option<Vec<Pattern>>,
}

#[derive(Clone, Debug)]
pub(crate) struct PullRequestTrigger {
    pub(crate) auto: bool,
    /// Of the branch it is to be merged into.
    pub(crate) branch: Option<Vec<Pattern>>,
    pub(crate) changed: Option<Vec<Pattern>>,
    pub(crate) types: Vec<PullRequestType>,
}

/// What happens to a pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullRequestType {
    Opened,
    Updated,
    Labeled,
    Closed,
}

impl PullRequestType {
    pub(crate) const BUILTIN: [Self; 2] = [Self::Opened, Self::Updated];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Labeled => "labeled",
            Self::Closed => "closed",
        }
    }
}

/// One line of a timetable.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// `false`: its run is made and held.
    pub auto: bool,
    /// Minute, hour, day of the month, month and day of the week.
    pub cron: String,
    /// A name of the IANA list.
    pub timezone: String,
    /// `None`: the default branch.
    pub branch: Option<String>,
    /// Values of parameters of manual runs.
    pub params: BTreeMap<String, serde_json::Value>,
}

impl Schedule {
    /// Returns when it starts a run next, after a time that counts no more. Where
    /// the clock is put forward, a time it leaves out comes right after the gap.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        CronLine(self.cron.clone()).next(&self.timezone, after)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ManualTrigger {
    pub(crate) auto: bool,
    /// Of the word `manual`; `None` without `on`.
    pub(crate) span: Option<Span>,
}

#[derive(Clone, Debug)]
pub(crate) struct GerritTrigger {
    pub(crate) auto: bool,
    pub(crate) events: Vec<GerritEvent>,
    pub(crate) branch: Option<Vec<Pattern>>,
    /// A regular expression on comments.
    pub(crate) comment: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GerritEvent {
    PatchsetCreated,
    ChangeMerged,
    Comment,
}

impl GerritEvent {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PatchsetCreated => "patchset-created",
            Self::ChangeMerged => "change-merged",
            Self::Comment => "comment",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SvnTrigger {
    pub(crate) auto: bool,
    pub(crate) paths: Option<Vec<Pattern>>,
    /// How often the repository is asked.
    pub(crate) poll: Duration,
}
