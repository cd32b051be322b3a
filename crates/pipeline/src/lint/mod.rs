//! Warnings: what is allowed, and seldom meant.

mod path;

use std::collections::HashSet;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::model::Stage;
use crate::plan::{ImageSource, Work};
use crate::reference::Reference;
use crate::source::{Sources, Span};
use crate::yaml::{Map, Value};

/// Returns the warnings of a pipeline, without those its file allows.
pub(crate) fn warnings(
    stages: &[Stage],
    graph: &Graph,
    defaults: &Map,
    sources: &Sources,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    loose_images(stages, defaults, sources, &mut found);
    for stage in stages {
        if let Work::Deploy(_) = &stage.body.work {
            if stage.key("timeout").or_else(|| defaults.get("timeout")).is_none() {
                found.push(
                    Diagnostic::warning(
                        Code::W070,
                        format!(
                            "stage `{}` deploys without a `timeout`, and may take an hour",
                            stage.name
                        ),
                    )
                    .at(sources.place(stage.span))
                    .label("add for example `timeout: 15m`"),
                );
            }
        }
    }
    path::warnings(stages, graph, sources, &mut found);
    found.retain(|warning| !is_allowed(warning));
    found
}

/// `:latest` and no tag, once for each place it is written at.
fn loose_images(stages: &[Stage], defaults: &Map, sources: &Sources, found: &mut Vec<Diagnostic>) {
    let mut seen: HashSet<Span> = HashSet::new();
    for stage in stages {
        let node = match &stage.body.work {
            Work::Run(_) => stage.key("image").or_else(|| defaults.get("image")),
            Work::Push(push) if matches!(push.image, ImageSource::Reference(_)) => {
                stage.key_of("push", "image")
            }
            Work::Deploy(deploy) if matches!(deploy.image, Some(ImageSource::Reference(_))) => {
                stage.key_of("deploy", "image")
            }
            _ => None,
        };
        let Some((Value::Text(text), span)) = node.map(|node| (&node.value, node.span)) else {
            continue;
        };
        let Ok(reference) = Reference::parse(text) else { continue };
        if !reference.is_loose() || !seen.insert(span) {
            continue;
        }
        let message = match reference.tag {
            Some(tag) => format!("image `{text}` has the tag `{tag}`, which moves"),
            None => format!("image `{text}` has no tag, which means `latest`"),
        };
        found.push(
            Diagnostic::warning(Code::W070, message)
                .at(sources.place(span))
                .label(format!("name a version, for example `{}:1.0`", reference.repository)),
        );
    }
}

/// `# shipline: allow W024` on the line of the warning.
fn is_allowed(warning: &Diagnostic) -> bool {
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
