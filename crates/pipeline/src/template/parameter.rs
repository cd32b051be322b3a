//! Parameters of a template: declared, given, checked, put into the tree.

use std::collections::BTreeMap;

use crate::Duration;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{Checker, Parameters, Site};
use crate::keys;
use crate::scalar::Scalar;
use crate::source::{Place, Sources};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Map, Node, Value, Via};

/// Types of parameters, and an example of each.
const TYPES: &[&str] = &["string", "int", "bool", "enum", "list", "map", "duration"];

/// Returns the value of every declared parameter; those without one are `null`.
pub(super) fn values(
    declared: Option<&Entry>,
    with: Option<&Entry>,
    named: &Node,
    label: &str,
    sources: &Sources,
    checker: &mut Checker,
    found: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Node> {
    let empty = Map::default();
    let mut reader = Reader { sources, checker, found, label };
    let declared = declared.and_then(|entry| reader.map(entry)).unwrap_or(&empty);
    let given = with.and_then(|entry| reader.map(entry)).unwrap_or(&empty);
    for entry in &given.0 {
        if declared.get(&entry.key.name).is_none() {
            reader.unknown(entry, declared);
        }
    }
    let mut values = BTreeMap::new();
    for entry in &declared.0 {
        let name = &entry.key.name;
        let value = match (reader.declaration(entry), given.entry(name)) {
            (Some(declaration), Some(given)) => reader.given(name, &declaration, &given.value),
            (Some(declaration), None) => {
                reader.missing(name, &declaration, with.map_or(named.span, |with| with.key.span))
            }
            (None, _) => Err(Reported),
        };
        let value = match value {
            Ok(Some(value)) => value,
            Ok(None) => Node::new(Value::Null, entry.key.span),
            Err(Reported) => Node::new(Value::REPORTED, entry.key.span),
        };
        values.insert(name.clone(), value);
    }
    values
}

/// There is no value, and the reason has been told.
struct Reported;

/// What a template says about one parameter.
struct Declaration<'n> {
    map: &'n Map,
    kind: &'n str,
    place: Place,
}

impl<'n> Declaration<'n> {
    fn text(&self, key: &str) -> Option<&'n str> {
        match self.map.get(key).map(|node| &node.value) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<i64> {
        match self.map.get(key).map(|node| &node.value) {
            Some(Value::Int(value, _)) => Some(*value),
            _ => None,
        }
    }

    fn is_required(&self) -> bool {
        matches!(self.map.get("required").map(|node| &node.value), Some(Value::Bool(true)))
    }
}

struct Reader<'a> {
    sources: &'a Sources,
    checker: &'a mut Checker,
    found: &'a mut Vec<Diagnostic>,
    label: &'a str,
}

impl Reader<'_> {
    fn map<'n>(&mut self, entry: &'n Entry) -> Option<&'n Map> {
        let map = entry.value.as_map();
        if map.is_none() {
            let message =
                format!("`{}` takes a map, not {}", entry.key.name, entry.value.value.kind());
            self.found.push(
                Diagnostic::error(Code::E012, message).at(self.sources.place(entry.value.span)),
            );
        }
        map
    }

    fn unknown(&mut self, entry: &Entry, declared: &Map) {
        let name = &entry.key.name;
        let known = declared.0.iter().map(|entry| entry.key.name.as_str());
        let message = format!("template `{}` has no parameter `{name}`", self.label);
        let mut diagnostic =
            Diagnostic::error(Code::E032, message).at(self.sources.place(entry.key.span));
        if let Some(close) = closest(name, known) {
            diagnostic = diagnostic.label(format!("did you mean `{close}`?"));
        }
        for line in table(declared) {
            diagnostic = diagnostic.note(line);
        }
        self.found.push(diagnostic);
    }

    fn declaration<'n>(&mut self, entry: &'n Entry) -> Option<Declaration<'n>> {
        let map = self.map(entry)?;
        for entry in &map.0 {
            if !keys::PARAM.has(&entry.key.name) {
                let message = format!("unknown key `{}` in a parameter", entry.key.name);
                let diagnostic =
                    Diagnostic::error(Code::E010, message).at(self.sources.place(entry.key.span));
                self.found.push(diagnostic.note(format!("allowed here: {}", keys::PARAM.listed())));
            }
        }
        let place = self.sources.place(entry.key.span);
        let kind = match map.get("type") {
            Some(Node { value: Value::Text(kind), .. }) if TYPES.contains(&kind.as_str()) => kind,
            Some(Node { value: Value::Text(kind), span, .. }) if kind == "size" => {
                let message =
                    "type `size` is part of the language, but this version has no sizes yet";
                self.found
                    .push(Diagnostic::error(Code::E018, message).at(self.sources.place(*span)));
                return None;
            }
            other => {
                let message = format!("parameter `{}` has no type", entry.key.name);
                let at = other.map_or(place, |node| self.sources.place(node.span));
                let types = format!("types are {}", quoted(TYPES.iter().copied()));
                self.found.push(Diagnostic::error(Code::E034, message).at(at).label(types));
                return None;
            }
        };
        Some(Declaration { map, kind, place })
    }

    fn missing(
        &mut self,
        name: &str,
        declaration: &Declaration<'_>,
        at: crate::source::Span,
    ) -> Result<Option<Node>, Reported> {
        if let Some(default) = declaration.map.get("default") {
            self.expressions(default);
            let mut value = self.checked(name, declaration, default)?;
            value.via = Some(Via::Parameter(default.span));
            return Ok(Some(value));
        }
        if declaration.is_required() {
            let message = format!("template `{}` needs the parameter `{name}`", self.label);
            let mut diagnostic = Diagnostic::error(Code::E033, message)
                .at(self.sources.place(at))
                .label(format!("add `{name}`: {}", declaration.kind))
                .related("declared here", declaration.place.clone());
            if let Some(description) = declaration.text("description") {
                diagnostic = diagnostic.note(format!("{name}: {description}"));
            }
            self.found.push(diagnostic);
            return Err(Reported);
        }
        Ok(None)
    }

    fn given(
        &mut self,
        name: &str,
        declaration: &Declaration<'_>,
        node: &Node,
    ) -> Result<Option<Node>, Reported> {
        let before = self.found.len();
        self.expressions(node);
        if self.found.len() > before {
            return Err(Reported);
        }
        let mut value = self.checked(name, declaration, node)?;
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

    /// The value as its type wants it, or an error with the rule it breaks.
    fn checked(
        &mut self,
        name: &str,
        declaration: &Declaration<'_>,
        node: &Node,
    ) -> Result<Node, Reported> {
        match self.rule_broken(declaration, node) {
            None => Ok(node.clone()),
            Some(rule) => {
                let shown = node
                    .scalar_text()
                    .map_or_else(|| node.value.kind().to_owned(), |text| format!("`{text}`"));
                let message = format!("parameter `{name}` of `{}` cannot be {shown}", self.label);
                let place = declaration.place.clone();
                self.found.push(
                    Diagnostic::error(Code::E034, message)
                        .at(self.sources.place(node.span))
                        .label(rule)
                        .related("declared here", place),
                );
                Err(Reported)
            }
        }
    }

    fn rule_broken(&mut self, declaration: &Declaration<'_>, node: &Node) -> Option<String> {
        // What an expression yields is known when the plan is made.
        if matches!(node.value, Value::Mixed(_)) {
            return None;
        }
        match (declaration.kind, &node.value) {
            ("string", Value::Text(text)) => self.pattern_broken(declaration, text),
            ("string", Value::Int(..) | Value::Float(..) | Value::Bool(_)) => {
                let text = node.scalar_text().unwrap_or_default();
                Some(format!("it is a string: write \"{text}\""))
            }
            ("int", Value::Int(value, _)) => {
                let least = declaration.number("min").filter(|least| value < least);
                let most = declaration.number("max").filter(|most| value > most);
                match (least, most) {
                    (Some(least), _) => Some(format!("it is at least {least}")),
                    (_, Some(most)) => Some(format!("it is at most {most}")),
                    _ => None,
                }
            }
            ("bool", Value::Bool(_)) => None,
            ("enum", _) => {
                let values =
                    declaration.map.get("values").and_then(Node::as_list).unwrap_or_default();
                let text = node.scalar_text()?;
                let texts: Vec<_> = values.iter().filter_map(Node::scalar_text).collect();
                let known = texts.contains(&text);
                (!known)
                    .then(|| format!("it is one of {}", quoted(texts.iter().map(AsRef::as_ref))))
            }
            ("list", Value::List(list)) => {
                let of = declaration.text("of").unwrap_or("string");
                list.iter().find(|item| !fits(of, item)).map(|_| format!("it is a list of {of}"))
            }
            ("map", Value::Map(_)) => None,
            ("duration", Value::Text(_)) => Duration::read(node)
                .is_err()
                .then(|| "it is a duration, for example `30s`".to_owned()),
            (kind, value) => Some(format!("it is {}, not {}", with_article(kind), value.kind())),
        }
    }

    fn pattern_broken(&mut self, declaration: &Declaration<'_>, text: &str) -> Option<String> {
        let pattern = declaration.text("pattern")?;
        // CEL brings the only regular expressions of the language.
        let program = cel::Program::compile("text.matches(pattern)").ok()?;
        let mut context = cel::Context::default();
        context.add_variable_from_value("text", text);
        context.add_variable_from_value("pattern", pattern);
        match program.execute(&context) {
            Ok(cel::Value::Bool(true)) => None,
            Ok(_) => Some(format!("it matches `{pattern}`")),
            Err(_) => {
                Some(format!("the pattern `{pattern}` of the template is no regular expression"))
            }
        }
    }
}

/// Name, type and description of each parameter, in columns.
fn table(declared: &Map) -> Vec<String> {
    let text = |entry: &Entry, key: &str| match entry.value.as_map().and_then(|map| map.get(key)) {
        Some(Node { value: Value::Text(text), .. }) => text.clone(),
        _ => String::new(),
    };
    let width = declared.0.iter().map(|entry| entry.key.name.chars().count()).max().unwrap_or(0);
    let line = |entry: &Entry| {
        let (kind, description) = (text(entry, "type"), text(entry, "description"));
        format!("{:width$}  {kind:8}  {description}", entry.key.name).trim_end().to_owned()
    };
    declared.0.iter().map(line).collect()
}

fn fits(kind: &str, node: &Node) -> bool {
    match kind {
        "int" => matches!(node.value, Value::Int(..)),
        "bool" => matches!(node.value, Value::Bool(_)),
        "duration" => Duration::read(node).is_ok(),
        _ => matches!(node.value, Value::Text(_) | Value::Mixed(_)),
    }
}

fn with_article(kind: &str) -> String {
    let article = if matches!(kind, "int" | "enum") { "an" } else { "a" };
    format!("{article} {kind}")
}
