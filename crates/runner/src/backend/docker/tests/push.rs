//! Pushes to a registry that wants tokens, refuses, lies, and is out of order.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, HarborServer, ROBOT, heard};
use super::build::{docker, work};
use crate::Registry;
use crate::backend::{Backend, BackendError, PushSpec, Pushed};

/// A bench with one small image of its own, and a Harbor.
pub(super) struct Shop {
    pub(super) bench: Bench,
    pub(super) harbor: HarborServer,
    pub(super) image: String,
}

impl Shop {
    pub(super) async fn open(world: &Value) -> Self {
        let bench =
            Bench::with(&[("Dockerfile", "FROM busybox:1\nARG WHO\nRUN echo $WHO >/who\n")]).await;
        let mut work = work(".", "Dockerfile");
        work.args.insert("WHO".to_owned(), bench.run.instance.clone());
        let image = bench.build(1, work).await.0.unwrap().id;
        Self { bench, harbor: HarborServer::start(world), image }
    }

    pub(super) fn spec(&self, repository: &str, tag: &str) -> PushSpec {
        PushSpec {
            stage: "publish".to_owned(),
            attempt: 1,
            image: self.image.clone(),
            tags: vec![format!("{}/{repository}:{tag}", self.harbor.registry.host)],
            credential: Some("harbor".to_owned()),
            registry: self.harbor.registry.clone(),
            scan: None,
        }
    }

    pub(super) async fn push(&self, spec: &PushSpec) -> (Result<Pushed, BackendError>, String) {
        let cancel = CancellationToken::new();
        let Self { bench, .. } = self;
        heard(async |output| bench.backend.push(&bench.run, spec, &output, &cancel).await).await
    }

    /// E090, with what it says.
    async fn refused(&self, spec: &PushSpec) -> String {
        match self.push(spec).await {
            (Err(BackendError::User { code: Some("E090"), message }), said) => {
                assert!(!said.contains("trying again"), "a refusal is final: {said}");
                message
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let host = format!("{}/*/*", self.harbor.registry.host);
        for pattern in [host.clone(), host + "/*"] {
            let filter = format!("reference={pattern}");
            let listed =
                docker(&["images", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
            for name in listed.lines() {
                docker(&["rmi", name]);
            }
        }
    }
}

#[tokio::test]
async fn a_robot_pushes_with_tokens_whatever_they_are_called_and_however_short_they_live() {
    let shop = Shop::open(&json!({"token_field": "access_token", "expires_in": 60})).await;
    assert_eq!(shop.harbor.registry.username, "robot$team+ci");
    let (pushed, said) = shop.push(&shop.spec("team/group/app", "1.0")).await;
    let pushed = pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains(&format!("pushed {}/team/group/app:1.0", shop.harbor.registry.host)));
    let requests = shop.harbor.requests();
    let tokens: Vec<_> =
        requests.iter().filter(|line| line.starts_with("GET /service/token?")).collect();
    assert!(tokens.len() >= 2, "the engine's and ours: {requests:?}");
    let engines = format!("account={}", ROBOT.replace('$', "%24").replace('+', "%2B"));
    assert!(tokens.iter().any(|line| line.contains(&engines)), "{tokens:?}");
    let ours = "HEAD /v2/team/group/app/manifests/1.0 ";
    assert!(requests.contains(&format!("{ours}401")), "first without: {requests:?}");
    assert!(requests.contains(&format!("{ours}200")), "{requests:?}");

    // A token that has died by the next push is fetched again, not used again.
    shop.harbor.change(&json!({"expires_in": 1}));
    let (again, _) = shop.push(&shop.spec("team/group/app", "1.1")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (later, said) = shop.push(&shop.spec("team/group/app", "1.2")).await;
    assert_eq!(again.unwrap(), pushed);
    assert_eq!(later.unwrap_or_else(|error| panic!("{error}\n{said}")), pushed);
}

#[tokio::test]
async fn an_identity_token_is_a_login_too() {
    let shop = Shop::open(&json!({})).await;
    let host = shop.harbor.registry.host.clone();
    let mut spec = shop.spec("team/app", "1.0");
    spec.registry = Registry {
        ca_file: shop.harbor.registry.ca_file.clone(),
        ..Registry::with_identity_token(host, "robot-secret$1".to_owned())
    };
    let (pushed, said) = shop.push(&spec).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    let requests = shop.harbor.requests();
    assert!(requests.contains(&"POST /service/token 200".to_owned()), "{requests:?}");

    spec.registry.password = "outdated".to_owned();
    let message = shop.refused(&spec).await;
    assert!(message.contains("user `an identity token`"), "{message}");
}

#[tokio::test]
async fn a_refusal_names_registry_credential_and_the_way_out_and_is_not_repeated() {
    let immutable =
        json!({"projects": {"team": {"id": 2, "immutable": ["v*"]}, "tiny": {"quota": 10}}});
    let shop = Shop::open(&immutable).await;
    let host = &shop.harbor.registry.host;
    let begun = Instant::now();

    let message = shop.refused(&shop.spec("nobody/app", "1")).await;
    assert!(
        message.starts_with(&format!(
            "{host} refuses {host}/nobody/app:1 (credential `harbor`, user `{ROBOT}`): unauthorized: project nobody not found"
        )),
        "{message}"
    );
    assert!(
        message.contains("there is no project `nobody`")
            && message.contains(&format!("create it at https://{host}/harbor/projects")),
        "{message}"
    );

    shop.push(&shop.spec("team/app", "v1")).await.0.unwrap();
    let message = shop.refused(&shop.spec("team/app", "v1")).await;
    assert!(
        message.contains(&format!("{host}/team/app:v1"))
            && message.contains("a rule of the project `team` keeps it as it is"),
        "{message}"
    );
    shop.push(&shop.spec("team/app", "latest")).await.0.expect("no rule is about this tag");

    let message = shop.refused(&shop.spec("tiny/app", "1")).await;
    assert!(
        message.contains("will exceed the configured upper limit")
            && message.contains("the quota of the project `tiny` is used up"),
        "{message}"
    );

    let mut wrong = shop.spec("team/app", "latest");
    wrong.registry.password = "wrong".to_owned();
    let message = shop.refused(&wrong).await;
    assert!(message.contains("unauthorized") && !message.contains("wrong"), "{message}");

    for (status, code) in [(403, "DENIED"), (404, "NAME_UNKNOWN")] {
        let fault = json!({"method": "PUT", "path": "/manifests/", "status": status,
            "code": code, "message": "no"});
        shop.harbor.change(&json!({"faults": [fault]}));
        let message = shop.refused(&shop.spec("team/app", "latest")).await;
        assert!(
            message.starts_with(&format!("{host} refuses {host}/team/app:latest")),
            "{message}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "nothing was waited for");
}

#[tokio::test]
async fn a_registry_that_keeps_something_else_is_at_fault() {
    let lie = format!("sha256:{}", "0".repeat(64));
    let fault = json!({"method": "HEAD", "path": "/manifests/1.0$", "digest": lie});
    let shop = Shop::open(&json!({"faults": [fault]})).await;
    let (refused, said) = shop.push(&shop.spec("team/app", "1.0")).await;
    let Err(BackendError::Infrastructure { part: "registry", message }) = refused else {
        panic!("the registry says it has something else: {refused:?}\n{said}");
    };
    let host = &shop.harbor.registry.host;
    assert!(
        message.starts_with(&format!("{host} says that {host}/team/app:1.0 is {lie}, but sha256:")),
        "{message}"
    );
    assert!(!said.contains("pushed "), "nothing was pushed, as far as anybody can tell: {said}");
}

#[tokio::test]
async fn a_registry_that_is_out_of_order_is_asked_again_and_then_named() {
    let once = json!({"method": "PUT", "path": "/manifests/", "status": 502, "times": 1});
    let shop = Shop::open(&json!({"faults": [once]})).await;
    let host = &shop.harbor.registry.host;
    let (pushed, said) = shop.push(&shop.spec("team/app", "1.0")).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains("502 Bad Gateway; trying again"), "{said}");

    // The engine takes an answer that is none for one that wants another login.
    let greeting = json!({"path": "^/v2/$", "status": 503, "times": 2});
    shop.harbor.change(&json!({"faults": [greeting]}));
    let (pushed, said) = shop.push(&shop.spec("team/app", "1.1")).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains("503 Service Unavailable to /v2/; trying again"), "{said}");

    // What the registry asks for is waited for, where we hear it.
    let busy = json!({"method": "HEAD", "path": "/manifests/1.2$", "status": 429, "times": 1,
        "retry_after": 4});
    shop.harbor.change(&json!({"faults": [busy]}));
    let begun = Instant::now();
    let (pushed, said) = shop.push(&shop.spec("team/app", "1.2")).await;
    pushed.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains("429 Too Many Requests") && said.contains("trying again"), "{said}");
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());

    let down = json!({"method": "PUT", "path": "/manifests/", "status": 502});
    shop.harbor.change(&json!({"faults": [down]}));
    let (failed, said) = shop.push(&shop.spec("team/app", "1.3")).await;
    let Err(BackendError::Infrastructure { part: "registry", message }) = failed else {
        panic!("{failed:?}\n{said}");
    };
    assert!(message.contains(&format!("{host}/team/app:1.3 cannot be pushed")), "{message}");
    assert!(message.contains("502") && message.ends_with("(tried 5 times)"), "{message}");
    assert_eq!(said.matches("trying again").count(), 4, "{said}");
}

#[tokio::test]
async fn a_pull_from_a_registry_that_is_out_of_order_is_tried_again_too() {
    let shop = Shop::open(&json!({})).await;
    let host = shop.harbor.registry.host.clone();
    shop.push(&shop.spec("team/app", "1.0")).await.0.unwrap();
    docker(&["rmi", &format!("{host}/team/app:1.0")]);
    let greeting = json!({"path": "^/v2/$", "status": 503, "times": 2});
    shop.harbor.change(&json!({"faults": [greeting]}));
    let mut attempt = shop.bench.attempt(5, &["cat /who"]);
    attempt.image = format!("{host}/team/app:1.0");
    attempt.registry = Some(shop.harbor.registry.clone());
    let ran = shop.bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.stdout().trim_end(), shop.bench.run.instance);

    attempt = shop.bench.attempt(6, &["true"]);
    attempt.image = format!("{host}/team/other:1.0");
    attempt.registry = Some(shop.harbor.registry.clone());
    let Err(BackendError::User { code: Some("E090"), message }) =
        shop.bench.run_attempt(&attempt).await.map(drop)
    else {
        panic!("there is no such image");
    };
    assert!(message.contains("team/other:1.0"), "{message}");
}
