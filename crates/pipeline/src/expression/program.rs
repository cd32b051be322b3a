//! A compiled expression, and what it refers to.

use std::ops::Range;

use super::cost;
use super::function::Function;
use super::tree::{Expr, Foreign, Name, Translation};

/// An expression that parses, as a tree that is evaluated as often as needed.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) root: Expr,
    /// What this language does not have; with any, the program is never evaluated.
    pub(crate) foreign: Vec<Foreign>,
    /// Every name that is read, in the order of the tree.
    pub(crate) references: Vec<Reference>,
    /// Places of `hash(…)`.
    pub(crate) hashes: Vec<Range<usize>>,
    pub(crate) reads_changes: bool,
}

/// A name that an expression reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: Name,
    /// Inside `has(…)` or the first part of `default(…)`: it may be missing.
    pub(crate) guarded: bool,
}

/// Why an expression does not compile.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// What is wrong, and where.
    Syntax { message: String, at: Range<usize> },
    /// It would cost too much; the message has the number and the limit.
    Expensive(String),
}

impl Program {
    pub(crate) fn compile(source: &str) -> Result<Self, CompileError> {
        // Most expressions are a path such as `git.sha_short`; those need no parser.
        if let Some(name) = path(source) {
            return Ok(Self::of(Expr::Name(name), Vec::new()));
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
        let mut translation = Translation {
            source,
            places: program.source_info(),
            bound: Vec::new(),
            foreign: Vec::new(),
            loops: 0,
        };
        let root = translation.expr(program.expression());
        let Translation { foreign, loops, .. } = translation;
        if loops > cost::LOOP_LIMIT {
            return Err(CompileError::Expensive(format!(
                "the expression has {loops} loops, the limit is {}",
                cost::LOOP_LIMIT
            )));
        }
        Ok(Self::of(root, foreign))
    }

    fn of(root: Expr, foreign: Vec<Foreign>) -> Self {
        let mut seen = Seen::default();
        seen.expr(&root, false);
        let Seen { references, hashes, reads_changes } = seen;
        Self { root, foreign, references, hashes, reads_changes }
    }

    /// Whether it reads what is known only when its stage starts; names of `env`
    /// may do so, too, and are asked by whoever knows them.
    pub(crate) fn is_pending(&self) -> bool {
        !self.hashes.is_empty()
            || self
                .references
                .iter()
                .any(|reference| matches!(reference.name.root.as_str(), "stages" | "run"))
    }
}

/// The name that a source of words and dots spells; `None` when it is anything else.
fn path(source: &str) -> Option<Name> {
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !matches!(word, "true" | "false" | "null" | "in")
    };
    let trimmed = source.trim();
    let mut parts = trimmed.split('.');
    if !parts.clone().all(word) {
        return None;
    }
    let start = source.len() - source.trim_start().len();
    Some(Name {
        root: parts.next()?.to_owned(),
        fields: parts.map(str::to_owned).collect(),
        at: start..start + trimmed.len(),
    })
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
    let quoted = message.split('\'').nth(1).map(str::trim);
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
    hashes: Vec<Range<usize>>,
    reads_changes: bool,
}

impl Seen {
    fn expr(&mut self, expr: &Expr, guarded: bool) {
        match expr {
            Expr::Literal(_) | Expr::Bound(_) => {}
            Expr::Name(name) => {
                self.references.push(Reference { name: name.clone(), guarded });
            }
            Expr::Has(operand, field) => {
                self.expr(operand, true);
                // `has(stages.a.outputs.x)` reads `x`.
                if let Expr::Name(_) = **operand
                    && let Some(last) = self.references.last_mut()
                {
                    last.name.fields.push(field.clone());
                }
            }
            Expr::Default(value, otherwise) => {
                self.expr(value, true);
                self.expr(otherwise, guarded);
            }
            Expr::Select(operand, _) | Expr::Not(operand) | Expr::NotStrictlyFalse(operand) => {
                self.expr(operand, guarded);
            }
            Expr::Index(one, other) | Expr::And(one, other) | Expr::Or(one, other) => {
                self.expr(one, guarded);
                self.expr(other, guarded);
            }
            Expr::List(items) => items.iter().for_each(|item| self.expr(item, guarded)),
            Expr::Map(entries) => entries.iter().for_each(|(key, value)| {
                self.expr(key, guarded);
                self.expr(value, guarded);
            }),
            Expr::If(parts) => parts.iter().for_each(|part| self.expr(part, guarded)),
            Expr::Call(call) => {
                if call.function == Function::Hash {
                    self.hashes.push(call.at.clone());
                }
                self.reads_changes |= call.function == Function::Changed;
                call.arguments.iter().for_each(|argument| self.expr(argument, guarded));
            }
            Expr::Collect(collect) => {
                self.expr(&collect.range, guarded);
                collect.filter.iter().for_each(|filter| self.expr(filter, guarded));
                self.expr(&collect.element, guarded);
            }
            Expr::Fold(fold) => {
                for part in [&fold.range, &fold.init, &fold.go_on, &fold.step, &fold.last] {
                    self.expr(part, guarded);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        let program = Program::compile(source).expect(source);
        program
            .references
            .into_iter()
            .map(|reference| {
                let written = &source[reference.name.at.clone()];
                let guarded = if reference.guarded { "?" } else { "" };
                format!("{}{guarded} = {written}", reference.name.path())
            })
            .collect()
    }

    #[test]
    fn names_are_found_with_their_path_and_place_and_without_variables_of_loops() {
        for (source, expected) in [
            ("git.branch", &["git.branch = git.branch"][..]),
            (" git . sha + 'é'", &["git.sha = git . sha"]),
            (
                "'é' + git['tag'] + slug(git.branch)",
                &["git.tag = git['tag']", "git.branch = git.branch"],
            ),
            ("[1, 2].all(x, x > params.least)", &["params.least = params.least"]),
            (
                "has(git.tag) ? git : {'a': env.B}",
                &["git.tag? = git", "git = git", "env.B = env.B"],
            ),
            (
                "stages[\"unit-test\"].cells['db=mysql:8'].outputs.x",
                &["stages[\"unit-test\"].cells[\"db=mysql:8\"].outputs.x = \
                   stages[\"unit-test\"].cells['db=mysql:8'].outputs.x"],
            ),
            (
                "default(stages.a.outputs.x, stages.b.result)",
                &["stages.a.outputs.x? = stages.a.outputs.x", "stages.b.result = stages.b.result"],
            ),
            ("git.branch == git.branch", &["git.branch = git.branch", "git.branch = git.branch"]),
        ] {
            assert_eq!(names(source), expected, "{source}");
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
