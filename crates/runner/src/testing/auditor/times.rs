//! What is true of the containers of a run, and when.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use event::EventKind;
use pipeline::{PlannedStage, RunOn};

use super::{Auditor, Container, SLACK, Stage, timeout};

impl Auditor<'_> {
    /// Each was announced before it began, began once, and never after the end of the run.
    pub(super) fn check_containers(
        &self,
        stages: &BTreeMap<&str, Stage>,
        broken: &mut Vec<String>,
    ) {
        let end = self.events.last().map(|event| event.at);
        for (position, container) in self.containers.iter().enumerate() {
            let Container { name, stage, begun, .. } = container;
            if self.containers[..position].iter().any(|other| other.name == *name) {
                broken.push(format!("{name} was started twice"));
            }
            let attempts = stages.get(stage.as_str()).map(|stage| &stage.attempts);
            let attempt = attempts.and_then(|all| all.iter().find(|one| one.name == *name));
            let Some(attempt) = attempt else {
                broken.push(format!("{name} was started, no event announces it"));
                continue;
            };
            let announced = self.events.iter().find(|event| event.seq == attempt.starting);
            if announced.is_none_or(|event| event.at > *begun) {
                let at = announced.map(|event| event.at);
                broken.push(format!("{name} was started at {begun}, announced at {at:?}"));
            }
            if attempt.not_before.is_some_and(|not_before| *begun < not_before) {
                broken.push(format!("{name} was started too early after the attempt before"));
            }
            if end.is_some_and(|end| end < *begun) {
                broken.push(format!("{name} was started after the end of the run"));
            }
            // The journal says that an attempt is over when its container is.
            if let (Some((_, at, ..)), false) = (attempt.finished, attempt.lost)
                && container.ended.is_none_or(|ended| ended > at + SLACK)
                && !self.blamed.contains_key("clean")
            {
                broken.push(format!("{name} ran on after the end of its attempt"));
            }
        }
    }

    /// Nothing runs longer than it may, whoever died meanwhile.
    pub(super) fn check_times(&self, stages: &BTreeMap<&str, Stage>, broken: &mut Vec<String>) {
        if self.blamed.contains_key("clean") {
            // What could not be removed was told, and goes with the next sweep.
            return;
        }
        let cuts: Vec<(DateTime<Utc>, bool)> = self
            .events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::CancelRequested { .. } => Some((event.at, true)),
                EventKind::RunTimedOut { .. } => Some((event.at, false)),
                _ => None,
            })
            .collect();
        let cancels = cuts.iter().filter(|(_, cancel)| *cancel).map(|(at, _)| *at);
        let killed = cancels.clone().nth(1);
        let cut = cuts.first().map(|(at, _)| *at);
        for container in self.containers {
            let Some(planned) = self.planned(&container.stage) else { continue };
            let attempts = &stages[container.stage.as_str()].attempts;
            let attempt = attempts.iter().find(|attempt| attempt.name == container.name);
            let deadline = attempt.and_then(|attempt| attempt.deadline);
            let deadline = deadline.unwrap_or(container.begun + timeout(planned));
            // Who goes on with it gives it the grace once more.
            let again = if self.durable { grace(planned) } else { TimeDelta::zero() };
            let mut check = |last, why| self.check_end(container, last, again, why, broken);
            check(deadline + grace(planned), "its deadline");
            if let Some(cut) = cut.filter(|_| planned.run_on != RunOn::Always) {
                check(cut.max(container.begun) + grace(planned), "the run was cut");
            }
            if let Some(killed) = killed {
                check(killed.max(container.begun), "it was killed");
            }
        }
    }

    /// A process that is dead ends nothing; the next one does so at once.
    fn check_end(
        &self,
        container: &Container,
        last: DateTime<Utc>,
        again: TimeDelta,
        why: &str,
        broken: &mut Vec<String>,
    ) {
        let mut last = last + SLACK;
        for restart in self.restarts {
            if restart.down <= last && container.begun <= restart.up {
                last = last.max(restart.up + again + SLACK);
            }
        }
        match container.ended {
            Some(ended) if ended <= last => {}
            Some(ended) => {
                let late = ended - last + SLACK;
                let name = &container.name;
                broken.push(format!("{name} ended {late} after {why}, with its grace"));
            }
            None => broken.push(format!("{} never ended, {why}", container.name)),
        }
    }

    /// No group holds more than it may at any time.
    pub(super) fn check_groups(&self, broken: &mut Vec<String>) {
        let in_group = |container: &&Container| {
            let planned = self.planned(&container.stage)?;
            planned
                .concurrency
                .as_ref()
                .map(|concurrency| (concurrency.group.as_str(), concurrency.limit))
        };
        for container in self.containers {
            let Some((group, limit)) = in_group(&container) else { continue };
            let at = container.begun;
            let holding = self.containers.iter().filter(|other| {
                in_group(other).is_some_and(|(of, _)| of == group)
                    && other.begun <= at
                    && other.ended.is_none_or(|ended| ended > at)
            });
            let holding = holding.count();
            if holding > usize::try_from(limit).unwrap_or(usize::MAX) {
                broken.push(format!(
                    "{holding} of the group `{group}` run when {} begins",
                    container.name
                ));
            }
        }
    }
}

fn grace(planned: &PlannedStage) -> TimeDelta {
    TimeDelta::from_std(planned.cancel_grace.std()).unwrap_or_default()
}
