//! Keys of `environments`.

use super::form::{COUNT, ENV, Form, GLOBS, LABEL, TEXTS};
use super::rollout::STRATEGY_FORM;
use super::{Keys, key};
use crate::expression::Site;

pub(crate) static ENVIRONMENT: Keys = Keys {
    name: "environments.NAME",
    about: "a place to deploy to",
    all: &[
        key("allow", GLOBS, "Branches and tags that may be deployed here").otherwise("every one").at(Site::Pipeline).examples(&["[main, \"v*\"]"]),
        key("env", ENV, "Variables of every service deployed here").codes(&["E017"]).at(Site::Pipeline).examples(&["{ REGION: north }"]),
        key("freeze", TEXTS, "Calendars in which nothing is deployed").examples(&["[national-holidays]"]),
        key("only", Form::MapOf(&LABEL, &Form::AnyText), "Only these hosts of the target: a `group`, or a `label`").examples(&["{ group: preprod }"]),
        key("promote", Form::Words(&["auto", "manual"]), "How a release that passed comes here").default("manual"),
        key("protected", Form::Bool, "Only a server may define it. Tier `prod` always is").default("false").codes(&["E063"]),
        key("replicas", COUNT, "Units, where the stage does not say it").default("1").at(Site::Pipeline).examples(&["2"]),
        key("requires", Form::ListOf(&Form::Value), "Gates: what must hold before a deployment").examples(&["[{ passed: test }, { approvals: 2 }]"]),
        key("reservations", Form::Bool, "Whether one holder can reserve it").default("false"),
        key("shadow-of", Form::Like(&LABEL), "Takes its configuration from another environment").examples(&["prod"]),
        key("strategy", STRATEGY_FORM, "How units are rolled, where the stage does not say it").default("rolling").examples(&["{ batch: 1 }"]),
        key("target", Form::OneOf(&[Form::Like(&LABEL), Form::Map(&TARGET)]), "Where it runs: the name of a target of the server, or, for local runs, the target itself")
            .required()
            .codes(&["E014", "E062"])
            .examples(&["docker-dev", "{ docker: { host: \"unix:///var/run/docker.sock\" } }"]),
        key("tier", Form::Words(&["dev", "test", "preprod", "prod"]), "What it is for").default("dev").codes(&["E063"]),
        key("url", Form::Text, "Where people find what runs there").at(Site::Pipeline).examples(&["https://orders.corp.example"]),
        key("windows", TEXTS, "Times in which it may be deployed to").examples(&["[\"Mon-Thu 10:00-17:00 Asia/Shanghai\"]"]),
    ],
    others: None,
};

pub(crate) static TARGET: Keys = Keys {
    name: "target",
    about: "a target for local runs: exactly one kind",
    all: &[
        key("docker", Form::Map(&TARGET_DOCKER), "A Docker engine"),
        key("hosts", Form::Map(&TARGET_HOSTS), "Hosts over SSH"),
        key("kubernetes", Form::Map(&TARGET_KUBERNETES), "A cluster"),
        key("process", Form::Map(&TARGET_PROCESS), "Processes of this machine"),
        key("swarm", Form::Map(&TARGET_SWARM), "A Docker Swarm"),
    ],
    others: None,
};

pub(crate) static TARGET_DOCKER: Keys = Keys {
    name: "target.docker",
    about: "a Docker engine",
    all: &[
        key("host", Form::Text, "The address of the engine")
            .required()
            .examples(&["\"unix:///var/run/docker.sock\""]),
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .examples(&["/run/shipline/proxy.sock"]),
    ],
    others: None,
};

pub(crate) static TARGET_SWARM: Keys = Keys {
    name: "target.swarm",
    about: "a Docker Swarm",
    all: &[
        key("host", Form::Text, "The address of a manager")
            .required()
            .examples(&["\"unix:///var/run/docker.sock\""]),
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .examples(&["/run/shipline/proxy.sock"]),
    ],
    others: None,
};

pub(crate) static TARGET_KUBERNETES: Keys = Keys {
    name: "target.kubernetes",
    about: "a cluster",
    all: &[
        key("context", Form::Text, "The context of your kubeconfig")
            .otherwise("its current one")
            .examples(&["kind"]),
        key("namespace", Form::Text, "The namespace")
            .otherwise("the context's")
            .examples(&["orders"]),
    ],
    others: None,
};

pub(crate) static TARGET_HOSTS: Keys = Keys {
    name: "target.hosts",
    about: "hosts over SSH",
    all: &[
        key("hosts", TEXTS, "Their names or addresses").required().examples(&["[web-01, web-02]"]),
        key("path", Form::Text, "The folder of the releases").examples(&["/srv/orders"]),
        key("user", Form::Text, "Who logs in").examples(&["deploy"]),
    ],
    others: None,
};

pub(crate) static TARGET_PROCESS: Keys = Keys {
    name: "target.process",
    about: "processes of this machine",
    all: &[
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .examples(&["/run/shipline/proxy.sock"]),
        key("root", Form::Text, "The folder of the releases").required().examples(&["/srv/orders"]),
    ],
    others: None,
};
