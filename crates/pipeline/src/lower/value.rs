//! One value behind a key: read, checked as an expression, or evaluated.

use std::collections::BTreeMap;

use super::origin::{key_of, last, without_item};
use super::{Lowering, Pass};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{Evaluated, Kind, Piece, Site};
use crate::plan::{Pending, PendingPart};
use crate::scalar::{AnyText, Scalar};
use crate::yaml::{Map, Node, Value};

impl Lowering<'_> {
    /// Reads one scalar. `path` is its dotted path in the stage, as `origins` has it.
    pub(super) fn value<T: Scalar>(&mut self, path: &str, node: &Node, site: Site) -> T {
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
    pub(super) fn never_fits<T: Scalar>(&mut self, path: &str, kind: Kind, node: &Node) {
        // Of text, only the value tells whether it is one of the words.
        if kind == Kind::Text && !T::WORDS.is_empty() {
            return;
        }
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
    pub(super) fn plain<T: Scalar>(&mut self, path: &'static str, node: &Node) -> T {
        self.value(path, node, Site::Never(key_of(path)))
    }

    /// Reads the value of the last key of `path`, if the map has the key.
    pub(super) fn optional<T: Scalar>(&mut self, map: &Map, path: &str, site: Site) -> Option<T> {
        map.get(last(path)).map(|node| self.value(path, node, site))
    }

    /// Reads the value of the last key of `path`, else what is built in.
    pub(super) fn or_builtin<T: Scalar>(
        &mut self,
        map: &Map,
        path: &str,
        site: Site,
        builtin: T,
    ) -> T {
        match map.get(last(path)) {
            Some(node) => self.value(path, node, site),
            None => {
                self.record_builtin(path);
                builtin
            }
        }
    }

    /// Reads a list of scalars; `one` says whether a single scalar will do.
    pub(super) fn list<T: Scalar>(
        &mut self,
        path: &str,
        node: &Node,
        site: Site,
        one: bool,
    ) -> Vec<T> {
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
    pub(super) fn texts(
        &mut self,
        path: &str,
        node: &Node,
        site: Site,
    ) -> BTreeMap<String, String> {
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
}

/// The length of a value as far as the file itself says it.
pub(super) fn written_bytes(node: &Node) -> usize {
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
