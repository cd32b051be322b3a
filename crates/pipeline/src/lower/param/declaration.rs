//! A declaration: type, limits and default of one parameter.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::fit::{fit, measure};
use super::{Declared, Owner, shown};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::plan::{Param, ParamType};
use crate::scalar::{RegularExpression, Scalar, Size, json};
use crate::source::{Sources, Span};
use crate::suggest::{closest, quoted, translated, word};
use crate::yaml::{Entry, Key, Map, Node, Value};
use crate::{Duration, name};

/// Reads the declarations of one owner.
pub(super) struct Reader<'a> {
    pub(super) owner: Owner<'a>,
    pub(super) sources: &'a Sources,
    pub(super) found: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    pub(super) fn declared(&mut self, entry: &Entry) -> Declared {
        let before = self.found.len();
        let read = self.param(entry);
        let whole = self.found.len() == before;
        let (param, default) = read.unwrap_or_default();
        Declared { key: entry.key.clone(), param: param.filter(|_| whole), default }
    }

    fn param(&mut self, entry: &Entry) -> Option<(Option<Param>, Option<Node>)> {
        let name = entry.key.name.as_str();
        if !name::is_parameter(name) {
            let noun = if matches!(self.owner, Owner::Approval(_)) { "field" } else { "parameter" };
            let message = format!("a {noun} cannot be named `{name}`");
            self.error(Code::E016, message, entry.key.span)
                .label(format!("write for example `{}`", name::corrected(name)))
                .note(name::PARAMETER_RULE)
                .tell(self.found);
        }
        let what = self.owner.parameter(name);
        let Some(map) = entry.value.as_map() else {
            if !entry.value.value.is_reported() {
                let message = format!("{what} takes a map, not {}", entry.value.value.kind());
                self.error(Code::E012, message, entry.value.span)
                    .label("for example `{ type: string }`")
                    .tell(self.found);
            }
            return None;
        };
        for entry in &map.0 {
            self.key(&entry.key, &what);
        }
        let unknown = map.0.iter().filter(|entry| !keys::PARAM.has(&entry.key.name));
        let slip = unknown.map(|entry| closest(&entry.key.name, ["type"])).any(|one| one.is_some());
        let kind = self.kind(&what, map.entry("type"), slip, entry.key.span)?;
        let of = match map.entry("of") {
            Some(of) => Some(self.kind(&what, Some(of), false, of.key.span)?),
            None => (kind == ParamType::List).then_some(ParamType::String),
        };
        let measured = match kind {
            ParamType::List | ParamType::Map => of,
            _ => Some(kind),
        };
        self.misplaced(map, kind, measured);
        let mut param = Param {
            kind,
            description: self.read(map, "description"),
            required: self.read(map, "required").unwrap_or_default(),
            default: None,
            pattern: self.read(map, "pattern").map(|pattern: RegularExpression| pattern.0),
            min: self.bound(map, "min", measured),
            max: self.bound(map, "max", measured),
            values: Vec::new(),
            of,
        };
        if measured == Some(ParamType::Enum) {
            param.values = self.values(&what, map, entry.key.span);
        }
        if let (Some(min), Some(max)) = (&param.min, &param.max)
            && measure(min) > measure(max)
            && let Some(node) = map.get("min")
        {
            self.error(Code::E034, format!("{what} has a `min` above its `max`"), node.span)
                .label("no value can be both")
                .tell(self.found);
        }
        let default = map.entry("default");
        if let Some(default) = default.filter(|_| param.required) {
            self.error(
                Code::E013,
                format!("{what} is `required` and has a `default`"),
                default.key.span,
            )
            .label("with a default it is never missing; keep one")
            .tell(self.found);
        }
        if let Some(default) = default {
            param.default = self.default(&what, &param, &default.value);
        }
        Some((Some(param), default.map(|entry| entry.value.clone())))
    }

    fn key(&mut self, key: &Key, what: &str) {
        if keys::PARAM.has(&key.name) {
            return;
        }
        let close = translated(&key.name, keys::PARAM.names())
            .or_else(|| closest(&key.name, keys::PARAM.names()));
        let error =
            self.error(Code::E010, format!("unknown key `{}` in {what}", key.name), key.span);
        let error = error.did_you_mean(close);
        error.note(format!("allowed here: {}", keys::PARAM.listed())).tell(self.found);
    }

    /// The word of `type` or `of`; `slip` says that it is there under a wrong name.
    fn kind(
        &mut self,
        what: &str,
        entry: Option<&Entry>,
        slip: bool,
        at: Span,
    ) -> Option<ParamType> {
        let types = format!("types are {}", quoted(ParamType::NAMES.iter().copied()));
        let Some(entry) = entry else {
            if slip {
                return None;
            }
            self.error(Code::E034, format!("{what} has no `type`"), at)
                .label(types)
                .tell(self.found);
            return None;
        };
        let key = entry.key.name.as_str();
        let text = self.scalar::<String>(key, &entry.value)?;
        let known = ParamType::named(&text);
        let (message, label) = match known {
            // What has parts of its own cannot be such a part.
            Some(ParamType::List | ParamType::Map) if key == "of" => {
                let singles = ParamType::NAMES.iter().copied().filter(|name| {
                    !matches!(ParamType::named(name), Some(ParamType::List | ParamType::Map))
                });
                let message = format!("{what} cannot have parts of type `{text}`");
                (message, format!("parts are of one of {}", quoted(singles)))
            }
            Some(_) => return known,
            None => {
                let meant = word(&text, ParamType::NAMES)
                    .or_else(|| closest(&text, ParamType::NAMES.iter().copied()));
                let label = match meant {
                    Some(close) => format!("did you mean `{close}`? {types}"),
                    None => types,
                };
                (format!("{what} has the unknown type `{text}`"), label)
            }
        };
        self.error(Code::E034, message, entry.value.span).label(label).tell(self.found);
        None
    }

    /// Rules that the type does not have (E011).
    fn misplaced(&mut self, map: &Map, kind: ParamType, measured: Option<ParamType>) {
        for (key, belongs, home) in [
            ("pattern", measured == Some(ParamType::String), "`string`"),
            ("min", measured.is_some_and(ParamType::has_range), "`int`, `duration` and `size`"),
            ("max", measured.is_some_and(ParamType::has_range), "`int`, `duration` and `size`"),
            ("values", measured == Some(ParamType::Enum), "`enum`"),
            ("of", matches!(kind, ParamType::List | ParamType::Map), "`list` and `map`"),
        ] {
            if let Some(entry) = map.entry(key).filter(|_| !belongs) {
                let message = format!("`{key}` does not belong to the type `{}`", kind.name());
                self.error(Code::E011, message, entry.key.span)
                    .label(format!("belongs to {home}"))
                    .tell(self.found);
            }
        }
    }

    fn bound(&mut self, map: &Map, key: &str, kind: Option<ParamType>) -> Option<Json> {
        let node = map.get(key)?;
        let kind = kind.filter(|kind| kind.has_range())?;
        match kind {
            ParamType::Duration => self.scalar::<Duration>(key, node).map(|_| json(node)),
            ParamType::Size => self.scalar::<Size>(key, node).map(|_| json(node)),
            _ if matches!(node.value, Value::Int(..)) => Some(json(node)),
            _ => {
                let message = format!("`{key}` takes a whole number, not {}", node.value.kind());
                self.error(Code::E012, message, node.span)
                    .label("for example `1`")
                    .tell(self.found);
                None
            }
        }
    }

    /// The words an enum may be.
    fn values(&mut self, what: &str, map: &Map, at: Span) -> Vec<Json> {
        const EXAMPLE: &str = "for example `values: [staging, prod]`";
        let Some(entry) = map.entry("values") else {
            let message = format!("{what} is an `enum` without `values`");
            self.error(Code::E014, message, at)
                .label(format!("add them, {EXAMPLE}"))
                .tell(self.found);
            return Vec::new();
        };
        let Some(list) = entry.value.as_list().filter(|list| !list.is_empty()) else {
            let message = format!(
                "`values` takes a list of at least one value, not {}",
                match &entry.value.value {
                    Value::List(_) => "an empty one",
                    other => other.kind(),
                }
            );
            self.error(Code::E012, message, entry.value.span).label(EXAMPLE).tell(self.found);
            return Vec::new();
        };
        let mut texts = BTreeSet::new();
        for item in list {
            let error = match (&item.value, item.scalar_text()) {
                (Value::Text(_) | Value::Int(..) | Value::Bool(_), Some(text)) => {
                    if texts.insert(text.clone().into_owned()) {
                        continue;
                    }
                    self.error(Code::E034, format!("value `{text}` is there twice"), item.span)
                        .label("remove one")
                }
                (Value::Float(value, _), Some(text)) => self
                    .error(Code::E012, "`values` takes text and whole numbers", item.span)
                    .label(format!("is read as the number {value}; write \"{text}\"")),
                (Value::Mixed(pieces), _) if !pieces.is_empty() => {
                    self.no_expression("values", item)
                }
                (Value::Mixed(_), _) => continue,
                (other, _) => self.error(
                    Code::E012,
                    format!("`values` takes text and whole numbers, not {}", other.kind()),
                    item.span,
                ),
            };
            error.tell(self.found);
        }
        list.iter().map(json).collect()
    }

    fn default(&mut self, what: &str, param: &Param, node: &Node) -> Option<Json> {
        // A template's default is looked at where it is put in.
        if !matches!(self.owner, Owner::Template(_))
            && let Some(inner) = expression_in(node)
        {
            self.no_expression("default", inner).tell(self.found);
            return None;
        }
        match fit(param, node) {
            Ok(value) => Some(value),
            Err(rule) => {
                let message = format!("{what} cannot be {}", shown(node));
                self.error(Code::E034, message, node.span).label(rule).tell(self.found);
                None
            }
        }
    }

    fn read<T: Scalar>(&mut self, map: &Map, key: &str) -> Option<T> {
        map.get(key).and_then(|node| self.scalar(key, node))
    }

    /// One value of a declaration; a declaration is the same for every event.
    fn scalar<T: Scalar>(&mut self, key: &str, node: &Node) -> Option<T> {
        if node.value.is_reported() {
            return None;
        }
        if matches!(node.value, Value::Mixed(_)) {
            self.no_expression(key, node).tell(self.found);
            return None;
        }
        T::read(node)
            .map_err(|misfit| misfit.diagnostic(key, node, self.sources).tell(self.found))
            .ok()
    }

    fn no_expression(&self, key: &str, node: &Node) -> Diagnostic {
        self.error(Code::E045, format!("expressions are not available in `{key}`"), node.span)
            .label("write the value itself")
    }

    fn error(&self, code: Code, message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic::error(code, message).at(self.sources.place(span))
    }
}

/// The first expression in a value.
fn expression_in(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::Mixed(pieces) if !pieces.is_empty() => Some(node),
        Value::List(list) => list.iter().find_map(expression_in),
        Value::Map(map) => map.0.iter().find_map(|entry| expression_in(&entry.value)),
        _ => None,
    }
}
