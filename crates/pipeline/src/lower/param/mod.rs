//! Typed parameters: what is declared of them, and whether a value fits.
//!
//! Templates, manual runs and approvals ask for values in the same words, so they
//! share this reading. It needs only the sources and a place for what it finds:
//! a template is read before there is anything to lower.

mod declaration;
mod fit;
mod given;

use declaration::Reader;
pub(crate) use fit::fit;
pub(crate) use given::given;
use serde_json::Value as Json;

use super::Lowering;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::plan::{Param, ParamType, value_text};
use crate::scalar::node;
use crate::source::Sources;
use crate::suggest::quoted;
use crate::yaml::{Key, Map, Node};

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

/// What a parameter takes, for those who gave nothing: "one of `staging`, `prod`".
pub(crate) fn expected(param: &Param) -> String {
    let range = match (&param.min, &param.max) {
        (Some(min), Some(max)) => format!(" from {} to {}", value_text(min), value_text(max)),
        (Some(min), None) => format!(", at least {}", value_text(min)),
        (None, Some(max)) => format!(", at most {}", value_text(max)),
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

fn words(param: &Param) -> String {
    let words: Vec<String> = param.values.iter().map(value_text).collect();
    quoted(words.iter().map(String::as_str))
}
