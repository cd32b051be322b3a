//! What a plan holds, and why.

use super::*;
use crate::{Decision, EdgeReason, Probe, TreeOptions, Work, plan_text, triggers};

/// `name: state (reason)` of each stage.
fn decisions(text: &str, context: &Context) -> String {
    let plan = planned(&flush(text), context);
    let line = |stage: &crate::PlannedStage| {
        let state = match stage.state {
            Decision::Run => "run",
            Decision::Skip => "skip",
        };
        format!("{}: {state} ({})", stage.name, stage.reason)
    };
    plan.stages.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `name <- need, need` of each stage.
fn edges(text: &str) -> String {
    let plan = planned(&flush(text), &on_main());
    let line = |stage: &crate::PlannedStage| {
        let needs = stage.needs.iter().map(|edge| {
            let by = match edge.by {
                EdgeReason::Order => "order",
                EdgeReason::Needs => "needs",
                EdgeReason::Output => "output",
                EdgeReason::Before => "before",
            };
            let must = if edge.must.is_some() { " must" } else { "" };
            format!("{} {by}{must}", edge.stage)
        });
        format!("{} <- {}", stage.name, needs.collect::<Vec<_>>().join(", "))
    };
    plan.stages.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_stage_without_needs_waits_for_all_above_and_only_the_last_of_them_are_shown() {
    assert_eq!(
        edges(
            "
            image: debian:12
            stages:
              a: make
              b: make
              c: { run: make, needs: [a] }
              d: { run: make, needs: [] }
              e: make
            "
        ),
        "checkout <- \n\
         a <- checkout order\n\
         b <- a order\n\
         c <- a needs\n\
         d <- checkout order\n\
         e <- b order, c order, d order"
    );
}

#[test]
fn naming_a_stage_as_image_is_an_edge_that_must_run() {
    assert_eq!(
        edges(
            "
            environments: { demo: { target: house } }
            image: debian:12
            stages:
              image: { build: {} }
              push: { push: { image: image, registry: x, tags: ['a:1'] } }
              test: make
              deploy: { timeout: 1m, deploy: { environment: demo, image: push } }
              other: { timeout: 1m, needs: [test], deploy: { environment: demo, image: image } }
              free: { needs: [], push: { image: image, registry: x, tags: ['a:2'] } }
            "
        ),
        "checkout <- \n\
         image <- checkout order\n\
         push <- image output must\n\
         test <- push order\n\
         deploy <- test order, push output must\n\
         other <- test needs, image output must\n\
         free <- image output must"
    );
}

#[test]
fn a_stage_may_need_one_below_it_and_the_plan_turns_them_around() {
    let text = "
        image: debian:12
        stages:
          last: { run: make, needs: [first] }
          first: { run: make, needs: [] }
        ";
    assert_eq!(edges(text), "checkout <- \nfirst <- checkout order\nlast <- first needs");
}

#[test]
fn without_checkout_there_is_no_checkout() {
    assert_eq!(
        edges("checkout: off\nimage: debian:12\nstages: { a: make, b: make }"),
        "a <- \nb <- a order"
    );
    let plan =
        planned("checkout: { depth: full }\nimage: debian:12\nstages: { a: make }", &on_main());
    assert!(matches!(plan.stages[0].work, Work::Checkout { depth: None, .. }));
}

#[test]
fn a_condition_is_decided_with_its_reason() {
    let text = "
        image: debian:12
        stages:
          always: make
          main: { run: make, when: { branch: main } }
          release: { run: make, when: { branch: [main, 'release/*'] } }
          either: { run: make, when: [{ branch: a }, { branch: 'x' }] }
          not: { run: make, when: { branch: '!x' } }
          off: { run: make, when: off }
          empty: { run: make, when: {} }
        ";
    assert_eq!(
        decisions(text, &on_branch("x")),
        "checkout: run (no condition)\n\
         always: run (no condition)\n\
         main: skip (branch `x` matches no pattern of `main`)\n\
         release: skip (branch `x` matches no pattern of `main`, `release/*`)\n\
         either: run (branch `x` matches `x`)\n\
         not: skip (branch `x` matches no pattern of `!x`)\n\
         off: skip (`when` is off)\n\
         empty: run (no condition)"
    );
    let mut tagged = on_main();
    (tagged.event, tagged.git.branch) = (TriggerEvent::Tag, None);
    let said = decisions(text, &tagged);
    assert!(said.contains("main: skip (there is no branch that could match `main`)"), "{said}");
}

#[test]
fn a_skip_passes_on_only_where_the_need_must_run() {
    assert_eq!(
        decisions(
            "
            image: debian:12
            stages:
              a: { run: make, when: { branch: other } }
              soft: { run: make, needs: [a] }
              hard: { run: make, needs: [{ stage: a, must: run }] }
              harder: { run: make, needs: [{ stage: hard, must: run }], when: { branch: nothing } }
              after: { run: make, needs: [hard] }
            ",
            &on_main()
        ),
        "checkout: run (no condition)\n\
         a: skip (branch `main` matches no pattern of `other`)\n\
         soft: run (no condition)\n\
         hard: skip (`a` was skipped)\n\
         harder: skip (`hard` was skipped)\n\
         after: run (no condition)"
    );
}

#[test]
fn what_a_skipped_stage_cannot_know_is_no_error() {
    let text = "
        environments: { demo: { target: house } }
        stages:
          image: { when: { branch: x }, build: { tags: ['a:${{ git.tag }}'] } }
          deploy:
            timeout: '${{ git.tag }}'
            deploy: { environment: dmo, image: image, replicas: '${{ int(git.tag) }}', expose: { port: '${{ int(git.tag) }}' } }
        ";
    assert_eq!(
        decisions(text, &on_main()),
        "checkout: run (no condition)\n\
         image: skip (branch `main` matches no pattern of `x`)\n\
         deploy: skip (`image` was skipped)"
    );
    let context = on_branch("x");
    let codes: Vec<_> =
        found_in(&flush(text), &Bundled, &context).iter().map(|found| found.code.name()).collect();
    assert_eq!(codes, ["E042", "E042", "E062", "E042", "E042"]);
}

#[test]
fn defaults_reach_every_stage_and_the_stage_has_the_last_word() {
    let plan = planned(
        &flush(
            "
            image: debian:12
            timeout: 5m
            env: { A: default, B: default }
            stages:
              a: make
              b: { run: [make, make test], image: rust:1.90, timeout: 1m, env: { B: own, C: '${{ git.sha_short }}' } }
            ",
        ),
        &on_main(),
    );
    let Work::Run(a) = &plan.stages[1].work else { panic!("no run") };
    assert_eq!(
        (a.image.as_str(), plan.stages[1].timeout.to_string().as_str()),
        ("debian:12", "5m")
    );
    let Work::Run(b) = &plan.stages[2].work else { panic!("no run") };
    assert_eq!(
        (b.image.as_str(), plan.stages[2].timeout.to_string().as_str()),
        ("rust:1.90", "1m")
    );
    assert_eq!(b.run, ["make", "make test"]);
    let env: Vec<_> = b.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=default", "B=own", "C=01234567"]);
    let by = |path: &str| plan.stages[2].origins[path].by;
    assert_eq!(by("env.A"), crate::OriginKind::Defaults);
    assert_eq!(by("env.B"), crate::OriginKind::File);
    assert_eq!(plan.stages[2].origins["image"].line, 6);
}

#[test]
fn a_deploy_has_the_defaults_of_the_language() {
    let text = "
        environments: { demo: { target: house, replicas: 4, env: { LEVEL: info, A: env } } }
        stages:
          image: { build: {} }
          plain: { timeout: 1m, deploy: { environment: demo, image: image } }
          full:
            timeout: 1m
            deploy:
              environment: demo
              image: 'redis:7'
              allow-mutable-tag: true
              replicas: 2
              env: { A: own }
              expose: { port: 80 }
              health: { http: /health }
              strategy: rolling
          tcp: { timeout: 1m, deploy: { environment: demo, image: image, health: { tcp: 9000 } } }
        ";
    let plan = planned(&flush(text), &on_main());
    let deploy = |name: &str| match &plan.stage(name).unwrap().work {
        Work::Deploy(deploy) => deploy.clone(),
        other => panic!("{other:?}"),
    };
    let plain = deploy("plain");
    assert_eq!((plain.replicas, plain.expose, plain.health), (4, None, None));
    assert_eq!(plain.strategy, crate::Strategy::default());
    let full = deploy("full");
    assert_eq!(full.replicas, 2);
    assert_eq!(full.image, Some(crate::ImageSource::Reference("redis:7".to_owned())));
    assert_eq!(
        full.env,
        BTreeMap::from([("A".into(), "own".into()), ("LEVEL".into(), "info".into())])
    );
    let expose = full.expose.unwrap();
    assert_eq!((expose.port, expose.host.as_str(), expose.path.as_str()), (80, "*", "/"));
    let health = full.health.unwrap();
    assert_eq!(health.probe, Probe::Http { path: "/health".to_owned(), port: 80 });
    assert_eq!(
        serde_json::to_string(&health).unwrap(),
        r#"{"http":{"path":"/health","port":80},"interval":"1s","timeout":"2s","successes":3,"failures":3,"start-period":"5s","deadline":"1m"}"#
    );
    assert_eq!(deploy("tcp").health.unwrap().probe, Probe::Tcp(9000));
}

#[test]
fn on_a_server_its_own_environments_replace_those_of_the_file() {
    let text = "environments: { demo: { target: laptop, replicas: 9 } }\nstages:\n  image: { build: {} }\n  \
                deploy: { timeout: 1m, deploy: { environment: demo, image: image } }\n";
    let mut context = on_main();
    context.place = Place::Server {
        environments: BTreeMap::from([
            ("demo".to_owned(), environment(Some(2))),
            ("other".to_owned(), environment(None)),
        ]),
    };
    let plan = planned(text, &context);
    assert_eq!(plan.environments.keys().collect::<Vec<_>>(), ["demo"]);
    assert_eq!(plan.environments["demo"].target, docker());
    let Work::Deploy(deploy) = &plan.stage("deploy").unwrap().work else { panic!("no deploy") };
    assert_eq!(deploy.replicas, 2);
    assert_eq!(
        plan.stage("deploy").unwrap().origins["deploy.replicas"].by,
        crate::OriginKind::Server
    );

    context.place =
        Place::Server { environments: BTreeMap::from([("dmo".to_owned(), environment(None))]) };
    let found = lines(&found_in(text, &Bundled, &context));
    assert_eq!(
        found,
        "E062 4:49 stage `deploy` deploys to `demo`, which the server does not define for this project | did you mean `dmo`?"
    );
}

#[test]
fn an_event_that_starts_nothing_has_a_reason() {
    let reason = |on: &str, context: &Context| {
        let text = format!("{on}\nname: orders\nimage: debian:12\nstages: {{ build: make }}");
        let (pipeline, diagnostics) = checked(&text, &Bundled);
        triggers(&pipeline.unwrap_or_else(|| panic!("{diagnostics}")), context)
            .map_or_else(|reason| reason, |_| "starts".to_owned())
    };
    let event = |event| Context { event, ..on_main() };
    assert_eq!(reason("", &on_main()), "starts");
    assert_eq!(reason("", &event(TriggerEvent::PullRequest)), "starts");
    assert_eq!(reason("", &event(TriggerEvent::Manual)), "starts");
    assert_eq!(reason("", &event(TriggerEvent::Tag)), "pipeline `orders` has no trigger `tag`");
    assert_eq!(reason("on: [manual]", &on_main()), "pipeline `orders` has no trigger `push`");
    assert_eq!(
        reason("on: push", &event(TriggerEvent::Manual)),
        "pipeline `orders` has no trigger `manual`"
    );
    let filtered = "on: { push: { branch: [main, 'release/*'] } }";
    assert_eq!(reason(filtered, &on_branch("release/1")), "starts");
    assert_eq!(
        reason(filtered, &on_branch("x")),
        "branch `x` matches no push filter of pipeline `orders`"
    );
    let mut detached = on_main();
    detached.git.branch = None;
    assert_eq!(
        reason(filtered, &detached),
        "there is no branch for the push filter of pipeline `orders`"
    );
    assert_eq!(reason("on: { push: , manual: }", &on_main()), "starts");
}

#[test]
fn a_pipeline_goes_by_its_name_its_file_or_its_project() {
    let name = |file: &str, text: &str| {
        let text = format!("{text}\nimage: debian:12\nstages: {{ build: make }}");
        let (document, _) = parse(&SourceFile::new(file, text));
        let (pipeline, _) = check(&document, &Bundled);
        plan(&pipeline.unwrap(), &on_main()).unwrap().pipeline
    };
    assert_eq!(name(".shipline.yml", "name: shop"), "shop");
    assert_eq!(name(".shipline/release.yml", ""), "release");
    assert_eq!(name(".shipline.yml", ""), "orders");
}

#[test]
fn warnings_are_part_of_the_plan_in_their_machine_form() {
    let plan = planned("image: debian\nstages: { build: make }", &on_main());
    assert_eq!(
        serde_json::to_string(&plan.diagnostics).unwrap(),
        r#"[{"code":"W070","column":8,"end_column":14,"end_line":1,"file":".shipline.yml","help":"name a version, for example `debian:1.0`","line":1,"message":"image `debian` has no tag, which means `latest`","severity":"warning"}]"#
    );
}

#[test]
fn machine_output_counts_characters_and_names_related_places() {
    let (_, found) = checked("x-ü: [ä, ö]\nstages: {}\nstages: {}\n", &Bundled);
    let json = found.to_json();
    let twice = json.iter().find(|json| json["code"] == "E002").unwrap();
    assert_eq!(
        (&twice["line"], &twice["column"], &twice["end_column"]),
        (&3.into(), &1.into(), &7.into())
    );
    assert_eq!(
        twice["related"].to_string(),
        r#"[{"column":1,"file":".shipline.yml","line":2,"message":"first given here"}]"#
    );
    assert_eq!(twice["help"], "given again; the first is in line 2");
}

#[test]
fn the_same_input_gives_the_same_plan_byte_for_byte() {
    let text = include_str!("../../../../pipelines/full.yml");
    let once = serde_json::to_string(&planned(text, &on_main())).unwrap();
    let again = serde_json::to_string(&planned(text, &on_main())).unwrap();
    assert_eq!(once, again);
}

#[test]
fn a_pipeline_can_go_to_another_thread() {
    fn goes<T: Send + Sync + 'static>() {}
    goes::<Pipeline>();
    goes::<Plan>();
    goes::<Diagnostics>();
}

#[test]
fn a_plan_without_a_commit_is_drawn_without_one() {
    let mut context = on_main();
    context.git = Git::default();
    let text = plan_text(
        &planned("image: debian:12\nstages: { a: make }", &context),
        &TreeOptions::default(),
    );
    assert!(text.starts_with("orders (.shipline.yml): push\n● checkout  depth 1\n"), "{text}");
}

#[test]
fn two_plans_are_compared_by_stage_and_value() {
    let of = |text: &str| planned(text, &on_main());
    let before = of("
image: debian:11
stages:
  a: make a
  b: { run: make b, env: { A: x, B: y } }
  gone: make gone
");
    let after = of("
image: debian:11
run-timeout: 2h
stages:
  a: { run: [make, make a], image: debian:12 }
  b: { needs: [], run: make b, env: { A: z }, timeout: 5m }
  new: make new
");
    let told: Vec<String> =
        crate::plan_changes(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "run: run-timeout 6h → 2h",
            "stage a: image debian:11 → debian:12",
            "stage a: run [\"make a\"] → [\"make\",\"make a\"]",
            "stage b: env.A x → z",
            "stage b: env.B y → (none)",
            "stage b: needs [a] → [checkout]",
            "stage b: timeout 1h → 5m",
            "stage gone: removed",
            "stage new: new",
        ]
    );
    assert!(crate::plan_changes(&before, &before).is_empty());
}

#[test]
fn a_stage_that_somebody_names_is_not_skipped_in_silence() {
    let text = "image: busybox:1\nstages:\n  build: make\n  publish: { when: { branch: main }, run: make publish }\n  after: { needs: [{ stage: publish, must: run }], run: make after }\n";
    let mut context = on_branch("topic");
    assert_eq!(planned(text, &context).stages[2].state, Decision::Skip);
    context.forced = ["publish".to_owned()].into();
    let plan = planned(text, &context);
    assert_eq!(plan.stages[2].state, Decision::Run);
    assert_eq!(
        plan.stages[2].reason,
        "forced although branch `topic` matches no pattern of `main`"
    );
    assert_eq!(plan.stages[3].state, Decision::Run, "what must run after it does");
}
