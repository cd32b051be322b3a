//! Whether an event starts a pipeline at all.

use crate::model::{Pipeline, Schedule};
use crate::pattern::{Matching, Pattern};
use crate::suggest::quoted;
use crate::{Context, TriggerEvent};

/// An event starts a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// `auto: false`: the run is made, and waits until somebody starts it.
    pub held: bool,
    /// Why, for the record: "branch `main` matches `main`, `release/*`".
    pub reason: String,
}

/// Returns whether an event starts a run, or why it starts nothing, as the record
/// of an ignored event says it.
pub fn triggers(pipeline: &Pipeline, context: &Context) -> Result<Start, String> {
    let filter = Filter { pipeline, context, reasons: Vec::new() };
    filter.decide()
}

/// Whether the run of an event waits until somebody starts it. An event that
/// starts nothing by itself may be simulated; then the file's `auto` counts.
pub(super) fn held(pipeline: &Pipeline, context: &Context) -> bool {
    triggers(pipeline, context).map_or(!pipeline.auto, |start| start.held)
}

struct Filter<'a> {
    pipeline: &'a Pipeline,
    context: &'a Context,
    /// Why it starts so far.
    reasons: Vec<String>,
}

impl<'a> Filter<'a> {
    fn decide(mut self) -> Result<Start, String> {
        let (pipeline, context): (&'a Pipeline, &'a Context) = (self.pipeline, self.context);
        let (on, git) = (&pipeline.on, &context.git);
        let auto = match context.event {
            TriggerEvent::Push => {
                let push = on.push.as_ref().ok_or_else(|| self.no_trigger())?;
                self.matches("branch", git.branch.as_deref(), push.branch.as_deref())?;
                self.changed(push.changed.as_deref())?;
                push.auto
            }
            TriggerEvent::Tag => {
                let tag = on.tag.as_ref().ok_or_else(|| self.no_trigger())?;
                self.matches("tag", git.tag.as_deref(), tag.name.as_deref())?;
                tag.auto
            }
            TriggerEvent::PullRequest => {
                let request = on.pull_request.as_ref().ok_or_else(|| self.no_trigger())?;
                let types: Vec<&str> = request.types.iter().map(|kind| kind.name()).collect();
                self.action("the pull request", &types)?;
                let target = self.target_branch();
                self.matches("target branch", target, request.branch.as_deref())?;
                self.changed(request.changed.as_deref())?;
                request.auto
            }
            TriggerEvent::Schedule => self.schedule()?.auto,
            TriggerEvent::Manual => on.manual.as_ref().ok_or_else(|| self.no_trigger())?.auto,
            TriggerEvent::Gerrit => {
                let gerrit = on.gerrit.as_ref().ok_or_else(|| self.no_trigger())?;
                let events: Vec<&str> = gerrit.events.iter().map(|event| event.name()).collect();
                self.action("the change", &events)?;
                let target = self.target_branch();
                self.matches("target branch", target, gerrit.branch.as_deref())?;
                if gerrit.comment.is_some() {
                    self.reasons.push("the comment is not known, so `comment` holds".to_owned());
                }
                gerrit.auto
            }
            TriggerEvent::Svn => {
                let svn = on.svn.as_ref().ok_or_else(|| self.no_trigger())?;
                self.changed_of("paths", svn.paths.as_deref())?;
                self.reasons.push(format!("the repository is asked every {}", svn.poll));
                svn.auto
            }
            // Another pipeline asks for this one by name.
            TriggerEvent::Trigger => {
                self.reasons.push("another pipeline starts it".to_owned());
                self.pipeline.auto
            }
        };
        if self.reasons.is_empty() {
            self.reasons.push(format!("trigger `{}` has no filter", self.context.event.name()));
        }
        Ok(Start { held: !auto, reason: self.reasons.join("; ") })
    }

    fn name(&self) -> &'a str {
        self.pipeline.name(&self.context.project)
    }

    fn no_trigger(&self) -> String {
        format!("pipeline `{}` has no trigger `{}`", self.name(), self.context.event.name())
    }

    fn target_branch(&self) -> Option<&'a str> {
        self.context.pull_request.as_ref().map(|request| request.target_branch.as_str())
    }

    fn matches(
        &mut self,
        what: &str,
        value: Option<&str>,
        patterns: Option<&[Pattern]>,
    ) -> Result<(), String> {
        let Some(patterns) = patterns else { return Ok(()) };
        let (event, name) = (self.context.event.name(), self.name());
        let Some(value) = value else {
            return Err(format!("there is no {what} for the {event} filter of pipeline `{name}`"));
        };
        if !Matching::new(value).any(patterns) {
            return Err(format!("{what} `{value}` matches no {event} filter of pipeline `{name}`"));
        }
        self.reasons.push(format!("{what} `{value}` matches {}", written(patterns)));
        Ok(())
    }

    fn changed(&mut self, patterns: Option<&[Pattern]>) -> Result<(), String> {
        self.changed_of("changed", patterns)
    }

    fn changed_of(&mut self, key: &str, patterns: Option<&[Pattern]>) -> Result<(), String> {
        let Some(patterns) = patterns else { return Ok(()) };
        let Some(changed) = &self.context.changed else {
            self.reasons.push(format!("what changed is not known, so `{key}` holds"));
            return Ok(());
        };
        match changed.iter().find(|path| Matching::new(path).any(patterns)) {
            Some(path) => {
                self.reasons.push(format!("`{path}` changed and matches {}", written(patterns)));
                Ok(())
            }
            None => Err(format!(
                "none of the {} changed files matches `{key}` of the {} filter of pipeline `{}`",
                changed.len(),
                self.context.event.name(),
                self.name()
            )),
        }
    }

    /// What happened to a pull request or change; where that is not known, it holds.
    fn action(&mut self, what: &str, accepted: &[&str]) -> Result<(), String> {
        let action = self.context.pull_request.as_ref().map(|request| request.action.as_str());
        match action.filter(|action| !action.is_empty()) {
            Some(action) if !accepted.contains(&action) => Err(format!(
                "{what} was `{action}`, and pipeline `{}` starts on {}",
                self.name(),
                quoted(accepted.iter().copied())
            )),
            Some(action) => {
                self.reasons.push(format!("{what} was `{action}`"));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The schedule of this branch, with these parameters where there are several.
    fn schedule(&mut self) -> Result<&'a Schedule, String> {
        let schedules = &self.pipeline.on.schedules;
        if schedules.is_empty() {
            return Err(self.no_trigger());
        }
        let git = &self.context.git;
        let branch = git.branch.as_deref().unwrap_or(&git.default_branch);
        let of_branch: Vec<&Schedule> = schedules
            .iter()
            .filter(|schedule| schedule.branch.as_deref().unwrap_or(&git.default_branch) == branch)
            .collect();
        let exact = of_branch.iter().find(|schedule| schedule.params == self.context.params);
        let Some(schedule) = exact.or(of_branch.first()) else {
            return Err(format!(
                "no schedule of pipeline `{}` is for branch `{branch}`",
                self.name()
            ));
        };
        self.reasons.push(format!("schedule `{}` ({})", schedule.cron, schedule.timezone));
        Ok(schedule)
    }
}

fn written(patterns: &[Pattern]) -> String {
    quoted(patterns.iter().map(|pattern| pattern.text.as_str()))
}
