//! What pending expressions read: what the plan kept of its scope, the stages that
//! have finished, the run, and the workspace.

use std::collections::BTreeMap;

use super::{Finished, RunFacts};
use crate::codes::Code;
use crate::expression::{
    self, Budget, Datum, Fault, Program, brief, evaluate, missing, part_of_text, some_changed, told,
};
use crate::plan::{OutputType, PendingPart, Plan, PlannedStage, Work};

/// Results of the cells of one stage, the worst first: what the stage as a whole is.
const WORST_FIRST: &[&str] = &[
    "cancelled",
    "failed",
    "timed-out",
    "resource-limit",
    "infra-error",
    "blocked",
    "warning",
    "passed",
    "unchanged",
    "skipped",
];

/// Gives the digest of the files that match, or says what is wrong with the globs.
type Hash<'a> = dyn Fn(&[String]) -> Result<String, String> + 'a;

#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) plan: &'a Plan,
    pub(super) stage: &'a PlannedStage,
    pub(super) finished: &'a BTreeMap<String, Finished>,
    pub(super) run: &'a RunFacts,
    /// `None` where `hash` is not available.
    pub(super) hash: Option<&'a Hash<'a>>,
}

impl World<'_> {
    /// The value of a text: typed when it is one expression, else a text.
    pub(super) fn value(&self, parts: &[PendingPart]) -> Result<Datum, (Code, String)> {
        if let [PendingPart::Expression { source, file }] = parts {
            return self.expression(source, *file);
        }
        let mut text = String::new();
        for part in parts {
            match part {
                PendingPart::Text(literal) => text.push_str(literal),
                PendingPart::Expression { source, file } => {
                    match part_of_text(&self.expression(source, *file)?) {
                        Ok(part) => text.push_str(&part),
                        Err("nothing") => {
                            return Err((Code::E042, format!("`{}` has no value", source.trim())));
                        }
                        Err(found) => {
                            let source = source.trim();
                            let message =
                                format!("`{source}` is {found}, and this place needs text");
                            return Err((Code::E042, message));
                        }
                    }
                }
            }
        }
        Ok(Datum::text(text))
    }

    fn expression(&self, source: &str, file: u16) -> Result<Datum, (Code, String)> {
        let program = compiled(source)?;
        let here = Here { world: self, file };
        let shown = brief(source);
        evaluate(&program.root, &here, &Budget::new())
            .map_err(|fault| told(&shown, &program.root, &fault))
    }

    /// The value of a condition, and what it saw: the values of the names it reads.
    pub(super) fn test(&self, source: &str, file: u16) -> Result<(Datum, String), (Code, String)> {
        let value = self.expression(source, file)?;
        let program = compiled(source)?;
        let here = Here { world: self, file };
        let mut saw: Vec<String> = Vec::new();
        for reference in &program.references {
            let name = &reference.name;
            if !matches!(name.root.as_str(), "stages" | "run") {
                continue;
            }
            let path = name.path();
            let seen = match evaluate(&expression::Expr::Name(name.clone()), &here, &Budget::new())
            {
                Ok(Datum::Null) | Err(_) => "missing".to_owned(),
                Ok(Datum::List(_)) => "a list".to_owned(),
                Ok(Datum::Map(_)) => "a map".to_owned(),
                Ok(value) => {
                    format!("`{}`", brief(&part_of_text(&value).unwrap_or_default()))
                }
            };
            let words = format!("`{path}` is {seen}");
            if !saw.contains(&words) {
                saw.push(words);
            }
        }
        Ok((value, saw.join(", ")))
    }

    /// `stages.NAME`: its result and outputs, and those of its cells.
    fn finished_stage(&self, name: &str) -> Result<Datum, Fault> {
        let cells: Vec<&PlannedStage> =
            self.plan.stages.iter().filter(|stage| stage.stage == name).collect();
        let mut results = Vec::new();
        let mut outputs = Datum::map([]);
        let mut of_cells = Vec::new();
        for planned in cells {
            let Some(finished) = self.finished.get(&planned.name) else { continue };
            let own = outputs_of(planned, finished)?;
            results.push(finished.result.as_str());
            match cell_of(planned) {
                None => outputs = own,
                Some(cell) => of_cells.push((
                    cell,
                    Datum::map([("result", Datum::text(&finished.result)), ("outputs", own)]),
                )),
            }
        }
        let worst = WORST_FIRST.iter().find(|word| results.contains(*word));
        let Some(result) = worst.copied().or(results.first().copied()) else {
            return Err(missing(&format!("stages.{name}")));
        };
        Ok(Datum::map([
            ("result", Datum::text(result)),
            ("outputs", outputs),
            ("cells", Datum::map(of_cells)),
        ]))
    }
}

/// Compiles what the check of the file has compiled; its limits hold here, too.
fn compiled(source: &str) -> Result<Program, (Code, String)> {
    match Program::compile(source) {
        Ok(program) if program.foreign.is_empty() => Ok(program),
        _ => Err((Code::E040, format!("`{}` is not an expression", brief(source)))),
    }
}

/// The cell in the name of a planned stage: `db=mysql:8`.
fn cell_of(planned: &PlannedStage) -> Option<&str> {
    planned.name.strip_prefix(&planned.stage)?.strip_prefix('[')?.strip_suffix(']')
}

/// The outputs of a stage. Those it declares as numbers and truths are so, since
/// that is why they may stand in commands.
fn outputs_of(planned: &PlannedStage, finished: &Finished) -> Result<Datum, Fault> {
    let declared = match &planned.work {
        Work::Run(run) => Some(&run.outputs),
        _ => None,
    };
    for (name, value) in &finished.outputs {
        let (fits, wanted) = match declared.and_then(|declared| declared.get(name)) {
            Some(OutputType::Int) => (value.is_i64(), "a whole number"),
            Some(OutputType::Bool) => (value.is_boolean(), "true or false"),
            _ => (true, ""),
        };
        if !fits {
            let message = format!("output `{name}` of stage `{}` is not {wanted}", planned.name);
            return Err(Fault::Bad(message));
        }
    }
    let outputs = finished.outputs.iter();
    Ok(Datum::map(outputs.map(|(name, value)| (name.as_str(), Datum::from(value)))))
}

/// The world as the expressions of one file see it.
struct Here<'w, 'a> {
    world: &'w World<'a>,
    file: u16,
}

impl expression::World for Here<'_, '_> {
    fn name(&self, root: &str, field: Option<&str>, budget: &Budget) -> Result<Datum, Fault> {
        let world = self.world;
        let scopes = &world.plan.scopes;
        let whole = match (root, field) {
            ("stages", Some(field)) => return world.finished_stage(field),
            ("env", Some(field)) => return self.variable(field, budget),
            ("env", None) => {
                let variables: Result<Vec<_>, _> = scopes
                    .variables
                    .keys()
                    .map(|name| Ok((name.as_str(), self.variable(name, budget)?)))
                    .collect();
                Datum::map(variables?)
            }
            ("matrix", _) => {
                let cell = world.stage.matrix.iter();
                Datum::map(cell.map(|(axis, value)| (axis.as_str(), Datum::from(value))))
            }
            ("run", _) => {
                let run = world.run;
                let number = i64::try_from(run.number).unwrap_or(i64::MAX);
                Datum::map([
                    ("number", Datum::Int(number)),
                    ("id", Datum::text(&run.id)),
                    ("url", Datum::text(&run.url)),
                    ("attempt", Datum::Int(i64::from(run.attempt))),
                    ("started", Datum::text(&run.started)),
                ])
            }
            ("params", _) => {
                scopes.params.get(&self.file).map_or_else(|| Datum::map([]), Datum::from)
            }
            (root, _) => match scopes.names.get(root) {
                Some(value) => Datum::from(value),
                None => return Err(missing(root)),
            },
        };
        budget.spend(1)?;
        match field {
            None => Ok(whole),
            Some(field) => {
                whole.field(field).cloned().ok_or_else(|| missing(&format!("{root}.{field}")))
            }
        }
    }

    fn changed(&self, globs: &[String], budget: &Budget) -> Result<bool, Fault> {
        some_changed(self.world.plan.scopes.changed.as_deref(), globs, budget)
    }

    fn hash(&self, globs: &[String]) -> Result<String, Fault> {
        match self.world.hash {
            Some(hash) => hash(globs).map_err(Fault::Bad),
            None => Err(missing("hash()")),
        }
    }
}

impl Here<'_, '_> {
    fn variable(&self, name: &str, budget: &Budget) -> Result<Datum, Fault> {
        let path = format!("env.{name}");
        let parts = self.world.plan.scopes.variables.get(name).ok_or_else(|| missing(&path))?;
        let mut text = String::new();
        for part in parts {
            match part {
                PendingPart::Text(literal) => text.push_str(literal),
                PendingPart::Expression { source, file } => {
                    let program = compiled(source).map_err(|(_, message)| Fault::Bad(message))?;
                    let there = Here { world: self.world, file: *file };
                    match part_of_text(&evaluate(&program.root, &there, budget)?) {
                        Ok(part) => text.push_str(&part),
                        Err("nothing") if parts.len() == 1 => return Ok(Datum::Null),
                        Err(found) => {
                            return Err(Fault::Type(format!("`{path}` takes text, not {found}")));
                        }
                    }
                }
            }
        }
        budget.bytes(text.len())?;
        Ok(Datum::text(text))
    }
}
