//! Keys of `on`, and of parameters that people give.

use super::form::{ANY_NAME, CRON, DURATION, Form, GLOB, GLOBS, SIZE};
use super::{Keys, key};
use crate::model::{GerritEvent, PullRequestType};
use crate::scalar::Scalar;

/// The events of `on` that can be named alone; a `schedule` needs a time.
pub(super) const TRIGGERS: &[&str] = &["push", "tag", "pull-request", "manual", "gerrit", "svn"];

const PARAMS: Form = Form::MapOf(&ANY_NAME, &Form::Map(&PARAM));
const AUTO: &str = "`false`: the event makes the run but holds it until somebody starts it";

pub(crate) static ON: Keys = Keys {
    name: "on",
    about: "the events that start a run",
    all: &[
        key("gerrit", Form::Map(&ON_GERRIT), "A change in Gerrit"),
        key("manual", Form::Map(&ON_MANUAL), "Somebody starts a run"),
        key("pull-request", Form::Map(&ON_PULL_REQUEST), "A pull request was opened or changed"),
        key("push", Form::Map(&ON_PUSH), "Commits were pushed to a branch"),
        key("schedule", Form::OneOrMany(&Form::Map(&ON_SCHEDULE)), "At fixed times").examples(&[
            "{ cron: \"0 3 * * *\" }",
            "[{ cron: \"0 3 * * *\" }, { cron: \"0 12 * * 0\" }]",
        ]),
        key("svn", Form::Map(&ON_SVN), "A commit in Subversion"),
        key(
            "tag",
            Form::OneOf(&[GLOB, Form::ListOf(&GLOB), Form::Map(&ON_TAG)]),
            "A tag was pushed. Globs in place of the map are its `name`",
        )
        .examples(&["v*", "{ name: \"v*\" }"]),
    ],
    others: None,
};

pub(crate) static ON_PUSH: Keys = Keys {
    name: "on.push",
    about: "which pushes start a run",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("branch", GLOBS, "Only branches that one of these matches").otherwise("every branch").examples(&["[main, \"release/*\"]"]),
        key("changed", GLOBS, "Only pushes that change one of these files. If it is unknown what changed, the push counts")
            .otherwise("whatever changed")
            .examples(&["[\"src/**\", Cargo.toml]"]),
    ],
    others: None,
};

pub(crate) static ON_TAG: Keys = Keys {
    name: "on.tag",
    about: "which tags start a run",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("name", GLOBS, "Only tags that one of these matches")
            .otherwise("every tag")
            .examples(&["v*"]),
    ],
    others: None,
};

pub(crate) static ON_PULL_REQUEST: Keys = Keys {
    name: "on.pull-request",
    about: "which pull requests start a run",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("branch", GLOBS, "Only requests into a branch that one of these matches")
            .otherwise("every branch")
            .examples(&["main"]),
        key("changed", GLOBS, "Only requests that change one of these files")
            .otherwise("whatever changed")
            .examples(&["[\"src/**\"]"]),
        key(
            "types",
            Form::OneOrMany(&Form::Words(<PullRequestType as Scalar>::WORDS)),
            "What happened to the request",
        )
        .default("[opened, updated]")
        .examples(&["[opened, updated, closed]"]),
    ],
    others: None,
};

pub(crate) static ON_SCHEDULE: Keys = Keys {
    name: "on.schedule",
    about: "a timetable",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("branch", Form::Text, "The branch that is run")
            .otherwise("the default branch")
            .examples(&["main"]),
        key("cron", CRON, "Minute, hour, day of the month, month, day of the week")
            .required()
            .codes(&["E015"])
            .examples(&["0 3 * * 1-5"]),
        key(
            "params",
            Form::MapOf(&ANY_NAME, &Form::Value),
            "Values for the parameters of `on.manual`",
        )
        .codes(&["E066"])
        .examples(&["{ target: staging }"]),
        key("timezone", Form::Text, "Time zone of `cron`, as the IANA database names it")
            .default("UTC")
            .examples(&["Asia/Shanghai"]),
    ],
    others: None,
};

pub(crate) static ON_MANUAL: Keys = Keys {
    name: "on.manual",
    about: "what somebody who starts a run is asked",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("params", PARAMS, "Parameters by name; read in expressions as `params.NAME`")
            .codes(&["E066"])
            .examples(&["{ target: { type: enum, values: [staging, prod], default: staging } }"]),
    ],
    others: None,
};

pub(crate) static ON_GERRIT: Keys = Keys {
    name: "on.gerrit",
    about: "which events of Gerrit start a run; the server's project has the connection",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("branch", GLOBS, "Only changes for a branch that one of these matches")
            .otherwise("every branch")
            .examples(&["main"]),
        key("comment", Form::Text, "Only comments that this regular expression matches")
            .codes(&["E015"])
            .examples(&["^recheck$"]),
        key(
            "events",
            Form::OneOrMany(&Form::Words(<GerritEvent as Scalar>::WORDS)),
            "What happened to the change",
        )
        .otherwise("`patchset-created`; and `comment`, when there is a `comment`")
        .examples(&["[patchset-created]"]),
    ],
    others: None,
};

pub(crate) static ON_SVN: Keys = Keys {
    name: "on.svn",
    about: "which commits of Subversion start a run; the server's project has the connection",
    all: &[
        key("auto", Form::Bool, AUTO).default("true"),
        key("paths", GLOBS, "Only commits that touch one of these paths")
            .otherwise("every path")
            .examples(&["[\"trunk/**\"]"]),
        key("poll", DURATION, "How often the repository is asked").default("60s").examples(&["5m"]),
    ],
    others: None,
};

/// The types of the parts of a list or map.
const ITEM_TYPES: &[&str] = &["string", "int", "bool", "enum", "duration", "size"];
/// The types of a parameter.
const PARAM_TYPES: &[&str] = &["string", "int", "bool", "enum", "list", "map", "duration", "size"];

const BOUND: Form = Form::OneOf(&[Form::Int { min: i64::MIN, max: i64::MAX }, DURATION, SIZE]);

pub(crate) static PARAM: Keys = Keys {
    name: "params.NAME",
    about: "a parameter of a template, of a manual run, or a field of an approval",
    all: &[
        key("default", Form::Value, "The value when none is given").examples(&["staging", "2"]),
        key("description", Form::Text, "What it is for; shown where it is asked")
            .examples(&["where to deploy"]),
        key("max", BOUND, "The largest `int`, `duration` or `size`").examples(&["50"]),
        key("min", BOUND, "The smallest `int`, `duration` or `size`").examples(&["1"]),
        key(
            "of",
            Form::Words(ITEM_TYPES),
            "The type of the items of a `list`, or of the values of a `map`",
        )
        .otherwise("`string` for a list, anything for a map"),
        key("pattern", Form::Text, "A regular expression that a `string` matches")
            .codes(&["E015"])
            .examples(&["^[a-z]+$"]),
        key("required", Form::Bool, "Whether a value must be given")
            .default("false")
            .codes(&["E033", "E066"]),
        key("type", Form::Words(PARAM_TYPES), "What the value is").required(),
        key("values", Form::ListOf(&Form::AnyText), "The values of an `enum`")
            .examples(&["[staging, prod]"]),
    ],
    others: None,
};
