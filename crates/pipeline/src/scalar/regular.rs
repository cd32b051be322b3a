//! Regular expressions, as `pattern` and `comment` take them.

use regex::RegexBuilder;
use regex_syntax::Parser;

use super::{Misfit, Scalar};
use crate::plan::ValueKind;
use crate::yaml::Node;

/// A compiled pattern may take this much; more is a pattern nobody can read.
const COMPILED_BYTES: usize = 1 << 20;

/// Searched anywhere in a text unless it says `^` and `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegularExpression(pub(crate) String);

impl Scalar for RegularExpression {
    const KIND: ValueKind = ValueKind::Text;

    fn unknown(written: &str) -> Self {
        Self(written.to_owned())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        const WHAT: &str = "is no regular expression";
        let text = String::read(node)?;
        let (kind, span) = match Parser::new().parse(&text) {
            Ok(_) if RegexBuilder::new(&text).size_limit(COMPILED_BYTES).build().is_ok() => {
                return Ok(Self(text));
            }
            Ok(_) => return Err(Misfit::bad(WHAT, "it repeats too much")),
            Err(regex_syntax::Error::Parse(error)) => (error.kind().to_string(), *error.span()),
            Err(regex_syntax::Error::Translate(error)) => (error.kind().to_string(), *error.span()),
            Err(error) => return Err(Misfit::bad(WHAT, error.to_string())),
        };
        let misfit = Misfit::bad(WHAT, format!("{kind}; for example `^v[0-9]+$`"));
        let part = span.start.offset..span.end.offset;
        Err(if part.is_empty() { misfit } else { misfit.part(part) })
    }
}
