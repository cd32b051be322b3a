//! `health` of a deploy.

use super::*;

#[test]
fn health_asks_in_exactly_one_way() {
    for (probe, expected) in [
        (
            "{ http: /health, port: 80 }",
            serde_json::json!({ "http": { "path": "/health", "port": 80 } }),
        ),
        ("{ tcp: 5432 }", serde_json::json!({ "tcp": 5432 })),
        ("{ cmd: ./healthy }", serde_json::json!({ "cmd": ["sh", "-c", "./healthy"] })),
        (
            "{ cmd: [pg_isready, -U, orders] }",
            serde_json::json!({ "cmd": ["pg_isready", "-U", "orders"] }),
        ),
    ] {
        let json = json_of(&format!("health: {probe}"));
        let mut rest = serde_json::json!({
            "interval": "1s", "timeout": "2s", "successes": 3, "failures": 3,
            "start-period": "5s", "deadline": "1m",
        });
        rest.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(json["health"], rest);
    }
    says(
        "health: { http: /, tcp: 80, cmd: x, port: 80 }",
        r##"
        E013 9:26 `health` of stage `deploy` asks in 3 ways: `http`, `tcp`, `cmd` | keep one
        "##,
    );
    says(
        "health: { tcp: 80, port: 80 }",
        r##"
        E013 9:26 `health` of stage `deploy` has `tcp`, which is a port, and `port` | remove it
        "##,
    );
    says(
        "health: { cmd: x, port: 80 }",
        r##"
        E013 9:25 `health` of stage `deploy` has `cmd`, which needs no port, and `port` | remove it
        "##,
    );
    says(
        "health: { cmd: [] }",
        r##"
        E012 9:22 `cmd` has no command | add one, or remove `cmd`
        "##,
    );
    says(
        "health: { htttp: /health, port: 80 }",
        r##"
        E010 9:17 unknown key `htttp` in `health` of stage `deploy` | did you mean `http`?
        "##,
    );
    says(
        "health: { port: 80 }",
        r##"
        E014 9:15 `health` of stage `deploy` does not say what to ask | add `http`, `tcp` or `cmd`
        "##,
    );
}

#[test]
fn a_health_check_can_succeed_before_its_deadline() {
    says(
        "health: { tcp: 80, interval: 31s }",
        r##"
        E015 9:36 `health` of stage `deploy` can never be reached: 3 answers in a row, one every 31s, take longer than the deadline of 1m | raise `deadline`, or lower `successes` or `interval`
        "##,
    );
    says(
        "health: { tcp: 80, interval: 0s, timeout: 0s, deadline: 0s, successes: 0 }",
        r##"
        E015 9:36 `interval` takes a duration above zero, not `0s` | for example `1s`
        E015 9:49 `timeout` takes a duration above zero, not `0s` | for example `1s`
        E015 9:63 `deadline` takes a duration above zero, not `0s` | for example `1s`
        E015 9:78 `successes` is a number from 1 to 10000, not `0` | out of range
        "##,
    );
    assert_eq!(said("health: { tcp: 80, interval: 30s, deadline: 1m }"), "");
    assert_eq!(said("health: { tcp: 80, interval: 1m, successes: 1 }"), "");
}

#[test]
fn a_health_command_holds_no_text_of_others() {
    says(
        "health: { cmd: \"check ${{ git.branch }}\" }",
        r##"
        E043 9:33 `git.branch` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_BRANCH", which holds the same text safely
        "##,
    );
}
