//! `${{ … }}`: one CEL expression inside a scalar.
//!
//! Expressions are found once, when a file has been read ([`scan`]), so a text
//! that a parameter brings in later is never searched for expressions again. They
//! are checked where they stand ([`check`]) and evaluated when a plan is made
//! ([`scope`]).

mod check;
mod cost;
mod evaluate;
mod facts;
mod flow;
mod function;
mod known;
mod name;
mod program;
mod scope;
mod tree;
mod value;

use std::ops::Range;

pub(crate) use check::Checker;
pub(crate) use evaluate::{Budget, Fault, World, evaluate, missing};
pub(crate) use flow::Kind;
pub use function::slug;
pub(crate) use name::Site;
#[cfg(test)]
pub(crate) use name::{CONTEXTS, EVENT, GIT, RUN, available, available_functions};
pub(crate) use program::Program;
pub(crate) use scope::{Evaluated, Parameters, Scope, part_of_text, some_changed, told};
pub(crate) use tree::Expr;
pub(crate) use value::Datum;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Sources, Span};
use crate::yaml::{Node, Value};

/// Longer expressions are refused (language.md §3).
pub(crate) const LENGTH_LIMIT: usize = 4 << 10;

/// A part of a text.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Text(String),
    Expression(Expression),
}

/// What stands between `${{` and `}}`.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(crate) source: String,
    /// From `${{` to `}}`.
    pub(crate) span: Span,
    /// Of `source` itself, for a caret inside it.
    pub(crate) inner: Span,
}

impl Expression {
    /// The parameter's name, when the expression is nothing but `params.NAME`.
    pub(crate) fn parameter(&self) -> Option<&str> {
        let name = self.source.trim().strip_prefix("params.")?.trim();
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        (!name.is_empty() && name.chars().all(word)).then_some(name)
    }

    /// The place of a part of the expression.
    pub(crate) fn part(&self, sources: &Sources, range: Range<usize>) -> Span {
        crate::yaml::inside(sources, self.inner, &self.source, range)
    }
}

/// Finds the expressions in every value of a tree.
pub(crate) fn scan(node: &mut Node, sources: &Sources, found: &mut Vec<Diagnostic>) {
    match &mut node.value {
        Value::Text(text) if text.contains("${{") => {
            let text = std::mem::take(text);
            node.value = match pieces(&text, node.span, sources) {
                Ok(pieces) => Value::Mixed(pieces),
                Err(refused) => {
                    found.push(*refused);
                    Value::REPORTED
                }
            };
        }
        Value::List(list) => list.iter_mut().for_each(|item| scan(item, sources, found)),
        Value::Map(map) => {
            map.0.iter_mut().for_each(|entry| scan(&mut entry.value, sources, found));
        }
        _ => {}
    }
}

fn pieces(text: &str, span: Span, sources: &Sources) -> Result<Vec<Piece>, Box<Diagnostic>> {
    let place = |range: Range<usize>| crate::yaml::inside(sources, span, text, range);
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("${{").map(|found| at + found) {
        if open > at {
            pieces.push(Piece::Text(text[at..open].to_owned()));
        }
        let begin = open + 3;
        let Some(length) = closing(&text[begin..]) else {
            let diagnostic = Diagnostic::error(Code::E040, "this expression has no end")
                .at(sources.place(place(open..begin)))
                .label("`}}` is missing");
            return Err(Box::new(diagnostic));
        };
        if length > LENGTH_LIMIT {
            let message =
                format!("the expression is {length} bytes long, the limit is {LENGTH_LIMIT}");
            let diagnostic =
                Diagnostic::error(Code::E046, message).at(sources.place(place(open..begin)));
            return Err(Box::new(diagnostic));
        }
        let end = begin + length;
        pieces.push(Piece::Expression(Expression {
            source: text[begin..end].to_owned(),
            span: place(open..end + 2),
            inner: place(begin..end),
        }));
        at = end + 2;
    }
    if at < text.len() {
        pieces.push(Piece::Text(text[at..].to_owned()));
    }
    Ok(pieces)
}

/// Length up to the `}}` that ends the expression: braces of CEL's maps and what
/// stands in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

/// An expression in one line, as far as a message has room for it.
pub(crate) fn brief(source: &str) -> String {
    const SHOWN: usize = 60;
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{FileId, SourceFile};

    fn scanned(text: &str) -> String {
        let sources = Sources::one(SourceFile::new("a.yml", text));
        let span = Span::new(FileId::PIPELINE, 0, text.len());
        match pieces(text, span, &sources) {
            Ok(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => format!("{text:?}"),
                    Piece::Expression(expression) => {
                        assert_eq!(sources.text(expression.inner), expression.source);
                        format!("<{}>", expression.source.trim())
                    }
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(diagnostic) => format!("{}: {}", diagnostic.code.name(), diagnostic.message),
        }
    }

    #[test]
    fn a_text_falls_into_text_and_expressions() {
        assert_eq!(scanned("a${{ git.sha }}b${{x}}"), r#""a" <git.sha> "b" <x>"#);
        assert_eq!(scanned("plain $VAR ${X} {{y}}"), r#""plain $VAR ${X} {{y}}""#);
        assert_eq!(scanned("${{ {'a': {'b': 1}}.a.b }}"), "<{'a': {'b': 1}}.a.b>");
        assert_eq!(scanned(r#"${{ "}}" + '\'}}' }}!"#), r#"<"}}" + '\'}}'> "!""#);
    }

    #[test]
    fn an_expression_ends_and_is_not_endless() {
        assert_eq!(scanned("a ${{ git.sha }"), "E040: this expression has no end");
        assert_eq!(
            scanned(&format!("${{{{ '{}' }}}}", "x".repeat(5000))),
            "E046: the expression is 5004 bytes long, the limit is 4096"
        );
    }
}
