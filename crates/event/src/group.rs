//! Who of a concurrency group may go on: the rule, and nothing else.
//!
//! Members stand in the order in which their runs were made, and within a run in the
//! order of the plan. Who waits is never dropped, and never overtaken.

use std::fmt;

use pipeline::Concurrency;

use crate::RunId;

/// A run, or a stage of one, that wants a place in a group of its project.
#[derive(Clone, Debug)]
pub struct GroupEntry {
    pub run: RunId,
    pub project: String,
    /// `None` is the whole run.
    pub stage: Option<String>,
    /// Of the stage in its plan.
    pub position: u32,
    pub concurrency: Concurrency,
}

impl GroupEntry {
    /// The place of a whole run, if its plan has a group.
    pub fn of_run(run: RunId, project: &str, concurrency: Option<&Concurrency>) -> Option<Self> {
        let (project, concurrency) = (project.to_owned(), concurrency?.clone());
        Some(Self { run, project, stage: None, position: 0, concurrency })
    }

    /// As a member that does not hold the group.
    pub fn member(&self) -> Member {
        let (stage, position) = (self.stage.clone(), self.position);
        Member { run: self.run, stage, position, holds: false }
    }
}

/// A run, or a stage of one, in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub run: RunId,
    /// `None` is the whole run.
    pub stage: Option<String>,
    /// Of the stage in its plan.
    pub position: u32,
    pub holds: bool,
}

impl Member {
    fn is(&self, other: &Self) -> bool {
        (self.run, &self.stage) == (other.run, &other.stage)
    }

    /// A run is in nobody's way that is part of it.
    fn is_in_the_way_of(&self, other: &Self) -> bool {
        !self.is(other) && (self.run != other.run || self.stage.is_some() == other.stage.is_some())
    }

    fn order(&self) -> (RunId, bool, u32, Option<&str>) {
        (self.run, self.stage.is_some(), self.position, self.stage.as_deref())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Some(stage) => write!(f, "`{stage}` of run {}", self.run.short()),
            None => write!(f, "run {}", self.run.short()),
        }
    }
}

/// Why a member waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub group: String,
    pub holders: Vec<Member>,
    /// In the queue, from 1.
    pub position: usize,
}

/// `waits for the group `board`: held by run 1a2b3c4d, position 2 in the queue`
impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for the group `{}`", self.group)?;
        if !self.holders.is_empty() {
            let holders: Vec<String> = self.holders.iter().map(ToString::to_string).collect();
            write!(f, ": held by {}", holders.join(", "))?;
        }
        write!(f, ", position {} in the queue", self.position)
    }
}

/// Returns why `me` waits in a group that `limit` may hold; `None`: it may go on.
pub fn queue(group: &str, members: &[Member], me: &Member, limit: u32) -> Option<Queue> {
    if members.iter().any(|member| member.is(me) && member.holds) {
        return None;
    }
    let others = || members.iter().filter(|member| member.is_in_the_way_of(me));
    let holders: Vec<Member> = others().filter(|member| member.holds).cloned().collect();
    let ahead = others().filter(|member| !member.holds && member.order() < me.order()).count();
    let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
    if holders.len() + ahead < limit {
        return None;
    }
    Some(Queue { group: group.to_owned(), holders, position: ahead + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(run: u128, stage: Option<&str>, position: u32, holds: bool) -> Member {
        let run = RunId::new(uuid::Uuid::from_u128(run));
        Member { run, stage: stage.map(str::to_owned), position, holds }
    }

    fn run(number: u128, holds: bool) -> Member {
        member(number, None, 0, holds)
    }

    #[test]
    fn as_many_go_on_as_the_limit_says_in_the_order_they_were_made() {
        let members = [run(1, true), run(2, false), run(3, false)];
        let position = |me: usize, limit| {
            queue("g", &members, &members[me], limit).map(|queue| queue.position)
        };
        assert_eq!([0, 1, 2].map(|me| position(me, 1)), [None, Some(1), Some(2)]);
        assert_eq!([0, 1, 2].map(|me| position(me, 2)), [None, None, Some(2)]);
        assert_eq!([0, 1, 2].map(|me| position(me, 3)), [None, None, None]);
        // Who was made earlier and comes later goes first all the same.
        let members = [run(5, true), run(7, false), run(6, false)];
        assert_eq!(queue("g", &members, &members[2], 1).unwrap().position, 1);
        assert_eq!(queue("g", &members, &members[1], 1).unwrap().position, 2);
    }

    #[test]
    fn nobody_waits_for_itself_or_for_the_run_it_belongs_to() {
        let whole = run(1, true);
        let stage = member(1, Some("a"), 3, false);
        let members = [whole.clone(), stage.clone()];
        assert_eq!(queue("g", &members, &stage, 1), None);
        let other = member(1, Some("b"), 4, false);
        let holding = Member { holds: true, ..stage };
        let members = [whole, holding, other.clone()];
        assert_eq!(queue("g", &members, &other, 1).unwrap().position, 1, "stages do exclude");
    }

    #[test]
    fn the_sentence_names_who_holds_the_group_and_the_position() {
        let members = [member(1, Some("flash"), 2, true), run(2, false), run(3, false)];
        assert_eq!(
            queue("board", &members, &members[2], 1).unwrap().to_string(),
            "waits for the group `board`: held by `flash` of run 00000001, position 2 in the queue"
        );
    }
}
