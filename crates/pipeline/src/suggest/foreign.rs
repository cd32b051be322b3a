//! Words of other systems: what they are called here, and which have no counterpart.

use super::fold;

/// Words that people bring along from Jenkins, GitLab, GitHub Actions, Woodpecker,
/// Drone and Compose, folded, and what they are called here. Several meanings of a
/// word stand in the order in which they are tried.
const FOREIGN: &[(&str, &str)] = &[
    // What a stage does.
    ("script", "run"),
    ("scripts", "run"),
    ("command", "run"),
    ("commands", "run"),
    ("cmd", "run"),
    ("steps", "run"),
    ("step", "run"),
    ("sh", "run"),
    ("bash", "run"),
    ("bat", "run"),
    ("exec", "run"),
    ("before-script", "run-before"),
    ("after-script", "run-after"),
    ("dockerfile", "build"),
    ("dockerfile", "file"),
    ("manual", "approve"),
    ("entrypoint", "command"),
    ("entrypoint", "shell"),
    ("args", "command"),
    ("build-args", "args"),
    // Where.
    ("agent", "image"),
    ("container", "image"),
    ("docker", "image"),
    ("tools", "image"),
    ("runs-on", "runner"),
    ("labels", "runner"),
    ("label", "runner"),
    ("node", "runner"),
    ("nodes", "runner"),
    ("working-directory", "workdir"),
    ("working-dir", "workdir"),
    ("directory", "workdir"),
    ("dir", "workdir"),
    ("cwd", "workdir"),
    ("workspace", "workdir"),
    ("custom-workspace", "workdir"),
    ("run-as", "user"),
    ("pull-policy", "pull"),
    ("limits", "resources"),
    ("mem-limit", "resources"),
    ("mem-limit", "memory"),
    ("mem", "memory"),
    ("cpus", "cpu"),
    ("cores", "cpu"),
    ("pids-limit", "pids"),
    ("healthcheck", "ready"),
    ("health", "ready"),
    ("test", "cmd"),
    // With what.
    ("variables", "env"),
    ("variable", "env"),
    ("vars", "env"),
    ("environment", "env"),
    ("envs", "env"),
    ("credentials", "secrets"),
    ("secret", "secrets"),
    // When.
    ("depends-on", "needs"),
    ("dependencies", "needs"),
    ("requires", "needs"),
    ("require", "needs"),
    ("only", "when"),
    ("except", "when"),
    ("rules", "when"),
    ("rule", "when"),
    ("if", "when"),
    ("condition", "when"),
    ("conditions", "when"),
    ("workflow", "on"),
    ("finally", "run-on: always"),
    ("post", "run-on: always"),
    ("always", "run-on: always"),
    ("parallel", "matrix"),
    ("strategy", "matrix"),
    ("axes", "matrix"),
    ("branches", "branch"),
    ("ref", "branch"),
    ("refs", "branch"),
    ("tags", "tag"),
    ("tags", "name"),
    ("tags", "runner"),
    ("tag", "name"),
    ("events", "event"),
    ("changes", "changed"),
    ("changeset", "changed"),
    ("paths", "changed"),
    ("path", "changed"),
    ("expression", "if"),
    ("evaluate", "if"),
    ("workflow-dispatch", "manual"),
    ("merge-request", "pull-request"),
    ("merge-requests", "pull-request"),
    ("cron", "schedule"),
    ("cron", "on"),
    ("poll-scm", "on"),
    ("triggers", "on"),
    ("trigger", "on"),
    ("lock", "concurrency"),
    ("resource-group", "concurrency"),
    ("disable-concurrent-builds", "concurrency"),
    ("interruptible", "concurrency"),
    ("cancel-in-progress", "on-new"),
    // How it may end.
    ("continue-on-error", "allow-failure"),
    ("ignore-errors", "allow-failure"),
    ("failure", "allow-failure"),
    ("catch-error", "allow-failure"),
    ("timeout-minutes", "timeout"),
    ("timeout-seconds", "timeout"),
    ("retries", "retry"),
    ("retries", "max"),
    ("attempts", "max"),
    ("max-attempts", "max"),
    ("delay", "backoff"),
    ("when", "on"),
    ("exit-codes", "exit"),
    // What stays of it.
    ("archive-artifacts", "artifacts"),
    ("archive", "artifacts"),
    ("upload", "artifacts"),
    ("expire-in", "expire"),
    ("retention-days", "expire"),
    ("retention", "expire"),
    ("files", "paths"),
    ("path", "paths"),
    ("path", "http"),
    ("http-get", "http"),
    ("tcp-socket", "tcp"),
    ("initial-delay-seconds", "start-period"),
    ("period-seconds", "interval"),
    ("type", "kind"),
    ("fetch-depth", "depth"),
    ("email", "mail"),
    ("recipients", "to"),
    ("job", "stage"),
    ("name", "stage"),
    ("options", "values"),
    ("choices", "values"),
    ("enum", "values"),
    ("junit", "reports"),
    ("tests", "junit"),
    ("restore-keys", "restore"),
    ("fallback-keys", "restore"),
    ("results", "outputs"),
    ("stash", "artifacts"),
    // Of the whole file.
    ("jobs", "stages"),
    ("job", "stages"),
    ("pipeline", "stages"),
    ("pipelines", "stages"),
    ("clone", "checkout"),
    ("git", "checkout"),
    ("skip-clone", "checkout"),
    ("extends", "template"),
    ("include", "template"),
    ("library", "template"),
    ("libraries", "template"),
    ("parameters", "params"),
    ("inputs", "params"),
    ("options", "defaults"),
    ("default", "defaults"),
    ("display-name", "description"),
    ("name", "description"),
    ("title", "description"),
    ("run-name", "description"),
    ("notifications", "notify"),
];

/// Words that have no counterpart, on purpose: where, which, and what to do instead.
const ABSENT: &[(&[&str], &[&str], &str)] = &[
    (
        STAGES,
        &["privileged"],
        "not in the language, on purpose: nothing runs privileged; images are built with `build`",
    ),
    (
        STAGES,
        &["network", "network-mode", "net", "dns", "extra-hosts", "hostname"],
        "not in the language, on purpose: a stage has a network of its own, with its `services`",
    ),
    (
        STAGES,
        &["networks"],
        "not in the language, on purpose: a stage has a network of its own, with its `services`; \
         networks of a deployed service stand in `deploy`",
    ),
    (
        STAGES,
        &[
            "cap-add",
            "cap-drop",
            "capabilities",
            "security-opt",
            "sysctls",
            "ulimits",
            "pid",
            "ipc",
        ],
        "not in the language, on purpose: what a container may do is not for a file to say",
    ),
    (
        STAGES,
        &["devices", "device", "gpus"],
        "not in the language, on purpose: no device of the host is passed on; name a machine with \
         `runner`",
    ),
    (
        STAGES,
        &["volumes", "volume", "mounts", "binds", "tmpfs"],
        "not in the language, on purpose: nothing of the host is mounted; `cache` keeps \
         directories, and volumes of a deployed service stand in `deploy`",
    ),
    (
        SERVICE,
        &["ports", "port", "expose", "publish"],
        "not in the language, on purpose: no port of the host is published; the stage reaches the \
         service by its name, and waits for a port with `ready`",
    ),
    (
        SERVICE,
        &["depends-on", "restart", "container-name"],
        "not in the language, on purpose: all services of a stage start together, and end with it",
    ),
    (
        STAGE,
        &["uses", "with", "plugin", "settings"],
        "there are no plugins: write the commands, with an `image` that has the tool",
    ),
    (
        STAGE,
        &["stage", "group"],
        "stages run in the order of the file; `needs` says what one waits for instead",
    ),
    (
        &["resources"],
        &["limits", "requests"],
        "write `cpu`, `memory` and `pids` here: each is a limit",
    ),
    (
        &["needs"],
        &["optional"],
        "a stage that is skipped holds up nobody; with `must: run` it would",
    ),
    (&["needs"], &["artifacts"], "a stage sees the files of all stages that it needs"),
    (
        &["on.push"],
        &["tags", "tag"],
        "a pushed tag is a trigger of its own, beside `push`: `tag: { name: v* }`",
    ),
    (STAGE, &["input"], "a question to people is `approve`; files that a stage reads are `inputs`"),
    (
        STAGE,
        &["fail-fast", "max-parallel"],
        "a failed stage stops no other; `concurrency` limits how many run at once",
    ),
    (STAGE, &["detach", "background"], "what runs beside a stage stands in its `services`"),
    (
        STAGES,
        &["permissions", "id-tokens"],
        "a stage gets what it names under `secrets`, and nothing else",
    ),
    (
        SWITCH,
        &["haproxy"],
        "its servers have the addresses of its configuration, and a unit here has another one each \
         time it is made: use `nginx`, `traefik`, a `hook` or `proxy`, or deploy to `hosts`",
    ),
];

const STAGES: &[&str] = &["stage", "services.NAME", "defaults", "top level"];
const SWITCH: &[&str] = &["target.docker.switch"];
const STAGE: &[&str] = &["stage"];
const SERVICE: &[&str] = &["services.NAME"];

/// Returns why there is no such key at the place of this name, when that was decided
/// and not forgotten.
pub(crate) fn absent(place: &str, wrong: &str) -> Option<&'static str> {
    let folded = fold(wrong);
    let found = ABSENT
        .iter()
        .find(|(places, words, _)| places.contains(&place) && words.contains(&folded.as_str()));
    found.map(|(.., instead)| *instead)
}

/// Returns what a word of another system is called here, if it is allowed at this place.
pub(crate) fn translated<'a>(
    wrong: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<&'static str> {
    let folded = fold(wrong);
    let allowed: Vec<_> = allowed.into_iter().collect();
    FOREIGN.iter().filter(|(word, _)| *word == folded).find_map(|(_, ours)| {
        let key = ours.split(':').next().unwrap_or(ours);
        allowed.contains(&key).then_some(*ours)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_systems_are_translated_where_the_key_is_allowed() {
        let stage = ["run", "needs", "when", "run-on", "env"];
        assert_eq!(translated("script", stage), Some("run"));
        assert_eq!(translated("finally", stage), Some("run-on: always"));
        assert_eq!(translated("only", stage), Some("when"));
        assert_eq!(translated("script", ["port", "host"]), None);
        assert_eq!(translated("depends_on", stage), Some("needs"));
        assert_eq!(translated("dockerfile", ["context", "file"]), Some("file"));
    }

    #[test]
    fn the_tables_hold_folded_words_each_meaning_once() {
        let absent = ABSENT.iter().flat_map(|(_, words, _)| words.iter());
        for word in FOREIGN.iter().map(|(word, _)| word).chain(absent) {
            assert_eq!(&fold(word), word);
        }
        for (at, pair) in FOREIGN.iter().enumerate() {
            assert!(!FOREIGN[..at].contains(pair), "{pair:?}");
            assert_ne!(pair.0, pair.1);
        }
    }

    #[test]
    fn what_is_absent_on_purpose_says_so_where_it_would_stand() {
        assert!(absent("stage", "privileged").is_some_and(|why| why.contains("on purpose")));
        assert!(absent("services.NAME", "cap_add").is_some_and(|why| why.contains("on purpose")));
        assert_eq!(absent("deploy", "volumes"), None);
        assert_eq!(absent("stage", "image"), None);
    }
}
