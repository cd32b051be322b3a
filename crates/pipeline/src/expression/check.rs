//! Checks expressions where they stand: syntax, names, what is available there,
//! and that nobody else's text becomes part of a command.

use std::collections::HashMap;
use std::sync::Arc;

use super::name::{
    CEL_FUNCTIONS, CONTEXTS, EVENT, FUNCTIONS, GIT, NOT_YET, Site, UNTRUSTED, available,
    available_where,
};
use super::program::{CompileError, Program, Reference};
use super::scope::Parameters;
use super::{Expression, Piece};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::Read;
use crate::source::Sources;
use crate::suggest::{closest, listed};
use crate::yaml::{Node, Value};

/// Compiles each expression once, however often it stands in the file.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) programs: HashMap<String, Arc<Program>>,
    /// The file declares parameters of manual runs.
    pub(crate) manual_parameters: bool,
    /// What the expressions checked so far read of other stages; whoever reads a
    /// stage takes them.
    pub(crate) reads: Vec<Read>,
}

impl Checker {
    /// Checks every expression of a value.
    pub(crate) fn check(
        &mut self,
        pieces: &[Piece],
        site: Site,
        parameters: &Parameters,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) {
        for piece in pieces {
            if let Piece::Expression(expression) = piece {
                self.expression(expression, site, parameters, sources, found);
            }
        }
    }

    fn expression(
        &mut self,
        expression: &Expression,
        site: Site,
        parameters: &Parameters,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) {
        if let Site::Never(key) = site {
            let message = format!("expressions are not available in `{key}`");
            found.push(
                Diagnostic::error(Code::E045, message)
                    .at(sources.place(expression.span))
                    .label("write the value itself"),
            );
            return;
        }
        let Some(program) = self.program(expression, sources, found) else { return };
        let manual_parameters = self.manual_parameters;
        let at = Place { expression, site, parameters, sources, manual_parameters };
        let before = found.len();
        found.extend(program.references().iter().filter_map(|reference| at.name(reference)));
        found.extend(program.functions().iter().filter_map(|function| at.function(function)));
        if site == Site::Run && found.len() == before {
            found.extend(self.untrusted(&program, &at));
        }
    }

    fn program(
        &mut self,
        expression: &Expression,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Arc<Program>> {
        if let Some(known) = self.programs.get(&expression.source) {
            return Some(known.clone());
        }
        match Program::compile(&expression.source) {
            Ok(program) => {
                let program = Arc::new(program);
                self.programs.insert(expression.source.clone(), program.clone());
                Some(program)
            }
            Err(error) => {
                found.push(refused(expression, error, sources));
                None
            }
        }
    }

    fn untrusted(&self, program: &Program, at: &Place<'_>) -> Option<Diagnostic> {
        let tainted = program.tainted(&|reference| self.is_untrusted(reference, at))?;
        let path = path(&tainted);
        let message = format!("`{path}` is text that others choose, and this is a command");
        let diagnostic = Diagnostic::error(Code::E043, message).at(at.place(&tainted));
        let variable = UNTRUSTED.iter().find(|(root, field, _)| {
            tainted.root == *root && tainted.field.as_deref() == Some(field)
        });
        Some(match variable {
            Some((_, _, variable)) => diagnostic
                .label("would become part of the script")
                .help(format!("write \"${variable}\", which holds the same text safely")),
            None => diagnostic
                .label("would become part of the script")
                .help(format!("give it to the stage as `env`, and read the variable: env: {{ VALUE: \"${{{{ {path} }}}}\" }}")),
        })
    }

    fn is_untrusted(&self, reference: &Reference, at: &Place<'_>) -> bool {
        let field = reference.field.as_deref();
        if reference.root == "params" {
            let values = at.parameters.get(&at.expression.span.file);
            let value = values.zip(field).and_then(|(values, name)| values.get(name));
            return value.is_some_and(|node| self.holds_untrusted(node, at));
        }
        UNTRUSTED.iter().any(|(root, name, _)| {
            reference.root == *root && field.is_none_or(|field| field == *name)
        })
    }

    /// Whether the value of a parameter was put together from untrusted text.
    fn holds_untrusted(&self, node: &Node, at: &Place<'_>) -> bool {
        match &node.value {
            Value::Mixed(pieces) => pieces.iter().any(|piece| match piece {
                Piece::Text(_) => false,
                Piece::Expression(expression) => {
                    self.programs.get(&expression.source).is_none_or(|program| {
                        program.tainted(&|reference| self.is_untrusted(reference, at)).is_some()
                    })
                }
            }),
            Value::List(list) => list.iter().any(|item| self.holds_untrusted(item, at)),
            Value::Map(map) => map.0.iter().any(|entry| self.holds_untrusted(&entry.value, at)),
            _ => false,
        }
    }
}

fn refused(expression: &Expression, error: CompileError, sources: &Sources) -> Diagnostic {
    let whole = sources.place(expression.span);
    match error {
        CompileError::Syntax { .. } if expression.source.trim().is_empty() => {
            Diagnostic::error(Code::E040, "the expression is empty").at(whole)
        }
        CompileError::Syntax { message, at } => {
            let message = format!("this is not an expression: {message}");
            Diagnostic::error(Code::E040, message).at(sources.place(expression.part(sources, at)))
        }
        CompileError::Expensive(message) => Diagnostic::error(Code::E046, message)
            .at(whole)
            .label("compute it in a stage, or in parts"),
    }
}

/// One expression at its place.
struct Place<'a> {
    expression: &'a Expression,
    site: Site,
    parameters: &'a Parameters,
    sources: &'a Sources,
    manual_parameters: bool,
}

impl Place<'_> {
    fn place(&self, reference: &Reference) -> crate::source::Place {
        let path = path(reference);
        let span = if self.expression.source.contains(&path) {
            self.expression.word(self.sources, &path)
        } else {
            self.expression.word(self.sources, &reference.root)
        };
        self.sources.place(span)
    }

    fn name(&self, reference: &Reference) -> Option<Diagnostic> {
        let root = reference.root.as_str();
        let path = path(reference);
        let diagnostic = |code, message: String| {
            Some(Diagnostic::error(code, message).at(self.place(reference)))
        };
        if !CONTEXTS.contains(&root) {
            return Some(self.unknown(reference, root, CONTEXTS));
        }
        if !available(self.site, root) {
            return diagnostic(Code::E045, format!("`{path}` is not available here"))
                .map(|found| found.help(available_where(root)));
        }
        if NOT_YET.contains(&root) || NOT_YET.contains(&path.as_str()) {
            let message = format!(
                "`{path}` is part of the language, but this version cannot evaluate it yet"
            );
            return diagnostic(Code::E018, message);
        }
        let field = reference.field.as_deref();
        match (root, field) {
            ("git", Some(field)) if !GIT.contains(&field) => {
                Some(self.unknown(reference, field, GIT))
            }
            ("event", Some(field)) if !EVENT.contains(&field) => {
                Some(self.unknown(reference, field, EVENT))
            }
            ("pipeline" | "project", Some(field)) if field != "name" => {
                Some(self.unknown(reference, field, &["name"]))
            }
            ("params", _) => self.parameter(reference),
            _ => None,
        }
    }

    fn parameter(&self, reference: &Reference) -> Option<Diagnostic> {
        let values = self.parameters.get(&self.expression.span.file);
        let field = reference.field.as_deref();
        match (values, field) {
            (Some(values), Some(field)) if !values.contains_key(field) => {
                let names: Vec<_> = values.keys().map(String::as_str).collect();
                Some(self.unknown(reference, field, &names))
            }
            (Some(_), _) => None,
            (None, _) if self.manual_parameters => {
                let message = "parameters of manual runs are part of the language, but this version cannot \
                               evaluate them yet";
                Some(Diagnostic::error(Code::E018, message).at(self.place(reference)))
            }
            (None, _) => Some(
                Diagnostic::error(Code::E041, format!("unknown name `{}`", path(reference)))
                    .at(self.place(reference))
                    .label("this pipeline has no parameters"),
            ),
        }
    }

    fn unknown(&self, reference: &Reference, wrong: &str, known: &[&str]) -> Diagnostic {
        let path = path(reference);
        let prefix =
            if wrong == reference.root { String::new() } else { format!("{}.", reference.root) };
        let diagnostic = Diagnostic::error(Code::E041, format!("unknown name `{path}`"))
            .at(self.place(reference));
        if wrong == "secrets" {
            return diagnostic
                .label("secrets are not read by expressions")
                .help("name the secret under the key `secrets` of the stage");
        }
        let available = listed(known.iter().map(|name| format!("{prefix}{name}")));
        let diagnostic = diagnostic.note(format!("available here: {available}"));
        match closest(wrong, known.iter().copied()) {
            Some(close) => diagnostic.label(format!("did you mean `{prefix}{close}`?")),
            None => diagnostic,
        }
    }

    fn function(&self, name: &str) -> Option<Diagnostic> {
        let place = self.sources.place(self.expression.word(self.sources, name));
        if NOT_YET.contains(&format!("{name}()").as_str()) {
            let message = format!(
                "`{name}()` is part of the language, but this version cannot evaluate it yet"
            );
            return Some(Diagnostic::error(Code::E018, message).at(place));
        }
        if CEL_FUNCTIONS.contains(&name) || FUNCTIONS.contains(&name) {
            return None;
        }
        let known = || CEL_FUNCTIONS.iter().chain(FUNCTIONS).copied();
        let usable = known().filter(|known| !NOT_YET.contains(&format!("{known}()").as_str()));
        let diagnostic = Diagnostic::error(Code::E041, format!("unknown function `{name}`"))
            .at(place)
            .note(format!("available here: {}", listed(usable.map(str::to_owned))));
        Some(match closest(name, known()) {
            Some(close) => diagnostic.label(format!("did you mean `{close}`?")),
            None => diagnostic,
        })
    }
}

fn path(reference: &Reference) -> String {
    match &reference.field {
        Some(field) => format!("{}.{field}", reference.root),
        None => reference.root.clone(),
    }
}
