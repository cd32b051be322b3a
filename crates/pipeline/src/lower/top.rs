//! The top level of a file: everything around the stages.

use std::collections::{BTreeMap, HashMap};

use super::Lowering;
use super::draft::Draft;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::layout::{FOLDER, pipeline_of_file};
use crate::model::{Checkout, FileEnvironment, Triggers};
use crate::name;
use crate::pattern::Pattern;
use crate::plan::{Submodules, default_run_timeout};
use crate::scalar::{Depth, Timeout};
use crate::source::{FileId, Span};
use crate::suggest::{listed, translated};
use crate::yaml::{Entry, Map, Node, Value};

/// After expansion (language.md §3).
pub(crate) const STAGE_LIMIT: usize = 10_000;
/// The version of the language.
const VERSION: i64 = 1;

/// What a file says, without its graph.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) on: Triggers,
    pub(crate) auto: bool,
    pub(crate) run_timeout: Duration,
    pub(crate) concurrency: Option<Node>,
    pub(crate) checkout: Option<Checkout>,
    pub(crate) stages: Vec<Draft>,
    pub(crate) environments: BTreeMap<String, FileEnvironment>,
    pub(crate) notify: Option<Node>,
}

/// Lowers a whole file. With errors reported, the result is not to be used.
pub(crate) fn pipeline(lowering: &mut Lowering<'_>, root: &Node) -> Option<Lowered> {
    let map = root.as_map()?;
    for entry in &map.0 {
        // Room for anchors and for other tools.
        if !entry.key.name.starts_with("x-") {
            lowering.key(&entry.key, &keys::TOP, "the file");
        }
    }
    if let Some(node) = map.get("version") {
        version(lowering, node);
    }
    let description = map.get("description").map(|node| lowering.plain("description", node));
    let name = match map.get("name") {
        Some(node) => pipeline_name(lowering, node),
        None => {
            file_name(lowering, first_key(map, root));
            None
        }
    };
    let auto = map.get("auto").is_none_or(|node| lowering.plain("auto", node));
    let on = match map.get("on") {
        Some(node) => lowering.triggers(node, auto),
        None => Triggers::builtin(auto),
    };
    let checkout = checkout(lowering, map.get("checkout"));
    read_defaults(lowering);
    let environments = map.get("environments").map(|node| lowering.environments(node));
    if let Some(node) = map.get("notify") {
        lowering.notify(node);
    }
    if let Some(node) = map.get("concurrency") {
        lowering.concurrency(node, Site::Pipeline);
    }
    let run_timeout = map
        .get("run-timeout")
        .map_or_else(default_run_timeout, |node| lowering.plain::<Timeout>("run-timeout", node).0);
    let stages = match map.entry("stages") {
        Some(entry) => stages(lowering, entry),
        None => {
            let error = lowering.error(Code::E014, "there are no `stages`", first_key(map, root));
            lowering.report(error.help("add `stages`, for example\nstages:\n  build: make"));
            Vec::new()
        }
    };
    Some(Lowered {
        name,
        description,
        on,
        auto,
        run_timeout,
        concurrency: map.get("concurrency").cloned(),
        checkout,
        stages,
        environments: environments.unwrap_or_default(),
        notify: map.get("notify").cloned(),
    })
}

/// Says that a file is no map; its root is one from here on.
pub(crate) fn is_map(lowering: &mut Lowering<'_>, root: &Node) -> bool {
    if root.as_map().is_some() {
        return true;
    }
    let message = format!("a pipeline is a map, and this is {}", root.value.kind());
    let error = lowering.error(Code::E004, message, root.span);
    lowering.report(error.help("a smallest pipeline is\nimage: debian:12\nstages:\n  build: make"));
    false
}

/// The names that stages and removals give, before any stage is read.
pub(crate) fn names(
    root: &Node,
    removed: BTreeMap<String, Span>,
    template_stages: Option<Vec<String>>,
) -> super::Names {
    let map = root.as_map();
    let entries = map
        .and_then(|map| map.get("stages"))
        .and_then(Node::as_map)
        .map(|map| map.0.as_slice())
        .unwrap_or_default();
    let checkout = map.and_then(|map| map.get("checkout")).filter(|node| node.is_text("off"));
    super::Names {
        stages: entries
            .iter()
            .enumerate()
            .map(|(at, entry)| (entry.key.name.clone(), at))
            .collect::<HashMap<_, _>>(),
        in_order: entries.iter().map(|entry| entry.key.name.clone()).collect(),
        removed,
        template_stages,
        checkout_off: checkout.map(|node| node.span),
    }
}

fn first_key(map: &Map, root: &Node) -> Span {
    map.0.first().map_or(root.span, |entry| entry.key.span)
}

fn version(lowering: &mut Lowering<'_>, node: &Node) {
    let error = match &node.value {
        Value::Int(VERSION, _) => return,
        value if value.is_reported() => return,
        Value::Int(newer, _) if *newer > VERSION => {
            let message = format!("this file is written in version {newer} of the language");
            let error = lowering.error_at(Code::E006, message, node);
            error
                .label("this Shipline reads version 1")
                .help(format!("use Shipline {newer}.0 or later"))
        }
        Value::Int(..) => lowering
            .error_at(Code::E015, "the first version of the language is 1", node)
            .label("write `1`"),
        other => {
            let found = match other {
                Value::Float(_, text) => format!("`{text}`"),
                other => other.kind().to_owned(),
            };
            let message = format!("`version` takes a whole number, not {found}");
            lowering.error_at(Code::E012, message, node).label("write `1`")
        }
    };
    lowering.report(error);
}

fn pipeline_name(lowering: &mut Lowering<'_>, node: &Node) -> Option<String> {
    let before = lowering.found.len();
    let text: String = lowering.plain("name", node);
    if lowering.found.len() > before || name::is_label(&text) {
        return Some(text);
    }
    let error = lowering.error_at(Code::E016, format!("a pipeline cannot be named `{text}`"), node);
    lowering.report(
        error
            .label(format!("write for example `{}`", name::corrected(&text)))
            .note(name::LABEL_RULE),
    );
    None
}

/// A file of the folder goes by its own name, which has to be one.
fn file_name(lowering: &mut Lowering<'_>, at: Span) {
    let file = lowering.sources.file(FileId::PIPELINE).name().to_owned();
    let in_folder =
        file.rsplit_once('/').filter(|(folder, _)| folder.rsplit('/').next() == Some(FOLDER));
    let Some(name) = in_folder.and_then(|(_, name)| pipeline_of_file(name)) else { return };
    if name::is_label(name) {
        return;
    }
    let message = format!("the pipeline is named after its file, and `{name}` cannot be a name");
    let error = lowering.error(Code::E016, message, at);
    let corrected = name::corrected(name);
    lowering.report(
        error
            .label(format!("add `name: {corrected}`, or rename the file to `{corrected}.yml`"))
            .note(name::LABEL_RULE),
    );
}

fn checkout(lowering: &mut Lowering<'_>, node: Option<&Node>) -> Option<Checkout> {
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
fn read_defaults(lowering: &mut Lowering<'_>) {
    use crate::scalar::{ImageReference, Timeout};

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

fn stages(lowering: &mut Lowering<'_>, entry: &Entry) -> Vec<Draft> {
    let node = &entry.value;
    let Some(map) = node.as_map() else {
        let message = format!("`stages` is a map from names to stages, not {}", node.value.kind());
        let error = lowering.error(Code::E004, message, entry.key.span);
        let help = node.as_list().and_then(<[Node]>::first).map_or_else(
            || "write\nstages:\n  build: make".to_owned(),
            |first| format!("write\nstages:\n{}", as_mapping(lowering, first)),
        );
        lowering.report(error.help(help));
        return Vec::new();
    };
    if map.0.is_empty() {
        let error = lowering.error(Code::E014, "`stages` has no stage", entry.key.span);
        lowering.report(error.help("add one, for example\nstages:\n  build: make"));
    }
    if map.0.len() > STAGE_LIMIT {
        let message =
            format!("the pipeline has {} stages, the limit is {STAGE_LIMIT}", map.0.len());
        let error = lowering.error(Code::E061, message, entry.key.span);
        lowering.report(error);
        return Vec::new();
    }
    let mut stages: Vec<Draft> = map
        .0
        .iter()
        .map(|entry| {
            lowering.enter(Some(&entry.key.name));
            lowering.stage(entry)
        })
        .collect();
    lowering.enter(None);
    lowering.place_before(map, &mut stages);
    lowering.images_are_made(&stages);
    lowering.cells_are_few(&stages, entry.key.span);
    stages
}

/// Their own first element, in the form a stage has.
fn as_mapping(lowering: &Lowering<'_>, first: &Node) -> String {
    let written = |node: &Node| lowering.sources.text(node.span).to_owned();
    let text = |node: &Node| match &node.value {
        Value::List(items) if items.iter().all(|item| item.scalar_text().is_some()) => {
            format!("[{}]", listed(items.iter().map(written)))
        }
        Value::List(_) | Value::Map(_) => "…".to_owned(),
        _ => written(node).lines().next().unwrap_or_default().to_owned(),
    };
    match &first.value {
        Value::Map(map) => {
            let named = map.get("name").or_else(|| map.get("stage")).map(text);
            let (name, rest) = match (named, map.0.as_slice()) {
                (Some(name), _) => (name, &map.0[..]),
                (None, [only]) => {
                    return format!("  {}: {}", only.key.name, text(&only.value));
                }
                (None, all) => ("build".to_owned(), all),
            };
            let mut lines = vec![format!("  {}:", name::corrected(name.trim_matches(['"', '\''])))];
            for entry in
                rest.iter().filter(|entry| !matches!(entry.key.name.as_str(), "name" | "stage"))
            {
                let key = translated(&entry.key.name, keys::STAGE.names());
                lines.push(format!(
                    "    {}: {}",
                    key.unwrap_or(&entry.key.name),
                    text(&entry.value)
                ));
            }
            lines.join("\n")
        }
        _ => format!(
            "  {}: make",
            name::corrected(first.scalar_text().as_deref().unwrap_or("build"))
        ),
    }
}
