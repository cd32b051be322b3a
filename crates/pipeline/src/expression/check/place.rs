//! The names of one expression, where it stands.

use std::ops::Range;

use super::Checker;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::flow::Flow;
use crate::expression::known::Here;
use crate::expression::name::{
    CELL, CONTEXTS, EVENT, GIT, RUN, STAGE, Site, available, available_functions, available_names,
    available_where,
};
use crate::expression::program::{Program, Reference};
use crate::expression::scope::Parameters;
use crate::expression::tree::{Foreign, Name};
use crate::expression::{Expression, Piece};
use crate::model::Read;
use crate::source::{FileId, Sources, Span};
use crate::suggest::{closest, foreign_function, foreign_name, listed};
use crate::yaml::{Node, Value};

/// One expression at its place.
pub(super) struct Place<'a> {
    pub(super) checker: &'a Checker,
    pub(super) expression: &'a Expression,
    pub(super) site: Site,
    pub(super) parameters: &'a Parameters,
    pub(super) sources: &'a Sources,
}

impl<'a> Place<'a> {
    pub(super) fn here(&self, file: FileId) -> Here<'a> {
        Here { checker: self.checker, parameters: self.parameters, file, depth: 0 }
    }

    fn span(&self, at: &Range<usize>) -> Span {
        if at.is_empty() {
            return self.expression.span;
        }
        self.expression.part(self.sources, at.clone())
    }

    pub(super) fn part(&self, at: &Range<usize>) -> crate::source::Place {
        self.sources.place(self.span(at))
    }

    pub(super) fn name(&self, name: &Name) -> Option<Diagnostic> {
        let root = name.root.as_str();
        if !CONTEXTS.contains(&root) {
            return Some(self.unknown(name, 0, &available_names(self.site)));
        }
        if !available(self.site, root) {
            let message = format!("`{}` is not available here", name.path());
            let error = Diagnostic::error(Code::E045, message).at(self.part(&name.at));
            return Some(error.help(available_where(root)));
        }
        let field = name.field();
        match (root, field) {
            ("git", Some(field)) if !GIT.contains(&field) => Some(self.unknown(name, 1, GIT)),
            ("event", Some(field)) if !EVENT.contains(&field) => Some(self.unknown(name, 1, EVENT)),
            ("run", Some(field)) if !RUN.contains(&field) => Some(self.unknown(name, 1, RUN)),
            ("pipeline" | "project", Some(field)) if field != "name" => {
                Some(self.unknown(name, 1, &["name"]))
            }
            ("params", _) => self.parameter(name),
            ("env", Some(field)) => self.variable(name, field),
            ("matrix", _) => self.axis(name),
            ("stages", _) => self.stage(name),
            _ => None,
        }
    }

    fn parameter(&self, name: &Name) -> Option<Diagnostic> {
        let known: Vec<&str> = match self.parameters.get(&self.expression.span.file) {
            Some(values) => values.keys().map(String::as_str).collect(),
            None => match &self.checker.facts.manual {
                Some(manual) => manual.keys().map(String::as_str).collect(),
                None => {
                    return Some(
                        Diagnostic::error(Code::E041, format!("unknown name `{}`", name.path()))
                            .at(self.part(&name.at))
                            .label("this pipeline has no parameters"),
                    );
                }
            },
        };
        let field = name.field().filter(|field| !known.contains(field));
        field.map(|_| self.unknown(name, 1, &known))
    }

    /// `env.NAME`: it is there, and what it reads itself is available here, too.
    fn variable(&self, name: &Name, field: &str) -> Option<Diagnostic> {
        let env = &self.checker.facts.env;
        let Some(node) = env.get(field) else {
            let known: Vec<&str> = env.keys().map(String::as_str).collect();
            let error = self.unknown(name, 1, &known);
            return Some(error.help(
                "`env` has the variables of the pipeline and of `defaults`; those of a stage are for its commands",
            ));
        };
        let inner = programs_of(self.checker, node);
        let mut references = inner.iter().flat_map(|program| &program.references);
        let beyond = references.find(|inner| !available(self.site, &inner.name.root))?;
        let message = format!(
            "`{}` reads `{}`, which is not available here",
            name.path(),
            beyond.name.path()
        );
        Some(
            Diagnostic::error(Code::E045, message)
                .at(self.part(&name.at))
                .related("the variable is set here", self.sources.place(node.span))
                .help(available_where(&beyond.name.root)),
        )
    }

    fn axis(&self, name: &Name) -> Option<Diagnostic> {
        // `defaults` are for stages with and without a matrix.
        let stage = self.checker.stage.as_deref()?;
        let axes = self.checker.facts.stages.get(stage).and_then(|stage| stage.axes.as_ref());
        let Some(axes) = axes else {
            let message = format!("`{}` is not available here", name.path());
            let error = Diagnostic::error(Code::E045, message).at(self.part(&name.at));
            return Some(
                error
                    .label(format!("stage `{stage}` has no `matrix`"))
                    .help(available_where("matrix")),
            );
        };
        let field = name.field()?;
        let known: Vec<&str> = axes.keys().map(String::as_str).collect();
        (!known.contains(&field)).then(|| self.unknown(name, 1, &known))
    }

    /// The form of a path into `stages`; whether stage and output exist is checked
    /// when all stages have been read.
    fn stage(&self, name: &Name) -> Option<Diagnostic> {
        let fields: Vec<&str> = name.fields.iter().map(String::as_str).collect();
        match fields.as_slice() {
            [] => Some(
                Diagnostic::error(Code::E041, "`stages` is read without the name of a stage")
                    .at(self.part(&name.at))
                    .label("write for example `stages.NAME.outputs.VERSION`"),
            ),
            [_, "cells", _, field, ..] if !CELL.contains(field) => {
                Some(self.unknown(name, 4, CELL))
            }
            [_, field, ..] if !STAGE.contains(field) => Some(self.unknown(name, 2, STAGE)),
            _ => None,
        }
    }

    /// E041 for the field at `depth` of a path; 0 is its root.
    fn unknown(&self, name: &Name, depth: usize, known: &[&str]) -> Diagnostic {
        let wrong = match depth.checked_sub(1) {
            Some(at) => name.fields[at].as_str(),
            None => name.root.as_str(),
        };
        let prefix = match depth.checked_sub(1) {
            Some(at) => format!("{}.", name.prefix(at)),
            None => String::new(),
        };
        let diagnostic = Diagnostic::error(Code::E041, format!("unknown name `{}`", name.path()))
            .at(self.part(&name.at));
        if depth == 0 && wrong == "secrets" {
            return diagnostic
                .label("secrets are not read by expressions")
                .help("name the secret under the key `secrets` of the stage");
        }
        // CEL takes the dash for a minus.
        let mut stages = self.checker.facts.stages.keys().filter(|stage| stage.contains('-'));
        let meant = |stage: &&String| self.expression.source.contains(&format!("stages.{stage}"));
        if depth == 0
            && let Some(stage) = stages.find(meant)
        {
            return diagnostic.label(format!(
                "a name with a dash is written in brackets: `stages[\"{stage}\"]`"
            ));
        }
        let available = match known {
            [] => "nothing".to_owned(),
            known => listed(known.iter().map(|name| format!("{prefix}{name}"))),
        };
        let diagnostic = diagnostic.note(format!("available here: {available}"));
        let root = |name: &str| name.split(['.', '(']).next().unwrap_or_default().to_owned();
        let ours = foreign_name(&name.path())
            .filter(|ours| ours.contains('(') || depth > 0 || known.contains(&root(ours).as_str()));
        let before = self.expression.source.get(..name.at.start).unwrap_or_default();
        if let Some(ours) = ours {
            diagnostic.label(format!("did you mean `{ours}`?"))
        } else if let Some(close) = closest(wrong, known.iter().copied()) {
            diagnostic.label(format!("did you mean `{prefix}{close}`?"))
        } else if depth == 0 && before.ends_with('-') {
            diagnostic.label(
                "`-` is a minus here; a name with a dash is read so: `stages[\"unit-test\"]`",
            )
        } else if depth == 0 && available_functions(self.site).contains(&wrong) {
            diagnostic.label(format!("a function is called with brackets: `{wrong}(…)`"))
        } else if depth == 0 && name.fields.is_empty() {
            diagnostic.label(format!("text stands in quotes: `'{wrong}'`"))
        } else {
            diagnostic
        }
    }

    pub(super) fn foreign(&self, foreign: &Foreign) -> Diagnostic {
        match foreign {
            Foreign::Function { name, at } => {
                let known = available_functions(self.site);
                let diagnostic =
                    Diagnostic::error(Code::E041, format!("unknown function `{name}`"))
                        .at(self.part(at))
                        .note(format!(
                            "available here: {}",
                            listed(known.iter().map(|name| (*name).to_owned()))
                        ));
                if let Some(instead) = foreign_function(name) {
                    return diagnostic.label(instead);
                }
                diagnostic.did_you_mean(closest(name, known))
            }
            Foreign::Construct { what, at } => {
                let message = format!("this is not an expression: there are no {what}");
                Diagnostic::error(Code::E040, message).at(self.part(at))
            }
            Foreign::Arguments { message, at } => {
                Diagnostic::error(Code::E042, message.clone()).at(self.part(at))
            }
        }
    }

    pub(super) fn hash(&self, at: &Range<usize>) -> Diagnostic {
        Diagnostic::error(Code::E045, "`hash` is not available here")
            .at(self.part(at))
            .help(available_where("hash"))
    }

    pub(super) fn untrusted(&self, flow: &Flow) -> Option<Diagnostic> {
        let taint = flow.taint.as_ref()?;
        let path = &taint.path;
        let message = format!("`{path}` is text that others choose, and this is a command");
        let diagnostic = Diagnostic::error(Code::E043, message)
            .at(self.part(&taint.at))
            .label("would become part of the script");
        Some(match &taint.variable {
            Some(variable) => diagnostic
                .help(format!("write \"${variable}\", which holds the same text safely")),
            None => diagnostic.help(format!(
                "give it to the stage as `env`, and read the variable: env: {{ VALUE: \"${{{{ {path} }}}}\" }}"
            )),
        })
    }

    /// What a reference reads of other stages, itself or through a variable.
    pub(super) fn reads(&self, reference: &Reference) -> Vec<Read> {
        let read = |inner: &Reference, guarded: bool| {
            let fields: Vec<&str> = inner.name.fields.iter().map(String::as_str).collect();
            let (stage, rest) = fields.split_first()?;
            let (cell, rest) = match rest {
                ["cells", cell, rest @ ..] => (Some((*cell).to_owned()), rest),
                rest => (None, rest),
            };
            let output = match rest {
                ["outputs", output, ..] => Some((*output).to_owned()),
                _ => None,
            };
            let all_outputs = rest == ["outputs"];
            Some(Read {
                stage: (*stage).to_owned(),
                output,
                all_outputs,
                cell,
                guarded,
                span: self.span(&reference.name.at),
            })
        };
        match reference.name.root.as_str() {
            "stages" => read(reference, reference.guarded).into_iter().collect(),
            "env" => {
                let variables = &self.checker.facts.env;
                // `env[…]` can be any of them.
                let nodes: Vec<&Node> = match reference.name.field() {
                    Some(field) => variables.get(field).into_iter().collect(),
                    None => variables.values().collect(),
                };
                let programs = nodes.into_iter().flat_map(|node| programs_of(self.checker, node));
                let inner = programs.flat_map(|program| &program.references);
                inner
                    .filter(|inner| inner.name.root == "stages")
                    .filter_map(|inner| read(inner, inner.guarded || reference.guarded))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The programs of the expressions in a scalar.
fn programs_of<'a>(checker: &'a Checker, node: &Node) -> Vec<&'a Program> {
    let Value::Mixed(pieces) = &node.value else { return Vec::new() };
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Expression(expression) => {
                checker.programs.get(&expression.source).map(|known| &**known)
            }
            Piece::Text(_) => None,
        })
        .collect()
}
