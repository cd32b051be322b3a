//! Templates: a pipeline file over a template, as one tree.
//!
//! Nothing is generated as text. The template is read as YAML, its parameters
//! replace `${{ params.x }}` inside scalars of the tree, and the file is laid over
//! it key by key. So a value can never become a key, and everything keeps the
//! place it was written at.

mod files;
mod merge;
mod parameter;
mod policy;
mod substitute;

use std::collections::BTreeMap;

pub use files::{Bundled, Files, NoTemplates};
use merge::Merge;
use policy::Policy;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{self, Checker, Parameters};
use crate::source::{FileId, Sources, Span};
use crate::suggest::{closest, quoted};
use crate::yaml::{self, Map, Node, Value};

/// Templates may name templates, this deep (language.md §3).
const DEPTH_LIMIT: usize = 10;

/// A pipeline file with its templates laid out below it.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) root: Node,
    /// Values of the parameters, by the file of the template.
    pub(crate) parameters: Parameters,
    /// Stages removed by `off`, and where.
    pub(crate) removed: BTreeMap<String, Span>,
    /// The stages that templates brought, also the removed ones.
    pub(crate) stages: Vec<String>,
}

/// Expands until no template is left; `None` when that is not possible.
pub(crate) fn expand(
    root: Node,
    sources: &mut Sources,
    files: &dyn Files,
    checker: &mut Checker,
    found: &mut Vec<Diagnostic>,
) -> Option<Expanded> {
    let mut expansion = Expansion {
        sources,
        files,
        checker,
        found,
        parameters: Parameters::new(),
        removed: BTreeMap::new(),
        stages: Vec::new(),
        policies: Vec::new(),
        chain: Vec::new(),
    };
    let root = expansion.level(root)?;
    let Expansion { parameters, removed, stages, .. } = expansion;
    Some(Expanded { root, parameters, removed, stages })
}

struct Expansion<'a> {
    sources: &'a mut Sources,
    files: &'a dyn Files,
    checker: &'a mut Checker,
    found: &'a mut Vec<Diagnostic>,
    parameters: Parameters,
    removed: BTreeMap<String, Span>,
    stages: Vec<String>,
    /// Of every template so far: what an inner one locks, an outer one cannot open.
    policies: Vec<Policy>,
    chain: Vec<String>,
}

impl Expansion<'_> {
    /// Lays one file over the template it names, if it names one.
    fn level(&mut self, mut root: Node) -> Option<Node> {
        let span = root.span;
        let Value::Map(map) = &mut root.value else { return Some(root) };
        let with = map.remove("with");
        let Some(named) = map.remove("template") else {
            if let Some(with) = with {
                self.found.push(
                    Diagnostic::error(Code::E011, "`with` belongs to a `template`")
                        .at(self.sources.place(with.key.span))
                        .label("this file names no template"),
                );
            }
            return Some(root);
        };
        let (name, version, file) = self.load(&named.value)?;
        let mut tree = yaml::read(self.sources, file, self.found)?;
        expression::scan(&mut tree, self.sources, self.found);
        let Value::Map(base) = &mut tree.value else {
            self.found.push(
                Diagnostic::error(Code::E004, "a template is a map")
                    .at(self.sources.place(tree.span))
                    .label(format!("this is {}", tree.value.kind())),
            );
            return None;
        };
        let label = format!("{name}@{version}");
        let declared = base.remove("params");
        let values = parameter::values(
            declared.as_ref(),
            with.as_ref(),
            &named.value,
            &label,
            self.sources,
            self.checker,
            self.found,
        );
        let policy = base.remove("policy");
        base.remove("description");
        if let Some(entry) = base.remove("name") {
            self.found.push(
                Diagnostic::error(
                    Code::E011,
                    "`name` belongs to the pipeline file, not to a template",
                )
                .at(self.sources.place(entry.key.span)),
            );
        }
        substitute::substitute(&mut tree, &values);
        self.parameters.insert(file, values);
        let lower = self.level(tree)?;
        self.policies
            .extend(policy.map(|entry| Policy::read(&entry, &label, self.sources, self.found)));
        let upper = std::mem::take(map);
        let merged = self.merge(lower, upper, &label);
        Some(Node::new(Value::Map(merged), span))
    }

    fn merge(&mut self, lower: Node, upper: Map, label: &str) -> Map {
        let Value::Map(lower) = lower.value else { return upper };
        let mut merge = Merge {
            sources: self.sources,
            found: self.found,
            policies: &self.policies,
            label,
            removed: &mut self.removed,
            stages: &mut self.stages,
        };
        merge.pipeline(lower, upper)
    }

    /// Finds a template: its name, its exact version, its file.
    fn load(&mut self, node: &Node) -> Option<(String, String, FileId)> {
        let place = self.sources.place(node.span);
        let Value::Text(text) = &node.value else {
            let message = match node.value {
                Value::Mixed(_) => "expressions are not available in `template`".to_owned(),
                _ => format!("`template` takes a text, not {}", node.value.kind()),
            };
            let code = if matches!(node.value, Value::Mixed(_)) { Code::E045 } else { Code::E012 };
            self.found.push(
                Diagnostic::error(code, message).at(place).label("for example `c-service@1`"),
            );
            return None;
        };
        if text.contains("//") || text.starts_with('.') || text.starts_with('/') {
            let message = format!(
                "templates from Git and from paths are part of the language, but this version reads \
                 only bundled ones; found `{text}`"
            );
            self.found.push(Diagnostic::error(Code::E018, message).at(place));
            return None;
        }
        let (name, wanted) = text.split_once('@').unwrap_or((text, ""));
        let mut versions = self.files.versions(name);
        versions.sort_by_key(|version| files::numbers(version));
        if versions.is_empty() {
            let names = self.files.names();
            let known = names.iter().map(String::as_str);
            let end = node.inside(self.sources, text, 0..name.len());
            let diagnostic =
                Diagnostic::error(Code::E030, format!("there is no template `{name}`"))
                    .at(self.sources.place(end))
                    .note(format!("searched: bundled templates ({})", quoted(known.clone())));
            self.found.push(diagnostic.did_you_mean(closest(name, known)));
            return None;
        }
        let version = files::newest(&versions, wanted).filter(|_| !wanted.is_empty());
        let Some(version) = version else {
            let message = if wanted.is_empty() {
                format!("template `{name}` is named without a version")
            } else {
                format!("template `{name}` has no version `{wanted}`")
            };
            let newest = versions.last().map_or("", String::as_str);
            self.found.push(
                Diagnostic::error(Code::E031, message)
                    .at(place)
                    .label(format!("write `{name}@{newest}`"))
                    .note(format!(
                        "versions there are: {}",
                        quoted(versions.iter().map(String::as_str))
                    )),
            );
            return None;
        };
        let label = format!("{name}@{version}");
        let again = self.chain.contains(&label);
        self.chain.push(label);
        if again || self.chain.len() > DEPTH_LIMIT {
            let message = if again {
                "templates use each other in a circle".to_owned()
            } else {
                format!(
                    "templates lie {} deep in one another, the limit is {DEPTH_LIMIT}",
                    self.chain.len()
                )
            };
            let chain = self.chain.join(" -> ");
            self.found.push(Diagnostic::error(Code::E038, message).at(place).note(chain));
            return None;
        }
        let Some(file) = self.files.template(name, version) else {
            let message = format!("template `{name}@{version}` cannot be read");
            self.found.push(Diagnostic::error(Code::E030, message).at(place));
            return None;
        };
        Some((name.to_owned(), version.clone(), self.sources.add(file)))
    }
}
