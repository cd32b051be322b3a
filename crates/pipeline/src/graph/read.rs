//! What expressions read of other stages: it must exist and be among the needs
//! (E044), and a stage whose outputs are read must run.

use std::collections::HashSet;

use super::{Above, Cells, Edge, edges};
use crate::EdgeReason;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::{Draft, Names};
use crate::model::Read;
use crate::name::CHECKOUT;
use crate::plan::{OutputType, RunOn, Work, same_cell};
use crate::source::Sources;
use crate::suggest::{closest, listed, quoted};

/// Cells that a note names; the others are counted.
const CELLS_TOLD: usize = 10;

/// Adds an edge for each output that is read, and tells what cannot be read.
pub(super) fn add(
    stages: &[Draft],
    needs: &mut [Vec<Edge>],
    order: &[usize],
    names: &Names,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) {
    if stages.iter().all(|stage| stage.reads.is_empty()) {
        return;
    }
    let above = Above::new(needs, order, |_| true);
    for (at, user) in stages.iter().enumerate() {
        for read in &user.reads {
            let reading = Reading { user, read, stages, names, sources };
            if read.stage == CHECKOUT && names.checkout_off.is_none() && read.output.is_none() {
                continue;
            }
            let Some(stage) = names.stages.get(&read.stage).copied() else {
                found.push(reading.no_stage());
                continue;
            };
            if !above.has(at, stage) {
                found.push(reading.not_needed(at == stage, &needs[at]));
                continue;
            }
            if let Some(wrong) = reading.no_cell(&stages[stage]) {
                found.push(wrong);
                continue;
            }
            match &read.output {
                Some(output) => {
                    if let Some(wrong) = reading.no_output(&stages[stage], output) {
                        found.push(wrong);
                        continue;
                    }
                }
                None if read.all_outputs => {}
                None => continue,
            }
            // What may be missing is told with `has` or `default`, but only where a
            // stage is meant to run after a failure.
            if read.guarded && user.run_on != RunOn::Success {
                continue;
            }
            let cells = read.cell.clone().map_or(Cells::All, Cells::One);
            let by = EdgeReason::Output;
            let edge = Edge { stage, cells, by, must: true, span: read.span };
            edges::add(&mut needs[at], Some(edge));
        }
    }
}

/// The image of a stage with a matrix is one per cell: whoever uses it has the
/// same axes, and each of its cells takes the image of the cell with its values.
pub(super) fn images(stages: &[Draft], sources: &Sources, found: &mut Vec<Diagnostic>) {
    for user in stages {
        let Some(need) = user.image else { continue };
        let Some(maker) = need.stage.and_then(|stage| stages.get(stage)) else { continue };
        let Some(matrix) = &maker.matrix else { continue };
        let axes = user.matrix.as_ref().map(|matrix| matrix.axes.as_slice()).unwrap_or_default();
        let error =
            |message: String| Diagnostic::error(Code::E044, message).at(sources.place(need.span));
        let (name, from) = (&user.name, &maker.name);
        let missing: Vec<&str> =
            matrix.axes.iter().filter(|axis| !axes.contains(axis)).map(String::as_str).collect();
        if !missing.is_empty() {
            let axes: Vec<String> = matrix.axes.iter().map(|axis| format!("{axis}: […]")).collect();
            found.push(
                error(format!(
                    "stage `{name}` uses the image of `{from}`, which makes one for each cell of its matrix"
                ))
                .label(format!("which cell is not said: `{name}` has no axis {}", quoted(missing)))
                .help(format!(
                    "give `{name}` the same axes, so that each of its cells takes the image of its own values: matrix: {{ {} }}",
                    listed(axes)
                )),
            );
            continue;
        }
        let (Some(made), Some(used)) =
            (&matrix.cells, user.matrix.as_ref().and_then(|matrix| matrix.cells.as_ref()))
        else {
            continue;
        };
        let made: HashSet<&str> = made.iter().map(|cell| cell.name.as_str()).collect();
        let wanted = used.iter().map(|cell| (cell, same_cell(&matrix.axes, &cell.values)));
        let missing = wanted.into_iter().find(|(_, wanted)| !made.contains(wanted.as_str()));
        if let Some((cell, wanted)) = missing {
            found.push(
                error(format!(
                    "the cell `{}` of stage `{name}` uses the image of the cell `{wanted}` of `{from}`, which there is not",
                    cell.name
                ))
                .label(format!("`{from}` has no cell `{wanted}`")),
            );
        }
    }
}

/// Names of what a stage puts out; `None` when that is not known.
fn outputs(stage: &Draft) -> Option<Vec<&str>> {
    Some(match &stage.body.as_ref()?.work {
        Work::Checkout { .. } => Vec::new(),
        Work::Run(run) => run.outputs.keys().map(String::as_str).collect(),
        Work::Build(_) => vec!["image"],
        Work::Push(_) => vec!["digest", "ref"],
        Work::Deploy(_) => vec!["release", "previous", "state", "reason"],
        Work::Approve(approve) => {
            std::iter::once("by").chain(approve.fields.keys().map(String::as_str)).collect()
        }
        Work::Trigger(_) => vec!["run", "result"],
    })
}

/// One thing that an expression of `user` reads.
struct Reading<'a> {
    user: &'a Draft,
    read: &'a Read,
    stages: &'a [Draft],
    names: &'a Names,
    sources: &'a Sources,
}

impl Reading<'_> {
    fn error(&self, message: String) -> Diagnostic {
        Diagnostic::error(Code::E044, message).at(self.sources.place(self.read.span))
    }

    fn no_stage(&self) -> Diagnostic {
        let (user, wanted) = (&self.user.name, &self.read.stage);
        if let Some(off) = self.names.removed.get(wanted) {
            return self
                .error(format!("stage `{user}` reads `{wanted}`, which is removed"))
                .label(format!("`off` at {}", self.sources.short(*off)))
                .related("removed here", self.sources.place(*off));
        }
        let error = self.error(format!("stage `{user}` reads `{wanted}`, which is not a stage"));
        let known = || self.names.in_order.iter().map(String::as_str);
        let error = error.did_you_mean(closest(wanted, known()));
        error.note(format!("stages are: {}", listed(known().map(str::to_owned))))
    }

    fn not_needed(&self, itself: bool, needs: &[Edge]) -> Diagnostic {
        let (user, wanted) = (&self.user.name, &self.read.stage);
        if itself {
            return self
                .error(format!("stage `{user}` reads itself, and is not done while it runs"))
                .label("read another stage");
        }
        let error = self.error(format!("stage `{user}` reads `{wanted}`, which it does not need"));
        let written = needs.iter().filter(|edge| edge.by == EdgeReason::Needs);
        let mut all: Vec<String> =
            written.map(|edge| self.stages[edge.stage].name.clone()).collect();
        all.push(wanted.clone());
        if self.user.needs.is_none() {
            // It stands below, and this stage waits for what stands above.
            return error.label(format!("`{wanted}` stands below `{user}`")).help(format!(
                "move `{user}` below `{wanted}`, or add to `{user}`: needs: [{wanted}]"
            ));
        }
        error
            .label(format!("`{wanted}` may not be done when `{user}` starts"))
            .help(format!("add it to the needs of `{user}`: needs: [{}]", listed(all)))
    }

    fn no_cell(&self, stage: &Draft) -> Option<Diagnostic> {
        let name = &stage.name;
        match (&stage.matrix, &self.read.cell) {
            (None, None) => None,
            (None, Some(_)) => {
                let message = format!("stage `{name}` has no matrix, and so no cells");
                let path = path(name);
                let what = self.read.output.as_deref().unwrap_or("NAME");
                Some(self.error(message).label(format!("read `{path}.outputs.{what}`")))
            }
            (Some(matrix), None) => {
                let output = self.read.output.as_deref()?;
                let message =
                    format!("stage `{name}` has a matrix, so every cell has its own outputs");
                let cell = matrix.example();
                let path = path(name);
                Some(self.error(message).label(format!(
                    "name the cell, for example `{path}.cells[\"{cell}\"].outputs.{output}`"
                )))
            }
            (Some(matrix), Some(cell)) => {
                let cells = matrix.cells.as_deref()?;
                if cells.iter().any(|known| known.name == *cell) {
                    return None;
                }
                let names = || cells.iter().map(|cell| cell.name.as_str());
                let error = self.error(format!("stage `{name}` has no cell `{cell}`"));
                let error = error.did_you_mean(closest(cell, names()));
                let mut told = listed(names().take(CELLS_TOLD).map(str::to_owned));
                if cells.len() > CELLS_TOLD {
                    told.push_str(&format!(", and {} more", cells.len() - CELLS_TOLD));
                }
                Some(error.note(format!("cells are: {told}")))
            }
        }
    }

    fn no_output(&self, stage: &Draft, output: &str) -> Option<Diagnostic> {
        let known = outputs(stage)?;
        if known.contains(&output) {
            return None;
        }
        let name = &stage.name;
        let error = self.error(format!("stage `{name}` has no output `{output}`"));
        let error = error.did_you_mean(closest(output, known.iter().copied()));
        Some(match &stage.body.as_ref()?.work {
            Work::Run(run) => {
                let typed = run.outputs.values().any(|kind| *kind != OutputType::String);
                let mut all: Vec<String> = run
                    .outputs
                    .iter()
                    .map(|(name, kind)| match typed {
                        true => format!("{name}: {}", word(*kind)),
                        false => name.clone(),
                    })
                    .collect();
                all.push(if typed { format!("{output}: string") } else { output.to_owned() });
                let all = listed(all);
                let all = if typed { format!("{{ {all} }}") } else { format!("[{all}]") };
                error.help(format!("let `{name}` put it out, with the line: outputs: {all}"))
            }
            work => {
                let action = work.action().name();
                error.note(format!(
                    "outputs of the {action} stage `{name}` are: {}",
                    listed(known.iter().map(|name| (*name).to_owned()))
                ))
            }
        })
    }
}

const fn word(kind: OutputType) -> &'static str {
    match kind {
        OutputType::String => "string",
        OutputType::Int => "int",
        OutputType::Bool => "bool",
        OutputType::Json => "json",
    }
}

/// How an expression names a stage.
fn path(stage: &str) -> String {
    if stage.contains('-') { format!("stages[\"{stage}\"]") } else { format!("stages.{stage}") }
}
