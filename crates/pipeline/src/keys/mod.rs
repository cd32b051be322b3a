//! The keys of the language, place by place (language.md §4).
//!
//! All of them are here, also those of stages that this version cannot run yet:
//! a plan shows them, and the runner says what is missing.

/// The keys of one kind of map.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The map's name in "belongs to".
    pub(crate) name: &'static str,
    pub(crate) all: &'static [Key],
}

/// One key of a map.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
}

impl Keys {
    /// Whether a key belongs here.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|key| key.name == name)
    }

    /// In the order in which they are told to people.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.all.iter().map(|key| key.name)
    }

    /// `after, allow-failure, …`.
    pub(crate) fn listed(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }
}

macro_rules! keys {
    ($($constant:ident = $name:literal : $($key:literal)*;)*) => {
        $(pub(crate) static $constant: Keys = Keys { name: $name, all: &[$(Key { name: $key }),*] };)*
        /// Every kind of map there is.
        #[cfg(test)]
        const EVERY: &[&Keys] = &[$(&$constant),*];
    };
}

keys! {
    TOP = "top level": "auto" "checkout" "concurrency" "defaults" "description" "env" "environments"
        "image" "name" "notify" "on" "run-timeout" "stages" "template" "timeout" "version" "with";
    ON = "on": "gerrit" "manual" "pull-request" "push" "schedule" "svn" "tag";
    ON_PUSH = "on.push": "auto" "branch" "changed";
    ON_TAG = "on.tag": "auto" "name";
    ON_PULL_REQUEST = "on.pull-request": "auto" "branch" "changed" "types";
    ON_SCHEDULE = "on.schedule": "auto" "branch" "cron" "params" "timezone";
    ON_MANUAL = "on.manual": "auto" "params";
    ON_GERRIT = "on.gerrit": "auto" "branch" "comment" "events";
    ON_SVN = "on.svn": "auto" "paths" "poll";
    DEFAULTS = "defaults": "cancel-grace" "env" "image" "resources" "retry" "runner" "services" "shell"
        "timeout";
    CHECKOUT = "checkout": "depth" "lfs" "paths" "submodules";
    STAGE = "stage": "after" "allow-failure" "approve" "artifacts" "before" "build" "cache"
        "cancel-grace" "concurrency" "deploy" "description" "env" "image" "inputs" "matrix" "merge"
        "needs" "outputs" "pull" "push" "reports" "resources" "retry" "run" "run-after" "run-before"
        "run-on" "runner" "secrets" "services" "shell" "timeout" "trigger" "user" "when" "workdir";
    NEED = "needs": "must" "stage";
    SECRET = "secrets": "env" "file" "name";
    SERVICE = "services.NAME": "command" "env" "image" "ready" "resources";
    READY = "ready": "cmd" "http" "port" "tcp" "timeout";
    RESOURCES = "resources": "cpu" "memory" "pids";
    CACHE = "cache": "key" "paths" "restore";
    ARTIFACTS = "artifacts": "expire" "name" "on" "paths";
    REPORTS = "reports": "junit";
    RETRY = "retry": "backoff" "max" "on";
    RETRY_ON = "retry.on": "exit";
    CONCURRENCY = "concurrency": "group" "limit" "on-new";
    WHEN = "when": "branch" "changed" "environment" "event" "if" "params" "tag";
    BUILD = "build": "args" "context" "file" "platform" "tags" "target";
    PUSH = "push": "image" "registry" "scan" "tags";
    SCAN = "push.scan": "max-severity" "on-unscannable" "timeout";
    APPROVE = "approve": "by" "count" "fields" "message" "timeout";
    TRIGGER = "trigger": "params" "pipeline" "ref" "wait";
    DEPLOY = "deploy": "allow-mutable-tag" "canary" "command" "env" "environment" "expose" "health"
        "hosts" "image" "keep-warm" "kubernetes" "networks" "ports" "replicas" "resources"
        "stop-timeout" "strategy" "verify" "volumes";
    CANARY = "deploy.canary": "by" "min-requests" "on-inconclusive" "steps";
    CANARY_STEP = "deploy.canary.steps": "bake" "label" "metrics" "verify" "weight";
    METRIC = "metrics": "max" "min" "query";
    VERIFY = "verify": "http" "image" "run" "timeout";
    KUBERNETES = "deploy.kubernetes": "manifests" "namespace" "set-image";
    HOSTS = "deploy.hosts": "artifact" "groups" "path" "reload";
    EXPOSE = "deploy.expose": "host" "path" "port";
    HEALTH = "deploy.health": "cmd" "deadline" "failures" "http" "interval" "port" "start-period"
        "successes" "tcp" "timeout";
    STRATEGY = "deploy.strategy": "bake" "batch" "batches" "drain" "drain-websockets" "groups" "kind"
        "max-surge" "max-unavailable" "on-failure" "order" "parallel" "rollback-deadline" "tolerate";
    ENVIRONMENT = "environments.NAME": "allow" "env" "freeze" "only" "promote" "protected" "replicas"
        "requires" "reservations" "shadow-of" "strategy" "target" "tier" "url" "windows";
    TARGET = "target": "docker" "hosts" "kubernetes" "process" "swarm";
    TARGET_DOCKER = "target.docker": "host" "proxy";
    TARGET_SWARM = "target.swarm": "host" "proxy";
    TARGET_KUBERNETES = "target.kubernetes": "context" "namespace";
    TARGET_HOSTS = "target.hosts": "hosts" "path" "user";
    TARGET_PROCESS = "target.process": "proxy" "root";
    NOTIFY = "notify": "dingtalk" "feishu" "mail" "slack" "webhook" "wecom";
    CHANNEL = "notify.CHANNEL": "on" "url";
    MAIL = "notify.mail": "on" "to";
    PARAM = "params.NAME": "default" "description" "max" "min" "of" "pattern" "required" "type"
        "values";
}

/// The actions; a stage has exactly one.
pub(crate) const ACTIONS: &[&str] = &["run", "build", "push", "deploy", "approve", "trigger"];

/// Stage keys that belong to some actions only.
const OF_ACTIONS: &[(&str, &[&str])] = &[
    ("image", &["run"]),
    ("pull", &["run"]),
    ("shell", &["run"]),
    ("user", &["run"]),
    ("workdir", &["run"]),
    ("run-before", &["run"]),
    ("run-after", &["run"]),
    ("env", &["run", "build", "deploy"]),
    ("secrets", &["run", "build", "deploy"]),
    ("services", &["run"]),
    ("resources", &["run", "build"]),
    ("runner", &["run", "build", "deploy"]),
    ("cache", &["run", "build"]),
    ("inputs", &["run", "build"]),
    ("artifacts", &["run", "build"]),
    ("outputs", &["run"]),
    ("reports", &["run"]),
    ("matrix", &["run", "build", "push", "deploy"]),
    ("merge", &["run", "build", "deploy"]),
    ("allow-failure", &["run", "build", "trigger"]),
    ("retry", &["run", "build", "push", "trigger"]),
    ("cancel-grace", &["run", "build", "deploy"]),
];

/// The actions a stage key belongs to; `None` when it belongs to all.
pub(crate) fn actions_of(key: &str) -> Option<&'static [&'static str]> {
    OF_ACTIONS.iter().find(|(name, _)| *name == key).map(|(_, actions)| *actions)
}

/// The place a key belongs to, when it is written at another one: `needs` inside
/// `deploy`, `environment` beside it.
pub(crate) fn belongs_to(keys: &Keys, key: &str) -> Option<String> {
    let inside = |places: &[&Keys]| {
        let homes: Vec<_> = places
            .iter()
            .filter(|home| home.name != keys.name && home.has(key))
            .map(|home| format!("`{}`", home.name))
            .collect();
        (!homes.is_empty()).then(|| homes.join(" or "))
    };
    match keys.name {
        "stage" => inside(&[&BUILD, &PUSH, &DEPLOY])
            .or_else(|| TOP.has(key).then(|| "the top level of the file".to_owned())),
        "top level" if matches!(key, "params" | "policy") => Some("a template file".to_owned()),
        "top level" => STAGE.has(key).then(|| "a stage".to_owned()),
        "build" | "push" | "deploy" | "when" | "approve" | "trigger" => {
            STAGE.has(key).then(|| "the stage itself".to_owned())
        }
        "deploy.expose" | "deploy.health" | "deploy.strategy" => {
            inside(&[&DEPLOY, &EXPOSE, &HEALTH, &STRATEGY])
        }
        "defaults" => STAGE.has(key).then(|| "a stage".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_unique_as_they_are_listed_to_people() {
        for keys in EVERY {
            assert!(keys.names().is_sorted_by(|one, next| one < next), "{}", keys.name);
        }
    }

    #[test]
    fn a_key_at_the_wrong_place_knows_its_home() {
        assert_eq!(belongs_to(&STAGE, "environment").as_deref(), Some("`deploy`"));
        assert_eq!(belongs_to(&STAGE, "tags").as_deref(), Some("`build` or `push`"));
        assert_eq!(belongs_to(&DEPLOY, "needs").as_deref(), Some("the stage itself"));
        assert_eq!(belongs_to(&TOP, "run").as_deref(), Some("a stage"));
        assert_eq!(belongs_to(&TOP, "neds"), None);
    }
}
