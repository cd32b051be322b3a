//! From a document to a pipeline: templates, types, names, the graph, warnings.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Diagnostics, Related};
use crate::document::Document;
use crate::expression::Checker;
use crate::graph;
use crate::lint::{self, Lint};
use crate::lower::param::Declared;
use crate::lower::{self, Lowering, Pass};
use crate::model::{Pipeline, Stage};
use crate::source::{FileId, Sources, Span};
use crate::template::{self, AboutTemplate, Expanded, Files};
use crate::yaml::{Map, Node};

/// Checks a document and finds everything that is wrong with it at once.
///
/// Returns a pipeline exactly when there is no error; warnings may be there in
/// both cases. What [`parse`](crate::parse) found is not told again, and a
/// document that is no YAML gives no pipeline and no further findings.
pub fn check(document: &Document, files: &dyn Files) -> (Option<Pipeline>, Diagnostics) {
    let Some(root) = document.root.clone() else { return (None, Diagnostics::new()) };
    let mut sources = document.sources.clone();
    let mut checker = Checker::default();
    checker.learn(&root);
    let mut found = Vec::new();
    let used = root.as_map().and_then(|map| map.get("template")).map(|node| node.span);
    let expanded = template::expand(root, &mut sources, files, &mut checker, &mut found);
    let Some(expanded) = expanded else {
        tell_template(&mut found, &sources, used);
        return (None, Diagnostics::from(found));
    };
    checked(document, sources, checker, expanded, used, found)
}

/// Checks a template by itself, whatever its parameters will be, and tells what there
/// is to know of it; `None` when that cannot be told.
pub fn check_template(
    document: &Document,
    files: &dyn Files,
) -> (Option<AboutTemplate>, Diagnostics) {
    let Some(root) = document.root.clone() else { return (None, Diagnostics::new()) };
    let (about, mut diagnostics) = opened(document, &root, files, template::unknown);
    // Keys whose parameter has no value go away, and must not be missed.
    diagnostics.extend(opened(document, &root, files, template::usual).1);
    (about, diagnostics)
}

/// Checks a template with the values that `give` has for its parameters.
fn opened(
    document: &Document,
    root: &Node,
    files: &dyn Files,
    give: fn(&[Declared]) -> BTreeMap<String, Node>,
) -> (Option<AboutTemplate>, Diagnostics) {
    let mut sources = document.sources.clone();
    let mut checker = Checker::default();
    checker.learn(root);
    let (mut found, mut params) = (Vec::new(), Vec::new());
    let used = root.as_map().and_then(|map| map.get("template")).map(|node| node.span);
    let keep = |declared: Vec<Declared>| {
        let values = give(&declared);
        params = declared;
        values
    };
    let tree = root.clone();
    let expanded =
        template::expand_template(tree, &mut sources, files, &mut checker, &mut found, keep);
    let Some((expanded, policies)) = expanded else {
        tell_template(&mut found, &sources, used);
        return (None, Diagnostics::from(found));
    };
    let about = template::about(root, &params, &expanded, &policies);
    found.extend(template::lints(root, &params, &sources));
    let (_, diagnostics) = checked(document, sources, checker, expanded, used, found);
    (Some(about), diagnostics)
}

/// Checks what the templates of a document expand to.
fn checked(
    document: &Document,
    sources: Sources,
    mut checker: Checker,
    expanded: Expanded,
    used: Option<Span>,
    mut found: Vec<Diagnostic>,
) -> (Option<Pipeline>, Diagnostics) {
    // Templates may bring parameters, variables and stages.
    checker.learn(&expanded.root);
    let template_stages = used.is_some().then_some(expanded.stages);
    let names = lower::names(&expanded.root, expanded.removed, template_stages);
    let (empty, unsealed) = (Map::default(), BTreeMap::new());
    let mut lowering = Lowering {
        sources: &sources,
        names: &names,
        defaults: &empty,
        sealed: &unsealed,
        pass: Pass::Check { checker: &mut checker, parameters: &expanded.parameters },
        found: &mut found,
        in_defaults: false,
        origins: BTreeMap::new(),
        pending: Vec::new(),
    };
    if !lower::is_map(&mut lowering, &expanded.root) {
        tell_template(&mut found, &sources, used);
        return (None, Diagnostics::from(found));
    }
    let defaults = lower::defaults(&expanded.root, &mut lowering);
    let sealed = template::visible(&defaults, &expanded.sealed);
    (lowering.defaults, lowering.sealed) = (&defaults, &sealed);
    let lowered = lower::pipeline(&mut lowering, &expanded.root);
    let graph = lowered
        .as_ref()
        .and_then(|lowered| graph::graph(&lowered.stages, &names, &sources, &mut found));
    tell_template(&mut found, &sources, used);
    let (Some(lowered), Some(graph)) = (lowered, graph) else {
        return (None, Diagnostics::from(found));
    };
    let entries = expanded.root.as_map().and_then(|map| map.get("stages")).and_then(Node::as_map);
    let entries = entries.map(|map| map.0.as_slice()).unwrap_or_default();
    let finished = lowered.stages.into_iter().zip(entries);
    let stages: Option<Vec<Stage>> = finished.map(|(draft, entry)| draft.finish(entry)).collect();
    let broken = found.iter().any(Diagnostic::is_error) || document.broken;
    let Some(stages) = stages.filter(|_| !broken) else {
        return (None, Diagnostics::from(found));
    };
    let root = &expanded.root;
    let linted =
        Lint { root, stages: &stages, graph: &graph, defaults: &defaults, sources: &sources };
    found.extend(lint::warnings(&linted));
    found.retain(|diagnostic| diagnostic.is_error() || !lint::is_allowed(diagnostic));
    let warnings = Diagnostics::from(found);
    let pipeline = Pipeline {
        sources,
        programs: Arc::new(checker.programs),
        parameters: Arc::new(expanded.parameters),
        names: Arc::new(names),
        templates: expanded.used,
        name: lowered.name,
        description: lowered.description,
        on: lowered.on,
        auto: lowered.auto,
        run_timeout: lowered.run_timeout,
        concurrency: lowered.concurrency,
        checkout: lowered.checkout,
        defaults,
        sealed: Arc::new(sealed),
        stages,
        graph,
        environments: lowered.environments,
        suites: lowered.suites,
        notify: lowered.notify,
        warnings: warnings.clone(),
    };
    (Some(pipeline), warnings)
}

/// An error inside a template shows where the template was named, too.
fn tell_template(found: &mut [Diagnostic], sources: &Sources, used: Option<Span>) {
    let Some(used) = used else { return };
    for diagnostic in found {
        let Some(place) = &diagnostic.place else { continue };
        let told =
            diagnostic.related.iter().any(|related| related.place.order == FileId::PIPELINE.0);
        if place.order != FileId::PIPELINE.0 && !told && diagnostic.code != Code::E021 {
            let place = sources.place(used);
            diagnostic
                .related
                .push(Related { message: "the template is named here".to_owned(), place });
        }
    }
}
