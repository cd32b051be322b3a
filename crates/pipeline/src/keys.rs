//! The keys of the language, place by place (language.md §4).
//!
//! All of them are here, also those that this version cannot run yet: whoever
//! writes one of those is told so, and not that the key does not exist. A later
//! version deletes the key's row in [`NOT_YET`] and reads it in `lower`.

/// The keys of one kind of map.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The map's name in [`NOT_YET`] and in "belongs to".
    pub(crate) name: &'static str,
    pub(crate) all: &'static [&'static str],
}

macro_rules! keys {
    ($($constant:ident = $name:literal : $($key:literal)*;)*) => {
        $(pub(crate) const $constant: Keys = Keys { name: $name, all: &[$($key),*] };)*
        /// Every kind of map there is.
        #[cfg(test)]
        const EVERY: &[Keys] = &[$($constant),*];
    };
}

keys! {
    TOP = "top level": "auto" "checkout" "concurrency" "defaults" "description" "env" "environments"
        "image" "name" "notify" "on" "run-timeout" "stages" "template" "timeout" "version" "with";
    ON = "on": "gerrit" "manual" "pull-request" "push" "schedule" "svn" "tag";
    ON_PUSH = "on.push": "auto" "branch" "changed";
    ON_PULL_REQUEST = "on.pull-request": "auto" "branch" "changed" "types";
    ON_MANUAL = "on.manual": "auto" "params";
    DEFAULTS = "defaults": "cancel-grace" "env" "image" "resources" "retry" "runner" "services" "shell"
        "timeout";
    CHECKOUT = "checkout": "depth" "lfs" "paths" "submodules";
    STAGE = "stage": "after" "allow-failure" "approve" "artifacts" "before" "build" "cache"
        "cancel-grace" "concurrency" "deploy" "description" "env" "image" "inputs" "matrix" "merge"
        "needs" "outputs" "pull" "push" "reports" "resources" "retry" "run" "run-after" "run-before"
        "run-on" "runner" "secrets" "services" "shell" "timeout" "trigger" "user" "when" "workdir";
    NEED = "needs": "must" "stage";
    WHEN = "when": "branch" "changed" "environment" "event" "if" "params" "tag";
    BUILD = "build": "args" "context" "file" "platform" "tags" "target";
    PUSH = "push": "image" "registry" "scan" "tags";
    DEPLOY = "deploy": "allow-mutable-tag" "canary" "command" "env" "environment" "expose" "health"
        "hosts" "image" "keep-warm" "kubernetes" "networks" "ports" "replicas" "resources"
        "stop-timeout" "strategy" "verify" "volumes";
    EXPOSE = "deploy.expose": "host" "path" "port";
    HEALTH = "deploy.health": "cmd" "deadline" "failures" "http" "interval" "port" "start-period"
        "successes" "tcp" "timeout";
    STRATEGY = "deploy.strategy": "bake" "batch" "batches" "drain" "drain-websockets" "groups" "kind"
        "max-surge" "max-unavailable" "on-failure" "order" "parallel" "rollback-deadline" "tolerate";
    ENVIRONMENT = "environments.NAME": "allow" "env" "protected" "replicas" "strategy" "target" "tier"
        "url";
    TARGET = "target": "docker" "hosts" "kubernetes" "process" "swarm";
    TARGET_DOCKER = "target.docker": "host" "proxy";
    NOTIFY = "notify": "dingtalk" "feishu" "mail" "slack" "webhook" "wecom";
    MAIL = "notify.mail": "on" "to";
    PARAM = "params.NAME": "default" "description" "max" "min" "of" "pattern" "required" "type"
        "values";
}

/// Keys of the language that this version cannot run. One row per key.
pub(crate) const NOT_YET: &[(&str, &str)] = &[
    ("top level", "auto"),
    ("top level", "concurrency"),
    ("top level", "run-timeout"),
    ("on", "gerrit"),
    ("on", "schedule"),
    ("on", "svn"),
    ("on", "tag"),
    ("on.push", "auto"),
    ("on.push", "changed"),
    ("on.pull-request", "auto"),
    ("on.pull-request", "branch"),
    ("on.pull-request", "changed"),
    ("on.pull-request", "types"),
    ("on.manual", "auto"),
    ("on.manual", "params"),
    ("defaults", "cancel-grace"),
    ("defaults", "resources"),
    ("defaults", "retry"),
    ("defaults", "runner"),
    ("defaults", "services"),
    ("defaults", "shell"),
    ("checkout", "lfs"),
    ("checkout", "paths"),
    ("checkout", "submodules"),
    ("stage", "allow-failure"),
    ("stage", "approve"),
    ("stage", "artifacts"),
    ("stage", "cache"),
    ("stage", "cancel-grace"),
    ("stage", "concurrency"),
    ("stage", "inputs"),
    ("stage", "matrix"),
    ("stage", "merge"),
    ("stage", "outputs"),
    ("stage", "pull"),
    ("stage", "reports"),
    ("stage", "resources"),
    ("stage", "retry"),
    ("stage", "run-on"),
    ("stage", "runner"),
    ("stage", "secrets"),
    ("stage", "services"),
    ("stage", "shell"),
    ("stage", "trigger"),
    ("stage", "user"),
    ("stage", "workdir"),
    ("when", "changed"),
    ("when", "environment"),
    ("when", "event"),
    ("when", "if"),
    ("when", "params"),
    ("when", "tag"),
    ("build", "platform"),
    ("build", "target"),
    ("push", "scan"),
    ("deploy", "allow-mutable-tag"),
    ("deploy", "canary"),
    ("deploy", "command"),
    ("deploy", "hosts"),
    ("deploy", "keep-warm"),
    ("deploy", "kubernetes"),
    ("deploy", "networks"),
    ("deploy", "ports"),
    ("deploy", "resources"),
    ("deploy", "stop-timeout"),
    ("deploy", "verify"),
    ("deploy", "volumes"),
    ("deploy.health", "cmd"),
    ("deploy.strategy", "batches"),
    ("deploy.strategy", "drain-websockets"),
    ("deploy.strategy", "groups"),
    ("deploy.strategy", "max-surge"),
    ("deploy.strategy", "max-unavailable"),
    ("deploy.strategy", "on-failure"),
    ("deploy.strategy", "order"),
    ("deploy.strategy", "parallel"),
    ("deploy.strategy", "rollback-deadline"),
    ("deploy.strategy", "tolerate"),
    ("environments.NAME", "allow"),
    ("environments.NAME", "protected"),
    ("environments.NAME", "strategy"),
    ("target", "hosts"),
    ("target", "kubernetes"),
    ("target", "process"),
    ("target", "swarm"),
    ("notify", "dingtalk"),
    ("notify", "feishu"),
    ("notify", "slack"),
    ("notify", "wecom"),
    ("notify", "webhook"),
];

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

pub(crate) fn is_not_yet(keys: &Keys, key: &str) -> bool {
    NOT_YET.contains(&(keys.name, key))
}

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
            .filter(|home| home.name != keys.name && home.all.contains(&key))
            .map(|home| format!("`{}`", home.name))
            .collect();
        (!homes.is_empty()).then(|| homes.join(" or "))
    };
    match keys.name {
        "stage" => inside(&[&BUILD, &PUSH, &DEPLOY])
            .or_else(|| TOP.all.contains(&key).then(|| "the top level of the file".to_owned())),
        "top level" if matches!(key, "params" | "policy") => Some("a template file".to_owned()),
        "top level" => STAGE.all.contains(&key).then(|| "a stage".to_owned()),
        "build" | "push" | "deploy" | "when" => {
            STAGE.all.contains(&key).then(|| "the stage itself".to_owned())
        }
        "deploy.expose" | "deploy.health" | "deploy.strategy" => {
            inside(&[&DEPLOY, &EXPOSE, &HEALTH, &STRATEGY])
        }
        "defaults" => STAGE.all.contains(&key).then(|| "a stage".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_what_is_not_yet_there_names_a_key_of_the_language() {
        for (map, key) in NOT_YET {
            let keys = EVERY.iter().find(|keys| keys.name == *map);
            assert!(keys.is_some_and(|keys| keys.all.contains(key)), "{map}: {key}");
        }
    }

    #[test]
    fn keys_are_sorted_and_unique_as_they_are_listed_to_people() {
        for keys in EVERY {
            assert!(keys.all.windows(2).all(|pair| pair[0] < pair[1]), "{}", keys.name);
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
