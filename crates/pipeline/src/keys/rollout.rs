//! Keys of `deploy`: how it is rolled, in which steps, and what is checked.

use super::form::{ANY_NAME, COMMAND, COUNT, DURATION, Form, IMAGE, LABEL, Make, PERCENT, UNITS};
use super::{Keys, key};
use crate::expression::Site;
use crate::plan::{CanaryBy, Inconclusive, OnFailure, Per, RolloutOrder, StrategyKind};
use crate::scalar::Scalar;

/// A word for the kind alone, or everything about it.
pub(super) const STRATEGY_FORM: Form = Form::OneOf(&[Form::Words(KINDS), Form::Map(&STRATEGY)]);
/// What a suite is made of.
pub(super) const SUITE_FORM: Form = Form::OneOrMany(&Form::Map(&VERIFY));
/// A check, or a list of checks and of suites by name.
pub(super) const VERIFY_FORM: Form =
    Form::OneOrMany(&Form::OneOf(&[Form::Like(&LABEL), Form::Map(&VERIFY)]));
/// A number of units that may be none, or a share of all.
const ALLOWANCE: Form = Form::OneOf(&[Form::Int { min: 0, max: 10_000 }, PERCENT]);
const KINDS: &[&str] = <StrategyKind as Scalar>::WORDS;

pub(crate) static STRATEGY: Keys = Keys {
    name: "deploy.strategy",
    about: "how the units of an environment are rolled",
    all: &[
        key("bake", DURATION, "How long a batch is watched before it is called good").default("0s").at(Site::Value).examples(&["30s"]),
        key("batch", UNITS, "Units that are changed together").default("1").codes(&["E013"]).at(Site::Value).examples(&["2"]),
        key("batches", Form::ListOf(&UNITS), "In place of equal batches: how many more units each of them takes, as a number or as a share")
            .codes(&["E013"])
            .at(Site::Value)
            .examples(&["[1, 25%, 100%]"]),
        key("drain", DURATION, "How long requests in flight may take before they are cut").default("30s").at(Site::Value).examples(&["1m"]),
        key("drain-websockets", DURATION, "The same for WebSockets").default("5m").at(Site::Value).examples(&["10m"]),
        key("groups", Form::ListOf(&Form::Text), "Groups of hosts, in this order").at(Site::Value).examples(&["[preprod, north, south]"]),
        key("kind", Form::Words(KINDS), "`recreate`: all down, then all up").default("rolling").at(Site::Value),
        key("max-surge", ALLOWANCE, "Units above the wanted number while it is rolled").codes(&["E013"]).at(Site::Value).examples(&["1"]),
        key("max-unavailable", ALLOWANCE, "Units that may be missing while it is rolled")
            .otherwise("0; 1 with `order: stop-first`")
            .codes(&["E013"])
            .at(Site::Value)
            .examples(&["0"]),
        key("on-failure", Form::Words(<OnFailure as Scalar>::WORDS), "What happens when a batch fails: everything goes back, only what failed goes back, or somebody is asked")
            .default("rollback")
            .at(Site::Value),
        key("order", Form::Words(<RolloutOrder as Scalar>::WORDS), "Whether the new unit starts before the old one stops").default("start-first").codes(&["E013"]).at(Site::Value),
        key("parallel", COUNT, "Units at once within a batch").otherwise("the whole batch").at(Site::Value).examples(&["5"]),
        key("rollback-deadline", DURATION, "How long going back may take").default("5m").at(Site::Value).examples(&["10m"]),
        key("tolerate", Form::Int { min: 0, max: 10_000 }, "Units that may fail in the whole deployment").default("0").at(Site::Value).examples(&["1"]),
    ],
    others: None,
};

pub(crate) static CANARY: Keys = Keys {
    name: "deploy.canary",
    about: "traffic that moves in steps",
    all: &[
        key("by", Form::Words(<CanaryBy as Scalar>::WORDS), "What decides who sees the new release: a share of the traffic, a header, a Dubbo tag, or a label of hosts")
            .default("weight")
            .at(Site::Value),
        key("min-requests", Form::Int { min: 1, max: 1_000_000_000 }, "With fewer requests a metric says nothing").at(Site::Value).examples(&["100"]),
        key("on-inconclusive", Form::Words(<Inconclusive as Scalar>::WORDS), "What it means when a metric says nothing").default("fail").at(Site::Value),
        key("steps", Form::ListOf(&Form::Map(&CANARY_STEP)), "The steps, in order").required().examples(&["[{ weight: 5, bake: 5m }, { weight: 100 }]"]),
    ],
    others: None,
};

pub(crate) static CANARY_STEP: Keys = Keys {
    name: "deploy.canary.steps",
    about: "one step of a canary",
    all: &[
        key("bake", DURATION, "How long the step is watched").at(Site::Value).examples(&["5m"]),
        key("label", Form::Text, "The hosts or clusters of this step, with `by: label`")
            .codes(&["E013"])
            .at(Site::Value)
            .examples(&["region=north"]),
        key("metrics", Form::ListOf(&Form::Map(&METRIC)), "What is measured")
            .examples(&["[{ query: error_rate, max: 1% }]"]),
        key("verify", VERIFY_FORM, "What is checked").at(Site::Value).examples(&["[smoke]"]),
        key("weight", Form::Int { min: 0, max: 100 }, "Share of the traffic in percent")
            .codes(&["E013", "E014"])
            .at(Site::Value)
            .examples(&["25"]),
    ],
    others: None,
};

const THRESHOLD: Form =
    Form::OneOf(&[Form::Int { min: 0, max: i64::MAX }, Form::Number, Form::Like(&SHARE)]);
const SHARE: Make = Make { name: "number", pattern: "^[0-9]+(\\.[0-9]+)?%?$" };

pub(crate) static METRIC: Keys = Keys {
    name: "metrics",
    about: "a measured value, and what it must keep",
    all: &[
        key("max", THRESHOLD, "The largest good value").at(Site::Value).examples(&["1%", "400"]),
        key("min", THRESHOLD, "The smallest good value").at(Site::Value).examples(&["99%"]),
        key("query", Form::Text, "What is measured")
            .required()
            .at(Site::Value)
            .examples(&["error_rate"]),
    ],
    others: None,
};

pub(crate) static VERIFY: Keys = Keys {
    name: "verify",
    about: "a check: `http`, or `run` in an `image`",
    all: &[
        key("body", Form::Text, "Text that the body of the answer holds")
            .at(Site::Value)
            .examples(&["ready"]),
        key("http", Form::Text, "What is asked with GET: an address, through the switch; or a path, of each new unit by itself")
            .at(Site::Value)
            .examples(&["https://orders.corp.example/health", "/health"]),
        key("image", IMAGE, "The container of `run`, with everything that the commands need: there is no workspace")
            .at(Site::Plan)
            .examples(&["curlimages/curl:8.10.1"]),
        key("json", Form::MapOf(&ANY_NAME, &Form::Value), "Values that the body of the answer has, by JSON pointer")
            .examples(&["{ /checks/0/state: up }"]),
        key("latency", DURATION, "What the whole answer may take to be good; `timeout` only ends it")
            .at(Site::Value)
            .examples(&["500ms"]),
        key("per", Form::Words(<Per as Scalar>::WORDS), "Whether `run` is run once for all units of a batch, or for each new unit by itself")
            .default("batch")
            .at(Site::Value),
        key("run", COMMAND, "Commands that end with 0. `SHIPLINE_URL` leads them to the switch, `SHIPLINE_UNITS` to the units")
            .codes(&["E043"])
            .at(Site::Run)
            .examples(&["curl -fsS $SHIPLINE_URL/health"]),
        key("status", Form::OneOrMany(&Form::Int { min: 100, max: 599 }), "Statuses of the answer that are good; redirects are not followed")
            .otherwise("200 to 299")
            .examples(&["204", "[301, 302]"]),
        key("timeout", DURATION, "How long the check may take").at(Site::Value).examples(&["2m"]),
    ],
    others: None,
};
