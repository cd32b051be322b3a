//! An expression as a tree: what the parser of CEL leaves, in the words of this
//! language.
//!
//! Names are whole paths, bound variables are told apart from them, functions are
//! looked up, and the loops that make lists are their own kind. What CEL can say
//! and this language does not have is refused here.

use std::ops::Range;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Cel, IdedExpr, LiteralValue, SourceInfo,
};

use regex::Regex;

use super::function::{self, Function};
use super::value::Datum;

#[derive(Debug)]
pub(crate) enum Expr {
    Literal(Datum),
    Name(Name),
    /// A variable of a loop.
    Bound(String),
    Select(Box<Self>, String),
    /// `has(x.field)`.
    Has(Box<Self>, String),
    Index(Box<Self>, Box<Self>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<[Self; 3]>),
    /// `default(x, y)`: `y` is looked at only when `x` is missing.
    Default(Box<Self>, Box<Self>),
    /// Everything but `false`, errors too: how `all` and `exists` go on after one.
    NotStrictlyFalse(Box<Self>),
    Call(Call),
    /// `map` and `filter`.
    Collect(Box<Collect>),
    /// `all`, `exists`, `exists_one`.
    Fold(Box<Fold>),
}

/// A path such as `stages["unit-test"].outputs.x`, as far as it is written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) root: String,
    pub(crate) fields: Vec<String>,
    /// Bytes of the source.
    pub(crate) at: Range<usize>,
}

impl Name {
    /// As a message names it: `git.branch`, `stages["unit-test"].result`.
    pub(crate) fn path(&self) -> String {
        self.prefix(self.fields.len())
    }

    /// The first `fields` fields of the path.
    pub(crate) fn prefix(&self, fields: usize) -> String {
        let mut path = self.root.clone();
        for field in &self.fields[..fields] {
            let word = field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !field.starts_with(|first: char| first.is_ascii_digit())
                && !field.is_empty();
            if word {
                path.push('.');
                path.push_str(field);
            } else {
                path.push_str(&format!("[\"{field}\"]"));
            }
        }
        path
    }

    pub(crate) fn field(&self) -> Option<&str> {
        self.fields.first().map(String::as_str)
    }
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: Function,
    /// What a method is called on comes first.
    pub(crate) arguments: Vec<Expr>,
    pub(crate) at: Range<usize>,
    /// Of `matches`, when its pattern is written out.
    pub(crate) pattern: Option<Regex>,
}

#[derive(Debug)]
pub(crate) struct Collect {
    pub(crate) range: Expr,
    pub(crate) item: String,
    pub(crate) filter: Option<Expr>,
    pub(crate) element: Expr,
}

#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Expr,
    pub(crate) item: String,
    pub(crate) result: String,
    pub(crate) init: Expr,
    pub(crate) go_on: Expr,
    pub(crate) step: Expr,
    pub(crate) last: Expr,
}

/// Something CEL has and this language has not.
#[derive(Debug)]
pub(crate) enum Foreign {
    Function {
        name: String,
        at: Range<usize>,
    },
    /// In words: "byte texts".
    Construct {
        what: String,
        at: Range<usize>,
    },
    Arguments {
        message: String,
        at: Range<usize>,
    },
}

pub(super) struct Translation<'a> {
    pub(super) source: &'a str,
    pub(super) places: &'a SourceInfo,
    pub(super) bound: Vec<String>,
    pub(super) foreign: Vec<Foreign>,
    pub(super) loops: usize,
}

impl Translation<'_> {
    pub(super) fn expr(&mut self, expr: &IdedExpr) -> Expr {
        if let Some((root, fields)) = path(expr)
            && !self.bound.contains(&root.0)
        {
            let at = self.name_at(root.1, &root.0, &fields);
            return Expr::Name(Name { root: root.0, fields, at });
        }
        match &expr.expr {
            Cel::Literal(literal) => self.literal(expr, literal),
            Cel::Ident(name) => Expr::Bound(name.clone()),
            Cel::Select(select) if select.test => {
                Expr::Has(Box::new(self.expr(&select.operand)), select.field.clone())
            }
            Cel::Select(select) => {
                Expr::Select(Box::new(self.expr(&select.operand)), select.field.clone())
            }
            Cel::List(list) => {
                Expr::List(list.elements.iter().map(|element| self.expr(element)).collect())
            }
            Cel::Map(map) => Expr::Map(
                map.entries
                    .iter()
                    .filter_map(|entry| match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            Some((self.expr(&entry.key), self.expr(&entry.value)))
                        }
                        EntryExpr::StructField(_) => None,
                    })
                    .collect(),
            ),
            Cel::Call(call) => self.call(expr, call),
            Cel::Comprehension(comprehension) => self.comprehension(comprehension),
            Cel::Struct(made) => {
                self.no(expr, format!("messages such as `{}{{}}`", made.type_name))
            }
            Cel::Unspecified => self.no(expr, "empty expressions".to_owned()),
        }
    }

    fn no(&mut self, expr: &IdedExpr, what: String) -> Expr {
        let at = self.at(expr.id);
        self.foreign.push(Foreign::Construct { what, at });
        Expr::Literal(Datum::Null)
    }

    fn literal(&mut self, expr: &IdedExpr, literal: &LiteralValue) -> Expr {
        Expr::Literal(match literal {
            LiteralValue::Null => Datum::Null,
            LiteralValue::Boolean(value) => Datum::Bool(*value.inner()),
            LiteralValue::Int(value) => Datum::Int(*value.inner()),
            LiteralValue::Double(value) => Datum::Float(*value.inner()),
            LiteralValue::String(text) => Datum::text(text.inner()),
            LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
                Ok(value) => Datum::Int(value),
                Err(_) => return self.no(expr, "numbers above 9223372036854775807".to_owned()),
            },
            LiteralValue::Bytes(_) => return self.no(expr, "texts of bytes (`b'…'`)".to_owned()),
        })
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Expr {
        let at = self.at(expr.id);
        let name = call.func_name.as_str();
        let mut arguments: Vec<Expr> = call.target.iter().map(|target| self.expr(target)).collect();
        arguments.extend(call.args.iter().map(|argument| self.expr(argument)));
        let count = arguments.len();
        let mut rest = arguments.into_iter();
        let mut next = || Box::new(rest.next().unwrap_or(Expr::Literal(Datum::Null)));
        match (name, count) {
            ("!_", 1) => return Expr::Not(next()),
            ("@not_strictly_false", 1) => return Expr::NotStrictlyFalse(next()),
            ("_&&_", 2) => return Expr::And(next(), next()),
            ("_||_", 2) => return Expr::Or(next(), next()),
            ("_[_]", 2) => return Expr::Index(next(), next()),
            ("_?_:_", 3) => return Expr::If(Box::new([*next(), *next(), *next()])),
            ("default", 2) => return Expr::Default(next(), next()),
            _ => {}
        }
        let at = self.word_at(name, &at);
        let Some(function) = Function::named(name) else {
            let foreign = match name.starts_with(|first: char| first.is_ascii_alphabetic()) {
                true => Foreign::Function { name: name.to_owned(), at },
                false => Foreign::Construct { what: "optional fields".to_owned(), at },
            };
            self.foreign.push(foreign);
            return Expr::Literal(Datum::Null);
        };
        if let Some(message) = function.wrong_count(count) {
            self.foreign.push(Foreign::Arguments { message, at: at.clone() });
        }
        let arguments: Vec<Expr> = rest.collect();
        let pattern = match (function, arguments.as_slice()) {
            (Function::Matches, [_, Expr::Literal(Datum::Text(pattern))]) => {
                match function::regex(pattern) {
                    Ok(pattern) => Some(pattern),
                    Err(message) => {
                        self.foreign.push(Foreign::Arguments { message, at: at.clone() });
                        None
                    }
                }
            }
            _ => None,
        };
        Expr::Call(Call { function, arguments, at, pattern })
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Expr {
        self.loops += 1;
        let range = self.expr(&loops.iter_range);
        let before = self.bound.len();
        self.bound.push(loops.iter_var.clone());
        self.bound.push(loops.accu_var.clone());
        let expr = match collecting(loops) {
            Some((filter, element)) => Expr::Collect(Box::new(Collect {
                range,
                item: loops.iter_var.clone(),
                filter: filter.map(|filter| self.expr(filter)),
                element: self.expr(element),
            })),
            None => Expr::Fold(Box::new(Fold {
                range,
                item: loops.iter_var.clone(),
                result: loops.accu_var.clone(),
                init: self.expr(&loops.accu_init),
                go_on: self.expr(&loops.loop_cond),
                step: self.expr(&loops.loop_step),
                last: self.expr(&loops.result),
            })),
        };
        self.bound.truncate(before);
        expr
    }

    /// The parser counts bytes.
    fn at(&self, id: u64) -> Range<usize> {
        let Some((start, stop)) = self.places.offset_for(id) else { return 0..self.source.len() };
        let byte = |at: u32| {
            let mut at = usize::try_from(at).unwrap_or(usize::MAX).min(self.source.len());
            while !self.source.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        byte(start)..byte(stop.saturating_add(1)).max(byte(start))
    }

    /// The place of a function's name, which stands at or before its bracket.
    fn word_at(&self, name: &str, at: &Range<usize>) -> Range<usize> {
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return at.clone();
        }
        let end = (at.start + name.len()).min(self.source.len());
        let before = self.source.get(..end).unwrap_or(self.source);
        let found = before.rfind(name).or_else(|| self.source.find(name));
        found.map_or_else(|| at.clone(), |start| start..start + name.len())
    }

    /// The whole of a path, from the place of its first name.
    fn name_at(&self, id: u64, root: &str, fields: &[String]) -> Range<usize> {
        let mut start = self.at(id).start;
        if !self.source[start..].starts_with(root) {
            match self.source.find(root) {
                Some(found) => start = found,
                None => return 0..self.source.len(),
            }
        }
        let mut end = start + root.len();
        for field in fields {
            let rest = &self.source[end..];
            let Some(found) = rest.find(field.as_str()) else { return start..end };
            let between = &rest[..found];
            if !between.chars().all(|c| c.is_whitespace() || matches!(c, '.' | '[' | '"' | '\'')) {
                return start..end;
            }
            end += found + field.len();
            if between.contains('[') {
                let close = self.source[end..].find(']').map_or(0, |close| close + 1);
                end += close;
            }
        }
        start..end
    }
}

/// The path that an expression spells, with the id of its first name.
fn path(expr: &IdedExpr) -> Option<((String, u64), Vec<String>)> {
    match &expr.expr {
        Cel::Ident(name) if !name.starts_with('@') => Some(((name.clone(), expr.id), Vec::new())),
        Cel::Select(select) if !select.test => {
            let (root, mut fields) = path(&select.operand)?;
            fields.push(select.field.clone());
            Some((root, fields))
        }
        Cel::Call(CallExpr { func_name, target: None, args }) if func_name == "_[_]" => {
            match args.as_slice() {
                [operand, IdedExpr { expr: Cel::Literal(LiteralValue::String(field)), .. }] => {
                    let (root, mut fields) = path(operand)?;
                    fields.push(field.inner().to_owned());
                    Some((root, fields))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The filter and the element of a loop that makes a list: its step is
/// `result + [element]`, or `filter ? result + [element] : result`.
fn collecting(loops: &ComprehensionExpr) -> Option<(Option<&IdedExpr>, &IdedExpr)> {
    let is_result =
        |expr: &IdedExpr| matches!(&expr.expr, Cel::Ident(name) if *name == loops.accu_var);
    let starts_empty = matches!(&loops.accu_init.expr, Cel::List(list) if list.elements.is_empty());
    if !starts_empty || !is_result(&loops.result) {
        return None;
    }
    let Cel::Call(step) = &loops.loop_step.expr else { return None };
    let (filter, sum) = match (step.func_name.as_str(), step.args.as_slice()) {
        ("_?_:_", [filter, sum, otherwise]) if is_result(otherwise) => (Some(filter), sum),
        _ => (None, &loops.loop_step),
    };
    let Cel::Call(CallExpr { func_name, args, .. }) = &sum.expr else { return None };
    match (func_name.as_str(), args.as_slice()) {
        ("_+_", [result, IdedExpr { expr: Cel::List(list), .. }]) if is_result(result) => {
            list.elements.first().map(|element| (filter, element))
        }
        _ => None,
    }
}
