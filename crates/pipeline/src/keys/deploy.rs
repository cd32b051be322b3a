//! Keys of `deploy`: what is wanted.

use super::form::{
    COMMAND, COUNT, DURATION, ENV, Form, GLOBS, LABEL, Make, PORT, STAGE_OR_IMAGE, URL_PATH,
};
use super::rollout::{CANARY, STRATEGY_FORM, VERIFY_FORM};
use super::shared::RESOURCES;
use super::{Keys, key};
use crate::expression::Site;
use crate::scalar::{Reload, Scalar};

pub(crate) static DEPLOY: Keys = Keys {
    name: "deploy",
    about: "brings an environment to a release. Outputs: `release`, `previous`, `state`, `reason`",
    all: &[
        key(
            "allow-mutable-tag",
            Form::Bool,
            "Accepts a reference whose tag may mean another image tomorrow",
        )
        .default("false")
        .at(Site::Value),
        key("canary", Form::Map(&CANARY), "Moves the traffic in steps")
            .examples(&["{ steps: [{ weight: 5, bake: 5m }, { weight: 100 }] }"]),
        key("command", COMMAND, "In place of the image's command")
            .at(Site::Value)
            .examples(&["[serve]"]),
        key("env", ENV, "Variables of the service, merged over those of the environment")
            .codes(&["E017"])
            .at(Site::Value)
            .examples(&["{ LOG_LEVEL: info }"]),
        key("environment", Form::Like(&LABEL), "Where")
            .required()
            .codes(&["E062", "E063"])
            .at(Site::Environment)
            .examples(&["demo"]),
        key(
            "expose",
            Form::Map(&EXPOSE),
            "The route of the proxy. Without it units are rolled by health alone",
        )
        .examples(&["{ port: 8080 }"]),
        key("health", Form::Map(&HEALTH), "When a new unit counts as healthy")
            .otherwise("the image's `HEALTHCHECK`")
            .codes(&["E098"])
            .examples(&["{ http: /health, port: 8080 }"]),
        key("hosts", Form::Map(&HOSTS), "How a release comes onto hosts, when they are the target"),
        key(
            "image",
            STAGE_OR_IMAGE,
            "A stage that pushed or built it, or a reference. Resolved to a digest",
        )
        .codes(&["E014", "E020"])
        .at(Site::Value)
        .examples(&["publish"]),
        key("keep-warm", DURATION, "How long the old units wait, stopped from traffic")
            .default("10m")
            .at(Site::Value)
            .examples(&["1h"]),
        key("kubernetes", Form::Map(&KUBERNETES), "What is applied, when Kubernetes is the target"),
        key(
            "networks",
            Form::ListOf(&Form::Text),
            "Networks that the units join besides Shipline's own",
        )
        .at(Site::Value)
        .examples(&["[backend]"]),
        key(
            "ports",
            Form::ListOf(&Form::Like(&PORTS)),
            "Published ports; only with `order: stop-first` and one replica",
        )
        .codes(&["E013"])
        .at(Site::Value)
        .examples(&["[\"8080:80\"]"]),
        key("replicas", COUNT, "How many units")
            .otherwise("the environment's, else 1")
            .at(Site::Value)
            .examples(&["3"]),
        key("resources", Form::Map(&RESOURCES), "Limits of each unit").codes(&["E060"]),
        key("stop-timeout", DURATION, "From TERM to KILL of an old unit")
            .default("30s")
            .at(Site::Value)
            .examples(&["1m"]),
        key("strategy", STRATEGY_FORM, "How the units are rolled")
            .otherwise("the environment's, else `rolling`")
            .at(Site::Value)
            .examples(&["recreate", "{ batch: 2, bake: 30s }"]),
        key("verify", VERIFY_FORM, "What is checked after each batch")
            .codes(&["E098"])
            .at(Site::Value)
            .examples(&["{ http: \"https://orders.corp.example/health\" }", "[smoke]"]),
        key(
            "volumes",
            Form::ListOf(&Form::Like(&VOLUME)),
            "Named volumes and where they are mounted",
        )
        .codes(&["E013", "E015"])
        .at(Site::Value)
        .examples(&["[\"uploads:/srv/uploads\"]"]),
    ],
    others: None,
};

const PORTS: Make = Make { name: "`host:container` ports", pattern: "^[0-9]+:[0-9]+$" };
const VOLUME: Make = Make { name: "`name:/path`", pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]*:/" };

pub(crate) static EXPOSE: Keys = Keys {
    name: "deploy.expose",
    about: "what the proxy sends to the units",
    all: &[
        key("host", Form::Text, "The host name of requests; `*` is every host")
            .default("\"*\"")
            .at(Site::Value)
            .examples(&["orders.corp.example"]),
        key("path", URL_PATH, "The beginning of their path")
            .default("/")
            .at(Site::Value)
            .examples(&["/api"]),
        key("port", PORT, "The port of the units").required().at(Site::Value).examples(&["8080"]),
    ],
    others: None,
};

pub(crate) static HEALTH: Keys = Keys {
    name: "deploy.health",
    about: "a probe, one of `http`, `tcp` and `cmd`, and how often it must succeed",
    all: &[
        key("cmd", COMMAND, "A command in the unit that ends with 0")
            .codes(&["E043"])
            .at(Site::Run)
            .examples(&["[./healthy]"]),
        key("deadline", DURATION, "By then the unit is healthy, or the deployment has failed")
            .default("60s")
            .at(Site::Value)
            .examples(&["2m"]),
        key("failures", COUNT, "Failures in a row after which a healthy unit no longer is")
            .default("3")
            .at(Site::Value)
            .examples(&["5"]),
        key("http", URL_PATH, "A path that is answered with 2xx or 3xx")
            .at(Site::Value)
            .examples(&["/health"]),
        key("interval", DURATION, "From probe to probe")
            .default("1s")
            .at(Site::Value)
            .examples(&["2s"]),
        key("port", PORT, "The port of `http`")
            .otherwise("`expose.port`")
            .at(Site::Value)
            .examples(&["8080"]),
        key("start-period", DURATION, "Failures before that do not count")
            .default("5s")
            .at(Site::Value)
            .examples(&["30s"]),
        key("successes", COUNT, "Successes in a row that make a unit healthy")
            .default("3")
            .at(Site::Value)
            .examples(&["5"]),
        key("tcp", PORT, "A port that accepts a connection").at(Site::Value).examples(&["5432"]),
        key("timeout", DURATION, "How long one probe may take")
            .default("2s")
            .at(Site::Value)
            .examples(&["5s"]),
    ],
    others: None,
};

pub(crate) static KUBERNETES: Keys = Keys {
    name: "deploy.kubernetes",
    about: "what is applied to a cluster",
    all: &[
        key("manifests", GLOBS, "Files with the objects")
            .at(Site::Value)
            .examples(&["[\"deploy/*.yml\"]"]),
        key("namespace", Form::Text, "The namespace")
            .otherwise("the target's")
            .at(Site::Value)
            .examples(&["orders"]),
        key("set-image", Form::Text, "The container whose image is set")
            .at(Site::Value)
            .examples(&["orders"]),
    ],
    others: None,
};

pub(crate) static HOSTS: Keys = Keys {
    name: "deploy.hosts",
    about: "what is put onto hosts",
    all: &[
        key("artifact", GLOBS, "Files of the workspace that make the release")
            .at(Site::Value)
            .examples(&["[\"dist/**\"]"]),
        key("groups", Form::ListOf(&Form::Text), "Groups of hosts, in this order")
            .at(Site::Value)
            .examples(&["[north, south]"]),
        key("path", Form::Text, "The folder of the releases on every host")
            .at(Site::Value)
            .examples(&["/srv/orders"]),
        key(
            "reload",
            Form::Words(<Reload as Scalar>::WORDS),
            "How the service takes over the new release",
        )
        .at(Site::Value)
        .examples(&["systemd"]),
    ],
    others: None,
};
