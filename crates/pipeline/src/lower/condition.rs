//! `when`: the conditions of a stage, and what its expressions give for an event.

use super::{Lowering, Pass};
use crate::TriggerEvent;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{Evaluated, Expression, Kind, LENGTH_LIMIT, Piece, Site};
use crate::keys;
use crate::model::{Condition, Events, Globs, ParamTest, When};
use crate::pattern::Pattern;
use crate::scalar::{AnyText, Scalar};
use crate::yaml::{Node, Value, Via};

/// What an `if` gives when a plan is made.
pub(crate) enum Tested {
    Known(bool),
    /// It reads `stages` or `run`.
    Deferred,
    Wrong(Box<Diagnostic>),
}

/// What to write instead of a condition that is one text.
fn instead_of(text: &str) -> String {
    match text {
        "always" => "a condition always holds when there is none; to run also after a failure \
                     write the key `run-on: always`"
            .to_owned(),
        "on_success" | "on-success" | "success" => {
            "remove the line: a stage runs after success".to_owned()
        }
        "on_failure" | "on-failure" | "failure" => "write the key `run-on: failure`".to_owned(),
        "never" => "write `off`".to_owned(),
        "manual" => "a stage with `approve` above this one asks people; when a run is started by \
                     hand write `{ event: manual }`"
            .to_owned(),
        _ if TriggerEvent::WORDS.contains(&text) => format!("write `{{ event: {text} }}`"),
        _ if text.contains(['=', '&', '|', '(', '<', '>', '!', '\'', '"']) => {
            if text.contains('"') {
                "an expression stands under `if`, for example `{ if: git.branch == 'main' }`"
                    .to_owned()
            } else {
                format!("write `{{ if: \"{text}\" }}`")
            }
        }
        _ => format!("for example `{{ branch: {text} }}`"),
    }
}

impl Lowering<'_> {
    pub(super) fn when(&mut self, node: &Node) -> When {
        match &node.value {
            value if value.is_reported() => When::Always,
            Value::Text(text) if text == "off" => When::Off,
            Value::Map(_) => When::Any(self.condition(node).into_iter().collect()),
            Value::List(items) => {
                When::Any(items.iter().filter_map(|item| self.condition(item)).collect())
            }
            other => {
                let message =
                    format!("`when` takes a map, a list of maps or `off`, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(match other {
                    Value::Bool(false) => error.label("write `off`"),
                    Value::Bool(true) => error.label("remove the line: a stage always runs"),
                    Value::Text(text) => error.label(instead_of(text)),
                    Value::Mixed(_) => {
                        let written = self.sources.text(node.span);
                        error.label(format!("write `{{ if: {written} }}`"))
                    }
                    _ => error.label("for example `{ branch: main }`"),
                });
                When::Always
            }
        }
    }

    fn condition(&mut self, node: &Node) -> Option<Condition> {
        let map = self.fields(node, &keys::WHEN, "`when`")?;
        let mut globs = |key: &'static str| {
            map.get(key)
                .map(|node| Globs { patterns: self.patterns(key, node), node: node.clone() })
        };
        let (branch, tag) = (globs("branch"), globs("tag"));
        let (changed, environment) = (globs("changed"), globs("environment"));
        let event = map.get("event").map(|node| {
            let events = self.list::<TriggerEvent>("event", node, Site::Never("event"), true);
            Events { events, node: node.clone() }
        });
        let params = map.get("params").map(|node| self.param_tests(node)).unwrap_or_default();
        let earlier = self.reads_so_far();
        let expression = map.get("if").and_then(|node| self.expression(node));
        let reads = self.reads_since(earlier);
        Some(Condition { branch, tag, event, changed, params, environment, expression, reads })
    }

    /// Globs: one, or a list of which one must match.
    pub(super) fn patterns(&mut self, key: &'static str, node: &Node) -> Vec<Pattern> {
        self.list(key, node, Site::Never(key), true)
    }

    fn param_tests(&mut self, node: &Node) -> Vec<ParamTest> {
        if node.value.is_reported() {
            return Vec::new();
        }
        let Some(map) = node.as_map() else {
            let message = format!("`params` in `when` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("for example `{ target: prod }`"));
            return Vec::new();
        };
        let mut tests = Vec::new();
        for entry in &map.0 {
            let name = &entry.key.name;
            let path = format!("params.{name}");
            let never = Site::Never("params");
            let values = self.list::<AnyText>(&path, &entry.value, never, true);
            // The same as `params.NAME` in an expression, which says whether there is one.
            let source = match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                true => path,
                false => format!("params[{name:?}]"),
            };
            let span = entry.key.span;
            let expression = Piece::Expression(Expression { source, span, inner: span });
            let value = Node::new(Value::Mixed(vec![expression]), span);
            self.check_expression(&value);
            tests.push(ParamTest {
                name: name.clone(),
                values: values.into_iter().map(|value| value.0).collect(),
                node: entry.value.clone(),
                value,
            });
        }
        tests
    }

    /// `if`: an expression, bare or in `${{ }}`, or a word.
    fn expression(&mut self, node: &Node) -> Option<Node> {
        let wrong = |message: String| Some(message);
        let message = match &node.value {
            value if value.is_reported() => return None,
            Value::Bool(_) => return Some(node.clone()),
            Value::Mixed(pieces) => match pieces.as_slice() {
                [Piece::Expression(_)] => {
                    let kind = self.check_expression(node);
                    self.is_truth(kind, node);
                    return Some(node.clone());
                }
                _ => {
                    wrong("`if` takes one expression, and this is a text with one in it".to_owned())
                }
            },
            Value::Text(_) if matches!(node.via, Some(Via::Parameter(_))) => {
                // What a parameter brings is a value, and never becomes an expression.
                let message = "`if` takes true or false, and the parameter gives text";
                let error = self.error_at(Code::E042, message, node);
                self.report(error.label("compare it, for example `params.NAME == 'value'`"));
                return None;
            }
            Value::Text(text) if text.len() > LENGTH_LIMIT => {
                let bytes = text.len();
                let message =
                    format!("the expression is {bytes} bytes long, the limit is {LENGTH_LIMIT}");
                let error = self.error_at(Code::E046, message, node);
                self.report(error);
                return None;
            }
            Value::Text(text) => {
                let inner = node.inside(self.sources, text, 0..text.len());
                let expression = Expression { source: text.clone(), span: inner, inner };
                let value = Value::Mixed(vec![Piece::Expression(expression)]);
                let node = Node { value, span: node.span, via: node.via };
                let kind = self.check_expression(&node);
                self.is_truth(kind, &node);
                return Some(node);
            }
            other => wrong(format!("`if` takes an expression, not {}", other.kind())),
        };
        let error = self.error_at(Code::E012, message?, node);
        self.report(error.label("for example `git.branch == 'main'`"));
        None
    }

    /// Checks an expression, and returns the kind of its value as far as it is known.
    fn check_expression(&mut self, node: &Node) -> Kind {
        let (Value::Mixed(pieces), Pass::Check { checker, parameters }) =
            (&node.value, &mut self.pass)
        else {
            return Kind::Any;
        };
        let before = self.found.len();
        let kind = checker.check(pieces, Site::Condition, parameters, self.sources, self.found);
        let wrong = self.found.len() > before;
        self.tell_use(before, node);
        if wrong { Kind::Any } else { kind }
    }

    /// E042 for an `if` that can never be true or false.
    fn is_truth(&mut self, kind: Kind, node: &Node) {
        let before = self.found.len();
        self.never_fits::<bool>("when.if", kind, node);
        self.tell_use(before, node);
    }

    fn reads_so_far(&self) -> usize {
        match &self.pass {
            Pass::Check { checker, .. } => checker.reads.len(),
            Pass::Plan { .. } => 0,
        }
    }

    /// Stages that were read since then, each once, in the order they are read.
    fn reads_since(&self, earlier: usize) -> Vec<String> {
        let Pass::Check { checker, .. } = &self.pass else { return Vec::new() };
        let mut stages: Vec<String> = Vec::new();
        for read in checker.reads.iter().skip(earlier) {
            if !stages.contains(&read.stage) {
                stages.push(read.stage.clone());
            }
        }
        stages
    }

    /// Returns what an `if` gives for this event and cell.
    pub(crate) fn tested(&mut self, node: &Node) -> Tested {
        let before = self.found.len();
        let pending = self.pending.len();
        let holds: bool = self.value("when.if", node, Site::Condition);
        self.origins.remove("when.if");
        if self.pending.len() > pending {
            self.pending.truncate(pending);
            return Tested::Deferred;
        }
        match self.found.drain(before..).next() {
            Some(wrong) => Tested::Wrong(Box::new(wrong)),
            None => Tested::Known(holds),
        }
    }

    /// The values of a parameter as texts: of a list all, else one; none when it
    /// has no value for this event.
    pub(crate) fn parameter_values(&self, test: &ParamTest) -> Vec<String> {
        let (Value::Mixed(pieces), Pass::Plan { scope, .. }) = (&test.value.value, &self.pass)
        else {
            return Vec::new();
        };
        let text = |node: &Node| node.scalar_text().map(std::borrow::Cow::into_owned);
        match scope.value(pieces, test.value.span) {
            Ok(Evaluated::Known(Value::List(items))) => items.iter().filter_map(text).collect(),
            Ok(Evaluated::Known(value)) => {
                text(&Node::new(value, test.value.span)).into_iter().collect()
            }
            Ok(Evaluated::Pending) | Err(_) => Vec::new(),
        }
    }
}
