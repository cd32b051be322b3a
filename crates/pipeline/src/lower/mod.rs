//! Lowers the tree to the typed model, and says everything that is wrong with it.
//!
//! One pass, all errors: what cannot be read is reported and left out, and the
//! rest goes on. Each file reads one part of the language; this one holds what
//! they share, which is how keys and scalars are read and how places are told.

mod build;
mod deploy;
mod draft;
mod environment;
mod image;
mod needs;
mod notify;
mod stage;
mod top;
mod trigger;

use std::collections::{BTreeMap, HashMap};

pub(crate) use draft::{Draft, Need};
pub(crate) use top::pipeline;

use crate::OriginKind;
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Related};
use crate::expression::{Checker, Parameters, Piece, Site};
use crate::keys::{self, Keys};
use crate::model::{Given, Setting};
use crate::name;
use crate::scalar::{AnyText, Misfit, Scalar};
use crate::source::{FileId, Sources, Span};
use crate::suggest::{closest, translated};
use crate::yaml::{Entry, Key, Map, Node, Value, Via};

/// What lowering needs to know, and where it writes what it finds.
pub(crate) struct Lowering<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) parameters: &'a Parameters,
    pub(crate) removed: &'a BTreeMap<String, Span>,
    /// The pipeline uses a template that has these stages.
    pub(crate) template_stages: Option<&'a [String]>,
    pub(crate) checker: &'a mut Checker,
    pub(crate) found: &'a mut Vec<Diagnostic>,
    /// Every stage by name.
    pub(crate) stages: HashMap<String, usize>,
    /// In the order of the file, for lists in notes.
    pub(crate) stage_names: Vec<String>,
    /// `checkout: off`.
    pub(crate) checkout_off: Option<Span>,
    /// Values of `defaults` are being read.
    pub(crate) in_defaults: bool,
}

impl Lowering<'_> {
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
        if keys.all.contains(&name) {
            if !keys::is_not_yet(keys, name) {
                return true;
            }
            let message = format!(
                "`{name}` {here} is part of the language, but this version cannot run it yet"
            );
            let error = self.error(Code::E018, message, key.span);
            self.report(error.label("remove it, or use a version that has it"));
            return false;
        }
        let foreign = translated(name, keys.all);
        if let (None, Some(home)) = (foreign, keys::belongs_to(keys, name)) {
            let error =
                self.error(Code::E011, format!("`{name}` does not belong {here}"), key.span);
            self.report(error.label(format!("belongs to {home}")));
            return false;
        }
        let close = foreign.or_else(|| closest(name, keys.all.iter().copied()));
        let mut error = self.error(Code::E010, format!("unknown key `{name}` {here}"), key.span);
        if let Some(close) = close {
            error = error.label(format!("did you mean `{close}`?"));
        }
        self.report(error.note(allowed(keys)));
        false
    }

    /// Reads one scalar. `key` names it in errors.
    fn setting<T: Scalar>(&mut self, key: &str, node: &Node, site: Site) -> Option<Setting<T>> {
        let given = match &node.value {
            Value::Mixed(pieces) => {
                let before = self.found.len();
                self.checker.check(pieces, site, self.parameters, self.sources, self.found);
                self.tell_use(before, node);
                if matches!(site, Site::Never(_)) {
                    return None;
                }
                Given::Expression(pieces.clone())
            }
            _ => match T::read(node) {
                Ok(value) => Given::Value(value),
                Err(misfit) => {
                    let error = self.misfit(key, &misfit, node);
                    self.report(error);
                    return None;
                }
            },
        };
        Some(Setting { given, span: Some(node.span), origin: self.origin(node) })
    }

    /// Reads one scalar that cannot be an expression.
    fn plain<T: Scalar>(&mut self, key: &'static str, node: &Node) -> Option<T> {
        match self.setting(key, node, Site::Never(key))?.given {
            Given::Value(value) => Some(value),
            Given::Expression(_) => None,
        }
    }

    /// Reads the value of a key, if the map has the key.
    fn optional<T: Scalar>(
        &mut self,
        map: &Map,
        key: &'static str,
        site: Site,
    ) -> Option<Setting<T>> {
        map.get(key).and_then(|node| self.setting(key, node, site))
    }

    /// Reads the value of a key, else what is built in.
    fn or_builtin<T: Scalar>(
        &mut self,
        map: &Map,
        key: &'static str,
        site: Site,
        builtin: T,
    ) -> Setting<T> {
        match map.get(key) {
            // An error was reported; the value no longer matters.
            Some(node) => self.setting(key, node, site).unwrap_or(Setting::builtin(builtin)),
            None => Setting::builtin(builtin),
        }
    }

    /// Reads a list of scalars; `one` says whether a single scalar will do.
    fn list<T: Scalar>(
        &mut self,
        key: &str,
        node: &Node,
        site: Site,
        one: bool,
    ) -> Vec<Setting<T>> {
        match &node.value {
            value if value.is_reported() => Vec::new(),
            Value::List(items) => {
                items.iter().filter_map(|item| self.setting(key, item, site)).collect()
            }
            Value::Mixed(_)
            | Value::Text(_)
            | Value::Int(..)
            | Value::Float(..)
            | Value::Bool(_)
                if one =>
            {
                self.setting(key, node, site).into_iter().collect()
            }
            _ => {
                let message = format!("`{key}` takes a list, not {}", node.value.kind());
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

    /// Reads a map from names to texts: `env`, `args`.
    fn texts(&mut self, key: &str, node: &Node, site: Site) -> Vec<(String, Setting<AnyText>)> {
        if node.value.is_reported() {
            return Vec::new();
        }
        let Some(map) = node.as_map() else {
            let message = format!("`{key}` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `{ NAME: value }`"));
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(map.0.len());
        for entry in &map.0 {
            if self.variable(key, entry) {
                let name = format!("{key}.{}", entry.key.name);
                if let Some(setting) = self.setting(&name, &entry.value, site) {
                    texts.push((entry.key.name.clone(), setting));
                }
            }
        }
        texts
    }

    /// Whether the name of a variable can be used (E016, E017).
    fn variable(&mut self, key: &str, entry: &Entry) -> bool {
        let name = &entry.key.name;
        if !name::is_variable(name) {
            let message = format!("`{name}` in `{key}` cannot be the name of a variable");
            let error = self.error(Code::E016, message, entry.key.span);
            self.report(error.note(name::VARIABLE_RULE));
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

    const fn origin(&self, node: &Node) -> crate::model::SettingOrigin {
        let (by, at) = match node.via {
            Some(Via::Parameter(at)) => (OriginKind::Param, at),
            _ if self.in_defaults => (OriginKind::Defaults, node.span),
            _ if node.span.file.0 != FileId::PIPELINE.0 => (OriginKind::Template, node.span),
            _ => (OriginKind::File, node.span),
        };
        crate::model::SettingOrigin { by, at: Some(at) }
    }
}

/// The length of a value as far as the file itself says it.
fn written_bytes<T>(setting: &Setting<T>, bytes: impl Fn(&T) -> usize) -> usize {
    match &setting.given {
        Given::Value(value) => bytes(value),
        Given::Expression(pieces) => pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.len(),
                Piece::Expression(expression) => expression.source.len(),
            })
            .sum(),
    }
}

fn allowed(keys: &Keys) -> String {
    let now = keys.all.iter().copied().filter(|key| !keys::is_not_yet(keys, key));
    format!("allowed here: {}", now.collect::<Vec<_>>().join(", "))
}
