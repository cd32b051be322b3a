//! Parameters of a template: declared, given, checked, put into the tree.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{EXPLAINED, explains};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{Checker, Parameters, Site};
use crate::lower::param::{self, Declared, Owner};
use crate::plan::Param;
use crate::source::{Sources, Span};
use crate::suggest::closest;
use crate::yaml::{Entry, Map, Node, Value, Via};

/// What a file says about the template it uses.
pub(super) struct Given<'a> {
    pub(super) with: Option<&'a Entry>,
    /// The value of its `template`.
    pub(super) named: &'a Node,
    /// The template, as it is named.
    pub(super) label: &'a str,
}

/// Reads `params` of a template.
pub(super) fn declared(
    entry: Option<&Entry>,
    label: &str,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) -> Vec<Declared> {
    match entry.and_then(|entry| map(entry, sources, found)) {
        Some(map) => param::declarations(map, Owner::Template(label), sources, found),
        None => Vec::new(),
    }
}

/// Returns the value of every declared parameter; those without one are `null`.
pub(super) fn values(
    declared: Vec<Declared>,
    given: &Given<'_>,
    sources: &Sources,
    checker: &mut Checker,
    found: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Node> {
    let (with, named, label) = (given.with, given.named, given.label);
    let empty = Map::default();
    let mut reader = Reader { sources, checker, found, label };
    let given_map = with.and_then(|entry| map(entry, reader.sources, reader.found));
    let misread = with.is_some() && given_map.is_none();
    let all = given_map.unwrap_or(&empty);
    let known = || declared.iter().map(|declared| declared.key.name.as_str());
    let names: HashSet<&str> = known().collect();
    let unknown = all.0.iter().filter(|entry| !names.contains(entry.key.name.as_str()));
    let unknown: Vec<&Entry> = unknown.collect();
    for entry in &unknown {
        reader.unknown(entry, &declared);
    }
    let misnamed: HashSet<String> = if misread {
        known().map(str::to_owned).collect()
    } else {
        let names = unknown.iter().take(EXPLAINED).map(|entry| entry.key.name.as_str());
        names.filter_map(|name| closest(name, known())).map(str::to_owned).collect()
    };
    let given: HashMap<&str, &Entry> =
        all.0.iter().map(|entry| (entry.key.name.as_str(), entry)).collect();
    let mut values = BTreeMap::new();
    for declared in declared {
        let name = &declared.key.name;
        let value = match (&declared.param, given.get(name.as_str())) {
            // Nothing, written down, takes the default away.
            (Some(param), Some(given)) if !param.required && is_nothing(&given.value) => Ok(None),
            (Some(param), Some(given)) => reader.given(&declared, param, &given.value),
            // What it was meant to be has been told.
            (Some(_), None) if misnamed.contains(name) => Err(Reported),
            (Some(param), None) => {
                let at = with.map_or(named.span, |with| with.key.span);
                reader.missing(&declared, param, at)
            }
            (None, _) => Err(Reported),
        };
        let value = match value {
            Ok(Some(value)) => value,
            Ok(None) => absent(&declared),
            Err(Reported) => Node::new(Value::REPORTED, declared.key.span),
        };
        values.insert(name.clone(), value);
    }
    values
}

fn is_nothing(node: &Node) -> bool {
    matches!(node.value, Value::Null)
}

/// A parameter without a value takes its key along.
pub(super) fn absent(declared: &Declared) -> Node {
    Node::new(Value::Null, declared.key.span)
}

fn map<'n>(entry: &'n Entry, sources: &Sources, found: &mut Vec<Diagnostic>) -> Option<&'n Map> {
    let map = entry.value.as_map();
    if map.is_none() && !entry.value.value.is_reported() {
        let message = format!("`{}` takes a map, not {}", entry.key.name, entry.value.value.kind());
        found.push(
            Diagnostic::error(Code::E012, message)
                .at(sources.place(entry.value.span))
                .label("a map from names of parameters"),
        );
    }
    map
}

/// There is no value, and the reason has been told.
struct Reported;

struct Reader<'a> {
    sources: &'a Sources,
    checker: &'a mut Checker,
    found: &'a mut Vec<Diagnostic>,
    label: &'a str,
}

impl Reader<'_> {
    fn unknown(&mut self, entry: &Entry, declared: &[Declared]) {
        let name = &entry.key.name;
        let known = declared.iter().map(|declared| declared.key.name.as_str());
        let message = format!("template `{}` has no parameter `{name}`", self.label);
        let mut diagnostic =
            Diagnostic::error(Code::E032, message).at(self.sources.place(entry.key.span));
        if explains(self.found) {
            if let Some(close) = closest(name, known) {
                diagnostic = diagnostic.label(format!("did you mean `{close}`?"));
            }
            for line in table(declared) {
                diagnostic = diagnostic.note(line);
            }
        }
        self.found.push(diagnostic);
    }

    fn missing(
        &mut self,
        declared: &Declared,
        param: &Param,
        at: Span,
    ) -> Result<Option<Node>, Reported> {
        if let Some(default) = &declared.default {
            self.expressions(default);
            let mut value = default.clone();
            value.via = Some(Via::Parameter(default.span));
            return Ok(Some(value));
        }
        if !param.required {
            return Ok(None);
        }
        let name = &declared.key.name;
        let message = format!("template `{}` needs the parameter `{name}`", self.label);
        let mut diagnostic = Diagnostic::error(Code::E033, message)
            .at(self.sources.place(at))
            .label(format!("add `{name}`: {}", param.kind.name()))
            .related("declared here", self.sources.place(declared.key.span));
        if let Some(description) = &param.description {
            diagnostic = diagnostic.note(format!("{name}: {description}"));
        }
        self.found.push(diagnostic);
        Err(Reported)
    }

    fn given(
        &mut self,
        declared: &Declared,
        param: &Param,
        node: &Node,
    ) -> Result<Option<Node>, Reported> {
        let before = self.found.len();
        self.expressions(node);
        if self.found.len() > before {
            return Err(Reported);
        }
        if let Err(rule) = param::fit(param, node) {
            let what = Owner::Template(self.label).parameter(&declared.key.name);
            let message = format!("{what} cannot be {}", param::shown(node));
            self.found.push(
                Diagnostic::error(Code::E034, message)
                    .at(self.sources.place(node.span))
                    .label(rule)
                    .related("declared here", self.sources.place(declared.key.span)),
            );
            return Err(Reported);
        }
        let mut value = node.clone();
        value.via = Some(Via::Parameter(node.span));
        Ok(Some(value))
    }

    /// Expressions in `with` see the event, and nothing of the template.
    fn expressions(&mut self, node: &Node) {
        match &node.value {
            Value::Mixed(pieces) => {
                let none = Parameters::new();
                self.checker.check(pieces, Site::With, &none, self.sources, self.found);
            }
            Value::List(list) => list.iter().for_each(|item| self.expressions(item)),
            Value::Map(map) => map.0.iter().for_each(|entry| self.expressions(&entry.value)),
            _ => {}
        }
    }
}

/// Name, type and description of each parameter, in columns.
fn table(declared: &[Declared]) -> Vec<String> {
    let width = declared.iter().map(|declared| declared.key.name.chars().count()).max();
    let width = width.unwrap_or(0);
    let line = |declared: &Declared| {
        let param = declared.param.as_ref();
        let kind = param.map_or("", |param| param.kind.name());
        let description = param.and_then(|param| param.description.as_deref()).unwrap_or_default();
        format!("{:width$}  {kind:8}  {description}", declared.key.name).trim_end().to_owned()
    };
    declared.iter().map(line).collect()
}
