//! A compiled expression, and what it refers to.

use std::ops::Range;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::cost::{self, LOOP_LIMIT};

/// Most expressions are a path such as `git.sha_short`; those need no CEL.
#[derive(Debug)]
pub(crate) enum Program {
    Path(Vec<String>),
    Cel(cel::Program),
}

/// Why an expression does not compile.
pub(crate) enum CompileError {
    /// What is wrong, and where.
    Syntax { message: String, at: Range<usize> },
    /// It would cost too much; the message has the number and the limit.
    Expensive(String),
}

/// A name that an expression reads: `git.branch` is root `git`, field `branch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) root: String,
    pub(crate) field: Option<String>,
}

impl Program {
    pub(crate) fn compile(source: &str) -> Result<Self, CompileError> {
        if let Some(path) = path(source) {
            return Ok(Self::Path(path));
        }
        if let Some(message) = cost::too_heavy(source) {
            return Err(CompileError::Expensive(message));
        }
        let program =
            cel::Program::compile(source).map_err(|errors| match errors.errors.first() {
                Some(error) => CompileError::Syntax {
                    message: plain_words(error.msg.lines().next().unwrap_or_default()),
                    at: place(source, error.pos),
                },
                None => CompileError::Syntax {
                    message: "not an expression".to_owned(),
                    at: 0..source.len(),
                },
            })?;
        let program = Self::Cel(program);
        let loops = program.loops();
        if loops > LOOP_LIMIT {
            return Err(CompileError::Expensive(format!(
                "the expression has {loops} loops, the limit is {LOOP_LIMIT}"
            )));
        }
        Ok(program)
    }

    /// Macros that go over the elements of a list or map.
    pub(crate) fn loops(&self) -> usize {
        let mut seen = Seen::default();
        if let Self::Cel(program) = self {
            walk(program.expression(), &mut Vec::new(), &mut seen);
        }
        seen.loops
    }

    /// Every name that is read, in the order it is written.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut seen = Seen::default();
        match self {
            Self::Path(path) => seen
                .references
                .push(Reference { root: path[0].clone(), field: path.get(1).cloned() }),
            Self::Cel(program) => walk(program.expression(), &mut Vec::new(), &mut seen),
        }
        seen.references
    }

    /// Every function that is called by name; operators and macros are not.
    pub(crate) fn functions(&self) -> Vec<String> {
        let mut seen = Seen::default();
        if let Self::Cel(program) = self {
            walk(program.expression(), &mut Vec::new(), &mut seen);
        }
        seen.functions
    }

    /// The first untrusted value that can flow into the result.
    pub(crate) fn tainted(&self, untrusted: &dyn Fn(&Reference) -> bool) -> Option<Reference> {
        match self {
            Self::Path(_) => self.references().into_iter().find(|reference| untrusted(reference)),
            Self::Cel(program) => taint(program.expression(), &mut Vec::new(), untrusted),
        }
    }
}

/// Splits `a.b.c`; `None` when the source is anything else.
fn path(source: &str) -> Option<Vec<String>> {
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !matches!(word, "true" | "false" | "null" | "in")
    };
    let parts: Vec<_> = source.trim().split('.').collect();
    parts.iter().all(|part| word(part)).then(|| parts.into_iter().map(str::to_owned).collect())
}

fn place(source: &str, (line, column): (isize, isize)) -> Range<usize> {
    let line_start: usize = source
        .split_inclusive('\n')
        .take(usize::try_from(line - 1).unwrap_or(0))
        .map(str::len)
        .sum();
    let column = usize::try_from(column - 1).unwrap_or(0);
    let rest = source.get(line_start..).unwrap_or_default();
    let inside = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let start = (line_start + inside).min(source.trim_end().len());
    let one = source[start..].chars().next().map_or(0, char::len_utf8);
    start..start + one
}

/// CEL's messages are those of a parser generator; what matters is what it met.
fn plain_words(message: &str) -> String {
    let quoted = message.split('\'').nth(1);
    let known = ["mismatched input", "extraneous input", "no viable alternative", "missing "];
    match quoted {
        Some("<EOF>") => "it ends too early".to_owned(),
        Some(token) if known.iter().any(|known| message.contains(known)) => {
            format!("unexpected `{token}`")
        }
        _ if message.contains("Context") => "it cannot be read to its end".to_owned(),
        Some(token) if message.contains("token recognition") => {
            format!("`{token}` means nothing here")
        }
        _ => message.trim_start_matches("Syntax error: ").to_owned(),
    }
}

#[derive(Default)]
struct Seen {
    references: Vec<Reference>,
    functions: Vec<String>,
    loops: usize,
}

/// The reference that an expression is, when it is one.
fn reference(expr: &IdedExpr, bound: &[String]) -> Option<Reference> {
    let root = |expr: &IdedExpr| match &expr.expr {
        Expr::Ident(name) if !bound.contains(name) && !name.starts_with('@') => Some(name.clone()),
        _ => None,
    };
    match &expr.expr {
        Expr::Ident(_) => Some(Reference { root: root(expr)?, field: None }),
        Expr::Select(select) => {
            Some(Reference { root: root(&select.operand)?, field: Some(select.field.clone()) })
        }
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == "_[_]" => {
            match args.as_slice() {
                [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] => {
                    Some(Reference { root: root(operand)?, field: Some(field.inner().to_owned()) })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn walk(expr: &IdedExpr, bound: &mut Vec<String>, seen: &mut Seen) {
    if let Some(reference) = reference(expr, bound) {
        seen.references.push(reference);
        return;
    }
    if let Expr::Call(call) = &expr.expr {
        let name = &call.func_name;
        if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            seen.functions.push(name.clone());
        }
    }
    seen.loops += usize::from(matches!(&expr.expr, Expr::Comprehension(_)));
    children(expr, bound, &mut |child, bound| walk(child, bound, seen));
}

/// Operators and functions whose result says nothing of the text they read.
const CLEANSING: &[&str] = &[
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
    "_&&_",
    "_||_",
    "!_",
    "@in",
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "slug",
    "hash",
    "bool",
    "int",
    "uint",
    "double",
    "type",
    "@not_strictly_false",
];

fn taint(
    expr: &IdedExpr,
    bound: &mut Vec<String>,
    untrusted: &dyn Fn(&Reference) -> bool,
) -> Option<Reference> {
    if let Some(reference) = reference(expr, bound) {
        return untrusted(&reference).then_some(reference);
    }
    match &expr.expr {
        Expr::Call(call) if CLEANSING.contains(&call.func_name.as_str()) => return None,
        // The condition chooses; it does not flow.
        Expr::Call(call) if call.func_name == "_?_:_" => {
            return call.args.iter().skip(1).find_map(|branch| taint(branch, bound, untrusted));
        }
        Expr::Select(select) if select.test => return None,
        _ => {}
    }
    let mut found = None;
    children(expr, bound, &mut |child, bound| {
        if found.is_none() {
            found = taint(child, bound, untrusted);
        }
    });
    found
}

fn children(
    expr: &IdedExpr,
    bound: &mut Vec<String>,
    visit: &mut dyn FnMut(&IdedExpr, &mut Vec<String>),
) {
    match &expr.expr {
        Expr::Call(call) => {
            call.target.iter().for_each(|target| visit(target, bound));
            call.args.iter().for_each(|argument| visit(argument, bound));
        }
        Expr::Select(select) => visit(&select.operand, bound),
        Expr::List(list) => list.elements.iter().for_each(|element| visit(element, bound)),
        Expr::Map(map) => {
            map.entries.iter().for_each(|entry| entry_children(&entry.expr, bound, visit));
        }
        Expr::Struct(made) => {
            made.entries.iter().for_each(|entry| entry_children(&entry.expr, bound, visit));
        }
        Expr::Comprehension(comprehension) => {
            visit(&comprehension.iter_range, bound);
            let before = bound.len();
            bound.push(comprehension.iter_var.clone());
            bound.extend(comprehension.iter_var2.clone());
            bound.push(comprehension.accu_var.clone());
            visit(&comprehension.accu_init, bound);
            visit(&comprehension.loop_cond, bound);
            visit(&comprehension.loop_step, bound);
            visit(&comprehension.result, bound);
            bound.truncate(before);
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entry_children(
    entry: &EntryExpr,
    bound: &mut Vec<String>,
    visit: &mut dyn FnMut(&IdedExpr, &mut Vec<String>),
) {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value, bound),
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key, bound);
            visit(&entry.value, bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(source: &str) -> Program {
        Program::compile(source).ok().expect(source)
    }

    fn names(source: &str) -> Vec<String> {
        compiled(source)
            .references()
            .into_iter()
            .map(|reference| match reference.field {
                Some(field) => format!("{}.{field}", reference.root),
                None => reference.root,
            })
            .collect()
    }

    #[test]
    fn names_are_found_with_their_field_and_without_bound_variables() {
        assert_eq!(names("git.branch"), ["git.branch"]);
        assert_eq!(names("git['tag'] + slug(git.branch)"), ["git.tag", "git.branch"]);
        assert_eq!(names("[1, 2].all(x, x > params.least)"), ["params.least"]);
        assert_eq!(names("has(git.tag) ? git : {'a': env.B}"), ["git.tag", "git", "env.B"]);
    }

    #[test]
    fn untrusted_text_flows_through_text_but_not_through_comparisons() {
        let untrusted = |reference: &Reference| reference.field.as_deref() == Some("branch");
        let flows = |source| compiled(source).tainted(&untrusted).is_some();
        for source in [
            "git.branch",
            "'a' + git.branch",
            "git['branch']",
            "[git.branch][0]",
            "true ? git.branch : 'x'",
            "{'a': git.branch}.a",
            "string(git.branch)",
        ] {
            assert!(flows(source), "{source}");
        }
        for source in [
            "git.sha",
            "git.branch == 'main'",
            "slug(git.branch)",
            "size(git.branch)",
            "git.branch.startsWith('r') ? 'a' : 'b'",
            "git.branch in ['a']",
        ] {
            assert!(!flows(source), "{source}");
        }
    }

    #[test]
    fn a_syntax_error_knows_its_place() {
        let Err(CompileError::Syntax { message, at }) = Program::compile(" git.sha + ") else {
            panic!("it compiles");
        };
        assert!(at.start >= 9, "{at:?} {message}");
        for source in ["", " ", "a b", "1 +", "f(", "a.", "'open", "a[", "((((", "é é"] {
            assert!(Program::compile(source).is_err(), "{source}");
        }
    }
}
