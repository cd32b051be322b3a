//! Templates: a pipeline file over a template, as one tree.
//!
//! Nothing is generated as text. The template is read as YAML, its parameters
//! replace `${{ params.x }}` inside scalars of the tree, and the file is laid over
//! it key by key. So a value can never become a key, and everything keeps the
//! place it was written at.

mod about;
mod files;
mod find;
mod library;
mod lock;
mod merge;
mod parameter;
mod policy;
mod reference;
mod seal;
mod size;
mod substitute;
mod version;

use std::collections::BTreeMap;

pub use about::{AboutParameter, AboutStage, AboutTemplate};
pub(crate) use about::{about, lints, unknown, usual};
pub use files::{Bundled, Files, NotFound, Template};
use find::Found;
pub use library::Library;
pub use lock::{LOCK_FILE, Lock, Locked};
use merge::Merge;
use parameter::Given;
pub(crate) use policy::Policy;
pub use reference::{GitTemplate, TemplateReference};
pub(crate) use seal::{Sealed, visible};
use size::Size;
pub use version::{is_version, newest as newest_version, sort as sort_versions};

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{self, Checker, Parameters};
use crate::lower::param::Declared;
use crate::source::{FileId, Sources, Span};
use crate::yaml::{self, Map, Node, Value};

/// Templates may name templates, this deep (language.md §3).
const DEPTH_LIMIT: usize = 10;

/// As many findings as people are shown have all the names that there are instead; for
/// thousands of slips in a file of thousands of names that would take all memory.
const EXPLAINED: usize = 20;

fn explains(found: &[Diagnostic]) -> bool {
    found.len() < EXPLAINED
}

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
    /// What `defaults` of the file do not reach.
    pub(crate) sealed: Sealed,
    /// The chain of templates, that of the file first.
    pub(crate) used: Vec<Used>,
}

/// A template that a pipeline is made of.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) reference: TemplateReference,
    /// With its exact version: `c-service@1.2`.
    pub(crate) label: String,
    /// Where it is named.
    pub(crate) span: Span,
}

impl Used {
    /// Whether it is the template `wanted`: `java-service`, or `java-service@2` for one
    /// of its versions.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        let exact = self.label.rsplit_once('@').map_or("", |(_, version)| version);
        self.reference.is(wanted, exact)
    }
}

/// Expands until no template is left; `None` when that is not possible.
pub(crate) fn expand(
    root: Node,
    sources: &mut Sources,
    files: &dyn Files,
    checker: &mut Checker,
    found: &mut Vec<Diagnostic>,
) -> Option<Expanded> {
    let mut expansion = Expansion::new(sources, files, checker, found);
    let root = expansion.level(root, None)?;
    Some(expansion.expanded(root))
}

/// Expands a template that nobody uses: `give` has the values of its parameters.
pub(crate) fn expand_template(
    root: Node,
    sources: &mut Sources,
    files: &dyn Files,
    checker: &mut Checker,
    found: &mut Vec<Diagnostic>,
    give: impl FnOnce(Vec<Declared>) -> BTreeMap<String, Node>,
) -> Option<(Expanded, Vec<Policy>)> {
    let label = sources.file(root.span.file).name().to_owned();
    let mut expansion = Expansion::new(sources, files, checker, found);
    let root = expansion.template(root, &label, None, |declared, _| give(declared))?;
    let policies = std::mem::take(&mut expansion.policies);
    Some((expansion.expanded(root), policies))
}

struct Expansion<'a> {
    sources: &'a mut Sources,
    files: &'a dyn Files,
    checker: &'a mut Checker,
    found: &'a mut Vec<Diagnostic>,
    parameters: Parameters,
    removed: BTreeMap<String, Span>,
    stages: Vec<String>,
    sealed: Sealed,
    /// Of every template so far: what an inner one locks, an outer one cannot open.
    policies: Vec<Policy>,
    chain: Vec<Used>,
    /// Of every template so far, with its values.
    size: Size,
}

impl<'a> Expansion<'a> {
    fn new(
        sources: &'a mut Sources,
        files: &'a dyn Files,
        checker: &'a mut Checker,
        found: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self {
            sources,
            files,
            checker,
            found,
            parameters: Parameters::new(),
            removed: BTreeMap::new(),
            stages: Vec::new(),
            sealed: Sealed::new(),
            policies: Vec::new(),
            chain: Vec::new(),
            size: Size::default(),
        }
    }

    fn expanded(self, root: Node) -> Expanded {
        let Self { parameters, removed, stages, sealed, chain: used, .. } = self;
        Expanded { root, parameters, removed, stages, sealed, used }
    }

    /// Lays one file over the template it names, if it names one.
    fn level(&mut self, mut root: Node, of: Option<&TemplateReference>) -> Option<Node> {
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
        let Found { reference, label, file } = self.load(&named.value, of)?;
        let mut tree = yaml::read(self.sources, file, self.found)?;
        expression::scan(&mut tree, self.sources, self.found);
        let give = |declared: Vec<Declared>, reader: &mut Expansion<'_>| {
            let given = Given { with: with.as_ref(), named: &named.value, label: &label };
            parameter::values(declared, &given, reader.sources, reader.checker, reader.found)
        };
        let lower = self.template(tree, &label, Some(&reference), give)?;
        let upper = std::mem::take(map);
        let merged = self.merge(lower, upper, &label, span.file);
        Some(Node::new(Value::Map(merged), span))
    }

    /// Lays a template over the one that it names itself, with its parameters put in.
    fn template(
        &mut self,
        mut tree: Node,
        label: &str,
        reference: Option<&TemplateReference>,
        give: impl FnOnce(Vec<Declared>, &mut Expansion<'_>) -> BTreeMap<String, Node>,
    ) -> Option<Node> {
        let file = tree.span.file;
        let Value::Map(base) = &mut tree.value else {
            self.found.push(
                Diagnostic::error(Code::E004, "a template is a map")
                    .at(self.sources.place(tree.span))
                    .label(format!("this is {}", tree.value.kind())),
            );
            return None;
        };
        let (params, policy) = (base.remove("params"), base.remove("policy"));
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
        let declared = parameter::declared(params.as_ref(), label, self.sources, self.found);
        let values = give(declared, self);
        self.fits(&tree, &values, label)?;
        substitute::substitute(&mut tree, &values);
        self.parameters.insert(file, values);
        let mut lower = self.level(tree, reference)?;
        if let Some(entry) = policy {
            let policy = Policy::read(&entry, label, self.sources, self.found);
            if let Value::Map(lower) = &mut lower.value {
                policy.check(lower, self.sources, self.found);
                seal::seal(lower, &policy, &mut self.sealed);
            }
            self.policies.push(policy);
        }
        Some(lower)
    }

    /// Says so, and gives nothing, when the values make the templates too large (E003).
    fn fits(&mut self, tree: &Node, values: &BTreeMap<String, Node>, label: &str) -> Option<()> {
        self.size = self.size.and(Size::with_values(tree, values));
        let Some(too_much) = self.size.too_much() else { return Some(()) };
        let span = self.chain.last().map_or(tree.span, |used| used.span);
        let message =
            format!("with the values of its parameters template `{label}` has {too_much}");
        let error = Diagnostic::error(Code::E003, message).at(self.sources.place(span));
        self.found.push(match self.chain.len() {
            0 | 1 => error,
            _ => error.note("counted together with the templates that lie over it"),
        });
        None
    }

    fn merge(&mut self, lower: Node, upper: Map, label: &str, file: FileId) -> Map {
        let Value::Map(lower) = lower.value else { return upper };
        let mut merge = Merge {
            sources: self.sources,
            found: self.found,
            policies: &self.policies,
            label,
            file,
            removed: &mut self.removed,
            stages: &mut self.stages,
        };
        merge.pipeline(lower, upper)
    }
}
