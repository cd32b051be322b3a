//! The names expressions can read and call, and where (language.md §6).

/// What kind of place an expression stands at (the table of language.md §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// `concurrency` of the run, `environments`, `notify`, axes of a matrix: no `env`.
    Pipeline,
    /// `deploy.environment`: known when the plan is made, so nothing of the run.
    Environment,
    /// `image`, `services`, `resources`, `runner`, `timeout`: no `stages`.
    Plan,
    /// `when.if`: a condition that reads `stages` is deferred.
    Condition,
    /// `env`, `build`, `push`, the other keys of `deploy`, `approve`, `trigger`,
    /// `artifacts`, `concurrency` of a stage.
    Value,
    /// `cache.key` and `cache.restore`: also `hash()`.
    Cache,
    /// A command: trusted values, and outputs that the engine makes.
    Run,
    /// `with`.
    With,
    /// No expressions at all; the key that says so.
    Never(&'static str),
}

pub(super) const CONTEXTS: &[&str] =
    &["git", "event", "params", "env", "matrix", "run", "pipeline", "project", "stages"];
pub(super) const GIT: &[&str] =
    &["sha", "sha_short", "branch", "tag", "message", "author", "default_branch", "url"];
pub(super) const EVENT: &[&str] = &["name", "title", "number", "target_branch", "trusted"];

/// Functions of CEL itself.
pub(super) const CEL_FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "type",
    "dyn",
];
pub(super) const FUNCTIONS: &[&str] = &[
    "slug", "default", "hash", "changed", "lower", "upper", "trim", "replace", "split", "join",
    "semver",
];

/// Names of the language that this version cannot evaluate; later ones delete rows.
pub(super) const NOT_YET: &[&str] = &[
    "env",
    "matrix",
    "run",
    "stages",
    "event.title",
    "event.number",
    "event.target_branch",
    "default()",
    "hash()",
    "changed()",
    "lower()",
    "upper()",
    "trim()",
    "replace()",
    "split()",
    "join()",
    "semver()",
];

/// Text that whoever pushes can choose, and the variable that already holds it (§9).
pub(super) const UNTRUSTED: &[(&str, &str, &str)] = &[
    ("git", "branch", "SHIPLINE_GIT_BRANCH"),
    ("git", "message", "SHIPLINE_GIT_MESSAGE"),
    ("git", "author", "SHIPLINE_GIT_AUTHOR"),
    ("git", "tag", "SHIPLINE_GIT_TAG"),
    ("event", "title", "SHIPLINE_PR_TITLE"),
];

/// Whether a name is available at a place.
pub(super) fn available(site: Site, root: &str) -> bool {
    match root {
        "env" => !matches!(site, Site::Pipeline | Site::With),
        "matrix" => !matches!(site, Site::Pipeline | Site::With),
        "stages" => matches!(site, Site::Condition | Site::Value | Site::Cache | Site::Run),
        "run" => !matches!(site, Site::Pipeline | Site::Environment | Site::With),
        "pipeline" | "project" => site != Site::With,
        // Inside `with` there is no template yet whose parameters could be meant.
        _ => true,
    }
}

pub(super) fn available_where(root: &str) -> &'static str {
    match root {
        "stages" => {
            "`stages` is available in `env`, `build`, `push` and `deploy`, once the stage has finished"
        }
        "env" | "matrix" => "it is available in the keys of a stage",
        _ => "it is available everywhere but in `with`",
    }
}
