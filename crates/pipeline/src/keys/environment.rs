//! Keys of `environments`.

use super::form::{COUNT, DURATION, ENV, Form, GLOBS, LABEL, TEXTS};
use super::rollout::STRATEGY_FORM;
use super::switch::{SWITCH, SWITCH_OF_UNITS, of_target};
use super::{Keys, key};
use crate::Tier;
use crate::expression::Site;
use crate::scalar::{Promotion, Scalar};

pub(crate) static ENVIRONMENT: Keys = Keys {
    name: "environments.NAME",
    about: "a place to deploy to",
    all: &[
        key("allow", GLOBS, "Branches and tags that may be deployed here").otherwise("every one").codes(&["E060"]).at(Site::Pipeline).examples(&["[main, \"v*\"]"]),
        key("ensure", Form::Bool, "Whether units that died are brought back by who watches").default("false").at(Site::Pipeline),
        key("env", ENV, "Variables of every service deployed here").codes(&["E017"]).at(Site::Pipeline).examples(&["{ REGION: north }"]),
        key("freeze", TEXTS, "Calendars in which nothing is deployed").at(Site::Pipeline).examples(&["[national-holidays]"]),
        key("only", Form::Map(&ONLY), "Only these hosts of the target: a `group`, or a `label`").examples(&["{ group: preprod }"]),
        key("promote", Form::Words(<Promotion as Scalar>::WORDS), "How a release that passed comes here").default("manual").at(Site::Pipeline),
        key("protected", Form::Bool, "Only a server may define it. The tiers `preprod` and `prod` always are").default("false").codes(&["E013", "E063"]).at(Site::Pipeline),
        key("replicas", COUNT, "Units, where the stage does not say it").default("1").at(Site::Pipeline).examples(&["2"]),
        key("requires", Form::ListOf(&Form::Map(&REQUIREMENT)), "Gates: what must hold before a deployment").examples(&["[{ passed: test }, { approvals: 2 }]"]),
        key("reservations", Form::Bool, "Whether one holder can reserve it").default("false").at(Site::Pipeline),
        key("shadow-of", Form::Like(&LABEL), "Takes its configuration from another environment").codes(&["E021", "E062"]).at(Site::Pipeline).examples(&["prod"]),
        key("strategy", STRATEGY_FORM, "How units are rolled, where the stage does not say it").default("rolling").at(Site::Pipeline).examples(&["{ batch: 1 }"]),
        key("target", Form::OneOf(&[Form::Like(&LABEL), Form::Map(&TARGET)]), "Where it runs: the name of a target of the server, or, for local runs, the target itself")
            .required()
            .codes(&["E013", "E014", "E062"])
            .at(Site::Pipeline)
            .examples(&["docker-dev", "{ docker: { host: \"unix:///var/run/docker.sock\" } }"]),
        key("tier", Form::Words(<Tier as Scalar>::WORDS), "What it is for").default("dev").codes(&["E063"]).at(Site::Pipeline),
        key("url", Form::Text, "Where people find what runs there").at(Site::Pipeline).examples(&["https://orders.corp.example"]),
        key("windows", TEXTS, "Times in which it may be deployed to").at(Site::Pipeline).examples(&["[\"Mon-Thu 10:00-17:00 Asia/Shanghai\"]"]),
    ],
    others: None,
};

pub(crate) static ONLY: Keys = Keys {
    name: "environments.NAME.only",
    about: "the part of a target that is the environment: one of `group` and `label`",
    all: &[
        key("group", Form::Like(&LABEL), "A group of hosts")
            .codes(&["E013"])
            .at(Site::Pipeline)
            .examples(&["preprod"]),
        key("label", Form::Text, "A label of hosts or clusters")
            .codes(&["E013"])
            .at(Site::Pipeline)
            .examples(&["region=north"]),
    ],
    others: None,
};

pub(crate) static REQUIREMENT: Keys = Keys {
    name: "environments.NAME.requires",
    about: "a gate: one of `passed`, `approvals` and `bake`",
    all: &[
        key("approvals", COUNT, "How many people must approve")
            .codes(&["E013"])
            .at(Site::Pipeline)
            .examples(&["2"]),
        key("bake", DURATION, "How long the release must have run there before")
            .codes(&["E013"])
            .at(Site::Pipeline)
            .examples(&["30m"]),
        key("max-age", DURATION, "How long ago it may have passed, with `passed`")
            .codes(&["E011"])
            .at(Site::Pipeline)
            .examples(&["7d"]),
        key("of", Form::Like(&LABEL), "The group of those who approve, with `approvals`")
            .codes(&["E011"])
            .at(Site::Pipeline)
            .examples(&["release-managers"]),
        key("passed", Form::Like(&LABEL), "The environment in which the same release was good")
            .codes(&["E013", "E021", "E062"])
            .at(Site::Pipeline)
            .examples(&["test"]),
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
        key(
            "certificates",
            Form::Text,
            "The folder with `ca.pem`, `cert.pem` and `key.pem` for TLS",
        )
        .otherwise("no TLS")
        .at(Site::Pipeline)
        .examples(&["/etc/shipline/engine"]),
        key("host", Form::Text, "The address of the engine")
            .required()
            .at(Site::Pipeline)
            .examples(&["\"unix:///var/run/docker.sock\"", "\"ssh://deploy@web-1\""]),
        key("identity", Form::Text, "The private key for an engine behind SSH")
            .otherwise("those of the SSH client")
            .at(Site::Pipeline)
            .examples(&["/etc/shipline/id_ed25519"]),
        key("known-hosts", Form::Text, "The file with the keys of hosts that are known")
            .otherwise("`~/.ssh/known_hosts`")
            .at(Site::Pipeline)
            .examples(&["/etc/shipline/known_hosts"]),
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .at(Site::Pipeline)
            .examples(&["/run/shipline/proxy.sock"]),
        of_target(&SWITCH_OF_UNITS),
    ],
    others: None,
};

pub(crate) static TARGET_SWARM: Keys = Keys {
    name: "target.swarm",
    about: "a Docker Swarm",
    all: &[
        key("host", Form::Text, "The address of a manager")
            .required()
            .at(Site::Pipeline)
            .examples(&["\"unix:///var/run/docker.sock\""]),
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .at(Site::Pipeline)
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
            .at(Site::Pipeline)
            .examples(&["kind"]),
        key("namespace", Form::Text, "The namespace")
            .otherwise("the context's")
            .at(Site::Pipeline)
            .examples(&["orders"]),
    ],
    others: None,
};

pub(crate) static TARGET_HOSTS: Keys = Keys {
    name: "target.hosts",
    about: "hosts over SSH",
    all: &[
        key(
            "hosts",
            Form::OneOrMany(&Form::OneOf(&[Form::Text, Form::Map(&TARGET_HOST)])),
            "Their names or addresses, in the order they are changed in",
        )
        .required()
        .at(Site::Pipeline)
        .examples(&["[web-01, web-02]", "[{ host: deploy@web-03, group: north }]"]),
        key("identity", Form::Text, "The private key for them")
            .otherwise("those of the SSH client")
            .at(Site::Pipeline)
            .examples(&["/etc/shipline/id_ed25519"]),
        key("known-hosts", Form::Text, "The file with the keys of hosts that are known")
            .otherwise("`~/.ssh/known_hosts`")
            .at(Site::Pipeline)
            .examples(&["/etc/shipline/known_hosts"]),
        key("path", Form::Text, "The folder of the releases")
            .otherwise("`/srv/PROJECT`")
            .at(Site::Pipeline)
            .examples(&["/srv/orders"]),
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .at(Site::Pipeline)
            .examples(&["/run/shipline/proxy.sock"]),
        of_target(&SWITCH),
        key("user", Form::Text, "Who logs in").at(Site::Pipeline).examples(&["deploy"]),
    ],
    others: None,
};

pub(crate) static TARGET_PROCESS: Keys = Keys {
    name: "target.process",
    about: "processes of this machine",
    all: &[
        key("proxy", Form::Text, "The control socket of `shipline proxy`")
            .at(Site::Pipeline)
            .examples(&["/run/shipline/proxy.sock"]),
        key("root", Form::Text, "The folder of the releases")
            .required()
            .at(Site::Pipeline)
            .examples(&["/srv/orders"]),
        of_target(&SWITCH_OF_UNITS),
    ],
    others: None,
};

pub(crate) static TARGET_HOST: Keys = Keys {
    name: "target.hosts.hosts",
    about: "a host, with what else is known of it",
    all: &[
        key("env", ENV, "Variables of this host alone, above all others")
            .codes(&["E017"])
            .at(Site::Pipeline)
            .examples(&["{ ROLE: job }"]),
        key("group", Form::Like(&LABEL), "The group it is rolled with")
            .at(Site::Pipeline)
            .examples(&["north"]),
        key("host", Form::Text, "Its name or address")
            .required()
            .at(Site::Pipeline)
            .examples(&["deploy@web-03:2222"]),
        key("labels", TEXTS, "What it can be chosen by")
            .at(Site::Pipeline)
            .examples(&["[region=north]"]),
        key("traffic", Form::Bool, "Whether the switch may route requests to it")
            .default("true")
            .at(Site::Pipeline),
    ],
    others: None,
};
