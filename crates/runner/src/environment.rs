//! The variables a stage finds in its container: docs/language.md, "Inside a container".

use std::collections::BTreeMap;

use event::RunId;
use pipeline::{Git, Plan, PlannedStage};

/// Where the layers of a stage are.
pub const WORKSPACE: &str = "/workspace";

const LONGEST_MESSAGE: usize = 8 * 1024;

/// What the variables say about the run, the same for all its stages.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) run: RunId,
    pub(crate) number: u64,
    pub(crate) url: String,
    pub(crate) project: String,
    pub(crate) git: Git,
}

/// Returns the complete environment of an attempt. A stage's own variables win
/// over those other systems taught people to expect, never over `SHIPLINE_…`.
/// `SHIPLINE_OUTPUT` is missing: whoever makes the file sets it.
pub(crate) fn variables(
    identity: &Identity,
    plan: &Plan,
    stage: &PlannedStage,
    attempt: u32,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let git = &identity.git;
    let number = identity.number.to_string();
    let branch = plan.branch.as_deref().unwrap_or_default();
    let mut variables: BTreeMap<String, String> = [
        ("CI", "true"),
        ("GIT_COMMIT", &plan.sha),
        ("GIT_BRANCH", branch),
        ("BUILD_NUMBER", &number),
        ("BUILD_URL", &identity.url),
        ("JOB_NAME", &plan.pipeline),
        ("WORKSPACE", WORKSPACE),
        // Git refuses a workspace that belongs to another user.
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", "*"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    variables.extend(own.clone());
    let mut set = |name: &str, value: &str| {
        // A commit message may hold anything; no process can be given a NUL.
        variables.insert(name.to_owned(), value.replace('\0', ""));
    };
    set("SHIPLINE", env!("CARGO_PKG_VERSION"));
    set("SHIPLINE_RUN_ID", &identity.run.to_string());
    set("SHIPLINE_RUN_NUMBER", &number);
    set("SHIPLINE_RUN_URL", &identity.url);
    set("SHIPLINE_PIPELINE", &plan.pipeline);
    set("SHIPLINE_PROJECT", &identity.project);
    set("SHIPLINE_STAGE", &stage.stage);
    set("SHIPLINE_ATTEMPT", &attempt.to_string());
    set("SHIPLINE_EVENT", plan.event.name());
    set("SHIPLINE_GIT_SHA", &plan.sha);
    set("SHIPLINE_GIT_SHA_SHORT", plan.sha.get(..8).unwrap_or(&plan.sha));
    set("SHIPLINE_GIT_BRANCH", branch);
    set("SHIPLINE_GIT_TAG", plan.tag.as_deref().unwrap_or_default());
    set("SHIPLINE_GIT_MESSAGE", cut(&git.message, LONGEST_MESSAGE));
    set("SHIPLINE_GIT_AUTHOR", &git.author);
    if let Some(cell) = stage.name.strip_prefix(&stage.stage).filter(|cell| !cell.is_empty()) {
        set("SHIPLINE_CELL", cell.trim_matches(['[', ']']));
    }
    if let Some(request) = &plan.pull_request {
        set("SHIPLINE_PR_NUMBER", &request.number.to_string());
        set("SHIPLINE_PR_TITLE", &request.title);
        set("SHIPLINE_PR_TARGET", &request.target_branch);
    }
    for (kind, values) in [("MATRIX", &stage.matrix), ("PARAM", &plan.params)] {
        for (name, value) in values {
            let name = name.to_uppercase().replace('-', "_");
            set(&format!("SHIPLINE_{kind}_{name}"), &pipeline::value_text(value));
        }
    }
    variables
}

/// Returns the beginning of `text`, at most `longest` bytes, no character cut in two.
fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn variables_of(git: Git, own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut stage = testing::stage("unit-test", &[]);
        stage.name = "unit-test[db=mysql:8]".to_owned();
        stage.matrix.insert("db-image".to_owned(), "mysql:8".into());
        let mut plan = testing::plan(vec![stage]);
        plan.sha = "0123456789abcdef0123456789abcdef01234567".to_owned();
        plan.branch = Some("main".to_owned());
        let identity = Identity {
            run: testing::run_id(),
            number: 7,
            url: "https://ci.example.net/runs/7".to_owned(),
            project: "orders".to_owned(),
            git,
        };
        let own =
            own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        variables(&identity, &plan, &plan.stages[0], 2, &own)
    }

    #[test]
    fn a_stage_knows_its_run_its_commit_and_itself() {
        let git = Git {
            message: "mend it\n\nfor good".to_owned(),
            author: "Jo <jo@example.net>".to_owned(),
            ..Git::default()
        };
        let shown: Vec<String> = variables_of(git, &[("TZ", "UTC")])
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "BUILD_NUMBER=7",
                "BUILD_URL=https://ci.example.net/runs/7",
                "CI=true",
                "GIT_BRANCH=main",
                "GIT_COMMIT=0123456789abcdef0123456789abcdef01234567",
                "GIT_CONFIG_COUNT=1",
                "GIT_CONFIG_KEY_0=safe.directory",
                "GIT_CONFIG_VALUE_0=*",
                "JOB_NAME=test",
                &format!("SHIPLINE={}", env!("CARGO_PKG_VERSION")),
                "SHIPLINE_ATTEMPT=2",
                "SHIPLINE_CELL=db=mysql:8",
                "SHIPLINE_EVENT=push",
                "SHIPLINE_GIT_AUTHOR=Jo <jo@example.net>",
                "SHIPLINE_GIT_BRANCH=main",
                "SHIPLINE_GIT_MESSAGE=mend it\n\nfor good",
                "SHIPLINE_GIT_SHA=0123456789abcdef0123456789abcdef01234567",
                "SHIPLINE_GIT_SHA_SHORT=01234567",
                "SHIPLINE_GIT_TAG=",
                "SHIPLINE_MATRIX_DB_IMAGE=mysql:8",
                "SHIPLINE_PIPELINE=test",
                "SHIPLINE_PROJECT=orders",
                &format!("SHIPLINE_RUN_ID={}", testing::run_id()),
                "SHIPLINE_RUN_NUMBER=7",
                "SHIPLINE_RUN_URL=https://ci.example.net/runs/7",
                "SHIPLINE_STAGE=unit-test",
                "TZ=UTC",
                "WORKSPACE=/workspace",
            ]
        );
    }

    #[test]
    fn a_stage_knows_the_parameters_and_the_pull_request_of_its_run() {
        let mut plan = testing::plan(vec![testing::stage("deploy", &[])]);
        plan.params =
            [("deploy-to".to_owned(), "prod".into()), ("dry".to_owned(), true.into())].into();
        plan.pull_request = Some(pipeline::PullRequest {
            number: 7,
            title: "$(mend) it".to_owned(),
            target_branch: "main".to_owned(),
            action: "opened".to_owned(),
        });
        let identity = Identity {
            run: testing::run_id(),
            number: 1,
            url: String::new(),
            project: "orders".to_owned(),
            git: Git::default(),
        };
        let found = variables(&identity, &plan, &plan.stages[0], 1, &BTreeMap::new());
        assert_eq!(found["SHIPLINE_PARAM_DEPLOY_TO"], "prod");
        assert_eq!(found["SHIPLINE_PARAM_DRY"], "true");
        assert_eq!(found["SHIPLINE_PR_NUMBER"], "7");
        assert_eq!(found["SHIPLINE_PR_TITLE"], "$(mend) it");
        assert_eq!(found["SHIPLINE_PR_TARGET"], "main");
    }

    #[test]
    fn a_stage_may_set_what_other_systems_set_but_not_ours() {
        let variables =
            variables_of(Git::default(), &[("CI", "false"), ("SHIPLINE_STAGE", "mine")]);
        assert_eq!(variables["CI"], "false");
        assert_eq!(variables["SHIPLINE_STAGE"], "unit-test");
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_holds_no_nul() {
        let message = format!("a\0{}", "é".repeat(8 * 1024));
        let variables = variables_of(Git { message, ..Git::default() }, &[]);
        let message = &variables["SHIPLINE_GIT_MESSAGE"];
        assert!(message.len() <= LONGEST_MESSAGE && message.len() > LONGEST_MESSAGE - 4);
        assert!(message.starts_with("aé"));
    }
}
