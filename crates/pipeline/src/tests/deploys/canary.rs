//! `strategy.canary` of a deploy.

use super::*;

#[test]
fn a_canary_moves_in_steps() {
    plans(
        "
        canary:
          steps:
            - { weight: 5, bake: 5m, verify: [smoke] }
            - { weight: 25, metrics: [{ query: error_rate, max: 1% }, { query: p99_ms, max: 400, min: 0.5 }] }
            - { weight: 100 }
          min-requests: 100
          on-inconclusive: extend
        ",
        &serde_json::json!({ "canary": {
            "by": "weight",
            "steps": [
                { "weight": 5, "bake": "5m", "verify": [{ "suite": "smoke" }] },
                { "weight": 25, "metrics": [
                    { "query": "error_rate", "max": "1%" },
                    { "query": "p99_ms", "max": "400", "min": "0.5" },
                ] },
                { "weight": 100 },
            ],
            "min-requests": 100,
            "on-inconclusive": "extend",
        } }),
    );
    plans(
        "canary: { by: label, steps: [{ label: region=north }, { label: region=south }] }",
        &serde_json::json!({ "canary": {
            "by": "label",
            "steps": [{ "label": "region=north" }, { "label": "region=south" }],
            "on-inconclusive": "fail",
        } }),
    );
    assert_eq!(said("canary: { by: header, steps: [{ bake: 10m }] }"), "");
}

#[test]
fn the_steps_of_a_canary_ascend_and_fit_what_it_goes_by() {
    says(
        "canary: {}",
        r##"
        E014 9:15 `canary` of stage `deploy` has no `steps` | how far does it go, and when?
        "##,
    );
    says(
        "canary: { steps: [] }",
        r##"
        E012 9:24 `canary` of stage `deploy` has no step
        "##,
    );
    says(
        "canary: { steps: 5 }",
        r##"
        E012 9:24 `steps` takes a list, not a number
        "##,
    );
    says(
        "canary: { steps: [{ weight: 50 }, { weight: 50 }, { weight: 20 }, { weight: 101 }, { weight: 5% }, {}] }",
        r##"
        E015 9:51 the weights of a canary grow from step to step, and 50 follows 50 | write more than 50, or remove the step
        E015 9:67 the weights of a canary grow from step to step, and 20 follows 50 | write more than 50, or remove the step
        E015 9:83 `weight` is a number from 0 to 100, not `101` | out of range
        E012 9:100 `weight` takes a whole number, not text | a weight is in percent anyway; write `5`
        E014 9:106 step 6 of `canary` of stage `deploy` has no `weight` | add for example `weight: 5`
        "##,
    );
    says(
        "canary: { steps: [{ label: a=b, weight: 1 }] }",
        r##"
        E013 9:27 step 1 of `canary` of stage `deploy` has a `label`, and the canary does not go by labels | write `by: label` into the canary, or remove it
        "##,
    );
    says(
        "canary: { by: label, steps: [{ weight: 1 }, { label: north }] }",
        r##"
        E013 9:38 step 1 of `canary` of stage `deploy` has a `weight`, and the canary goes by labels | write `by: weight` into the canary, or remove it
        E015 9:60 `label` is no label: `north` | for example `region=north`
        "##,
    );
    says(
        "canary: { by: wieght, on-inconclusive: wait, min-requests: 0, steps: [{ weight: 1 }] }",
        r##"
        E015 9:21 `by` is no choice of a canary: `wieght` | did you mean `weight`? choices are `weight`, `header`, `tag`, `label`
        E015 9:46 `on-inconclusive` is no answer to too few requests: `wait` | answers are `extend`, `pass`, `fail`
        E015 9:66 `min-requests` is a number from 1 to 1000000000, not `0` | out of range
        "##,
    );
    says(
        "canary: { steps: [{ weight: 1, metrics: [{ query: a }, { max: 1 }, { query: '', max: x }, { query: a, max: 1, min: 2 }] }] }",
        r##"
        E014 9:48 a metric of step 1 of `canary` of stage `deploy` has no limit | add `max` or `min`, for example `max: 1%`
        E014 9:62 a metric of step 1 of `canary` of stage `deploy` has no `query` | what is measured? for example `query: error_rate`
        E015 9:83 `query` asks nothing | for example `error_rate`
        E015 9:92 `max` is a number or a share in percent, not `x` | for example `400`, `0.5` or `1%`
        E013 9:117 a metric of step 1 of `canary` of stage `deploy` can never hold: `min` is above `max` | exchange the two
        "##,
    );
}

#[test]
fn a_canary_fits_the_strategy_of_the_environment() {
    let deploy = "environment: demo\n      image: image\n      canary: { steps: [{ weight: 5 }] }";
    let recreates = "{ target: house, strategy: recreate }";
    assert_eq!(
        said_in(recreates, deploy),
        "E013 9:15 stage `deploy` has a `canary`, and environment `demo` a strategy that takes all units down at once | write `strategy: rolling` beside it"
    );
    assert_eq!(said_in(recreates, &format!("{deploy}\n      strategy: rolling")), "");
}
