//! Parts of a stage that are maps of their own: services, limits, caches, files.

use super::form::{COMMAND, COUNT, DURATION, ENV, Form, GLOBS, IMAGE, PORT, SIZE, TEXTS, URL_PATH};
use super::{Keys, key};
use crate::expression::Site;
use crate::scalar::Scalar;

pub(crate) static CONCURRENCY: Keys = Keys {
    name: "concurrency",
    about: "a group, of which only so many are at work at a time; the others wait in the order they came",
    all: &[
        key("group", Form::Text, "The name of the group")
            .required()
            .at(Site::Value)
            .examples(&["release", "\"${{ git.branch }}\""]),
        key("limit", COUNT, "How many at a time").default("1").at(Site::Value).examples(&["2"]),
        key(
            "on-new",
            Form::Words(<crate::OnNew as Scalar>::WORDS),
            "What happens to those at work when a new one comes",
        )
        .default("queue"),
    ],
    others: None,
};

pub(crate) static RESOURCES: Keys = Keys {
    name: "resources",
    about: "the most that a container may use",
    all: &[
        key("cpu", Form::Number, "Cores").default("2").at(Site::Plan).examples(&["0.5"]),
        key("memory", SIZE, "Memory").default("4Gi").at(Site::Plan).examples(&["512Mi"]),
        key("pids", Form::Int { min: 1, max: 4_194_304 }, "Processes and threads")
            .default("512")
            .at(Site::Plan)
            .examples(&["1024"]),
    ],
    others: None,
};

pub(crate) static SERVICE: Keys = Keys {
    name: "services.NAME",
    about: "a container beside the stage",
    all: &[
        key("command", COMMAND, "In place of the image's command")
            .codes(&["E043"])
            .at(Site::Run)
            .examples(&["[redis-server, --save, \"\"]"]),
        key("env", ENV, "Variables of the service")
            .codes(&["E017"])
            .at(Site::Plan)
            .examples(&["{ POSTGRES_PASSWORD: test }"]),
        key("image", IMAGE, "What runs")
            .required()
            .codes(&["E090", "W070"])
            .at(Site::Plan)
            .examples(&["redis:7"]),
        key(
            "ready",
            Form::Map(&READY),
            "When the service counts as ready. The stage starts when all its services are",
        )
        .otherwise("the image's `HEALTHCHECK`, else its first exposed port, else started")
        .codes(&["E094"])
        .examples(&["{ tcp: auto }"]),
        key("resources", Form::Map(&RESOURCES), "Limits of the service"),
    ],
    others: None,
};

pub(crate) static READY: Keys = Keys {
    name: "ready",
    about: "a probe: one of `cmd`, `tcp` and `http`",
    all: &[
        key("cmd", COMMAND, "A command in the service that ends with 0")
            .codes(&["E043"])
            .at(Site::Run)
            .examples(&["[redis-cli, ping]"]),
        key("http", URL_PATH, "A path that is answered with 2xx or 3xx, at `port`")
            .at(Site::Plan)
            .examples(&["/health"]),
        key("port", PORT, "The port of `http`").at(Site::Plan).examples(&["8080"]),
        key(
            "tcp",
            Form::OneOf(&[PORT, Form::Word("auto")]),
            "A port that accepts a connection; `auto` is the first that the image exposes",
        )
        .at(Site::Plan)
        .examples(&["5432", "auto"]),
        key("timeout", DURATION, "How long the stage waits for it")
            .default("60s")
            .at(Site::Plan)
            .examples(&["2m"]),
    ],
    others: None,
};

pub(crate) static CACHE: Keys = Keys {
    name: "cache",
    about: "folders that are kept: saved after a pass, restored before the commands",
    all: &[
        key("key", Form::Text, "The name under which they are saved, and first looked for")
            .required()
            .at(Site::Cache)
            .examples(&["npm", "\"npm-${{ hash('package-lock.json') }}\""]),
        key("paths", TEXTS, "The folders; `~` is the home of the container's user")
            .required()
            .codes(&["E060", "E091"])
            .at(Site::Plan)
            .examples(&["[~/.npm]"]),
        key("restore", TEXTS, "Beginnings of keys to look for when there is none under `key`")
            .at(Site::Cache)
            .examples(&["[npm-]"]),
    ],
    others: None,
};

pub(crate) static ARTIFACTS: Keys = Keys {
    name: "artifacts",
    about: "files that are published",
    all: &[
        key("expire", DURATION, "How long they are kept")
            .default("30d")
            .at(Site::Value)
            .examples(&["14d"]),
        key("name", Form::Text, "The name they are shown under")
            .otherwise("the stage's name")
            .at(Site::Value)
            .examples(&["orders"]),
        key(
            "on",
            Form::Words(<crate::ArtifactsOn as Scalar>::WORDS),
            "With which result of the stage they are published",
        )
        .default("success"),
        key("paths", GLOBS, "Which files")
            .required()
            .codes(&["E097"])
            .at(Site::Value)
            .examples(&["[\"dist/**\"]"]),
    ],
    others: None,
};

pub(crate) static REPORTS: Keys = Keys {
    name: "reports",
    about: "files with the results of tests",
    all: &[key("junit", GLOBS, "XML in the form of JUnit")
        .required()
        .codes(&["E097"])
        .at(Site::Plan)
        .examples(&["\"**/TEST-*.xml\""])],
    others: None,
};
