//! Keys of a stage, whatever it does.

use super::action::{APPROVE, BUILD, PUSH, TRIGGER, WHEN};
use super::deploy::DEPLOY;
use super::form::{
    DURATION, ENV, Form, GLOB, GLOBS, HOST_LABEL, IMAGE, Make, RUNNER, STAGE_NAME, VARIABLE,
};
use super::shared::{ARTIFACTS, CACHE, CONCURRENCY, REPORTS, RESOURCES, SERVICE};
use super::{Keys, key};
use crate::expression::Site;
use crate::scalar::{PullAlways, Scalar};

/// `sh`, `bash`, or a program with its arguments.
pub(super) const SHELL: Form =
    Form::OneOf(&[Form::Words(<crate::Shell as Scalar>::WORDS), Form::ListOf(&Form::AnyText)]);
const EXIT_CODES: Form = Form::OneOrMany(&Form::Int { min: 1, max: 255 });
const NAME: Form = Form::Like(&STAGE_NAME);
const COMMANDS: Form = Form::OneOrMany(&Form::Text);

const RUN: &[&str] = &["run"];
const CONTAINER: &[&str] = &["run", "build"];
const WORKSPACE: &[&str] = &["run", "build", "deploy"];

pub(crate) static STAGE: Keys = Keys {
    name: "stage",
    about: "a stage; commands in place of the map are its `run`",
    all: &[
        key("after", Form::OneOrMany(&NAME), "Places a new stage among those of a template: what it needs")
            .codes(&["E011", "E013", "E020"])
            .examples(&["compile"]),
        key(
            "allow-failure",
            Form::OneOf(&[Form::Bool, EXIT_CODES]),
            "A failure becomes a `warning`: every failure of the stage's own, or these exit codes",
        )
        .default("false")
        .of(&["run", "build", "trigger"])
        .codes(&["W070"])
        .examples(&["true", "1", "[1, 75]"]),
        key("approve", Form::Map(&APPROVE), "Waits for a decision of people").codes(&["E013"]),
        key(
            "artifacts",
            Form::OneOf(&[GLOB, Form::ListOf(&GLOB), Form::Map(&ARTIFACTS)]),
            "Files that are published to people",
        )
        .of(CONTAINER)
        .codes(&["E097"])
        .at(Site::Value)
        .examples(&["[\"dist/**\"]", "{ paths: [\"dist/**\"], expire: 14d }"]),
        key("before", Form::OneOrMany(&NAME), "Places a new stage among those of a template: what needs it")
            .codes(&["E011", "E013", "E020"])
            .examples(&["image"]),
        key("build", Form::Map(&BUILD), "Builds an image from a Dockerfile").codes(&["E013"]),
        key(
            "cache",
            Form::OneOrMany(&Form::Map(&CACHE)),
            "Folders that are kept between runs. They are not part of the layer",
        )
        .of(CONTAINER)
        .examples(&["{ key: npm, paths: [~/.npm] }"]),
        key("cancel-grace", DURATION, "From TERM to KILL when the stage is cancelled or its time is over")
            .default("10s")
            .of(WORKSPACE)
            .at(Site::Plan)
            .examples(&["30s"]),
        key("concurrency", Form::Map(&CONCURRENCY), "How many stages of a group there are at a time. A deploy always holds the lock of its environment"),
        key("deploy", Form::Map(&DEPLOY), "Brings an environment to a release").codes(&["E013"]),
        key("description", Form::Text, "Shown in lists").examples(&["Unit tests"]),
        key("env", ENV, "Variables of the container, merged over those of `defaults`")
            .of(WORKSPACE)
            .codes(&["E017", "W051"])
            .at(Site::Value)
            .examples(&["{ TZ: UTC }"]),
        key("image", IMAGE, "The container of `run`; never the image that is built")
            .otherwise("`defaults.image`")
            .of(RUN)
            .codes(&["E014", "E090", "W070"])
            .at(Site::Plan)
            .examples(&["rust:1.90"]),
        key("inputs", GLOBS, "The stage is `unchanged`, and not run, when these files and everything else that it reads are as they were")
            .of(CONTAINER)
            .codes(&["W026"])
            .examples(&["[\"src/**\", Cargo.lock]"]),
        key("matrix", Form::Map(&MATRIX), "Runs the stage once per combination of these values")
            .of(&["run", "build", "push", "deploy"])
            .codes(&["E061", "W072"])
            .examples(&["{ db: [\"mysql:8\", \"postgres:16\"] }"]),
        key(
            "merge",
            Form::OneOf(&[Form::Word("last"), Form::ListOf(&GLOB)]),
            "Where parallel needs wrote the same file, the stage that is later in the file wins: for every file, or for these",
        )
        .of(WORKSPACE)
        .codes(&["E095", "W025"])
        .at(Site::Plan)
        .examples(&["last", "[\"target/**\"]"]),
        key(
            "needs",
            Form::ListOf(&Form::OneOf(&[NAME, Form::Map(&NEED)])),
            "The stages it waits for. `[]` waits for the checkout only",
        )
        .otherwise("all stages above it")
        .codes(&["E020", "E021"])
        .examples(&["[compile]", "[{ stage: compile, must: run }]", "[]"]),
        key(
            "outputs",
            Form::OneOf(&[
                Form::ListOf(&Form::Like(&OUTPUT)),
                Form::MapOf(&OUTPUT, &Form::Words(<crate::OutputType as Scalar>::WORDS)),
            ]),
            "Values that the commands write to `$SHIPLINE_OUTPUT`, for later stages",
        )
        .of(RUN)
        .codes(&["E096"])
        .examples(&["[version]", "{ version: string, count: int }"]),
        key("pull", Form::Words(PullAlways::WORDS), "Pulls the image even when it is there").otherwise("pulled if absent").of(RUN),
        key("push", Form::Map(&PUSH), "Pushes an image to a registry").codes(&["E013"]),
        key("reports", Form::Map(&REPORTS), "Results of tests").of(RUN).codes(&["E097"]).examples(&["{ junit: \"target/*.xml\" }"]),
        key("resources", Form::Map(&RESOURCES), "Limits of the container; a `build` takes none").of(CONTAINER).codes(&["E060", "E092"]),
        key("retry", Form::Map(&RETRY), "Extra attempts after certain failures. `deploy` and `approve` are never repeated by themselves")
            .default("{ max: 1, on: [infrastructure], backoff: 5s }")
            .of(&["run", "build", "push", "trigger"])
            .examples(&["{ max: 2, on: [timeout] }"]),
        key("run", COMMANDS, "Commands for the shell: one script, or a list that is run line by line in one shell")
            .codes(&["E013", "E043", "E091"])
            .at(Site::Run)
            .examples(&["make test", "[make, make test]"]),
        key("run-after", COMMANDS, "Commands after the `run` of the template's stage").of(RUN).codes(&["E011"]).at(Site::Run).examples(&["./ci/clean.sh"]),
        key("run-before", COMMANDS, "Commands before the `run` of the template's stage").of(RUN).codes(&["E011"]).at(Site::Run).examples(&["./ci/seed-db.sh"]),
        key("run-on", Form::Words(<crate::RunOn as Scalar>::WORDS), "With which results of its needs the stage runs").default("success"),
        key("runner", RUNNER, "Labels that the runner must have").of(WORKSPACE).codes(&["E064"]).at(Site::Plan).examples(&["[arm64]"]),
        key(
            "secrets",
            Form::ListOf(&Form::OneOf(&[Form::Like(&SECRET_NAME), Form::Map(&SECRET)])),
            "Secrets by name. Each arrives as the variable of that name; in a build, as a mount",
        )
        .of(WORKSPACE)
        .codes(&["E050", "W051", "W052"])
        .examples(&["[NPM_TOKEN]", "[{ name: NPM_TOKEN, env: TOKEN }]"]),
        key(
            "services",
            Form::MapOf(&HOST_LABEL, &Form::OneOf(&[IMAGE, Form::Map(&SERVICE)])),
            "Containers beside the stage, each reachable by its name. An image in place of the map is its `image`",
        )
        .of(RUN)
        .codes(&["E094"])
        .at(Site::Plan)
        .examples(&["{ redis: \"redis:7\" }"]),
        key("shell", SHELL, "What reads the commands: `sh -e`, `bash -eo pipefail`, or a program that gets them as last argument")
            .default("sh")
            .of(RUN)
            .codes(&["E043"])
            .at(Site::Run)
            .examples(&["bash", "[python3, -c]"]),
        key("timeout", DURATION, "The limit of an attempt. Of an approval: how long it waits, at most 30d")
            .otherwise("`1h`; `24h` for `approve`")
            .codes(&["E093"])
            .at(Site::Plan)
            .examples(&["20m"]),
        key("trigger", Form::Map(&TRIGGER), "Starts another pipeline").codes(&["E013"]),
        key("user", Form::AnyText, "The user of the container, with a group behind a colon").default("root").of(RUN).codes(&["E060"]).at(Site::Plan).examples(&["node", "1000:1000"]),
        key(
            "when",
            Form::OneOf(&[Form::Word("off"), Form::OneOrMany(&Form::Map(&WHEN))]),
            "Whether the stage runs. Every key of a map must hold, and one map of a list. `off` is never",
        )
        .otherwise("always")
        .codes(&["W022", "W023"])
        .examples(&["{ branch: main }", "[{ branch: main }, { event: tag }]", "off"]),
        key("workdir", Form::Text, "Where the commands run: a directory of the workspace").default("/workspace").of(RUN).codes(&["E060"]).at(Site::Plan).examples(&["web"]),
    ],
    others: None,
};

const OUTPUT: Make = Make { name: "output", pattern: VARIABLE.pattern };
const SECRET_NAME: Make = Make { name: "secret", pattern: VARIABLE.pattern };

pub(crate) static NEED: Keys = Keys {
    name: "needs",
    about: "a need with more than a name",
    all: &[
        key(
            "must",
            Form::Words(&["run"]),
            "`run`: when that stage is skipped, this one is skipped too",
        )
        .codes(&["W022"]),
        key("stage", NAME, "The stage").required().codes(&["E020"]).examples(&["compile"]),
    ],
    others: None,
};

pub(crate) static SECRET: Keys = Keys {
    name: "secrets",
    about: "a secret with more than a name",
    all: &[
        key("env", Form::Like(&VARIABLE), "The variable it arrives as")
            .otherwise("the secret's name")
            .codes(&["E017"])
            .examples(&["TOKEN"]),
        key("file", Form::Bool, "Only as the file `/run/secrets/NAME`, not as a variable")
            .default("false"),
        key("name", Form::Like(&SECRET_NAME), "The secret")
            .required()
            .codes(&["E050"])
            .examples(&["NPM_TOKEN"]),
    ],
    others: None,
};

pub(crate) static MATRIX: Keys = Keys {
    name: "matrix",
    about: "axes and their values; the stage runs for every combination",
    all: &[
        key("exclude", Form::ListOf(&CELL), "Combinations that are left out")
            .examples(&["[{ os: windows, node: 18 }]"]),
        key("include", Form::ListOf(&CELL), "Combinations that are added")
            .examples(&["[{ os: macos, node: 22 }]"]),
    ],
    others: Some(&Form::ListOf(&Form::AnyText)),
};

/// Values by axis.
const CELL: Form = Form::MapOf(&super::form::ANY_NAME, &Form::AnyText);

pub(crate) static RETRY: Keys = Keys {
    name: "retry",
    about: "extra attempts",
    all: &[
        key("backoff", DURATION, "The pause before the first extra attempt; it doubles up to `1m`")
            .default("5s")
            .at(Site::Plan)
            .examples(&["30s"]),
        key("max", Form::Int { min: 0, max: 10 }, "How many extra attempts")
            .default("1")
            .at(Site::Plan)
            .examples(&["2"]),
        key(
            "on",
            Form::OneOrMany(&Form::OneOf(&[
                Form::Words(&["infrastructure", "timeout", "resource-limit"]),
                Form::Map(&RETRY_ON),
            ])),
            "After which failures",
        )
        .default("[infrastructure]")
        .examples(&["[timeout, { exit: [75] }]"]),
    ],
    others: None,
};

pub(crate) static RETRY_ON: Keys = Keys {
    name: "retry.on",
    about: "a failure by its exit code",
    all: &[key("exit", EXIT_CODES, "Exit codes of the commands").required().examples(&["[75]"])],
    others: None,
};
