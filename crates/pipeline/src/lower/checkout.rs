//! `checkout`: how the files of the commit are fetched.

use super::Lowering;
use crate::codes::Code;
use crate::keys;
use crate::model::Checkout;
use crate::pattern::Pattern;
use crate::plan::Submodules;
use crate::scalar::Depth;
use crate::yaml::{Node, Value};

/// What the file says of it; `None` is `off`.
pub(super) fn checkout(lowering: &mut Lowering<'_>, node: Option<&Node>) -> Option<Checkout> {
    let builtin = Checkout {
        depth: Some(1),
        submodules: Submodules::No,
        lfs: false,
        paths: Vec::new(),
        span: None,
    };
    let Some(node) = node else { return Some(builtin) };
    if node.is_text("off") {
        return None;
    }
    if node.as_map().is_none() && !node.value.is_reported() {
        let message = format!("`checkout` takes a map or `off`, not {}", node.value.kind());
        let error = lowering.error_at(Code::E012, message, node);
        lowering.report(error.label(match node.value {
            Value::Bool(false) => "write `off`",
            _ => "for example `{ depth: full }`",
        }));
        return None;
    }
    let map = lowering.fields(node, &keys::CHECKOUT, "`checkout`")?;
    let depth: Option<Depth> = map.get("depth").map(|node| lowering.plain("depth", node));
    let paths: Vec<Pattern> =
        map.get("paths").map_or_else(Vec::new, |node| {
            if matches!(node.as_list(), Some([])) {
                let message = "`paths` is an empty list, and nothing would be checked out";
                let error = lowering.error_at(Code::E012, message, node);
                lowering.report(error.label(
                    "remove the key for everything; without any files write `checkout: off`",
                ));
            }
            lowering.patterns("paths", node)
        });
    Some(Checkout {
        depth: depth.map_or(builtin.depth, |depth| depth.0),
        submodules: map
            .get("submodules")
            .map_or(builtin.submodules, |node| lowering.plain("submodules", node)),
        lfs: map.get("lfs").is_some_and(|node| lowering.plain("lfs", node)),
        paths: paths.into_iter().map(|pattern| pattern.text).collect(),
        span: Some(node.span),
    })
}
