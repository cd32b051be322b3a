//! Who waits for whom, and how much hangs on each.

use std::collections::HashMap;
use std::sync::OnceLock;

use pipeline::PlannedStage;

use super::ScheduleError;
use super::set::Bits;

/// A stage, as the order of the run sees it.
pub(crate) struct Node {
    /// All needs, in plan order.
    pub(crate) needs: Vec<Need>,
    /// The needs that are not reached through another need.
    pub(crate) waits_for: Vec<On>,
    /// Stages on the longest path below, this one included.
    pub(crate) height: u32,
    /// Set when the deferred `when` was found to hold: what it reads is done for
    /// good, so it is asked once.
    pub(crate) holds: OnceLock<()>,
    pub(super) slug: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) on: On,
    pub(crate) must_run: bool,
}

/// What is needed: a stage, or all cells of one. Cells that need cells share one
/// [`Group`], or 10,000 that need 10,000 would make 10^8 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum On {
    Stage(usize),
    Group(usize),
}

/// The cells of a stage with a matrix, in plan order.
pub(super) struct Group {
    pub(super) cells: Vec<usize>,
    /// Somebody needs it, so no cell may follow.
    pub(super) needed: bool,
    /// The cells and all they need, once that is asked for.
    pub(super) all: Option<Bits>,
}

/// Returns the needs in plan order, a stage named twice once. An edge names a
/// planned stage, or a stage with a matrix: then it is one on every cell.
pub(super) fn needs(
    stage: &PlannedStage,
    names: &HashMap<&str, On>,
    groups: &[Group],
) -> Result<Vec<Need>, ScheduleError> {
    let mut needs = Vec::with_capacity(stage.needs.len());
    for edge in &stage.needs {
        let on = *names.get(edge.stage.as_str()).ok_or_else(|| ScheduleError::Order {
            stage: stage.name.clone(),
            need: edge.stage.clone(),
        })?;
        needs.push(Need { on, must_run: edge.must_run() });
    }
    // A group stands where its last cell does: all of it comes before what needs it.
    let place = |need: &Need| match need.on {
        On::Stage(index) => (index, 0),
        On::Group(group) => (groups[group].cells.last().copied().unwrap_or(0), 1),
    };
    needs.sort_by_key(place);
    needs.dedup_by(|next, kept| {
        let same = next.on == kept.on;
        kept.must_run |= same && next.must_run;
        same
    });
    Ok(needs)
}

/// Makes a stage known to those after it, by its own name and, when it is a cell,
/// by that of its stage.
pub(super) fn register<'a>(
    stage: &'a PlannedStage,
    index: usize,
    names: &mut HashMap<&'a str, On>,
    groups: &mut Vec<Group>,
) -> Result<(), ScheduleError> {
    if names.insert(&stage.name, On::Stage(index)).is_some() {
        return Err(ScheduleError::Twice(stage.name.clone()));
    }
    if stage.name == stage.stage {
        return Ok(());
    }
    match names.get(stage.stage.as_str()) {
        None => {
            names.insert(&stage.stage, On::Group(groups.len()));
            groups.push(Group { cells: vec![index], needed: false, all: None });
        }
        Some(On::Group(group)) if groups[*group].needed => {
            let (stage, need) = (stage.name.clone(), stage.stage.clone());
            return Err(ScheduleError::Order { stage, need });
        }
        Some(On::Group(group)) => groups[*group].cells.push(index),
        Some(On::Stage(_)) => return Err(ScheduleError::Twice(stage.stage.clone())),
    }
    Ok(())
}

/// Counts the stages on the longest path below each.
pub(super) fn measure(nodes: &mut [Node], groups: &[Group]) {
    let mut group_of: Vec<Option<usize>> = vec![None; nodes.len()];
    for (number, group) in groups.iter().enumerate() {
        for cell in &group.cells {
            group_of[*cell] = Some(number);
        }
    }
    // What needs a group comes after all its cells, so that it is measured before.
    let mut of_groups = vec![1; groups.len()];
    for index in (0..nodes.len()).rev() {
        if let Some(group) = group_of[index] {
            nodes[index].height = nodes[index].height.max(of_groups[group]);
        }
        let height = nodes[index].height + 1;
        for on in nodes[index].waits_for.clone() {
            match on {
                On::Stage(need) => nodes[need].height = nodes[need].height.max(height),
                On::Group(need) => of_groups[need] = of_groups[need].max(height),
            }
        }
    }
}
