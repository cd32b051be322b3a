//! Lowers the tree to the typed model, and says everything that is wrong with it.
//!
//! One pass, all errors: what cannot be read is reported and left out, and the
//! rest goes on. Each file reads one part of the language; this one holds what
//! they share, which is how keys and scalars are read and how places are told.

mod build;
mod canary;
mod condition;
mod deploy;
mod draft;
mod environment;
mod files;
mod health;
mod image;
mod matrix;
mod needs;
mod notify;
pub(crate) mod param;
mod people;
mod promotion;
mod run;
mod secret;
mod service;
mod settings;
mod stage;
mod strategy;
mod target;
mod top;
mod trigger;
mod variable;
mod verify;

use std::collections::{BTreeMap, HashMap};

pub(crate) use condition::Tested;
pub(crate) use deploy::Publishing;
pub(crate) use draft::{Body, Draft, Need};
pub(crate) use matrix::too_many_stages;
pub(crate) use top::{Lowered, STAGE_LIMIT, defaults, is_map, names, pipeline};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Related};
use crate::expression::{Checker, Evaluated, Kind, Parameters, Piece, Scope, Site};
use crate::keys::{self, Keys};
use crate::lint::deprecated::{self, DEPRECATED};
use crate::model::Read;
use crate::name;
use crate::plan::{Pending, PendingPart};
use crate::scalar::{AnyText, Misfit, Scalar};
use crate::source::{FileId, Sources, Span};
use crate::suggest::{absent, closest, translated};
use crate::yaml::{Entry, Key, Map, Node, Value, Via};
use crate::{Origin, OriginKind};

/// What lowering needs to know, and where it writes what it finds.
///
/// The same functions read a file twice. `check` reads it to find what is wrong;
/// expressions are then checked and not evaluated. `plan` reads each stage again,
/// once per cell of its matrix, with the values of its expressions. What a
/// function returns after it has reported an error is never used: with one error
/// there is neither a pipeline nor a plan.
pub(crate) struct Lowering<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) names: &'a Names,
    /// Values for every stage that can use them, by key.
    pub(crate) defaults: &'a Map,
    pub(crate) pass: Pass<'a>,
    pub(crate) found: &'a mut Vec<Diagnostic>,
    /// Values of `defaults` are being read.
    pub(crate) in_defaults: bool,
    /// Of the stage that is being read, when a plan is made.
    pub(crate) origins: BTreeMap<String, Origin>,
    pub(crate) pending: Vec<Pending>,
}

pub(crate) enum Pass<'a> {
    Check {
        checker: &'a mut Checker,
        parameters: &'a Parameters,
    },
    Plan {
        scope: &'a Scope<'a>,
        /// The stage is skipped: what cannot be known for this event is never read.
        unknown_is_fine: bool,
    },
}

/// The names a file gives, for those that refer to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Every stage by name.
    pub(crate) stages: HashMap<String, usize>,
    /// In the order of the file, for lists in notes.
    pub(crate) in_order: Vec<String>,
    /// Stages that a file removed with `off`, and where.
    pub(crate) removed: BTreeMap<String, Span>,
    /// The pipeline uses a template that has these stages.
    pub(crate) template_stages: Option<Vec<String>>,
    /// `checkout: off`.
    pub(crate) checkout_off: Option<Span>,
}

impl Lowering<'_> {
    const fn is_check(&self) -> bool {
        matches!(self.pass, Pass::Check { .. })
    }

    /// The plan of a stage that is skipped is being made.
    const fn is_skipped(&self) -> bool {
        matches!(self.pass, Pass::Plan { unknown_is_fine: true, .. })
    }

    /// What the expressions read since the last time it was asked.
    fn take_reads(&mut self) -> Vec<Read> {
        match &mut self.pass {
            Pass::Check { checker, .. } => std::mem::take(&mut checker.reads),
            Pass::Plan { .. } => Vec::new(),
        }
    }

    /// Says which stage is read from here on, for the names its expressions know.
    fn enter(&mut self, stage: Option<&str>) {
        if let Pass::Check { checker, .. } = &mut self.pass {
            checker.enter(stage);
        }
    }

    /// A value that follows another comes from where that one does.
    fn same_origin(&mut self, of: &str, path: &str) {
        if let Some(origin) = self.origins.get(of).cloned() {
            self.origins.entry(path.to_owned()).or_insert(origin);
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    fn error(&self, code: Code, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic::error(code, message).at(self.sources.place(span))
    }

    /// An error about a value: where it stands, and where it was brought in.
    fn error_at(&self, code: Code, message: impl Into<String>, node: &Node) -> Diagnostic {
        self.with_use(self.error(code, message, node.span), node)
    }

    fn with_use(&self, diagnostic: Diagnostic, node: &Node) -> Diagnostic {
        match node.via {
            None => diagnostic,
            Some(Via::Alias(span)) => diagnostic.related("used here", self.sources.place(span)),
            Some(Via::Parameter(span)) => {
                diagnostic.related("the parameter is set here", self.sources.place(span))
            }
        }
    }

    /// Returns the map behind a key and checks that it has only keys of `keys`.
    /// `what` names the map in errors: "`build` of stage `image`".
    fn fields<'n>(&mut self, node: &'n Node, keys: &Keys, what: &str) -> Option<&'n Map> {
        if node.value.is_reported() {
            return None;
        }
        let Some(map) = node.as_map() else {
            let message = format!("{what} takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.note(allowed(keys)));
            return None;
        };
        for entry in &map.0 {
            self.key(&entry.key, keys, what);
        }
        Some(map)
    }

    /// Whether a key belongs here and can be used; says so if not.
    fn key(&mut self, key: &Key, keys: &Keys, what: &str) -> bool {
        let name = key.name.as_str();
        let here = if keys.name == keys::TOP.name {
            "at the top level".to_owned()
        } else {
            format!("in {what}")
        };
        if keys.has(name) {
            let place = self.sources.place(key.span);
            self.found.extend(deprecated::warning(DEPRECATED, keys.name, name, place));
            return true;
        }
        if let Some(instead) = absent(keys.name, name) {
            let error = self.error(Code::E010, format!("unknown key `{name}` {here}"), key.span);
            self.report(error.label(instead));
            return false;
        }
        let foreign = translated(name, keys.names());
        if let Some(home) = keys::belongs_to(keys, name) {
            let error =
                self.error(Code::E011, format!("`{name}` does not belong {here}"), key.span);
            self.report(error.label(match foreign {
                Some(ours) => format!("belongs to {home}; or did you mean `{ours}`?"),
                None => format!("belongs to {home}"),
            }));
            return false;
        }
        let close = foreign.or_else(|| closest(name, keys.names()));
        let mut error = self.error(Code::E010, format!("unknown key `{name}` {here}"), key.span);
        if let Some(close) = close {
            error = error.label(format!("did you mean `{close}`?"));
        }
        self.report(error.note(allowed(keys)));
        false
    }

    /// Reads one scalar. `path` is its dotted path in the stage, as `origins` has it.
    fn value<T: Scalar>(&mut self, path: &str, node: &Node, site: Site) -> T {
        // A default that the stage overrides waits for nothing.
        let overridden =
            self.in_defaults && without_item(path) == path && self.origins.contains_key(path);
        self.record(path, node);
        let Value::Mixed(pieces) = &node.value else {
            return match T::read(node) {
                Ok(value) => value,
                Err(misfit) => {
                    let error = self.misfit(key_of(path), &misfit, node);
                    self.report(error);
                    T::unknown("")
                }
            };
        };
        let written = self.sources.text(node.span).trim_matches(['"', '\'']);
        match &mut self.pass {
            Pass::Check { checker, parameters } => {
                let before = self.found.len();
                let kind = checker.check(pieces, site, parameters, self.sources, self.found);
                if self.found.len() == before {
                    self.never_fits::<T>(path, kind, node);
                }
                self.tell_use(before, node);
                T::unknown(written)
            }
            Pass::Plan { scope, unknown_is_fine } => {
                let unknown_is_fine = *unknown_is_fine;
                match scope.value(pieces, node.span) {
                    Ok(Evaluated::Known(value)) => {
                        let value = Node { value, span: node.span, via: node.via };
                        match self.read_evaluated(path, &value) {
                            Ok(value) => value,
                            Err(_) if unknown_is_fine => T::unknown(written),
                            Err(error) => {
                                self.report(*error);
                                T::unknown("")
                            }
                        }
                    }
                    Ok(Evaluated::Pending) if overridden => T::unknown(written),
                    Ok(Evaluated::Pending) => {
                        let parts = pieces.iter().map(PendingPart::from).collect();
                        let origin = self.origin(node);
                        self.pending.push(Pending {
                            path: path.to_owned(),
                            kind: T::KIND,
                            parts,
                            origin,
                        });
                        T::unknown(written)
                    }
                    Err(_) if unknown_is_fine => T::unknown(written),
                    Err(error) => {
                        self.report(*error);
                        T::unknown("")
                    }
                }
            }
        }
    }

    /// Says that an expression gives a kind of value that is none of a key's (E042).
    fn never_fits<T: Scalar>(&mut self, path: &str, kind: Kind, node: &Node) {
        let Some(example) = kind.example() else { return };
        let example = Node::new(example, node.span);
        match T::read(&example) {
            Err(misfit) if misfit.code == Code::E012 => {
                if let Err(error) = self.read_evaluated::<T>(path, &example) {
                    self.report(*error);
                }
            }
            _ => {}
        }
    }

    /// Reads what an expression gave; a wrong type is the expression's (E042).
    fn read_evaluated<T: Scalar>(&self, path: &str, node: &Node) -> Result<T, Box<Diagnostic>> {
        let key = key_of(path);
        if matches!(node.value, Value::Null) {
            let message = format!("the expression of `{key}` has no value for this event");
            return Err(Box::new(self.error(Code::E042, message, node.span)));
        }
        T::read(node).map_err(|mut misfit| {
            // The value is not in the file, so nothing of it can be pointed at.
            misfit.part = None;
            let mut diagnostic = misfit.diagnostic(key, node, self.sources);
            if diagnostic.code == Code::E012 {
                diagnostic.code = Code::E042;
                diagnostic.label = Some(format!("the expression gives {}", node.value.kind()));
            }
            Box::new(diagnostic)
        })
    }

    /// Reads one scalar that cannot be an expression.
    fn plain<T: Scalar>(&mut self, path: &'static str, node: &Node) -> T {
        self.value(path, node, Site::Never(key_of(path)))
    }

    /// Reads the value of the last key of `path`, if the map has the key.
    fn optional<T: Scalar>(&mut self, map: &Map, path: &str, site: Site) -> Option<T> {
        map.get(last(path)).map(|node| self.value(path, node, site))
    }

    /// Reads the value of the last key of `path`, else what is built in.
    fn or_builtin<T: Scalar>(&mut self, map: &Map, path: &str, site: Site, builtin: T) -> T {
        match map.get(last(path)) {
            Some(node) => self.value(path, node, site),
            None => {
                self.record_builtin(path);
                builtin
            }
        }
    }

    /// Reads a list of scalars; `one` says whether a single scalar will do.
    fn list<T: Scalar>(&mut self, path: &str, node: &Node, site: Site, one: bool) -> Vec<T> {
        match &node.value {
            value if value.is_reported() => Vec::new(),
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| self.value(&format!("{path}.{at}"), item, site))
                .collect(),
            Value::Mixed(_)
            | Value::Text(_)
            | Value::Int(..)
            | Value::Float(..)
            | Value::Bool(_)
                if one =>
            {
                vec![self.value(&format!("{path}.0"), node, site)]
            }
            _ => {
                let message = format!("`{}` takes a list, not {}", key_of(path), node.value.kind());
                let written = self.sources.text(node.span).to_owned();
                let mut error = self.error_at(Code::E012, message, node);
                if node.scalar_text().is_some() && !written.contains('\n') {
                    error = error.label(format!("write `[{written}]`"));
                }
                self.report(error);
                Vec::new()
            }
        }
    }

    /// Reads a map from names to texts: `env`, `build.args`.
    fn texts(&mut self, path: &str, node: &Node, site: Site) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        if node.value.is_reported() {
            return texts;
        }
        let key = key_of(path);
        let Some(map) = node.as_map() else {
            let message = format!("`{key}` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `{ NAME: value }`"));
            return texts;
        };
        for entry in &map.0 {
            if self.variable(last(path), entry) {
                let path = format!("{path}.{}", entry.key.name);
                let text: AnyText = self.value(&path, &entry.value, site);
                let written = self.sources.text(entry.value.span);
                let text = match entry.value.value {
                    // `True` stays `True`.
                    Value::Bool(_) if written.eq_ignore_ascii_case(&text.0) => written.to_owned(),
                    _ => text.0,
                };
                texts.insert(entry.key.name.clone(), text);
            }
        }
        texts
    }

    /// Returns the node of a stage's key: its own, else that of `defaults`. Says
    /// with the second value that it is the default, which `check` has read already.
    fn own_or_default<'n>(&self, map: &'n Map, key: &str) -> Option<(&'n Node, bool)>
    where
        Self: 'n,
    {
        match map.get(key) {
            Some(node) => Some((node, false)),
            None => self.defaults.get(key).map(|node| (node, true)),
        }
    }

    /// Reads a value of `defaults`: its errors have been told where it stands.
    fn of_defaults<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.found.len();
        let outer = std::mem::replace(&mut self.in_defaults, true);
        let value = read(self);
        self.in_defaults = outer;
        if self.is_check() {
            self.found.truncate(before);
        }
        value
    }

    /// Whether the name of a variable can be used (E016, E017).
    fn variable(&mut self, key: &str, entry: &Entry) -> bool {
        let name = &entry.key.name;
        if !name::is_variable(name) {
            let message = format!("`{name}` in `{key}` cannot be the name of a variable");
            let error = self.error(Code::E016, message, entry.key.span);
            let label = format!("write for example `{}`", name::corrected_variable(name));
            self.report(error.label(label).note(name::VARIABLE_RULE));
            return false;
        }
        if key == "env" && name.starts_with("SHIPLINE_") {
            let message =
                format!("`{name}` cannot be set: names that begin with `SHIPLINE_` are Shipline's");
            let error = self.error(Code::E017, message, entry.key.span);
            self.report(
                error.label(format!("write for example `{}`", name.replacen("SHIPLINE_", "", 1))),
            );
            return false;
        }
        true
    }

    fn misfit(&self, key: &str, misfit: &Misfit, node: &Node) -> Diagnostic {
        self.with_use(misfit.diagnostic(key, node, self.sources), node)
    }

    /// Errors of expressions tell both places, too: the expression itself may stand
    /// in the template or in the value that a parameter brought in.
    fn tell_use(&mut self, before: usize, node: &Node) {
        let Some(via) = node.via else { return };
        for diagnostic in &mut self.found[before..] {
            let in_file = |span: Span| {
                diagnostic.place.as_ref().is_some_and(|place| place.order == span.file.0)
            };
            let (message, span) = if in_file(via.span()) && !in_file(node.span) {
                ("used here", node.span)
            } else {
                ("the value comes from here", via.span())
            };
            let place = self.sources.place(span);
            diagnostic.related.push(Related { message: message.to_owned(), place });
        }
    }

    /// Remembers where a value came from; `check` has no use for it.
    fn record(&mut self, path: &str, node: &Node) {
        if !self.is_check() {
            let origin = self.origin(node);
            // A list comes from where its first item stands.
            self.origins.entry(without_item(path).to_owned()).or_insert(origin);
        }
    }

    fn record_builtin(&mut self, path: &str) {
        if !self.is_check() {
            let origin =
                Origin { file: String::new(), line: 0, column: 0, by: OriginKind::Builtin };
            self.origins.entry(path.to_owned()).or_insert(origin);
        }
    }

    pub(crate) fn origin(&self, node: &Node) -> Origin {
        let (by, at) = match node.via {
            Some(Via::Parameter(at)) => (OriginKind::Param, at),
            _ if self.in_defaults => (OriginKind::Defaults, node.span),
            _ if node.span.file != FileId::PIPELINE => (OriginKind::Template, node.span),
            _ => (OriginKind::File, node.span),
        };
        self.sources.origin(at, by)
    }
}

/// The last part of a path: the key in its map.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn without_item(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((list, item)) if item.bytes().all(|byte| byte.is_ascii_digit()) => list,
        _ => path,
    }
}

/// The part of a path that names the value in an error: without the number of an
/// item, and with the map where the last part is a name of the user's.
pub(crate) fn key_of(path: &str) -> &str {
    let path = without_item(path);
    let Some((before, name)) = path.rsplit_once('.') else { return path };
    let map = last(before);
    if matches!(map, "env" | "args" | "params") {
        &path[path.len() - name.len() - 1 - map.len()..]
    } else {
        name
    }
}

/// The length of a value as far as the file itself says it.
fn written_bytes(node: &Node) -> usize {
    match &node.value {
        Value::Mixed(pieces) => pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.len(),
                Piece::Expression(expression) => expression.source.len(),
            })
            .sum(),
        _ => node.scalar_text().map_or(0, |text| text.len()),
    }
}

fn allowed(keys: &Keys) -> String {
    format!("allowed here: {}", keys.listed())
}
