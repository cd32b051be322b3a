//! YAML as a tree in which every key and every value knows its place.
//!
//! [`read`] is the only place that knows the YAML library. What it returns is
//! YAML 1.2 core: `on`, `off`, `yes` and `no` are strings, merges (`<<`) are
//! resolved, and scalars keep the text they were written with.

mod limit;
mod read;
mod syntax;

use std::borrow::Cow;

pub(crate) use read::read;

use crate::expression::Piece;
use crate::source::{Sources, Span};

/// Limits of language.md §3.
pub(crate) const DEPTH_LIMIT: usize = 64;
pub(crate) const NODE_LIMIT: usize = 100_000;
pub(crate) const ALIAS_LIMIT: usize = 5_000;
/// Of all texts together; a file of 1 MiB can repeat a long one by aliases.
pub(crate) const BYTE_LIMIT: usize = 4 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Where the value itself stands.
    pub(crate) span: Span,
    /// Where it is used, when that is another place.
    pub(crate) via: Option<Via>,
}

/// How a value came to stand where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// `*name` or `<<: *name`.
    Alias(Span),
    /// The value in `with`, or the default of the parameter.
    Parameter(Span),
}

impl Via {
    pub(crate) const fn span(self) -> Span {
        match self {
            Self::Alias(span) | Self::Parameter(span) => span,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// With its text: `012` and `12` are one number but two image tags.
    Int(i64, String),
    Float(f64, String),
    Text(String),
    /// A text with `${{ }}` in it.
    Mixed(Vec<Piece>),
    List(Vec<Node>),
    Map(Map),
}

impl Value {
    /// Stands where a value was wrong and has been reported: it fits everywhere,
    /// and nothing more is said of it.
    pub(crate) const REPORTED: Self = Self::Mixed(Vec::new());

    pub(crate) const fn is_reported(&self) -> bool {
        matches!(self, Self::Mixed(pieces) if pieces.is_empty())
    }

    /// What it is, in the words of an error: "a list".
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(..) | Self::Float(..) => "a number",
            Self::Text(_) | Self::Mixed(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Map(pub(crate) Vec<Entry>);

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

impl Map {
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key.name == name)
    }

    pub(crate) fn entry_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.key.name == name)
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.key.name == name)?;
        Some(self.0.remove(at))
    }
}

impl Node {
    pub(crate) const fn new(value: Value, span: Span) -> Self {
        Self { value, span, via: None }
    }

    pub(crate) const fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The items of a list; anything else is the only item.
    pub(crate) fn one_or_many(&self) -> &[Self] {
        self.as_list().unwrap_or(std::slice::from_ref(self))
    }

    /// The text of a scalar without expressions, as it was written.
    pub(crate) fn scalar_text(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Value::Bool(true) => Some("true".into()),
            Value::Bool(false) => Some("false".into()),
            Value::Int(_, text) | Value::Float(_, text) | Value::Text(text) => Some(text.into()),
            Value::Null | Value::Mixed(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(&self.value, Value::Text(own) if own == text)
    }

    /// The place of a part of this scalar, for a caret inside the value.
    ///
    /// Escapes and folded lines make offsets in the value differ from those in
    /// the file; the part is then searched, and the whole scalar is the answer
    /// when it cannot be found.
    pub(crate) fn inside(
        &self,
        sources: &Sources,
        value: &str,
        part: std::ops::Range<usize>,
    ) -> Span {
        inside(sources, self.span, value, part)
    }
}

pub(crate) fn inside(
    sources: &Sources,
    span: Span,
    value: &str,
    part: std::ops::Range<usize>,
) -> Span {
    let raw = sources.text(span);
    let start = span.start as usize;
    let quote = usize::from(raw.starts_with(['"', '\'']));
    if raw.get(quote..).is_some_and(|rest| rest.starts_with(value)) {
        return Span::new(span.file, start + quote + part.start, start + quote + part.end);
    }
    let Some(needle) = value.get(part.clone()).filter(|needle| !needle.is_empty()) else {
        return span;
    };
    let earlier = value[..part.start].matches(needle).count();
    match raw.match_indices(needle).nth(earlier) {
        Some((at, _)) => Span::new(span.file, start + at, start + at + needle.len()),
        None => span,
    }
}

/// Returns what a plain scalar is in the core schema of YAML 1.2.
pub(crate) fn core_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY, text.to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY, text.to_owned()),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN, text.to_owned()),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Value::Text(text.to_owned());
    }
    let based = |prefix, radix| {
        let rest = text.strip_prefix(prefix)?;
        let valid = !rest.is_empty() && rest.chars().all(|digit| digit.is_digit(radix));
        valid.then(|| i64::from_str_radix(rest, radix).ok()).flatten()
    };
    if let Some(value) = based("0o", 8).or_else(|| based("0x", 16)) {
        return Value::Int(value, text.to_owned());
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(value) = text.trim_start_matches('+').parse()
    {
        return Value::Int(value, text.to_owned());
    }
    let float =
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            && digits.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(value) if float => Value::Float(value, text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for text in
            ["on", "off", "yes", "no", "y", "1_000", "1.2.3", "0b1", "1m", "-", "+", ".", "e1"]
        {
            assert!(matches!(core_scalar(text), Value::Text(_)), "{text}: {:?}", core_scalar(text));
        }
        for (text, number) in
            [("0", 0), ("012", 12), ("-7", -7), ("+7", 7), ("0x1F", 31), ("0o17", 15)]
        {
            assert!(matches!(core_scalar(text), Value::Int(value, _) if value == number), "{text}");
        }
        for text in ["1.10", "1e3", "-.5", "1.", "99999999999999999999", ".inf", ".nan"] {
            assert!(matches!(core_scalar(text), Value::Float(_, own) if own == text), "{text}");
        }
        assert!(matches!(core_scalar("~"), Value::Null));
        assert!(matches!(core_scalar("True"), Value::Bool(true)));
        assert!(matches!(core_scalar("tRUE"), Value::Text(_)));
    }
}
