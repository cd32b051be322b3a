//! Finding the template that a file names, and what to say when there is none.

use super::{DEPTH_LIMIT, Expansion, NotFound, Template, TemplateReference, Used};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use crate::suggest::{closest, quoted};
use crate::yaml::{Node, Value};

const EXAMPLE: &str = "for example `c-service@1`";
const UPDATE: &str = "shipline template update";

/// A template that was found, as it is named in messages: `c-service@1`.
pub(super) struct Found {
    pub(super) reference: TemplateReference,
    pub(super) label: String,
    pub(super) file: FileId,
}

impl Expansion<'_> {
    /// Finds what stands behind `template:`; `of` is the template whose file says it.
    pub(super) fn load(&mut self, node: &Node, of: Option<&TemplateReference>) -> Option<Found> {
        let place = self.sources.place(node.span);
        let Value::Text(text) = &node.value else {
            let (code, message) = match &node.value {
                value if value.is_reported() => return None,
                Value::Mixed(_) => {
                    (Code::E045, "expressions are not available in `template`".to_owned())
                }
                other => (Code::E012, format!("`template` takes a text, not {}", other.kind())),
            };
            self.found.push(Diagnostic::error(code, message).at(place).label(EXAMPLE));
            return None;
        };
        let reference = match TemplateReference::parse(text, of) {
            Ok(reference) => reference,
            Err(bad) => {
                let part = node.inside(self.sources, text, bad.part);
                let error = Diagnostic::error(Code::E015, bad.why).at(self.sources.place(part));
                self.found.push(error.label(bad.label));
                return None;
            }
        };
        match self.files.find(&reference) {
            Ok(template) => self.enter(reference, template, node.span),
            Err(why) => {
                let error = self.not_found(&reference, node, text, why);
                self.found.push(error);
                None
            }
        }
    }

    /// One level deeper, unless that leads nowhere (E038).
    fn enter(
        &mut self,
        reference: TemplateReference,
        template: Template,
        span: Span,
    ) -> Option<Found> {
        let label = reference.at(&template.version).to_string();
        let again = self.chain.iter().any(|used| used.label == label);
        self.chain.push(Used { reference: reference.clone(), label: label.clone(), span });
        if again || self.chain.len() > DEPTH_LIMIT {
            let message = if again {
                "templates use each other in a circle".to_owned()
            } else {
                let depth = self.chain.len();
                format!("templates lie {depth} deep in one another, the limit is {DEPTH_LIMIT}")
            };
            let chain: Vec<&str> = self.chain.iter().map(|used| used.label.as_str()).collect();
            let (chain, place) = (chain.join(" -> "), self.sources.place(span));
            self.found.push(Diagnostic::error(Code::E038, message).at(place).note(chain));
            return None;
        }
        Some(Found { reference, label, file: self.sources.add(template.source) })
    }

    fn not_found(
        &self,
        reference: &TemplateReference,
        node: &Node,
        text: &str,
        why: NotFound,
    ) -> Diagnostic {
        let error = |code, message| Diagnostic::error(code, message);
        let place = self.sources.place(node.span);
        match why {
            NotFound::Unknown { searched, names } => {
                let name = reference.name();
                let known = names.iter().map(String::as_str);
                let at = text.find(name).unwrap_or_default();
                let part = node.inside(self.sources, text, at..at + name.len());
                let message = format!("there is no template `{name}`");
                let error = error(Code::E030, message).at(self.sources.place(part));
                let error = searched
                    .into_iter()
                    .fold(error, |error, answer| error.note(format!("searched: {answer}")));
                error.did_you_mean(closest(name, known))
            }
            NotFound::Version { versions } => {
                let name = reference.name();
                let wanted = reference.version().unwrap_or_default();
                let message = if wanted.is_empty() {
                    format!("template `{name}` is named without a version")
                } else {
                    format!("template `{name}` has no version `{wanted}`")
                };
                let error = error(Code::E031, message).at(place);
                let Some(newest) = versions.last() else {
                    return error.note("there is no version of it yet");
                };
                let listed = quoted(versions.iter().map(String::as_str));
                error
                    .label(format!("write `{}`", reference.at(newest)))
                    .note(format!("versions there are: {listed}"))
            }
            NotFound::NotLocked => {
                let message = format!("template `{text}` is not in `{}`", super::LOCK_FILE);
                error(Code::E037, message).at(place).help(format!(
                    "`{UPDATE}` looks for it, and writes its exact version there; commit that file"
                ))
            }
            NotFound::Changed { locked, found } => {
                let message = format!("template `{text}` is not the one that is locked");
                error(Code::E037, message)
                    .at(place)
                    .note(format!("locked: sha256 {locked}"))
                    .note(format!("found:  sha256 {found}"))
                    .help(format!("`{UPDATE}` shows what the other one changes, and locks it"))
            }
            NotFound::Unreadable { why } => {
                error(Code::E003, format!("template `{text}` cannot be read: {why}")).at(place)
            }
            NotFound::Unreachable { address, reason } => {
                let message = format!("template `{text}` cannot be fetched");
                error(Code::E039, message)
                    .at(place)
                    .note(format!("{address}: {reason}"))
                    .help("a template that was fetched once is stored, and read with `--offline`")
            }
        }
    }
}
