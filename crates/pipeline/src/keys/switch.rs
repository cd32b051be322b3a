//! Keys of `switch`: balancers of somebody else in front of a target.

use super::form::{DURATION, Form, LABEL};
use super::{Key, Keys, key};
use crate::expression::Site;

/// What it is in front of `hosts`, which answer where they always did, and of other units.
pub(super) const fn of_target(kinds: &'static Keys) -> Key {
    key(
        "switch",
        Form::Map(kinds),
        "The balancer of yours that requests come through, in place of `proxy`",
    )
    .codes(&["E013"])
}

const fn over_ssh() -> Key {
    key("ssh", Form::Text, "The machine it runs on, reached with the keys of the target")
        .otherwise("this one")
        .at(Site::Pipeline)
        .examples(&["deploy@lb-1.corp.example"])
}

const fn haproxy() -> Key {
    key("haproxy", Form::Map(&SWITCH_HAPROXY), "HAProxy, by its runtime API")
}

const fn hook() -> Key {
    key("hook", Form::Map(&SWITCH_HOOK), "A program or a service of yours that tells the balancer")
}

const fn nginx() -> Key {
    key("nginx", Form::Map(&SWITCH_NGINX), "nginx, by a file that it includes")
}

const fn traefik() -> Key {
    key("traefik", Form::Map(&SWITCH_TRAEFIK), "Traefik, by a file of its file provider")
}

/// In front of units that have another address each time they are made.
pub(crate) static SWITCH_OF_UNITS: Keys = Keys {
    name: "target.docker.switch",
    about: "a balancer in front of containers or processes: exactly one kind",
    all: &[hook(), nginx(), traefik()],
    others: None,
};

pub(crate) static SWITCH: Keys = Keys {
    name: "target.hosts.switch",
    about: "a balancer in front of hosts: exactly one kind",
    all: &[haproxy(), hook(), nginx(), traefik()],
    others: None,
};

pub(crate) static SWITCH_HAPROXY: Keys = Keys {
    name: "target.switch.haproxy",
    about: "HAProxy",
    all: &[
        key("backend", Form::Like(&LABEL), "The backend with a server for each host")
            .required()
            .at(Site::Pipeline)
            .examples(&["web"]),
        key("config", Form::Text, "Its configuration, which tells whether a reload keeps drains")
            .default("/etc/haproxy/haproxy.cfg")
            .at(Site::Pipeline)
            .examples(&["/etc/haproxy/haproxy.cfg"]),
        key("socket", Form::Text, "Its runtime API with `level admin`: a path, or `HOST:PORT`")
            .required()
            .at(Site::Pipeline)
            .examples(&["/run/haproxy/admin.sock", "\"127.0.0.1:9999\""]),
        over_ssh(),
    ],
    others: None,
};

pub(crate) static SWITCH_NGINX: Keys = Keys {
    name: "target.switch.nginx",
    about: "nginx",
    all: &[
        key(
            "file",
            Form::Text,
            "The servers of an upstream, which it includes and Shipline writes",
        )
        .required()
        .at(Site::Pipeline)
        .examples(&["/etc/nginx/shipline/web.conf"]),
        key("reload", Form::Text, "The command that brings it into force")
            .default("nginx -s reload")
            .at(Site::Pipeline)
            .examples(&["sudo nginx -s reload"]),
        over_ssh(),
        key("test", Form::Text, "The command that says whether the configuration is good")
            .default("nginx -t")
            .at(Site::Pipeline)
            .examples(&["sudo nginx -t"]),
    ],
    others: None,
};

pub(crate) static SWITCH_TRAEFIK: Keys = Keys {
    name: "target.switch.traefik",
    about: "Traefik",
    all: &[
        key("file", Form::Text, "A file in the folder of its file provider, which Shipline writes")
            .required()
            .at(Site::Pipeline)
            .examples(&["/etc/traefik/dynamic/web.yml"]),
        over_ssh(),
    ],
    others: None,
};

pub(crate) static SWITCH_HOOK: Keys = Keys {
    name: "target.switch.hook",
    about: "a program or a service: one of `command` and `url`",
    all: &[
        key(
            "command",
            Form::Text,
            "Called with `drain`, `undrain` or `status`, the unit and its address",
        )
        .codes(&["E013"])
        .at(Site::Pipeline)
        .examples(&["/usr/local/bin/balancer"]),
        over_ssh(),
        key("timeout", DURATION, "How long one call may take")
            .default("60s")
            .at(Site::Pipeline)
            .examples(&["2m"]),
        key("url", Form::Text, "Asked with a POST that says the same in JSON")
            .codes(&["E013"])
            .at(Site::Pipeline)
            .examples(&["https://lb.corp.example/shipline"]),
    ],
    others: None,
};
