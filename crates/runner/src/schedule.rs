//! The plan as a graph: what [`decide`](crate::decide()) looks up at every fact,
//! computed once per run.

mod need;
mod set;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use event::RunId;
pub(crate) use need::On;
use need::{Group, Node, measure, needs, register};
use pipeline::{Plan, PlannedStage, Work, slug};
use set::Bits;

use crate::SideEffects;
use crate::backend::LayerId;
use crate::standing::Standing;

/// A plan, and the rules of one run of it.
pub struct Schedule {
    plan: Arc<Plan>,
    pub(crate) concurrency: usize,
    pub(crate) side_effects: SideEffects,
    pub(crate) intake: Intake,
    pub(crate) run: RunId,
    /// `run.url`, as conditions read it.
    pub(crate) run_url: String,
    nodes: Vec<Node>,
    groups: Vec<Group>,
    /// Indices of the stages in the order of their names.
    by_name: Vec<usize>,
    /// Indices of those in which people are asked.
    approvals: Vec<usize>,
    /// Per stage, a bit for each stage it needs, directly or not.
    ancestors: Vec<Bits>,
}

/// Whether stages may still be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    Open,
    /// The process died in the middle of the run and its workspace is gone:
    /// what did not start yet cannot run any more.
    Lost,
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
        let count = plan.stages.len();
        let mut names: HashMap<&str, On> = HashMap::with_capacity(count);
        let mut groups: Vec<Group> = Vec::new();
        let mut ancestors: Vec<Bits> = Vec::with_capacity(count);
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        let mut slugs = BTreeSet::new();
        for (index, stage) in plan.stages.iter().enumerate() {
            let needs = needs(stage, &names, &groups)?;
            let mut above = Bits::none(count);
            let mut waits_for = Vec::new();
            // Newest first: a need that a later need has above it waits for itself.
            for need in needs.iter().rev() {
                match need.on {
                    On::Stage(at) if above.has(at) => continue,
                    On::Stage(at) => {
                        above.add_all(&ancestors[at]);
                        above.add(at);
                    }
                    On::Group(at) => {
                        let group = &mut groups[at];
                        group.needed = true;
                        if group.cells.iter().all(|cell| above.has(*cell)) {
                            continue;
                        }
                        above.add_all(group.all.get_or_insert_with(|| {
                            let mut all = Bits::none(count);
                            for cell in &group.cells {
                                all.add_all(&ancestors[*cell]);
                                all.add(*cell);
                            }
                            all
                        }));
                    }
                }
                waits_for.push(need.on);
            }
            let slug = unique(slug(&stage.name), index, &mut slugs);
            let holds = OnceLock::new();
            nodes.push(Node { needs, waits_for, height: 1, holds, slug });
            ancestors.push(above);
            register(stage, index, &mut names, &mut groups)?;
        }
        let run_url = String::new();
        let mut by_name: Vec<usize> = (0..count).collect();
        by_name.sort_by_key(|index| plan.stages[*index].name.as_str());
        measure(&mut nodes, &groups);
        let asks = |index: &usize| matches!(plan.stages[*index].work, Work::Approve(_));
        let approvals = (0..count).filter(asks).collect();
        Ok(Self {
            concurrency: concurrency.max(1),
            side_effects,
            intake,
            run,
            run_url,
            nodes,
            groups,
            by_name,
            approvals,
            ancestors,
            plan,
        })
    }

    /// Says where the run can be looked at, for conditions that read `run.url`.
    #[must_use]
    pub fn at(self, run_url: String) -> Self {
        Self { run_url, ..self }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(crate) fn stage(&self, index: usize) -> &PlannedStage {
        &self.plan.stages[index]
    }

    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        let name_of = |index: &usize| self.stage(*index).name.as_str();
        let at = self.by_name.binary_search_by(|index| name_of(index).cmp(name)).ok()?;
        Some(self.by_name[at])
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The cells of a group, in plan order.
    pub(crate) fn cells(&self, group: usize) -> &[usize] {
        &self.groups[group].cells
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Returns the stages that `index` needs, directly or not, in plan order.
    pub(crate) fn above(&self, index: usize) -> impl Iterator<Item = usize> {
        (0..index).filter(move |above| self.ancestors[index].has(*above))
    }

    /// Indices of the stages in the order of [`RunState::stages`](event::RunState::stages).
    pub(crate) fn by_name(&self) -> impl Iterator<Item = usize> {
        self.by_name.iter().copied()
    }

    /// The stages in which people are asked.
    pub(crate) fn approvals(&self) -> impl Iterator<Item = &PlannedStage> {
        self.approvals.iter().map(|index| self.stage(*index))
    }

    /// Whether a stage that ends well leaves a layer.
    pub(crate) fn is_layered(&self, index: usize) -> bool {
        matches!(self.stage(index).work, Work::Checkout { .. } | Work::Run(_))
    }

    /// Returns the name of an attempt's container.
    pub(crate) fn container(&self, index: usize, attempt: u32) -> String {
        format!("shipline-{}-{}-{attempt}", self.run.short(), self.nodes[index].slug)
    }

    /// Returns the layers below stage `index`, newest first: those of every
    /// checkout and `run` stage it needs, directly or not, that ended well.
    pub(crate) fn lower(&self, index: usize, standing: &Standing) -> Vec<LayerId> {
        let layers = standing.layers[..index].iter().enumerate().rev();
        layers
            .filter_map(|(above, layer)| layer.filter(|_| self.ancestors[index].has(above)))
            .collect()
    }
}

/// Returns `index` as layers count stages; a plan has at most 10,000 of them.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
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
        assert_eq!(schedule.node(3).waits_for, [On::Stage(2), On::Stage(1)]);
        assert_eq!(
            schedule.node(3).needs.iter().map(|need| need.on).collect::<Vec<_>>(),
            [On::Stage(0), On::Stage(1), On::Stage(2)]
        );
        assert_eq!(
            (0..4).map(|index| schedule.node(index).height).collect::<Vec<_>>(),
            [3, 2, 2, 1]
        );
    }

    fn cell(stage: &str, cell: &str, needs: &[&str]) -> PlannedStage {
        let name = format!("{stage}[os={cell}]");
        PlannedStage { stage: stage.to_owned(), ..testing::stage(&name, needs) }
    }

    #[test]
    fn a_need_on_a_stage_with_a_matrix_is_one_need_on_all_its_cells() {
        let schedule = schedule(vec![
            stage("a", &[]),
            cell("test", "x", &["a"]),
            cell("test", "y", &["a"]),
            cell("pack", "x", &["a", "test"]),
            cell("pack", "y", &["a", "test"]),
            stage("publish", &["pack", "test"]),
            stage("quick", &["test[os=x]"]),
        ])
        .unwrap();
        assert_eq!(schedule.cells(0), [1, 2]);
        assert_eq!(schedule.node(3).waits_for, [On::Group(0)]);
        assert_eq!(schedule.node(5).waits_for, [On::Group(1)]);
        assert_eq!(schedule.node(6).waits_for, [On::Stage(1)]);
        assert_eq!(schedule.above(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(
            (0..7).map(|index| schedule.node(index).height).collect::<Vec<_>>(),
            [4, 3, 3, 2, 2, 1, 1]
        );
    }

    #[test]
    fn a_cell_that_comes_after_a_stage_that_needs_all_cells_is_refused() {
        let stages =
            vec![cell("test", "x", &[]), stage("publish", &["test"]), cell("test", "y", &[])];
        assert!(matches!(schedule(stages), Err(ScheduleError::Order { .. })));
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
