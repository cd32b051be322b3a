//! Typed parameters: what is declared of them, and whether a value fits.
//!
//! Templates, manual runs and approvals ask for values in the same words, so they
//! share this reading. It needs only the sources and a place for what it finds:
//! a template is read before there is anything to lower.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value as Json;

use super::Lowering;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::plan::{Param, ParamType};
use crate::scalar::{RegularExpression, Scalar, Size, json, node};
use crate::source::{Sources, Span};
use crate::suggest::{closest, quoted, translated};
use crate::yaml::{Entry, Key, Map, Node, Value};
use crate::{Duration, name};

/// Who asks for the values; it is part of what is said about them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// With its version: `c-service@1`.
    Template(&'a str),
    Manual,
    /// The stage.
    Approval(&'a str),
}

impl Owner<'_> {
    /// "parameter `jdk` of `java-service@2`".
    pub(crate) fn parameter(self, name: &str) -> String {
        match self {
            Self::Template(label) => format!("parameter `{name}` of `{label}`"),
            Self::Manual => format!("parameter `{name}`"),
            Self::Approval(stage) => format!("field `{name}` of stage `{stage}`"),
        }
    }
}

/// One parameter of a declaration, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) key: Key,
    /// `None` when something of it was wrong.
    pub(crate) param: Option<Param>,
    /// As it is written.
    pub(crate) default: Option<Node>,
}

/// Reads a map from names to declarations, and says what is wrong with it.
pub(crate) fn declarations(
    map: &Map,
    owner: Owner<'_>,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) -> Vec<Declared> {
    let mut reader = Reader { owner, sources, found };
    map.0.iter().map(|entry| reader.declared(entry)).collect()
}

impl Lowering<'_> {
    /// The parameters behind a key, by name.
    pub(super) fn params(&mut self, node: &Node, owner: Owner<'_>) -> Vec<Declared> {
        if node.value.is_reported() {
            return Vec::new();
        }
        let Some(map) = node.as_map() else {
            let key = if matches!(owner, Owner::Approval(_)) { "fields" } else { "params" };
            let message = format!("`{key}` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `{ target: { type: string } }`"));
            return Vec::new();
        };
        declarations(map, owner, self.sources, self.found)
    }
}

struct Reader<'a> {
    owner: Owner<'a>,
    sources: &'a Sources,
    found: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn declared(&mut self, entry: &Entry) -> Declared {
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
        let error = match close {
            Some(close) => error.label(format!("did you mean `{close}`?")),
            None => error,
        };
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
                let label = match closest(&text, ParamType::NAMES.iter().copied()) {
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

/// Returns the value as its type has it, or the rule it breaks: "it is at least 1".
///
/// What an expression yields is not known yet, and fits.
pub(crate) fn fit(param: &Param, node: &Node) -> Result<Json, String> {
    match (param.kind, &node.value) {
        (_, Value::Mixed(_)) => Ok(Json::Null),
        (ParamType::List, Value::List(items)) => {
            let of = param.of.unwrap_or(ParamType::String);
            items.iter().map(|item| part(param, of, item)).collect()
        }
        (ParamType::Map, Value::Map(map)) => {
            let value = |entry: &Entry| match param.of {
                Some(of) => part(param, of, &entry.value),
                None => Ok(json(&entry.value)),
            };
            map.0.iter().map(|entry| Ok((entry.key.name.clone(), value(entry)?))).collect()
        }
        (kind, _) => single(param, kind, node).map_err(|broken| match broken {
            Broken::Type(rule) | Broken::Rule(rule) => format!("it {rule}"),
        }),
    }
}

/// Reads what somebody gave from outside the file. A command line has only texts,
/// which are read as the type wants them.
pub(crate) fn given(param: &Param, value: &Json) -> Result<Json, String> {
    fit(param, &node(&from_text(param.kind, param.of, value)))
}

/// What a parameter takes, for those who gave nothing: "one of `staging`, `prod`".
pub(crate) fn expected(param: &Param) -> String {
    let range = match (&param.min, &param.max) {
        (Some(min), Some(max)) => format!(" from {} to {}", plain(min), plain(max)),
        (Some(min), None) => format!(", at least {}", plain(min)),
        (None, Some(max)) => format!(", at most {}", plain(max)),
        (None, None) => String::new(),
    };
    match (param.kind, &param.pattern) {
        (ParamType::String, Some(pattern)) => format!("text that matches `{pattern}`"),
        (ParamType::String, None) => "text".to_owned(),
        (ParamType::Int, _) => format!("a whole number{range}"),
        (ParamType::Bool, _) => "true or false".to_owned(),
        (ParamType::Enum, _) => format!("one of {}", words(param)),
        (ParamType::List, _) => {
            format!("a list of {}", param.of.unwrap_or(ParamType::String).name())
        }
        (ParamType::Map, _) => "a map".to_owned(),
        (ParamType::Duration, _) => format!("a duration such as `30s`{range}"),
        (ParamType::Size, _) => format!("a size such as `512Mi`{range}"),
    }
}

/// A value for a message: `` `text` ``, or what it is.
pub(crate) fn shown(node: &Node) -> String {
    node.scalar_text().map_or_else(|| node.value.kind().to_owned(), |text| format!("`{text}`"))
}

/// A value that came from outside, for a message.
pub(crate) fn shown_json(value: &Json) -> String {
    shown(&node(value))
}

/// Why a single value does not fit; both follow "it".
enum Broken {
    /// It is of another type.
    Type(String),
    Rule(String),
}

/// An item of a list, or a value of a map.
fn part(param: &Param, of: ParamType, node: &Node) -> Result<Json, String> {
    single(param, of, node).map_err(|broken| match broken {
        Broken::Type(_) => format!("it is a {} of {}", param.kind.name(), of.name()),
        Broken::Rule(rule) => format!("each of its values {rule}"),
    })
}

fn single(param: &Param, kind: ParamType, node: &Node) -> Result<Json, Broken> {
    let range = |value: i128| {
        let bound =
            |bound: &Option<Json>| bound.as_ref().map(|bound| (measure(bound), plain(bound)));
        match (bound(&param.min), bound(&param.max)) {
            (Some((least, text)), _) if Some(value) < least => {
                Err(Broken::Rule(format!("is at least {text}")))
            }
            (_, Some((most, text))) if most.is_some_and(|most| value > most) => {
                Err(Broken::Rule(format!("is at most {text}")))
            }
            _ => Ok(json(node)),
        }
    };
    let measured = |example: &str| match measure(&json(node)) {
        Some(value) => range(value),
        None => Err(Broken::Rule(format!("is a {}, for example `{example}`", kind.name()))),
    };
    match (kind, &node.value) {
        (_, Value::Mixed(_)) => Ok(Json::Null),
        (ParamType::String, Value::Text(text)) => match &param.pattern {
            // A pattern that is none has been told where it is declared.
            Some(pattern) if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) => {
                Err(Broken::Rule(format!("matches `{pattern}`")))
            }
            _ => Ok(json(node)),
        },
        (ParamType::String, Value::Int(..) | Value::Float(..) | Value::Bool(_)) => {
            let text = node.scalar_text().unwrap_or_default();
            Err(Broken::Type(format!("is a string: write \"{text}\"")))
        }
        (ParamType::Int, Value::Int(value, _)) => range(i128::from(*value)),
        (ParamType::Bool, Value::Bool(_)) => Ok(json(node)),
        (ParamType::Enum, _) => {
            let text = node.scalar_text();
            let known = param.values.iter().find(|value| text.as_deref() == Some(&*plain(value)));
            known.cloned().ok_or_else(|| Broken::Rule(format!("is one of {}", words(param))))
        }
        (ParamType::Duration, Value::Text(text)) if text.parse::<Duration>().is_ok() => {
            measured("30s")
        }
        (ParamType::Size, Value::Text(_)) if Size::read(node).is_ok() => measured("512Mi"),
        (ParamType::Duration, Value::Text(_)) => {
            Err(Broken::Rule("is a duration, for example `30s`".to_owned()))
        }
        (ParamType::Size, Value::Text(_)) => {
            Err(Broken::Rule("is a size, for example `512Mi`".to_owned()))
        }
        (kind, value) => {
            let wanted = match kind {
                ParamType::Int => "a whole number".to_owned(),
                ParamType::Bool => "true or false".to_owned(),
                kind => format!("a {}", kind.name()),
            };
            Err(Broken::Type(format!("is {wanted}, not {}", value.kind())))
        }
    }
}

/// A number, a duration or a size, to be compared with its like.
fn measure(value: &Json) -> Option<i128> {
    match value {
        Json::Number(number) => number.as_i64().map(i128::from),
        Json::String(text) => {
            let duration = text.parse::<Duration>().ok();
            duration
                .and_then(|duration| i128::try_from(duration.std().as_millis()).ok())
                .or_else(|| Size::read(&node(value)).ok().map(|size| i128::from(size.0)))
        }
        _ => None,
    }
}

fn words(param: &Param) -> String {
    let words: Vec<String> = param.values.iter().map(plain).collect();
    quoted(words.iter().map(String::as_str))
}

/// A scalar without quotes.
fn plain(value: &Json) -> String {
    crate::plan::value_text(value)
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

/// A text as the type wants it, as far as it can be that; everything else as it is.
fn from_text(kind: ParamType, of: Option<ParamType>, value: &Json) -> Json {
    let item = |value: &Json| of.map_or_else(|| value.clone(), |of| from_text(of, None, value));
    match (kind, value) {
        (ParamType::Int, Json::String(text)) => {
            text.parse::<i64>().map_or_else(|_| value.clone(), Json::from)
        }
        (ParamType::Bool, Json::String(text)) => {
            text.parse::<bool>().map_or_else(|_| value.clone(), Json::from)
        }
        (ParamType::List, Json::String(text)) => match serde_json::from_str(text) {
            Ok(Json::Array(list)) => list.iter().map(item).collect(),
            _ if text.is_empty() => Json::Array(Vec::new()),
            _ => text.split(',').map(|part| item(&Json::from(part.trim()))).collect(),
        },
        (ParamType::List, Json::Array(list)) => list.iter().map(item).collect(),
        (ParamType::Map, Json::String(text)) => match serde_json::from_str(text) {
            Ok(Json::Object(map)) => from_text(kind, of, &Json::Object(map)),
            _ if text.is_empty() => Json::Object(serde_json::Map::new()),
            _ => {
                let pairs: Option<Vec<_>> =
                    text.split(',').map(|pair| pair.trim().split_once('=')).collect();
                let Some(pairs) = pairs else { return value.clone() };
                let value = |(name, text): (&str, &str)| (name.to_owned(), item(&Json::from(text)));
                pairs.into_iter().map(value).collect()
            }
        },
        (ParamType::Map, Json::Object(map)) => {
            map.iter().map(|(name, value)| (name.clone(), item(value))).collect()
        }
        _ => value.clone(),
    }
}
