//! What a place has, against what a stage asks for.

use std::collections::BTreeSet;

use super::*;
use crate::{Offers, SecretScope, StagePolicy};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn on_server(offers: Offers) -> Context {
    let environments = BTreeMap::from([("demo".to_owned(), environment(None))]);
    Context { place: Place::Server { environments }, offers, ..on_main() }
}

/// What is said of a file on a server: errors of the plan, or its warnings.
#[track_caller]
fn says(text: &str, context: &Context, expected: &str) {
    let (pipeline, diagnostics) = checked(&flush(text), &Bundled);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics}"));
    let found = match plan(&pipeline, context) {
        Err(found) => lines(&found),
        Ok(plan) => {
            let text = |warning: &serde_json::Value, key: &str| {
                warning[key].as_str().unwrap_or_default().replace('\n', " / ")
            };
            let line = |warning: &serde_json::Value| {
                format!(
                    "{} {} | {}",
                    text(warning, "code"),
                    text(warning, "message"),
                    text(warning, "help")
                )
            };
            plan.diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

const SECRET: &str = "
    image: debian:12
    stages:
      a: { run: make, secrets: [NPM_TOKEN] }
    ";

fn secrets(scope: SecretScope) -> Offers {
    let secrets = BTreeMap::from([("NPM_TOKEN".to_owned(), scope)]);
    Offers { secrets: Some(secrets), ..Offers::default() }
}

fn scope() -> SecretScope {
    SecretScope { defined_in: "project `orders`".to_owned(), ..SecretScope::default() }
}

#[test]
fn e050_a_secret_must_be_defined_and_its_scope_must_cover_the_run() {
    says(SECRET, &on_server(secrets(scope())), "");
    let unknown = Offers {
        secrets: Some(BTreeMap::from([("NPM_TOKEN_2".to_owned(), scope())])),
        ..Offers::default()
    };
    says(
        SECRET,
        &on_server(unknown),
        "E050 3:28 stage `a` uses the secret `NPM_TOKEN`, which is not defined | did you mean `NPM_TOKEN_2`? | define `NPM_TOKEN` on the server, for this project",
    );
    let other_branch = SecretScope { branches: vec!["release/*".to_owned()], ..scope() };
    says(
        SECRET,
        &on_server(secrets(other_branch)),
        "E050 3:28 stage `a` uses the secret `NPM_TOKEN`, which is not for the branch `main` | give the stage a `when` that fits, or widen the scope of the secret",
    );
    let tags = SecretScope { events: vec![TriggerEvent::Tag], ..scope() };
    says(
        SECRET,
        &on_server(secrets(tags)),
        "E050 3:28 stage `a` uses the secret `NPM_TOKEN`, which is not for the event `push` | give the stage a `when` that fits, or widen the scope of the secret",
    );
    let stranger = Context { trusted: false, ..on_server(secrets(scope())) };
    says(
        SECRET,
        &stranger,
        "E050 3:28 stage `a` uses the secret `NPM_TOKEN`, which is not for runs of people who may not push | give the stage a `when` that fits, or widen the scope of the secret",
    );
}

#[test]
fn a_laptop_shows_which_secrets_are_there_and_refuses_none() {
    let context = Context { offers: secrets(scope()), ..on_main() };
    let text = "image: debian:12\nstages:\n  a: { run: make, secrets: [NPM_TOKEN, OTHER] }\n";
    let plan = planned(text, &context);
    let shown: Vec<(&str, bool)> = plan.stages[1]
        .secrets
        .iter()
        .map(|secret| (secret.name.as_str(), secret.present))
        .collect();
    assert_eq!(shown, [("NPM_TOKEN", true), ("OTHER", false)]);
}

#[test]
fn a_secret_of_a_skipped_stage_is_not_asked_for() {
    let text = "
        image: debian:12
        stages:
          a: { run: make, secrets: [NPM_TOKEN], when: { branch: release } }
          b: { needs: [], run: make }
        ";
    says(text, &on_server(Offers { secrets: Some(BTreeMap::new()), ..Offers::default() }), "");
}

#[test]
fn w052_a_secret_that_masks_badly_is_told_with_the_rule() {
    let weak = SecretScope { masks_badly: Some("shorter than 8 characters".to_owned()), ..scope() };
    says(
        SECRET,
        &on_server(secrets(weak)),
        "W052 the secret `NPM_TOKEN` cannot be masked well: shorter than 8 characters | store a longer value of one line, or use it with `file: true`",
    );
}

#[test]
fn e060_a_project_whose_administrator_wants_a_template_uses_it() {
    let of = |wanted: &str, text: &str| {
        let policy = StagePolicy {
            set_by: "the server's configuration".to_owned(),
            templates: vec![wanted.to_owned()],
            ..StagePolicy::default()
        };
        let context = on_server(Offers { policy: Some(policy), ..Offers::default() });
        let files = TestFiles(&[
            ("base", "1.2", "image: debian:12\nstages: { a: make }"),
            ("team", "3", "template: base@1"),
        ]);
        lines(&found_in(text, &files, &context))
    };
    assert_eq!(of("base", "template: team@3"), "");
    assert_eq!(of("base@1", "template: base@1"), "");
    assert_eq!(of("base@1.2", "template: base@1"), "");
    assert_eq!(
        of("base@2", "template: team@3"),
        "E060 1:11 the pipeline uses the template `team@3` | required: `base@2`"
    );
    assert_eq!(
        of("base@1", "image: debian:12\nstages: { a: make }"),
        "E060 1:1 the pipeline uses no template | required: `base@1`"
    );
}

#[test]
fn e060_an_administrator_has_the_last_word() {
    let policy = StagePolicy {
        set_by: "the server's configuration".to_owned(),
        max_cpu: Some(4.0),
        max_memory: Some(4 << 30),
        max_pids: Some(512),
        users: Some(vec!["root".to_owned()]),
        registries: Some(vec!["harbor.corp.example".to_owned(), "docker.io".to_owned()]),
        ..StagePolicy::default()
    };
    let context = on_server(Offers { policy: Some(policy), ..Offers::default() });
    says(
        "
        image: debian:12
        stages:
          a: { run: make, resources: { cpu: 8, memory: 64Gi, pids: 1000 } }
          b: { run: make, image: evil.example/x:1, user: \"1000\" }
        ",
        &context,
        "
        E060 3:30 stage `a` asks for 8 cores | at most 4
        E060 3:30 stage `a` asks for 65536 MiB of memory | at most 4096Mi
        E060 3:30 stage `a` asks for 1000 processes | at most 512
        E060 4:26 stage `b` takes the image `evil.example/x:1` from `evil.example` | allowed: `harbor.corp.example`, `docker.io`
        E060 4:50 stage `b` runs as `1000` | allowed: `root`
        ",
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, resources: { cpu: 4, memory: 4Gi, pids: 512 }, image: harbor.corp.example/x:1 }
        ",
        &context,
        "",
    );
}

#[test]
fn e060_what_is_not_known_yet_is_not_allowed_by_default() {
    let policy = StagePolicy {
        set_by: "the server's configuration".to_owned(),
        max_memory: Some(4 << 30),
        users: Some(vec!["root".to_owned()]),
        registries: Some(vec!["docker.io".to_owned()]),
        ..StagePolicy::default()
    };
    let limited = on_server(Offers { policy: Some(policy), ..Offers::default() });
    let text = "
        image: debian:12
        stages:
          a: { run: make, image: \"evil.example/x:${{ run.number }}\" }
          b: { run: make, user: \"${{ run.attempt == 1 ? 'root' : '1000' }}\" }
          c: { run: make, resources: { cpu: \"${{ run.number }}\", memory: \"${{ run.number }}Gi\" } }
          d: { run: make, services: { db: \"evil.example/x:${{ run.number }}\" } }
          e: { build: {} }
          f: { push: { image: \"evil.example/x:${{ run.number }}\", registry: r, tags: [\"a.example/a:1\"] } }
        ";
    says(
        text,
        &limited,
        "
        E060 3:26 stage `a` has a value of `image` that is known only when it starts | write a value that is known when the plan is made
        E060 4:25 stage `b` has a value of `user` that is known only when it starts | write a value that is known when the plan is made
        E060 5:66 stage `c` has a value of `resources.memory` that is known only when it starts | write a value that is known when the plan is made
        E060 6:35 stage `d` has a value of `services.db.image` that is known only when it starts | write a value that is known when the plan is made
        E060 8:23 stage `f` has a value of `push.image` that is known only when it starts | write a value that is known when the plan is made
        ",
    );
    says(text, &on_server(Offers::default()), "");
}

#[test]
fn e060_the_containers_that_check_a_deploy_come_from_allowed_registries() {
    let policy = StagePolicy {
        set_by: "the server's configuration".to_owned(),
        registries: Some(vec!["docker.io".to_owned()]),
        ..StagePolicy::default()
    };
    let mut context = on_server(Offers { policy: Some(policy), ..Offers::default() });
    let environments = BTreeMap::from([("demo".to_owned(), environment(None))]);
    context.place = Place::Server { environments };
    says(
        "
        stages:
          image: { build: {} }
          a:
            timeout: 1m
            deploy:
              environment: demo
              image: image
              health: { tcp: 80 }
              verify: { run: ./smoke.sh, image: \"evil.example/x:1\" }
        ",
        &context,
        "E060 9:15 stage `a` takes the image `evil.example/x:1` from `evil.example` | allowed: `docker.io`",
    );
}

#[test]
fn e064_a_runner_must_have_all_the_labels() {
    let offers = Offers {
        runners: Some(vec![names(&["amd64", "large"]), names(&["arm64"])]),
        ..Offers::default()
    };
    let text = |labels: &str| {
        format!("image: debian:12\nstages:\n  a: {{ run: make, runner: [{labels}] }}\n")
    };
    let context = on_server(offers);
    says(&text("amd64, large"), &context, "");
    says(
        &text("arm46"),
        &context,
        "E064 3:27 stage `a` needs a runner with `arm46`, and there is none | did you mean `arm64`?",
    );
    says(
        &text("arm64, large"),
        &context,
        "E064 3:27 stage `a` needs a runner with `arm64`, `large`, and there is none | no runner has all of them at once",
    );
}

#[test]
fn e065_a_credential_is_named_and_must_be_there() {
    let offers = Offers { registries: Some(names(&["harbor"])), ..Offers::default() };
    let text = |registry: &str| {
        format!(
            "stages:\n  a: {{ build: {{}} }}\n  b: {{ push: {{ image: a, registry: {registry}, tags: [\"h.example/a:1\"] }} }}\n"
        )
    };
    let context = on_server(offers.clone());
    says(&text("harbor"), &context, "");
    says(
        &text("harbour"),
        &context,
        "E065 3:36 stage `b` pushes with the credential `harbour`, which this server does not have | did you mean `harbor`? | define it in the server's configuration / [registries.harbour] / host = \"harbor.corp.example\"",
    );
    // Docker's own configuration may know the host.
    says(&text("harbour"), &Context { offers, ..on_main() }, "");
}

#[test]
fn w074_a_project_can_ask_for_digests() {
    let policy = StagePolicy {
        set_by: "project `orders`".to_owned(),
        digests: true,
        ..StagePolicy::default()
    };
    let context = on_server(Offers { policy: Some(policy), ..Offers::default() });
    let digest = format!("debian@sha256:{}", "0a".repeat(32));
    says(&format!("image: {digest}\nstages: {{ a: make }}\n"), &context, "");
    says(
        "image: debian:12\nstages: { a: make }\n",
        &context,
        "W074 stage `a` names the image `debian:12` without its digest | write `debian:12@sha256:…`; project `orders` asks for digests; this prints the one of today / docker buildx imagetools inspect debian:12",
    );
}
