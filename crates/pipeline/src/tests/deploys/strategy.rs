//! `strategy` of a deploy, and of an environment.

use super::*;

#[test]
fn the_strategy_built_in_is_part_of_the_origins() {
    let (deploy, origins) = deployed(
        "{ target: house }",
        "environment: demo\n      image: image\n      health: { tcp: 1 }",
    );
    assert_eq!(deploy.strategy, crate::Strategy::default());
    let builtin: Vec<&str> = origins
        .iter()
        .filter(|(_, by)| **by == OriginKind::Builtin)
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        builtin,
        [
            "deploy.health.deadline",
            "deploy.health.failures",
            "deploy.health.interval",
            "deploy.health.start-period",
            "deploy.health.successes",
            "deploy.health.timeout",
            "deploy.keep-warm",
            "deploy.replicas",
            "deploy.stop-timeout",
            "deploy.strategy.bake",
            "deploy.strategy.batch",
            "deploy.strategy.drain",
            "deploy.strategy.drain-websockets",
            "deploy.strategy.kind",
            "deploy.strategy.on-failure",
            "deploy.strategy.order",
            "deploy.strategy.rollback-deadline",
            "deploy.strategy.tolerate",
        ]
    );
}

#[test]
fn a_strategy_says_in_which_portions_units_are_changed() {
    plans(
        "
        strategy:
          kind: rolling
          order: stop-first
          batches: [1, 25%, 100%]
          groups: [preprod, north]
          parallel: 5
          max-unavailable: 10%
          max-surge: 0
          tolerate: 1
          bake: 1m
          drain: 10s
          drain-websockets: 1m
          on-failure: hold
          rollback-deadline: 2m
        ",
        &serde_json::json!({ "strategy": {
            "order": "stop-first", "batch": 1, "batches": [1, "25%", "100%"],
            "groups": ["preprod", "north"], "parallel": 5, "max-unavailable": "10%",
            "max-surge": 0, "tolerate": 1, "bake": "1m", "drain": "10s",
            "drain-websockets": "1m", "on-failure": "hold", "rollback-deadline": "2m",
        } }),
    );
    plans(
        "strategy: recreate",
        &serde_json::json!({ "strategy": {
            "kind": "recreate", "order": "stop-first", "batch": 1, "bake": "0s", "drain": "30s",
        } }),
    );
    let (deploy, _) = deployed(
        "{ target: house }",
        "environment: demo\n      image: image\n      strategy: { batch: 25% }",
    );
    assert_eq!((deploy.strategy.batch.of(3), deploy.strategy.batch.of(8)), (1, 2));
    let json = serde_json::to_string(&deploy).unwrap();
    assert_eq!(serde_json::from_str::<DeployWork>(&json).unwrap(), deploy);
}

#[test]
fn sizes_are_numbers_or_shares() {
    says(
        "strategy: { batch: 0, max-surge: 101%, max-unavailable: -1, parallel: 0, tolerate: many }",
        r##"
        E015 9:26 `batch` is a number of units from 1 to 10000, or a share from 1% to 100%, not `0` | out of range
        E015 9:40 `max-surge` is a number of units from 0 to 10000, or a share from 0% to 100%, not `101%` | out of range
        E015 9:63 `max-unavailable` is a number of units from 0 to 10000, or a share from 0% to 100%, not `-1` | out of range
        E015 9:77 `parallel` is a number from 1 to 10000, not `0` | out of range
        E012 9:90 `tolerate` takes a whole number, not text
        "##,
    );
    says(
        "strategy: { batches: [0%, half, 1.5, 200%] }",
        r##"
        E015 9:29 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `0%` | out of range
        E015 9:33 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `half` | for example `2` or `25%`
        E015 9:39 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `1.5` | for example `2` or `25%`
        E015 9:44 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `200%` | out of range
        "##,
    );
    says(
        "strategy: { batches: [] }",
        r##"
        E012 9:28 `batches` has no batch | for example `[1, 25%, 100%]`
        "##,
    );
    says(
        "strategy: { order: stopfirst, on-failure: retry, rollback-deadline: 0s }",
        r##"
        E015 9:26 `order` is no order: `stopfirst` | did you mean `stop-first`? orders are `start-first`, `stop-first`
        E015 9:49 `on-failure` is no way to go on after a failure: `retry` | ways are `rollback`, `stop`, `hold`
        E015 9:75 `rollback-deadline` takes a duration above zero, not `0s` | for example `1s`
        "##,
    );
    says(
        "strategy: [rolling]",
        r##"
        E012 9:17 `strategy` of stage `deploy` takes a map, not a list
        "##,
    );
}

#[test]
fn a_strategy_does_not_contradict_itself() {
    says(
        "strategy: { batches: [1, 100%], batch: 1 }",
        r##"
        E013 9:39 `strategy` of stage `deploy` has `batch`, for equal batches, and `batches`, which lists them | keep one
        "##,
    );
    says(
        "strategy: { kind: recreate, order: start-first, batches: [1], bake: 1m }",
        r##"
        E013 9:35 `strategy` of stage `deploy` is `recreate`, which takes all units down before it brings any up, so `order` has nothing to say | remove it, or write `kind: rolling`
        E013 9:55 `strategy` of stage `deploy` is `recreate`, which takes all units down before it brings any up, so `batches` has nothing to say | remove it, or write `kind: rolling`
        "##,
    );
    says(
        "strategy: { max-surge: 0 }",
        r##"
        E013 9:19 `strategy` of stage `deploy` starts each new unit before the old one stops, so it needs at least one unit more, and `max-surge` allows none | write 1 or more, or `order: stop-first`
        "##,
    );
    says(
        "strategy: { order: stop-first, max-unavailable: 0% }",
        r##"
        E013 9:38 `strategy` of stage `deploy` stops each old unit before the new one starts, so at least one is missing, and `max-unavailable` allows none | write 1 or more, or `order: start-first`
        "##,
    );
    says(
        "strategy: recreate\ncanary: { steps: [{ weight: 5 }] }",
        r##"
        E013 10:7 stage `deploy` has a `canary`, and a strategy that takes all units down at once | write `strategy: rolling`
        "##,
    );
    assert_eq!(said("strategy: { order: stop-first, max-surge: 0 }"), "");
    assert_eq!(said("strategy: { order: start-first, max-unavailable: 0 }"), "");
}

#[test]
fn the_environment_has_a_strategy_for_stages_that_name_none() {
    let in_file = "{ target: house, replicas: 3, strategy: { batch: 2, bake: 1m } }";
    let deploy = "environment: demo\n      image: image";
    let (work, origins) = deployed(in_file, deploy);
    assert_eq!((work.replicas, work.strategy.batch.of(3)), (3, 2));
    assert_eq!(origins["deploy.strategy.batch"], OriginKind::File);
    assert_eq!(origins["deploy.strategy.drain"], OriginKind::Builtin);
    assert_eq!(origins["deploy.replicas"], OriginKind::File);

    let (work, origins) = deployed(in_file, &format!("{deploy}\n      strategy: rolling"));
    assert_eq!(work.strategy, crate::Strategy::default());
    assert_eq!(origins["deploy.strategy.batch"], OriginKind::Builtin);

    let mut context = on_main();
    let of_server = Environment {
        strategy: Some(crate::Strategy { tolerate: 2, ..crate::Strategy::default() }),
        ..environment(None)
    };
    context.place =
        Place::Server { environments: BTreeMap::from([("demo".to_owned(), of_server)]) };
    let plan = planned(&pipeline(in_file, deploy), &context);
    let stage = plan.stage("deploy").unwrap();
    let Work::Deploy(work) = &stage.work else { panic!("no deploy") };
    assert_eq!(work.strategy.tolerate, 2);
    assert_eq!(stage.origins["deploy.strategy"].by, OriginKind::Server);
}

#[test]
fn a_mistake_of_an_environment_is_told_once_however_many_stages_use_it() {
    let text = "
        environments: { demo: { target: house, replicas: '${{ git.branch }}' } }
        stages:
          image: { build: {} }
          a: { timeout: 1m, deploy: { environment: demo, image: image } }
          b: { timeout: 1m, deploy: { environment: demo, image: image } }
        ";
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(
        found,
        "E042 1:50 `replicas` takes a whole number, not text | the expression gives text"
    );
}
