//! What expressions read when a plan is made, and their evaluation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::objects::{Key, Map as CelMap};
use cel::{ExecutionError, Value as Cel};

use super::cost::{LOOP_LIMIT, NESTED_LOOP_ELEMENTS};
use super::program::Program;
use super::{Expression, Piece, slug};
use crate::codes::Code;
use crate::context::Context;
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Sources, Span};
use crate::yaml::{Entry, Key as NodeKey, Map, Node, Value};

/// The values of the parameters of each template, by the template's file.
pub(crate) type Parameters = BTreeMap<FileId, BTreeMap<String, Node>>;

/// What an expression gives when a plan is made.
#[derive(Debug)]
pub(crate) enum Evaluated {
    Known(Value),
    /// It reads `stages`, `run` or the workspace, and is evaluated when its stage starts.
    Pending,
}

/// Evaluates expressions for one plan.
pub(crate) struct Scope<'a> {
    sources: &'a Sources,
    programs: &'a HashMap<String, Arc<Program>>,
    /// Names at the top, without `params`.
    names: BTreeMap<&'static str, Cel>,
    parameters: BTreeMap<FileId, Cel>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(
        sources: &'a Sources,
        programs: &'a HashMap<String, Arc<Program>>,
        parameters: &Parameters,
        context: &Context,
        pipeline: &str,
    ) -> Self {
        let git = &context.git;
        let text = |text: &str| Cel::from(text);
        let maybe = |text: &Option<String>| text.as_deref().map_or(Cel::Null, Cel::from);
        let names = BTreeMap::from([
            (
                "git",
                map([
                    ("sha", text(&git.sha)),
                    ("sha_short", text(git.sha_short())),
                    ("branch", maybe(&git.branch)),
                    ("tag", maybe(&git.tag)),
                    ("message", text(&git.message)),
                    ("author", text(&git.author)),
                    ("default_branch", text(&git.default_branch)),
                    ("url", text(&git.url)),
                ]),
            ),
            (
                "event",
                map([
                    ("name", text(context.event.name())),
                    ("trusted", Cel::Bool(context.trusted)),
                ]),
            ),
            ("pipeline", map([("name", text(pipeline))])),
            ("project", map([("name", text(&context.project))])),
        ]);
        Self { sources, programs, names, parameters: BTreeMap::new() }.with(parameters)
    }

    /// Adds the parameters. A value in `with` may itself hold expressions; what
    /// they cannot say is missing, and reading it then is the error.
    fn with(mut self, parameters: &Parameters) -> Self {
        let given = parameters
            .iter()
            .map(|(file, values)| {
                let value = |node: &Node| match &node.value {
                    Value::Mixed(pieces) => self
                        .known_value(pieces, node.span)
                        .map_or(Cel::Null, |value| to_cel(&value)),
                    other => to_cel(other),
                };
                (*file, map(values.iter().map(|(name, node)| (name.as_str(), value(node)))))
            })
            .collect();
        self.parameters = given;
        self
    }

    /// Returns the value of a text: typed when it is one expression, else a text.
    pub(crate) fn value(&self, pieces: &[Piece], span: Span) -> Result<Evaluated, Box<Diagnostic>> {
        self.known_value(pieces, span).map(Evaluated::Known)
    }

    fn known_value(&self, pieces: &[Piece], span: Span) -> Result<Value, Box<Diagnostic>> {
        if let [Piece::Expression(expression)] = pieces {
            return Ok(from_cel(self.evaluate(expression)?, span));
        }
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Expression(expression) => {
                    let value = from_cel(self.evaluate(expression)?, span);
                    let node = Node::new(value, span);
                    let Some(part) = node.scalar_text() else {
                        return Err(Box::new(self.no_text(expression, &node.value)));
                    };
                    text.push_str(&part);
                }
            }
        }
        Ok(Value::Text(text))
    }

    fn no_text(&self, expression: &Expression, value: &Value) -> Diagnostic {
        let found = value.kind();
        let message = match value {
            Value::Null => format!("`{}` has no value for this event", brief(expression)),
            _ => format!("`{}` is {found}, and this place needs text", brief(expression)),
        };
        Diagnostic::error(Code::E042, message)
            .at(self.sources.place(expression.span))
            .label(format!("expected text, found {found}"))
    }

    fn evaluate(&self, expression: &Expression) -> Result<Cel, Box<Diagnostic>> {
        let failed = |code, message: String| {
            Box::new(Diagnostic::error(code, message).at(self.sources.place(expression.span)))
        };
        let Some(program) = self.programs.get(&expression.source) else {
            // Only what was checked is in a pipeline, and what was checked compiled.
            let message = format!("`{}` was never checked", brief(expression));
            return Err(failed(Code::E040, message));
        };
        let parameters = self.parameters.get(&expression.span.file);
        match &**program {
            Program::Path(path) => {
                let root = match path[0].as_str() {
                    "params" => parameters,
                    name => self.names.get(name),
                };
                let mut value = root.cloned();
                for field in &path[1..] {
                    value = value.and_then(|value| field_of(&value, field));
                }
                value.ok_or_else(|| {
                    failed(Code::E042, format!("`{}` has no value here", brief(expression)))
                })
            }
            Program::Cel(cel) => {
                let largest = parameters.map_or(0, largest);
                if program.loops() >= LOOP_LIMIT && largest > NESTED_LOOP_ELEMENTS {
                    let message = format!(
                        "a loop in a loop goes over {largest} elements, the limit is {NESTED_LOOP_ELEMENTS}"
                    );
                    return Err(failed(Code::E046, message));
                }
                let mut context = cel::Context::default();
                for (name, value) in &self.names {
                    context.add_variable_from_value(*name, value.clone());
                }
                if let Some(parameters) = parameters {
                    context.add_variable_from_value("params", parameters.clone());
                }
                context
                    .add_function("slug", |text: Arc<String>| slug(&text))
                    .expect("`slug` is no name of CEL's library");
                cel.execute(&context).map_err(|error| {
                    failed(
                        Code::E042,
                        format!("`{}` cannot be evaluated: {}", brief(expression), words(&error)),
                    )
                })
            }
        }
    }
}

/// CEL's error in words that fit behind a colon.
fn words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`"),
        ExecutionError::UnexpectedType { got, want } => {
            format!("expected {}, found {}", type_words(want), type_words(got))
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => format!(
            "`{operator}` does not go with {} and {}",
            from_cel(left.clone(), NOWHERE).kind(),
            from_cel(right.clone(), NOWHERE).kind()
        ),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().iter().map(|name| type_words(name).to_owned());
            let function = overload.function().trim_matches('_');
            format!("`{function}` does not go with {}", types.collect::<Vec<_>>().join(" and "))
        }
        other => {
            let text = other.to_string();
            let mut letters = text.chars();
            letters
                .next()
                .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    }
}

const NOWHERE: Span = Span { file: FileId::PIPELINE, start: 0, end: 0 };

/// Names of types of CEL, and of Rust below it, as people call them.
fn type_words(name: &str) -> &str {
    let name = name.split('(').next().unwrap_or(name);
    match name.to_ascii_lowercase().as_str() {
        "string" | "arc<string>" | "alloc::sync::arc<alloc::string::string>" => "text",
        "int" | "uint" | "float" | "double" | "i64" | "u64" | "f64" => "a number",
        "null" | "null_type" => "nothing",
        "bool" => "true or false",
        "list" => "a list",
        "map" => "a map",
        _ => name,
    }
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Cel)>) -> Cel {
    let entries: HashMap<Key, Cel> =
        entries.into_iter().map(|(key, value)| (Key::from(key), value)).collect();
    Cel::Map(CelMap { map: Arc::new(entries) })
}

/// The expression, as far as a message has room for it.
fn brief(expression: &Expression) -> String {
    const SHOWN: usize = 60;
    let source = expression.source.trim();
    match source.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &source[..end]),
        None => source.to_owned(),
    }
}

/// Elements of the largest list or map in a value.
fn largest(value: &Cel) -> usize {
    match value {
        Cel::List(list) => list.iter().map(largest).max().unwrap_or(0).max(list.len()),
        Cel::Map(map) => map.map.values().map(largest).max().unwrap_or(0).max(map.map.len()),
        _ => 0,
    }
}

fn field_of(value: &Cel, field: &str) -> Option<Cel> {
    match value {
        Cel::Map(map) => map.map.get(&Key::from(field)).cloned(),
        _ => None,
    }
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null | Value::Mixed(_) => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Int(value, _) => Cel::Int(*value),
        Value::Float(value, _) => Cel::Float(*value),
        Value::Text(text) => Cel::from(text.as_str()),
        Value::List(list) => {
            Cel::from(list.iter().map(|item| to_cel(&item.value)).collect::<Vec<_>>())
        }
        Value::Map(entries) => {
            map(entries.0.iter().map(|entry| (entry.key.name.as_str(), to_cel(&entry.value.value))))
        }
    }
}

fn from_cel(value: Cel, span: Span) -> Value {
    match value {
        Cel::Bool(value) => Value::Bool(value),
        Cel::Int(value) => Value::Int(value, value.to_string()),
        Cel::UInt(value) => {
            i64::try_from(value).map_or(Value::Null, |value| Value::Int(value, value.to_string()))
        }
        Cel::Float(value) => Value::Float(value, value.to_string()),
        Cel::String(text) => Value::Text(text.as_str().to_owned()),
        Cel::List(list) => Value::List(
            list.iter().map(|item| Node::new(from_cel(item.clone(), span), span)).collect(),
        ),
        Cel::Map(map) => {
            let mut entries: Vec<_> = map.map.iter().collect();
            entries.sort_by_key(|(key, _)| key.to_string());
            Value::Map(Map(entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key: NodeKey { name: key.to_string(), span },
                    value: Node::new(from_cel(value.clone(), span), span),
                })
                .collect()))
        }
        _ => Value::Null,
    }
}
