//! Warnings: what is allowed, and seldom meant.
//!
//! Each file knows one kind; a comment on the line of a warning silences it.

mod credential;
pub(crate) mod deprecated;
mod image;
mod input;
mod never;
mod number;
mod open_end;
mod parallel;
mod path;
mod script;

use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::model::Stage;
use crate::source::Sources;
use crate::yaml::{Map, Node};

/// What the lints look at.
pub(crate) struct Lint<'a> {
    /// The file with its templates laid out below it.
    pub(crate) root: &'a Node,
    pub(crate) stages: &'a [Stage],
    pub(crate) graph: &'a Graph,
    pub(crate) defaults: &'a Map,
    pub(crate) sources: &'a Sources,
}

/// Returns the warnings of a pipeline, also those its file allows.
pub(crate) fn warnings(lint: &Lint<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    image::warnings(lint, &mut found);
    open_end::warnings(lint, &mut found);
    path::warnings(lint.stages, lint.graph, lint.sources, &mut found);
    parallel::warnings(lint, &mut found);
    input::warnings(lint, &mut found);
    script::warnings(lint, &mut found);
    number::warnings(lint, &mut found);
    credential::warnings(lint, &mut found);
    found
}

/// `# shipline: allow W024` on the line of the warning.
pub(crate) fn is_allowed(warning: &Diagnostic) -> bool {
    let Some(place) = &warning.place else { return false };
    let line = place.source().line(place.start().0);
    allows(line, warning.code.name())
}

fn allows(line: &str, code: &str) -> bool {
    let Some((_, comment)) = line.split_once("# shipline: allow ") else { return false };
    comment
        .split([' ', ','])
        .take_while(|word| word.is_empty() || is_code(word))
        .any(|word| word == code)
}

fn is_code(word: &str) -> bool {
    word.len() == 4 && word.starts_with('W') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_allows_the_codes_it_names() {
        let line = "  deploy: # shipline: allow W024, W070 -- approval is for prod only W071";
        assert!(allows(line, "W024"));
        assert!(allows(line, "W070"));
        assert!(!allows(line, "W071"));
        assert!(!allows("  deploy: # allow W024", "W024"));
    }
}
