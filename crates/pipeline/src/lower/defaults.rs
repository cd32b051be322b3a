//! `defaults`: values for every stage that can use them.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::scalar::{ImageReference, Timeout};
use crate::yaml::{Map, Node};

/// `defaults`, and the short forms `image`, `env` and `timeout` beside it, as one
/// map. What stands there twice is told.
pub(crate) fn defaults(root: &Node, lowering: &mut Lowering<'_>) -> Map {
    let Some(top) = root.as_map() else { return Map::default() };
    let inner =
        top.get("defaults").and_then(|node| lowering.fields(node, &keys::DEFAULTS, "`defaults`"));
    let mut defaults = inner.cloned().unwrap_or_default();
    for key in ["image", "env", "timeout"] {
        let Some(short) = top.entry(key) else { continue };
        let Some(long) = defaults.entry(key) else {
            defaults.0.push(short.clone());
            continue;
        };
        let message = format!("`{key}` is given at the top level and in `defaults`");
        let error = lowering.error(Code::E013, message, long.key.span);
        let place = lowering.sources.place(short.key.span);
        lowering.report(error.label("they are the same; keep one").related("also here", place));
    }
    defaults
}

/// Reads every default once, where it stands: the stages that use it say nothing more.
pub(super) fn read_defaults(lowering: &mut Lowering<'_>) {
    let defaults = lowering.defaults;
    let of = "`defaults`";
    let outer = std::mem::replace(&mut lowering.in_defaults, true);
    if let Some(node) = defaults.get("image") {
        lowering.value::<ImageReference>("image", node, Site::Plan);
    }
    if let Some(node) = defaults.get("env") {
        let env = lowering.own_env(node);
        lowering.env_size(&env, node);
    }
    if let Some(node) = defaults.get("timeout") {
        lowering.value::<Timeout>("timeout", node, Site::Plan);
    }
    if let Some(node) = defaults.get("cancel-grace") {
        lowering.value::<Duration>("cancel-grace", node, Site::Plan);
    }
    if let Some(node) = defaults.get("shell") {
        lowering.shell(node);
    }
    lowering.retry(defaults, of);
    lowering.resources(defaults, "resources", Site::Plan);
    lowering.runner(defaults);
    lowering.services(defaults, of);
    lowering.in_defaults = outer;
    // What defaults read belongs to the stages that use them.
    lowering.take_reads();
}
