//! Keys of the actions but `deploy`, and of `when`.

use super::form::{ANY_NAME, COUNT, DURATION, Form, GLOBS, PATH, STAGE_OR_IMAGE, TEXTS, VARIABLE};
use super::trigger::PARAM;
use super::{Keys, key};
use crate::TriggerEvent;
use crate::expression::Site;
use crate::plan::{ScanSeverity, Unscannable};
use crate::scalar::Scalar;

pub(crate) static BUILD: Keys = Keys {
    name: "build",
    about: "builds an image with BuildKit. Output: `image`, its id",
    all: &[
        key(
            "args",
            Form::MapOf(&VARIABLE, &Form::AnyText),
            "Arguments of the Dockerfile. They are visible in the image's history",
        )
        .codes(&["W051"])
        .at(Site::Value)
        .examples(&["{ VERSION: \"1.4\" }"]),
        key("context", PATH, "The folder that the build sees")
            .default(".")
            .codes(&["E097"])
            .at(Site::Value)
            .examples(&["services/orders"]),
        key("file", PATH, "The Dockerfile, in the context")
            .default("Dockerfile")
            .codes(&["E097"])
            .at(Site::Value)
            .examples(&["docker/Dockerfile"]),
        key("platform", Form::Text, "For which machines")
            .otherwise("the runner's")
            .at(Site::Value)
            .examples(&["linux/arm64"]),
        key("tags", Form::ListOf(&Form::Text), "Local tags")
            .codes(&["E015"])
            .at(Site::Value)
            .examples(&["[\"orders:dev\"]"]),
        key("target", Form::Text, "The part of the Dockerfile that is built")
            .otherwise("its last")
            .at(Site::Value)
            .examples(&["runtime"]),
    ],
    others: None,
};

pub(crate) static PUSH: Keys = Keys {
    name: "push",
    about: "pushes an image. Outputs: `digest`, and `ref` (`repository@sha256:…`)",
    all: &[
        key("image", STAGE_OR_IMAGE, "The stage that built it, or a reference").required().codes(&["E020"]).at(Site::Value).examples(&["image"]),
        key("registry", Form::Text, "The name of a credential, not a host: `[registries.NAME]` of the server's configuration, or of your own")
            .required()
            .codes(&["E065"])
            .at(Site::Value)
            .examples(&["harbor"]),
        key("scan", Form::Map(&SCAN), "The verdict of Harbor's scanner, as a gate").codes(&["E090"]),
        key("tags", Form::ListOf(&Form::Text), "References to push to; all point to one digest")
            .required()
            .codes(&["E015", "E090"])
            .at(Site::Value)
            .examples(&["[\"harbor.corp.example/team/orders:1.4\"]"]),
    ],
    others: None,
};

pub(crate) static SCAN: Keys = Keys {
    name: "push.scan",
    about: "which findings of the scanner fail the stage",
    all: &[
        key(
            "max-severity",
            Form::Words(<ScanSeverity as Scalar>::WORDS),
            "The worst finding that still passes",
        )
        .required()
        .at(Site::Value),
        key(
            "on-unscannable",
            Form::Words(<Unscannable as Scalar>::WORDS),
            "What an image means that cannot be scanned; a scan that does not end is an `infra-error`",
        )
        .default("fail")
        .at(Site::Value),
        key("timeout", DURATION, "How long the stage waits for the scanner")
            .default("5m")
            .at(Site::Value)
            .examples(&["10m"]),
    ],
    others: None,
};

pub(crate) static APPROVE: Keys = Keys {
    name: "approve",
    about: "asks people. Outputs: `by`, and every field",
    all: &[
        key("by", TEXTS, "Users, or `group:NAME`")
            .required()
            .at(Site::Value)
            .examples(&["[\"group:release\"]"]),
        key("count", COUNT, "How many must agree").default("1").at(Site::Value).examples(&["2"]),
        key("fields", Form::MapOf(&ANY_NAME, &Form::Map(&PARAM)), "Values that the person gives")
            .examples(&["{ ticket: { type: string } }"]),
        key("message", Form::Text, "What is asked")
            .at(Site::Value)
            .examples(&["Deploy to production?"]),
        key("timeout", DURATION, "How long it waits; the same as `timeout` of the stage")
            .default("24h")
            .codes(&["E013", "E093"])
            .at(Site::Plan)
            .examples(&["2h"]),
    ],
    others: None,
};

pub(crate) static TRIGGER: Keys = Keys {
    name: "trigger",
    about: "starts another pipeline. Outputs: `run`, `result`",
    all: &[
        key("params", Form::MapOf(&ANY_NAME, &Form::Value), "Values for its parameters")
            .at(Site::Value)
            .examples(&["{ target: staging }"]),
        key("pipeline", Form::Text, "`pipeline`, or `project/pipeline`")
            .required()
            .at(Site::Value)
            .examples(&["smoke", "shop/smoke"]),
        key("ref", Form::Text, "The branch, tag or commit that is run")
            .otherwise("its default branch")
            .at(Site::Value)
            .examples(&["main"]),
        key("wait", Form::Bool, "Whether the stage waits for the result, and takes it over")
            .default("true")
            .at(Site::Value),
    ],
    others: None,
};

pub(crate) static WHEN: Keys = Keys {
    name: "when",
    about: "a condition: all of its keys must hold",
    all: &[
        key(
            "branch",
            GLOBS,
            "A glob matches the branch; of a pull request, the branch it goes into",
        )
        .codes(&["W023"])
        .examples(&["main", "[main, \"release/*\"]"]),
        key(
            "changed",
            GLOBS,
            "A file that changed matches. It also holds when it is unknown what changed",
        )
        .examples(&["[\"src/**\"]"]),
        key("environment", GLOBS, "The run deploys to an environment that matches")
            .examples(&["prod"]),
        key(
            "event",
            Form::OneOrMany(&Form::Words(<TriggerEvent as Scalar>::WORDS)),
            "What started the run",
        )
        .examples(&["tag", "[tag, manual]"]),
        key("if", Form::Text, "A CEL expression that is true, bare or in `${{ }}`")
            .codes(&["E040", "E042", "E044", "E045"])
            .at(Site::Condition)
            .examples(&["event.name == 'tag'"]),
        key(
            "params",
            Form::MapOf(&ANY_NAME, &Form::OneOrMany(&Form::AnyText)),
            "Parameters and the values they must have",
        )
        .examples(&["{ target: [staging, prod] }"]),
        key("tag", GLOBS, "A glob matches the tag").examples(&["v*"]),
    ],
    others: None,
};
