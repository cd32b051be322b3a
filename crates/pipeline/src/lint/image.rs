//! W070: images whose name may mean another image tomorrow.

use std::collections::HashSet;

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::Stage;
use crate::plan::{ImageSource, Work};
use crate::reference::Reference;
use crate::source::Span;
use crate::yaml::{Node, Value};

/// `:latest` and no tag, once for each place it is written at.
pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    let mut seen: HashSet<Span> = HashSet::new();
    let of_stages = lint.stages.iter().flat_map(|stage| images(lint, stage));
    for node in of_stages.chain(of_suites(lint)) {
        if seen.insert(node.span) {
            found.extend(loose(lint, node));
        }
    }
}

/// The images of checks that stand under a name.
fn of_suites<'a>(lint: &'a Lint<'_>) -> impl Iterator<Item = &'a Node> {
    let suites = lint.root.as_map().and_then(|map| map.get("suites")).and_then(Node::as_map);
    let suites = suites.map(|map| map.0.as_slice()).unwrap_or_default();
    suites.iter().flat_map(|suite| of_checks(&suite.value))
}

fn of_checks(node: &Node) -> impl Iterator<Item = &Node> {
    let checks = node.as_list().unwrap_or(std::slice::from_ref(node));
    checks.iter().filter_map(|check| check.as_map()?.get("image"))
}

/// Every image the stage takes from a registry.
fn images<'a>(lint: &'a Lint<'_>, stage: &'a Stage) -> Vec<&'a Node> {
    let mut nodes = Vec::new();
    match &stage.body.work {
        Work::Run(_) => {
            nodes.extend(stage.key("image").or_else(|| lint.defaults.get("image")));
            let services = stage.key("services").or_else(|| lint.defaults.get("services"));
            let services = services.and_then(Node::as_map).map(|map| map.0.as_slice());
            nodes.extend(services.unwrap_or_default().iter().filter_map(|service| {
                match service.value.as_map() {
                    Some(map) => map.get("image"),
                    // `redis: redis:7`
                    None => Some(&service.value),
                }
            }));
        }
        Work::Push(push) if matches!(push.image, ImageSource::Reference(_)) => {
            nodes.extend(stage.key_of("push", "image"));
        }
        Work::Deploy(deploy) => {
            if matches!(deploy.image, Some(ImageSource::Reference(_))) {
                nodes.extend(stage.key_of("deploy", "image"));
            }
            nodes.extend(stage.key_of("deploy", "verify").into_iter().flat_map(of_checks));
        }
        _ => {}
    }
    nodes
}

fn loose(lint: &Lint<'_>, node: &Node) -> Option<Diagnostic> {
    let Value::Text(text) = &node.value else { return None };
    let reference = Reference::parse(text).ok().filter(Reference::is_loose)?;
    let message = match reference.tag {
        Some(tag) => format!("image `{text}` has the tag `{tag}`, which moves"),
        None => format!("image `{text}` has no tag, which means `latest`"),
    };
    Some(
        Diagnostic::warning(Code::W070, message)
            .at(lint.sources.place(node.span))
            .label(format!("name a version, for example `{}:1.0`", reference.repository)),
    )
}
