//! A part of a plan: what somebody wants to run of it, on what a former run left.

use std::collections::BTreeMap;

use super::{Decision, Plan, PlannedStage, value_text};
use crate::suggest::{closest, quoted};

/// The reason of a stage that is not in the part that was asked for.
pub const NOT_ASKED_FOR: &str = "not asked for";

/// What somebody wants to run of a plan. Nothing at all is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// These and what they need.
    pub stages: Vec<String>,
    /// This and what needs it; what it needs itself is taken from a former run.
    pub from: Option<String>,
    /// This and what it needs.
    pub until: Option<String>,
    /// This alone; what it needs is taken from a former run.
    pub only: Option<String>,
    /// Of stages that have this axis, the cells with this value alone.
    pub matrix: Vec<(String, String)>,
}

/// Why a plan has no such part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("the plan has no stage `{name}`")]
    UnknownStage { name: String, help: String },
    #[error("no stage has the axis `{name}`")]
    UnknownAxis { name: String, help: String },
    #[error("no cell has `{axis}={value}`")]
    UnknownValue { axis: String, value: String, help: String },
    #[error("`{until}` does not come after `{from}`, so nothing is between them")]
    Nothing { from: String, until: String },
}

impl SelectError {
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::UnknownStage { help, .. }
            | Self::UnknownAxis { help, .. }
            | Self::UnknownValue { help, .. } => Some(help),
            Self::Nothing { .. } => None,
        }
    }
}

impl Selection {
    /// The stages that are named, without their cells: nobody skips what somebody names.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let one = [&self.from, &self.until, &self.only].into_iter().flatten();
        let names = self.stages.iter().chain(one).map(String::as_str);
        names.map(|name| name.split_once('[').map_or(name, |(stage, _)| stage))
    }

    /// Marks what is not asked for as skipped, and returns the stages whose files are to
    /// be those of a former run: they are needed and not to run.
    pub fn apply(&self, plan: &mut Plan) -> Result<Vec<String>, SelectError> {
        let graph = Graph::of(plan);
        let every = vec![true; plan.stages.len()];
        let mut wanted = every.clone();
        if !self.stages.is_empty() {
            let mut named = vec![false; every.len()];
            for name in &self.stages {
                join(&mut named, &graph.find(plan, name)?);
            }
            wanted = graph.above(named);
        }
        if let Some(until) = &self.until {
            meet(&mut wanted, &graph.above(graph.find(plan, until)?));
        }
        if let Some(from) = &self.from {
            meet(&mut wanted, &graph.below(graph.find(plan, from)?));
            if let Some(until) = &self.until
                && !wanted.contains(&true)
            {
                return Err(SelectError::Nothing { from: from.clone(), until: until.clone() });
            }
        }
        if let Some(only) = &self.only {
            wanted = graph.find(plan, only)?;
        }
        for (axis, value) in &self.matrix {
            meet(&mut wanted, &cells(plan, axis, value)?);
        }
        let mut carried = vec![false; every.len()];
        if self.from.is_some() || self.only.is_some() {
            carried = graph.above(wanted.clone());
            for (carried, wanted) in carried.iter_mut().zip(&wanted) {
                *carried &= !wanted;
            }
        }
        let mut names = Vec::new();
        for (index, stage) in plan.stages.iter_mut().enumerate() {
            match (wanted[index], carried[index]) {
                (true, _) => {}
                (false, true) if stage.state == Decision::Skip => {}
                (false, true) => names.push(stage.name.clone()),
                (false, false) => {
                    stage.state = Decision::Skip;
                    NOT_ASKED_FOR.clone_into(&mut stage.reason);
                    stage.deferred.clear();
                    stage.condition = None;
                    stage.pending.clear();
                }
            }
        }
        Ok(names)
    }
}

/// Who needs whom, by position.
struct Graph {
    needs: Vec<Vec<usize>>,
}

impl Graph {
    fn of(plan: &Plan) -> Self {
        let mut at: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, stage) in plan.stages.iter().enumerate() {
            at.entry(&stage.name).or_default().push(index);
            if stage.stage != stage.name {
                at.entry(&stage.stage).or_default().push(index);
            }
        }
        let needs = |stage: &PlannedStage| {
            let edges = stage.needs.iter().filter_map(|edge| at.get(edge.stage.as_str()));
            edges.flatten().copied().collect()
        };
        Self { needs: plan.stages.iter().map(needs).collect() }
    }

    /// The stage or cell of that name, or all cells of it.
    fn find(&self, plan: &Plan, name: &str) -> Result<Vec<bool>, SelectError> {
        let is = |stage: &PlannedStage| stage.name == name || stage.stage == name;
        let found: Vec<bool> = plan.stages.iter().map(is).collect();
        if found.contains(&true) {
            return Ok(found);
        }
        let mut known: Vec<&str> = plan.stages.iter().map(|stage| stage.stage.as_str()).collect();
        known.dedup();
        let help = match closest(name, known.iter().copied()) {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("its stages are {}", quoted(known)),
        };
        Err(SelectError::UnknownStage { name: name.to_owned(), help })
    }

    /// Adds what these need, directly or not. Needs stand before what needs them.
    fn above(&self, mut set: Vec<bool>) -> Vec<bool> {
        for index in (0..set.len()).rev().filter(|index| *index < self.needs.len()) {
            if set[index] {
                for need in &self.needs[index] {
                    set[*need] = true;
                }
            }
        }
        set
    }

    /// Adds what needs these, directly or not.
    fn below(&self, mut set: Vec<bool>) -> Vec<bool> {
        for index in 0..set.len() {
            set[index] |= self.needs[index].iter().any(|need| set[*need]);
        }
        set
    }
}

fn join(set: &mut [bool], other: &[bool]) {
    set.iter_mut().zip(other).for_each(|(one, other)| *one |= other);
}

fn meet(set: &mut [bool], other: &[bool]) {
    set.iter_mut().zip(other).for_each(|(one, other)| *one &= other);
}

/// Every stage without the axis, and the cells that have this value on it.
fn cells(plan: &Plan, axis: &str, value: &str) -> Result<Vec<bool>, SelectError> {
    let of = |stage: &PlannedStage| stage.matrix.get(axis).map(value_text);
    let values: Vec<Option<String>> = plan.stages.iter().map(of).collect();
    let mut known: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        let axes = plan.stages.iter().flat_map(|stage| stage.matrix.keys());
        let mut axes: Vec<&str> = axes.map(String::as_str).collect();
        axes.sort_unstable();
        axes.dedup();
        let help = match axes.as_slice() {
            [] => "no stage of the plan has a matrix".to_owned(),
            axes => format!("the axes are {}", quoted(axes.iter().copied())),
        };
        return Err(SelectError::UnknownAxis { name: axis.to_owned(), help });
    }
    if !known.contains(&value) {
        let help = format!("the values of `{axis}` are {}", quoted(known));
        let (axis, value) = (axis.to_owned(), value.to_owned());
        return Err(SelectError::UnknownValue { axis, value, help });
    }
    Ok(values.iter().map(|found| found.as_deref().is_none_or(|found| found == value)).collect())
}
