//! The plan as a graph: what [`decide`](crate::decide()) looks up at every fact,
//! computed once per run.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use event::{Phase, RunId, RunState, Stage};
use pipeline::{Plan, PlannedStage, Work};

use crate::SideEffects;
use crate::backend::LayerId;

/// A plan, and the rules of one run of it.
pub struct Schedule {
    plan: Arc<Plan>,
    pub(crate) concurrency: usize,
    pub(crate) side_effects: SideEffects,
    pub(crate) intake: Intake,
    nodes: Vec<Node>,
    /// Indices of the stages in the order of [`RunState::stages`], their names.
    by_name: Vec<usize>,
    /// Per stage, a bit for each stage it needs, directly or not.
    ancestors: Vec<Vec<u64>>,
    run8: String,
}

/// Whether stages may still be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    Open,
    /// The process died in the middle of the run and its workspace is gone:
    /// what did not start yet cannot run any more.
    Lost,
}

pub(crate) struct Node {
    /// All needs, in plan order.
    pub(crate) needs: Vec<Need>,
    /// The needs that are not reached through another need.
    pub(crate) waits_for: Vec<usize>,
    /// Stages on the longest path below, this one included.
    pub(crate) height: u32,
    slug: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) index: usize,
    pub(crate) must_run: bool,
}

/// Why a plan cannot be run; the planner makes no such plan.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("stage `{stage}` needs `{need}`, which does not come before it in the plan")]
    Order { stage: String, need: String },
    #[error("stage `{0}` is in the plan twice")]
    Twice(String),
}

impl Schedule {
    pub fn new(
        plan: Arc<Plan>,
        run: RunId,
        concurrency: usize,
        side_effects: SideEffects,
        intake: Intake,
    ) -> Result<Self, ScheduleError> {
        let words = plan.stages.len().div_ceil(64);
        let mut index_of: HashMap<&str, usize> = HashMap::with_capacity(plan.stages.len());
        let mut ancestors: Vec<Vec<u64>> = Vec::with_capacity(plan.stages.len());
        let mut nodes: Vec<Node> = Vec::with_capacity(plan.stages.len());
        let mut slugs = BTreeSet::new();
        for (index, stage) in plan.stages.iter().enumerate() {
            let needs = needs(stage, &index_of)?;
            let mut above = vec![0_u64; words];
            let mut waits_for = Vec::new();
            // Newest first: a need that a later need has above it waits for itself.
            for need in needs.iter().rev() {
                if !bit(&above, need.index) {
                    waits_for.push(need.index);
                    for (own, theirs) in above.iter_mut().zip(&ancestors[need.index]) {
                        *own |= theirs;
                    }
                    above[need.index / 64] |= 1 << (need.index % 64);
                }
            }
            let slug = unique(slug(&stage.name), index, &mut slugs);
            nodes.push(Node { needs, waits_for, height: 1, slug });
            ancestors.push(above);
            if index_of.insert(&stage.name, index).is_some() {
                return Err(ScheduleError::Twice(stage.name.clone()));
            }
        }
        for index in (0..nodes.len()).rev() {
            let height = nodes[index].height + 1;
            for need in nodes[index].waits_for.clone() {
                nodes[need].height = nodes[need].height.max(height);
            }
        }
        let mut by_name: Vec<usize> = (0..nodes.len()).collect();
        by_name.sort_by_key(|index| plan.stages[*index].name.as_str());
        Ok(Self {
            concurrency: concurrency.max(1),
            side_effects,
            intake,
            nodes,
            by_name,
            ancestors,
            run8: run.short(),
            plan,
        })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(crate) fn stage(&self, index: usize) -> &PlannedStage {
        &self.plan.stages[index]
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the phases of `state` in plan order.
    pub(crate) fn phases(&self, state: &RunState) -> Vec<Phase> {
        self.in_plan_order(state, Phase::Waiting, |stage| stage.phase)
    }

    fn in_plan_order<T: Clone>(
        &self,
        state: &RunState,
        unknown: T,
        of: impl Fn(&Stage) -> T,
    ) -> Vec<T> {
        let mut all = vec![unknown; self.nodes.len()];
        // Both are sorted by name, which saves a look-up per stage.
        for (index, stage) in self.by_name.iter().zip(state.stages.values()) {
            all[*index] = of(stage);
        }
        all
    }

    /// Returns the name of an attempt's container.
    pub(crate) fn container(&self, index: usize, attempt: u32) -> String {
        format!("shipline-{}-{}-{attempt}", self.run8, self.nodes[index].slug)
    }

    /// Returns the layers below stage `index`, newest first: those of every
    /// checkout and `run` stage it needs, directly or not, that ended well.
    pub(crate) fn lower(&self, index: usize, state: &RunState) -> Vec<LayerId> {
        let attempts = self.in_plan_order(state, None, |stage| match stage.phase {
            Phase::Done(result) if result.is_good() => {
                stage.attempts.last().map(|last| last.number)
            }
            _ => None,
        });
        let layers = attempts[..index].iter().enumerate().rev().filter_map(|(above, attempt)| {
            let work = &self.stage(above).work;
            let layered = matches!(work, Work::Checkout { .. } | Work::Run(_));
            let below = layered && bit(&self.ancestors[index], above);
            attempt.filter(|_| below).map(|attempt| LayerId { index: number(above), attempt })
        });
        layers.collect()
    }
}

/// Returns `index` as layers count stages; a plan has at most 10,000 of them.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Returns the needs in plan order, a stage named twice once.
fn needs(
    stage: &PlannedStage,
    index_of: &HashMap<&str, usize>,
) -> Result<Vec<Need>, ScheduleError> {
    let mut needs = Vec::with_capacity(stage.needs.len());
    for edge in &stage.needs {
        let index = *index_of.get(edge.stage.as_str()).ok_or_else(|| ScheduleError::Order {
            stage: stage.name.clone(),
            need: edge.stage.clone(),
        })?;
        needs.push(Need { index, must_run: edge.must.as_deref() == Some("run") });
    }
    needs.sort_by_key(|need| need.index);
    needs.dedup_by(|next, kept| {
        let same = next.index == kept.index;
        kept.must_run |= same && next.must_run;
        same
    });
    Ok(needs)
}

fn bit(bits: &[u64], index: usize) -> bool {
    bits[index / 64] & (1 << (index % 64)) != 0
}

/// Returns `name` in lower case, with `-` for what is neither letter nor digit,
/// at most 63 bytes long.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.truncate(63);
    slug.trim_end_matches('-').to_owned()
}

/// Two stages must not share a container's name, though `a_b` and `a-b` have one slug.
fn unique(slug: String, index: usize, taken: &mut BTreeSet<String>) -> String {
    let mut name = slug;
    while !taken.insert(name.clone()) {
        name = format!("{name}-{index}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, stage};

    fn schedule(stages: Vec<PlannedStage>) -> Result<Schedule, ScheduleError> {
        let plan = Arc::new(testing::plan(stages));
        Schedule::new(plan, testing::run_id(), 4, SideEffects::Allowed, Intake::Open)
    }

    #[test]
    fn a_stage_waits_only_for_needs_that_no_other_need_has_above_it() {
        let schedule = schedule(vec![
            stage("a", &[]),
            stage("b", &["a"]),
            stage("c", &["a"]),
            stage("d", &["a", "b", "c"]),
        ])
        .unwrap();
        assert_eq!(schedule.node(3).waits_for, [2, 1]);
        assert_eq!(
            schedule.node(3).needs.iter().map(|need| need.index).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(
            (0..4).map(|index| schedule.node(index).height).collect::<Vec<_>>(),
            [3, 2, 2, 1]
        );
    }

    #[test]
    fn containers_have_names_of_their_own_although_slugs_are_equal() {
        let schedule =
            schedule(vec![stage("a_b", &[]), stage("A-b", &[]), stage("t[db=mysql:8]", &[])])
                .unwrap();
        let run8 = testing::run_id().short();
        let names: Vec<String> = (0..3).map(|index| schedule.container(index, 1)).collect();
        assert_eq!(
            names,
            [
                format!("shipline-{run8}-a-b-1"),
                format!("shipline-{run8}-a-b-1-1"),
                format!("shipline-{run8}-t-db-mysql-8-1"),
            ]
        );
    }

    #[test]
    fn a_plan_whose_needs_come_later_is_refused() {
        let error = schedule(vec![stage("a", &["b"]), stage("b", &[])]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "stage `a` needs `b`, which does not come before it in the plan"
        );
    }
}
