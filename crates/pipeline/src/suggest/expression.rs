//! Names and functions of other systems' expressions, and what they are called here.

/// Names, whole.
const NAMES: &[(&str, &str)] = &[
    ("github.ref", "git.branch"),
    ("github.ref_name", "git.branch"),
    ("github.head_ref", "git.branch"),
    ("github.base_ref", "event.target_branch"),
    ("github.sha", "git.sha"),
    ("github.actor", "git.author"),
    ("github.event_name", "event.name"),
    ("github.run_number", "run.number"),
    ("github.run_id", "run.id"),
    ("github.run_attempt", "run.attempt"),
    ("github.repository", "project.name"),
    ("github.workflow", "pipeline.name"),
    ("git.ref", "git.branch"),
    ("git.commit", "git.sha"),
    ("git.short_sha", "git.sha_short"),
    ("CI_COMMIT_BRANCH", "git.branch"),
    ("CI_COMMIT_REF_NAME", "git.branch"),
    ("CI_COMMIT_REF_SLUG", "slug(git.branch)"),
    ("CI_COMMIT_SHA", "git.sha"),
    ("CI_COMMIT_SHORT_SHA", "git.sha_short"),
    ("CI_COMMIT_TAG", "git.tag"),
    ("CI_COMMIT_MESSAGE", "git.message"),
    ("CI_COMMIT_AUTHOR", "git.author"),
    ("CI_DEFAULT_BRANCH", "git.default_branch"),
    ("CI_PIPELINE_SOURCE", "event.name"),
    ("CI_PIPELINE_ID", "run.id"),
    ("CI_PIPELINE_IID", "run.number"),
    ("CI_PIPELINE_NUMBER", "run.number"),
    ("CI_PIPELINE_URL", "run.url"),
    ("CI_PROJECT_NAME", "project.name"),
    ("CI_REPO_NAME", "project.name"),
    ("DRONE_BRANCH", "git.branch"),
    ("DRONE_COMMIT", "git.sha"),
    ("DRONE_COMMIT_SHA", "git.sha"),
    ("DRONE_TAG", "git.tag"),
    ("DRONE_BUILD_NUMBER", "run.number"),
    ("BRANCH_NAME", "git.branch"),
    ("GIT_BRANCH", "git.branch"),
    ("GIT_COMMIT", "git.sha"),
    ("TAG_NAME", "git.tag"),
    ("CHANGE_TARGET", "event.target_branch"),
    ("BUILD_NUMBER", "run.number"),
    ("BUILD_ID", "run.number"),
    ("BUILD_URL", "run.url"),
    ("JOB_NAME", "pipeline.name"),
];

/// What a name begins with.
const ROOTS: &[(&str, &str)] = &[
    ("needs", "stages"),
    ("steps", "stages"),
    ("jobs", "stages"),
    ("inputs", "params"),
    ("parameters", "params"),
    ("vars", "env"),
    ("variables", "env"),
];

const FUNCTIONS: &[(&str, &str)] = &[
    ("hashFiles", "did you mean `hash`?"),
    ("checksum", "did you mean `hash`?"),
    ("length", "did you mean `size`?"),
    ("len", "did you mean `size`?"),
    ("toLower", "did you mean `lower`?"),
    ("toLowerCase", "did you mean `lower`?"),
    ("toUpper", "did you mean `upper`?"),
    ("toUpperCase", "did you mean `upper`?"),
    ("always", "write the key `run-on: always` beside `when`"),
    ("failure", "write the key `run-on: failure` beside `when`"),
    ("success", "a stage runs only after success anyway"),
    ("cancelled", "write the key `run-on: always` beside `when`"),
    ("format", "text and expressions mix: `v${{ run.number }}`"),
];

/// Returns what a name is called here.
pub(crate) fn foreign_name(path: &str) -> Option<String> {
    if let Some((_, ours)) = NAMES.iter().find(|(theirs, _)| *theirs == path) {
        return Some((*ours).to_owned());
    }
    let (root, rest) = path.split_once('.')?;
    let (_, ours) = ROOTS.iter().find(|(theirs, _)| *theirs == root)?;
    Some(format!("{ours}.{rest}"))
}

/// Returns what to write instead of a function of another system.
pub(crate) fn foreign_function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(theirs, _)| *theirs == name).map(|(_, instead)| *instead)
}

/// Returns what to write instead of a sign or word that means nothing in CEL.
pub(crate) fn foreign_sign(rest: &str) -> Option<&'static str> {
    let word = |word: &str| {
        rest.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    Some(match rest {
        _ if rest.starts_with("=~") => {
            "a regular expression is tested so: `git.branch.matches('^release/')`"
        }
        _ if rest.starts_with('=') => "to compare, write `==`",
        _ if rest.starts_with('$') => "names stand without `$`, for example `git.branch`",
        _ if rest.starts_with('|') => {
            "for `or` write `||`; a function is called with brackets: `lower(git.branch)`"
        }
        _ if rest.starts_with('&') => "write `&&`",
        _ if word("and") => "write `&&`",
        _ if word("or") => "write `||`",
        _ if word("not") => "write `!`",
        _ => return None,
    })
}
