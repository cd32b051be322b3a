//! Keys of a file, of its defaults, of the checkout, and of a template file.

use super::form::{
    ANY_NAME, DURATION, ENV, Form, GLOBS, HOST_LABEL, IMAGE, LABEL, Make, RUNNER, STAGE_NAME,
};
use super::shared::{CONCURRENCY, RESOURCES, SERVICE};
use super::stage::{RETRY, SHELL, STAGE};
use super::trigger::{ON, PARAM, TRIGGERS};
use super::{Keys, environment::ENVIRONMENT, key, notify::NOTIFY, rollout::SUITE_FORM};
use crate::expression::Site;

pub(crate) static TOP: Keys = Keys {
    name: "top level",
    about: "a pipeline file",
    all: &[
        key("auto", Form::Bool, "`false`: an event makes the run but holds it until somebody starts it")
            .default("true"),
        key(
            "checkout",
            Form::OneOf(&[Form::Word("off"), Form::Map(&CHECKOUT)]),
            "How the source is checked out, before the first stage. `off` gives stages an empty workspace",
        )
        .default("{ depth: 1 }")
        .examples(&["off", "{ depth: full }"]),
        key("concurrency", Form::Map(&CONCURRENCY), "How many runs of this pipeline there are at a time"),
        key("defaults", Form::Map(&DEFAULTS), "Values for every stage that can use them").codes(&["E011", "E013"]),
        key("description", Form::Text, "Shown in lists").examples(&["Orders service"]),
        key("env", ENV, "Short for `defaults.env`").codes(&["E013", "E017"]).at(Site::Value).examples(&["{ TZ: UTC }"]),
        key(
            "environments",
            Form::MapOf(&LABEL, &Form::Map(&ENVIRONMENT)),
            "Places to deploy to, by name. Those in a file are for local runs; a server has its own",
        )
        .codes(&["E062", "E063"])
        .examples(&["{ demo: { target: { docker: { host: \"unix:///var/run/docker.sock\" } } } }"]),
        key("image", IMAGE, "Short for `defaults.image`")
            .codes(&["E013", "W070"])
            .at(Site::Plan)
            .examples(&["rust:1.90"]),
        key("name", Form::Like(&LABEL), "The name of the pipeline, unique in the repository")
            .otherwise("the file's name, else the repository's")
            .codes(&["E016"])
            .examples(&["orders"]),
        key("notify", Form::OneOrMany(&Form::Map(&NOTIFY)), "Who hears of a run. A local run sends nothing")
            .examples(&["{ mail: { to: [committer] } }"]),
        key(
            "on",
            Form::OneOf(&[
                Form::Words(TRIGGERS),
                Form::ListOf(&Form::Words(TRIGGERS)),
                Form::Map(&ON),
            ]),
            "Which events start a run",
        )
        .default("[push, pull-request, manual]")
        .examples(&["[push, tag]", "{ push: { branch: main } }"]),
        key(
            "run-timeout",
            DURATION,
            "Deadline of the whole run; the time in which it waits for approvals is not counted",
        )
        .default("6h")
        .examples(&["2h"]),
        key("stages", STAGES, "The stages by name. Without `needs` they run in this order")
            .otherwise("required without a `template`")
            .codes(&["E004", "E014", "E016", "E061"])
            .at(Site::Run)
            .examples(&["{ build: { image: \"rust:1.90\", run: cargo build } }"]),
        key(
            "suites",
            Form::MapOf(&LABEL, &SUITE_FORM),
            "Lists of checks that `verify` and `shipline deploy --verify` name",
        )
        .codes(&["E016", "E067"])
        .examples(&["{ smoke: [{ http: /health }, { http: /version, body: orders }] }"]),
        key("template", Form::Like(&TEMPLATE_NAME), "The template this file builds on")
            .codes(&["E030", "E031", "E036", "E037", "E038", "E039"])
            .examples(&["docker-service@1"]),
        key("timeout", DURATION, "Short for `defaults.timeout`: the limit of each stage, not of the run")
            .codes(&["E013"])
            .at(Site::Plan)
            .examples(&["20m"]),
        key("version", Form::Int { min: 1, max: 1 }, "Version of the language")
            .default("1")
            .codes(&["E006"])
            .examples(&["1"]),
        key("with", Form::MapOf(&ANY_NAME, &Form::Value), "Values for the parameters of the template")
            .codes(&["E011", "E032", "E033", "E034"])
            .at(Site::With)
            .examples(&["{ image: harbor.corp.example/team/orders }"]),
    ],
    others: None,
};

/// A stage, or short for its `run`; what a template brought can be removed.
const STAGES: Form = Form::MapOf(
    &STAGE_NAME,
    &Form::OneOf(&[Form::Text, Form::ListOf(&Form::Text), Form::Map(&STAGE)]),
);

const TEMPLATE_NAME: Make = Make { name: "template", pattern: "@[0-9]|^\\.{1,2}/" };

pub(crate) static DEFAULTS: Keys = Keys {
    name: "defaults",
    about: "values for every stage that can use them",
    all: &[
        key(
            "cancel-grace",
            DURATION,
            "From TERM to KILL when a stage is cancelled or its time is over",
        )
        .default("10s")
        .at(Site::Plan)
        .examples(&["30s"]),
        key("env", ENV, "Variables; the stage's own are merged over them")
            .codes(&["E017"])
            .at(Site::Value)
            .examples(&["{ TZ: UTC }"]),
        key("image", IMAGE, "The container of `run` stages")
            .codes(&["W070"])
            .at(Site::Plan)
            .examples(&["rust:1.90"]),
        key("resources", Form::Map(&RESOURCES), "Limits of the container").codes(&["E060"]),
        key("retry", Form::Map(&RETRY), "Extra attempts, for actions that can be repeated"),
        key("runner", RUNNER, "Labels that the runner must have")
            .codes(&["E064"])
            .at(Site::Plan)
            .examples(&["[arm64]"]),
        key(
            "services",
            Form::MapOf(&HOST_LABEL, &Form::OneOf(&[IMAGE, Form::Map(&SERVICE)])),
            "Containers beside every `run` stage",
        )
        .at(Site::Plan)
        .examples(&["{ redis: \"redis:7\" }"]),
        key("shell", SHELL, "What reads the commands of `run`")
            .default("sh")
            .at(Site::Run)
            .examples(&["bash", "[python3, -c]"]),
        key("timeout", DURATION, "Limit of each stage")
            .default("1h")
            .codes(&["E093"])
            .at(Site::Plan)
            .examples(&["20m"]),
    ],
    others: None,
};

pub(crate) static CHECKOUT: Keys = Keys {
    name: "checkout",
    about: "how the source comes into the workspace",
    all: &[
        key(
            "depth",
            Form::OneOf(&[Form::Int { min: 1, max: 1_000_000 }, Form::Word("full")]),
            "How many commits of history come along",
        )
        .default("1")
        .examples(&["50", "full"]),
        key("lfs", Form::Bool, "Whether files of Git LFS are fetched").default("false"),
        key("paths", GLOBS, "Only these files are checked out")
            .otherwise("everything")
            .examples(&["[services/orders]"]),
        key(
            "submodules",
            Form::OneOf(&[Form::Bool, Form::Word("recursive")]),
            "Whether submodules are fetched, from hosts that the project allows",
        )
        .default("false")
        .examples(&["recursive"]),
    ],
    others: None,
};

/// What a template file has beside the keys of a pipeline file.
pub(crate) static TEMPLATE_FILE: Keys = Keys {
    name: "template file",
    about: "a template file; it also takes every key of a pipeline file but `name`",
    all: &[
        key(
            "params",
            Form::MapOf(&ANY_NAME, &Form::Map(&PARAM)),
            "What a pipeline gives with `with`; read in expressions as `params.NAME`",
        )
        .codes(&["E034"])
        .examples(&["{ jdk: { type: enum, values: [17, 21], default: 21 } }"]),
        key(
            "policy",
            Form::MapOf(
                &ANY_NAME,
                &Form::OneOf(&[Form::Words(&["any", "locked"]), Form::ListOf(&Form::Text)]),
            ),
            "What a pipeline may change, by stage: everything, nothing, or these keys (`off` counts as a key). `*` is every other stage",
        )
        .default("{ \"*\": any }")
        .codes(&["E035"])
        .examples(&["{ scan: locked, image: [env, resources] }"]),
    ],
    others: None,
};
