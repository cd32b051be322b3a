use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::*;
use crate::control::{Client, ClientError, RouteMatch, RouteOptions, Target};
use crate::serve::state::StateFile;

/// A control socket that is served, and the folder with it and its state file.
struct Served {
    folder: tempfile::TempDir,
    control: Arc<Control>,
    // Aborted when it is dropped.
    _server: JoinSet<()>,
}

impl Served {
    fn new() -> Served {
        Served::on(tempfile::tempdir().unwrap())
    }

    fn on(folder: tempfile::TempDir) -> Served {
        let file = StateFile::open(&folder.path().join("routes.json")).unwrap();
        let control = Arc::new(Control::new(file, Vec::new()));
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let mut server = JoinSet::new();
        let router = router(control.clone());
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Served { folder, control, _server: server }
    }

    /// As after a crash: what is on disk is all there is.
    fn restarted(self) -> Served {
        self.control.stop();
        let Served { folder, .. } = self;
        std::fs::remove_file(folder.path().join("proxy.sock")).unwrap();
        Served::on(folder)
    }

    fn client(&self) -> Client {
        Client::new(self.folder.path().join("proxy.sock"))
    }

    fn state(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("routes.json")).unwrap()
    }

    /// Sends what a client of ours would not.
    async fn raw(&self, method: &str, path: &str, body: &str) -> String {
        let socket = self.folder.path().join("proxy.sock");
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        format!("{} {body}", head.split(' ').nth(1).unwrap())
    }
}

fn spec(fence: u64, units: &[&str]) -> RouteSpec {
    RouteSpec {
        fence,
        matches: vec![RouteMatch { host: "*".to_owned(), path: "/".to_owned() }],
        targets: units
            .iter()
            .map(|unit| Target {
                unit: (*unit).to_owned(),
                address: "127.0.0.1:8080".to_owned(),
                release: "r1".to_owned(),
                weight: 100,
            })
            .collect(),
        options: RouteOptions::default(),
    }
}

/// `FENCE/GENERATION units` of a route.
fn brief(status: &RouteStatus) -> String {
    let units: Vec<&str> =
        status.targets.iter().map(|target| target.target.unit.as_str()).collect();
    format!("{}/{} {}", status.fence, status.generation, units.join(" "))
}

fn fenced<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> u64 {
    match answer {
        Err(ClientError::Fenced { fence, .. }) => fence,
        other => panic!("not fenced: {other:?}"),
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    match answer {
        Err(ClientError::Refused { status, message }) => format!("{status} {message}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_put_replaces_the_set_and_the_same_again_changes_nothing() {
    let served = Served::new();
    let client = served.client();
    assert_eq!(client.routes().await.unwrap(), Routes::default());

    let first = client.put_route("web", &spec(41, &["one"])).await.unwrap();
    assert_eq!(brief(&first), "41/1 one");
    let durable = served.state();
    let again = client.put_route("web", &spec(41, &["one"])).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(served.state(), durable);

    let next = client.put_route("web", &spec(41, &["two"])).await.unwrap();
    assert_eq!(brief(&next), "41/2 two");
    // Another holder of the lock, the same set: nothing is swapped, but the old one is out.
    let taken = client.put_route("web", &spec(42, &["two"])).await.unwrap();
    assert_eq!(brief(&taken), "42/2 two");
    assert_eq!(client.routes().await.unwrap().routes["web"], taken);
}

#[tokio::test]
async fn a_lower_fence_has_no_effect_not_even_after_a_delete() {
    let served = Served::new();
    let client = served.client();
    client.put_route("web", &spec(41, &["one"])).await.unwrap();
    let page = Page { fence: 40, status: 503, text: "closed".to_owned() };
    assert_eq!(fenced(client.put_route("web", &spec(40, &["old"])).await), 41);
    assert_eq!(fenced(client.put_page("web", &page).await), 41);
    assert_eq!(fenced(client.delete_route("web", 40).await), 41);
    assert_eq!(brief(&client.routes().await.unwrap().routes["web"]), "41/1 one");

    client.delete_route("web", 43).await.unwrap();
    client.delete_route("web", 43).await.unwrap();
    assert_eq!(client.routes().await.unwrap(), Routes::default());
    assert_eq!(fenced(client.put_route("web", &spec(42, &["old"])).await), 43);
    let back = client.put_route("web", &spec(43, &["new"])).await.unwrap();
    assert_eq!(brief(&back), "43/2 new");

    // Also of a route that never was: the engine that deletes it is the newer one.
    client.delete_route("shop", 7).await.unwrap();
    assert_eq!(fenced(client.put_route("shop", &spec(6, &[])).await), 7);
}

#[tokio::test]
async fn what_was_answered_survives_a_restart() {
    let served = Served::new();
    let client = served.client();
    let web = client.put_route("web", &spec(41, &["one"])).await.unwrap();
    let mut shop = spec(7, &["shop-0"]);
    shop.matches[0].host = "shop.example.com".to_owned();
    client.put_route("shop", &shop).await.unwrap();
    client.delete_route("shop", 9).await.unwrap();

    let served = served.restarted();
    let client = served.client();
    assert_eq!(client.routes().await.unwrap().routes["web"], web);
    assert_eq!(fenced(client.put_route("shop", &shop).await), 9);
}

#[tokio::test]
async fn a_change_that_is_not_durable_is_not_in_force() {
    let served = Served::new();
    let client = served.client();
    client.put_route("web", &spec(41, &["one"])).await.unwrap();
    // A folder in the place of the new file: it cannot be written.
    std::fs::create_dir(served.folder.path().join("routes.json.new")).unwrap();
    let said = refused(client.put_route("web", &spec(41, &["two"])).await);
    assert!(said.starts_with("500 cannot write the state file "), "{said}");
    assert_eq!(brief(&client.routes().await.unwrap().routes["web"]), "41/1 one");
}

#[tokio::test]
async fn mistakes_are_refused_with_a_reason() {
    let served = Served::new();
    let client = served.client();
    client.put_route("web", &spec(1, &["one"])).await.unwrap();

    let mut nowhere = spec(1, &["one"]);
    nowhere.targets[0].address = "localhost:80".to_owned();
    assert_eq!(
        refused(client.put_route("web", &nowhere).await),
        "400 address `localhost:80` of unit `one` is not an IP address with a port"
    );
    assert_eq!(
        refused(client.put_route("other", &spec(1, &[])).await),
        "409 host `*` with path `/` belongs to route `web`"
    );
    let drain =
        DrainRequest { unit: "one".to_owned(), timeout_ms: 1000, websockets_timeout_ms: None };
    assert_eq!(
        refused(client.drain("web", &drain).await),
        "409 unit `one` still gets requests of route `web`: take it out of the targets first"
    );
    let page = Page { fence: 1, status: 200, text: String::new() };
    assert_eq!(
        refused(client.put_page("web", &page).await),
        "400 status 200 is no status of an error page: use 400 to 599"
    );
    let page = Page { status: 503, ..page };
    assert_eq!(refused(client.put_page("nothing", &page).await), "404 there is no route `nothing`");
    assert!(
        refused(client.put_route("a/b", &spec(1, &[])).await)
            .starts_with("400 `a/b` is no name: use ")
    );
}

#[tokio::test]
async fn whatever_is_sent_is_answered_with_a_refusal() {
    let served = Served::new();
    assert_eq!(served.raw("GET", "/healthz", "").await, "200 ok\n");
    for (method, path, body, expected) in [
        (
            "PUT",
            "/v1/routes/web",
            "{",
            r#"400 {"error":"body: EOF while parsing an object at line 1 column 1"}"#,
        ),
        (
            "PUT",
            "/v1/routes/web",
            r#"{"fence":1,"match":[]}"#,
            r#"400 {"error":"body: missing field `targets` at line 1 column 22"}"#,
        ),
        (
            "DELETE",
            "/v1/routes/web",
            "",
            r#"400 {"error":"Failed to deserialize query string: missing field `fence`"}"#,
        ),
        ("POST", "/v1/routes/web", "", r#"405 {"error":"this path knows other methods"}"#),
        ("GET", "/v2", "", r#"404 {"error":"there is nothing at this path"}"#),
    ] {
        assert_eq!(served.raw(method, path, body).await, expected);
    }
    let huge = " ".repeat(BODY_LIMIT_BYTES + 1);
    let answer = served.raw("PUT", "/v1/routes/web", &huge).await;
    assert!(answer.starts_with(r#"413 {"error":"#), "{answer}");
}

#[tokio::test]
async fn a_proxy_that_stops_takes_no_more_changes() {
    let served = Served::new();
    let client = served.client();
    served.control.stop();
    // Nothing was changed, and there may be a successor: worth asking again.
    let answer = client.put_route("web", &spec(1, &[])).await;
    assert!(
        matches!(&answer, Err(ClientError::Unreachable { source, .. }) if source.to_string() == "the proxy is stopping"),
        "{answer:?}"
    );
    // A successor may have the file from then on.
    StateFile::open(&served.folder.path().join("routes.json")).unwrap();
}

fn lease(holder: &str, fence: Option<u64>) -> LeaseRequest {
    let holder = holder.to_owned();
    let reason = "release 12".to_owned();
    LeaseRequest { holder, key: None, ttl_ms: 30_000, reason, fence, above: 0 }
}

#[tokio::test]
async fn two_workstations_exclude_each_other_also_over_a_restart() {
    let served = Served::new();
    let client = served.client();
    let first = client.lease("web", "prod", &lease("ann@one", None)).await.unwrap();
    assert_eq!((first.holder.as_str(), first.fence, first.remaining_ms), ("ann@one", 1, 30_000));
    assert_eq!(client.lease("web", "prod", &lease("ann@one", Some(1))).await.unwrap().fence, 1);
    assert_eq!(client.lease("web", "test", &lease("bob@two", None)).await.unwrap().fence, 2);

    let served = served.restarted();
    let client = served.client();
    let held = client.lease("web", "prod", &lease("bob@two", None)).await.unwrap_err();
    let ClientError::Held { lease: by, message } = held else { panic!("{held:?}") };
    assert_eq!((by.holder.as_str(), by.fence, by.reason.as_str()), ("ann@one", 1, "release 12"));
    assert!(by.remaining_ms <= 30_000 && by.until_ms > 0);
    assert!(message.starts_with("web/prod is held by ann@one for another "), "{message}");
    let all = client.leases().await.unwrap();
    assert_eq!(all.leases.keys().collect::<Vec<_>>(), ["web/prod", "web/test"]);

    client.release_lease("web", "prod", 1).await.unwrap();
    client.release_lease("web", "prod", 1).await.unwrap();
    assert_eq!(client.lease("web", "prod", &lease("bob@two", None)).await.unwrap().fence, 3);
    assert_eq!(fenced(client.release_lease("web", "prod", 1).await), 3);
    assert_eq!(
        refused(client.release_lease("web", "demo", 1).await),
        "404 web/demo has no lease with fence 1"
    );
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    let served = Served::new();
    let client = served.client();
    let short = LeaseRequest { ttl_ms: 1_000, ..lease("ann@one", None) };
    client.lease("web", "prod", &short).await.unwrap();
    assert!(client.lease("web", "prod", &lease("bob@two", None)).await.is_err());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(client.leases().await.unwrap().leases.is_empty());
    assert_eq!(client.lease("web", "prod", &lease("bob@two", None)).await.unwrap().fence, 2);
}

/// Whoever lost the lease is out from the moment another took it, not only from its first change.
#[tokio::test]
async fn a_route_of_a_lease_is_changed_only_with_the_fence_of_the_lease() {
    let served = Served::new();
    let client = served.client();
    let of = |fence| {
        let mut spec = spec(fence, &["one"]);
        spec.options.lease = Some("web/prod".to_owned());
        spec
    };
    client.lease("web", "prod", &lease("ann@one", None)).await.unwrap();
    client.put_route("web", &of(1)).await.unwrap();
    client.release_lease("web", "prod", 1).await.unwrap();
    client.lease("web", "prod", &lease("bob@two", None)).await.unwrap();
    assert_eq!(fenced(client.put_route("web", &of(1)).await), 2);
    assert_eq!(fenced(client.put_route("web", &spec(1, &[])).await), 2);
    assert_eq!(fenced(client.delete_route("web", 1).await), 2);
    client.put_route("web", &of(2)).await.unwrap();
}

#[tokio::test]
async fn mistakes_of_leases_and_options_are_refused_with_a_reason() {
    let served = Served::new();
    let client = served.client();
    for (request, said) in [
        (
            LeaseRequest { holder: String::new(), ..lease("", None) },
            "400 a holder of a lease has a name of 1 to 256 printable bytes",
        ),
        (
            LeaseRequest { key: Some("k".repeat(257)), ..lease("ann", None) },
            "400 a key of a lease has 1 to 256 bytes",
        ),
        (
            LeaseRequest { ttl_ms: 10, ..lease("ann", None) },
            "400 a lease of 10 ms is not between 1 second and 30 days",
        ),
    ] {
        assert_eq!(refused(client.lease("web", "prod", &request).await), said);
    }
    assert!(
        refused(client.lease("web", "a/b", &lease("ann", None)).await)
            .starts_with("400 `a/b` is no name: ")
    );
    let body = r#"{"fence":1,"match":[],"targets":[],"sticky":"session"}"#;
    assert_eq!(
        served.raw("PUT", "/v1/routes/web", body).await,
        r#"400 {"error":"body: sticky `session` is neither `cookie`, `ip` nor `header:` with the name of a header at line 1 column 54"}"#
    );
    let mut nowhere = spec(1, &[]);
    nowhere.options.lease = Some("prod".to_owned());
    assert_eq!(
        refused(client.put_route("web", &nowhere).await),
        "400 `prod` is no lease: name a project and an environment as `PROJECT/ENVIRONMENT`"
    );
}

#[tokio::test]
async fn options_of_a_route_are_kept_and_shown() {
    let served = Served::new();
    let client = served.client();
    let mut spec = spec(1, &["one"]);
    spec.options =
        RouteOptions { sticky: Some("cookie".parse().unwrap()), release_header: true, lease: None };
    let status = client.put_route("web", &spec).await.unwrap();
    assert_eq!(status.options, spec.options);
    let served = served.restarted();
    assert_eq!(served.client().routes().await.unwrap().routes["web"].options, spec.options);
    assert!(
        served
            .client()
            .metrics()
            .await
            .unwrap()
            .contains("shipline_proxy_targets{route=\"web\"} 1\n")
    );
}
