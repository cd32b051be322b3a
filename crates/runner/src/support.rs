//! What this version cannot run yet, found before anything starts.
//!
//! The whole language is checked and planned; ignoring a key at run time would do
//! something else than what is written.

mod deploy;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pipeline::{Decision, Origin, OriginKind, Plan, PlannedStage, Work};

use crate::SideEffects;

/// Something a plan asks for that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub code: &'static str,
    /// As it stands in the file; `None` is the whole run.
    pub stage: Option<String>,
    /// Dotted, as in the file.
    pub key: String,
    /// One sentence that names both.
    pub sentence: String,
    pub help: String,
    /// Where it is written, if a file says it.
    pub origin: Option<Origin>,
}

/// The code of what is part of the language and not of this version.
const LATER: &str = "E018";
const LATER_HELP: &str = "remove it for now, or use a version of Shipline that has it";

/// In the form of all errors of the language.
impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.sentence)?;
        if let Some(Origin { file, line, column, .. }) = &self.origin {
            write!(f, "\n  --> {file}:{line}:{column}")?;
        }
        write!(f, "\n   = help: {}", self.help)
    }
}

/// Returns everything of `plan` that this version cannot run, in the order of the
/// plan, each once however many cells a stage has. A stage that is skipped asks for
/// nothing; nor does one whose effects are withheld, nor an `approve` where somebody is asked.
pub fn unsupported(plan: &Plan, side_effects: SideEffects, asks: bool) -> Vec<Unsupported> {
    let mut found = whole_run(plan);
    let mut told = BTreeSet::new();
    for planned in plan.stages.iter().filter(|stage| stage.state == Decision::Run) {
        let withheld = side_effects == SideEffects::Withheld
            && matches!(planned.work, Work::Push(_) | Work::Deploy(_) | Work::Trigger(_));
        if withheld {
            continue;
        }
        if asks && matches!(planned.work, Work::Approve(_)) {
            continue;
        }
        let mut stage = Stage { planned, found: Vec::new() };
        stage.common();
        stage.work(plan);
        for unsupported in stage.found {
            if told.insert((planned.stage.as_str(), unsupported.key.clone())) {
                found.push(unsupported);
            }
        }
    }
    found
}

/// Of the keys at the top of the file.
fn whole_run(plan: &Plan) -> Vec<Unsupported> {
    let mut found = Vec::new();
    let mut add = |key: &str, what: &str| {
        found.push(Unsupported {
            code: LATER,
            help: LATER_HELP.to_owned(),
            stage: None,
            key: key.to_owned(),
            sentence: format!("the pipeline uses {what}, which this version cannot run yet"),
            origin: written(&plan.origins, key),
        });
    };
    for notice in &plan.notices {
        let channel = serde_json::to_value(notice.channel).unwrap_or_default();
        let channel = channel.as_str().unwrap_or("chat");
        add(&format!("notify.{channel}"), &format!("`notify.{channel}`"));
    }
    found
}

/// One stage, and what of it cannot be run.
struct Stage<'a> {
    planned: &'a PlannedStage,
    found: Vec<Unsupported>,
}

impl Stage<'_> {
    /// The stage uses a key that cannot be run at all.
    fn uses(&mut self, key: &str, is_used: bool) {
        if is_used {
            self.says(key, &format!("uses `{key}`, which this version cannot run yet"));
        }
    }

    /// The stage asks for something in words of its own.
    fn says(&mut self, key: &str, what: &str) {
        let stage = &self.planned.stage;
        self.found.push(Unsupported {
            code: LATER,
            help: LATER_HELP.to_owned(),
            stage: Some(stage.clone()),
            key: key.to_owned(),
            sentence: format!("stage `{stage}` {what}"),
            origin: self.origin(key),
        });
    }

    /// Where `key` is written: the key itself, or the first below it.
    fn origin(&self, key: &str) -> Option<Origin> {
        written(&self.planned.origins, key)
    }
}

/// The first place of a file that says `key`, or something below it.
fn written(origins: &BTreeMap<String, Origin>, key: &str) -> Option<Origin> {
    let below = format!("{key}.");
    let origins = origins.iter().filter(|(path, origin)| {
        origin.by != OriginKind::Builtin && (*path == key || path.starts_with(&below))
    });
    let place = |origin: &Origin| (origin.file.clone(), origin.line, origin.column);
    origins.map(|(_, origin)| origin).min_by_key(|origin| place(origin)).cloned()
}

#[cfg(test)]
#[path = "support_tests.rs"]
mod tests;
