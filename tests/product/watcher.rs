//! Somebody watches what was deployed: a server that tells people, and a laptop.

use std::time::Duration;

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker};
use crate::harness::mail::MailServer;
use crate::harness::process::{signal, wait_for};
use crate::harness::server::{Proxy, Server, ServerParts};
use crate::harness::shop::{DEPLOY, DOCKERFILE, Shop, Units};

/// Long enough for a machine that has much to do.
const LONG: Duration = Duration::from_secs(120);

/// Units have all the time they need.
fn deploy() -> String {
    DEPLOY.replace("deadline: 5s", "deadline: 20s")
}

fn page(repository: &Repository, dockerfile: &str) {
    repository.write("Dockerfile", dockerfile);
    repository.write("www/index.html", "hello\n");
    repository.write("www/health", "ok\n");
}

fn kinds(history: &Value) -> Vec<String> {
    let history = history.as_array().expect("a list").iter();
    history.filter_map(|it| it["kind"].as_str()).map(str::to_owned).collect()
}

fn history_kinds(shop: &Shop) -> Vec<String> {
    kinds(&shop.json(&["history", "demo"]))
}

/// The unit that serves a slot.
fn unit(status: &Value, slot: u64) -> String {
    let mut units = status["units"].as_array().expect("units").iter();
    let unit = units.find(|unit| unit["slot"] == slot && unit["admitted"] == true);
    unit.and_then(|unit| unit["unit"].as_str()).expect("it serves").to_owned()
}

/// The first process of a `process` unit.
fn pid(shop: &Shop, unit: &str) -> u32 {
    let file = shop.lab.path().join("units/units").join(unit).join("process");
    let line = std::fs::read_to_string(file).expect("it has begun");
    line.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a number")
}

#[test]
fn a_server_tells_of_a_killed_unit_and_of_a_route_by_mail_repairs_it_and_lets_stopped_be() {
    let lab = Lab::new();
    let (proxy, mail) = (Proxy::start(&lab), MailServer::start(&lab.folder("mail")));
    let parts = ServerParts {
        registry: None,
        mail: Some(&mail),
        proxy: Some(&proxy),
        project: "shop",
        environment: "demo",
    };
    let server = Server::start_with(&lab, &parts, "ensure = true\n\n[watch]\nevery = \"500ms\"\n");
    let repository = Repository::create(&lab.folder("git"));
    page(&repository, DOCKERFILE);
    repository.write(
        ".shipline.yml",
        &format!(
            "name: shop\nstages:\n  image: {{ build: {{ file: Dockerfile }} }}\n{}\
             notify: {{ mail: {{ to: ops@example.net, on: [unhealthy, drift] }} }}\n",
            deploy()
        ),
    );
    let bare = repository.bare.display().to_string();
    let shop =
        |arguments: &[&str]| server.client(&lab, &[arguments, &["--project", "shop"]].concat());
    server.client(&lab, &["project", "create", "shop", "--git", &bare, "--poll", "1s"]).expect(0);
    let sha = repository.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, LONG);
    assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
    assert_eq!(mail.mails().len(), 0, "a deployment makes no noise");

    let status = || shop(&["status", "demo", "--format", "json"]).expect(0).json();
    let killed = unit(&status(), 1);
    docker(&["kill", &killed]);
    let dead = mail.wait_for_subject(&format!("[shop] dead: demo, {killed}"), LONG);
    assert!(dead.0.contains("exited with 137"), "{}", dead.0);
    mail.wait_for_subject(&format!("[shop] repaired: demo, {killed}"), LONG);
    shop(&["status", "demo", "--check"]).expect(0);
    assert_ne!(unit(&status(), 1), killed);
    let history = shop(&["history", "demo", "--format", "json"]).expect(0).json();
    assert_eq!(kinds(&history), ["repair", "deploy"]);
    assert_eq!(history[0]["by"], "watcher");
    let reason = history[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains(&killed) && reason.ends_with("try 1 of 3"), "{reason}");
    let incident = &history[1]["incidents"][0];
    assert_eq!((&incident["kind"], &incident["because"]), (&"dead".into(), &"repaired".into()));
    let shown = shop(&["watch", "demo", "--once"]).expect(0).stdout;
    assert!(shown.contains("demo is as it was deployed"), "{shown}");

    // Somebody takes a unit out of the route by hand, and puts it back.
    let socket = proxy::control::Client::new(proxy.control.clone());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let routes = runtime.block_on(socket.routes()).expect("the proxy answers");
    let route = &routes.routes["shop-demo"];
    let mut spec = proxy::control::RouteSpec {
        fence: route.fence,
        matches: route.matches.clone(),
        targets: route.targets.iter().map(|target| target.target.clone()).collect(),
        options: route.options.clone(),
    };
    let out = spec.targets.pop().expect("there are two");
    runtime.block_on(socket.put_route("shop-demo", &spec)).expect("it is taken");
    let route = mail.wait_for_subject(&format!("[shop] route: demo, {}", out.unit), LONG);
    assert!(route.0.contains("gets no requests"), "{}", route.0);
    let open = status();
    assert_eq!(open["incidents"][0]["kind"], "route", "{open:#}");
    assert!(open["incidents"][0]["since"].is_string(), "{open:#}");
    spec.targets.push(out);
    runtime.block_on(socket.put_route("shop-demo", &spec)).expect("it is taken");
    mail.wait_for_subject("[shop] recovered: demo", LONG);

    shop(&["stop", "demo"]).expect(0);
    let told = mail.mails().len();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(mail.mails().len(), told, "what is stopped on purpose is silent");
    let history = shop(&["history", "demo", "--format", "json"]).expect(0).json();
    assert_eq!(kinds(&history), ["stop", "repair", "deploy"], "nobody revives it");
    assert!(status()["units"].as_array().expect("units").iter().all(|it| it["state"] == "exited"));
    assert_eq!(told, 4, "{:?}", mail.mails().iter().map(|it| it.subject()).collect::<Vec<_>>());
}

#[test]
fn a_killed_process_is_told_left_alone_and_brought_back_where_that_is_asked_for() {
    let mut shop = Shop::of(Units::Processes, &deploy());
    shop.commit("hello", true);
    shop.shipline(&["watch", "demo", "--once"]).expect(0);
    shop.shipline(&["run", "--allow-side-effects"]).expect(0);
    let well = shop.shipline(&["watch", "demo", "--once"]).expect(0).stdout;
    assert!(well.contains("demo is as it was deployed"), "{well}");

    let killed = unit(&shop.json(&["status", "demo"]), 0);
    signal(pid(&shop, &killed), "KILL");
    let dead = shop.shipline(&["watch", "demo", "--once"]).expect(1).stdout;
    assert!(
        dead.contains(&format!("demo  dead          slot 0 {killed}: it does not run")),
        "{dead}"
    );
    let again = shop.shipline(&["watch", "demo", "--once", "--format", "json"]).expect(1);
    let lines = again.lines();
    assert_eq!((lines.len(), &lines[0]["state"]), (1, &"opened".into()), "{lines:?}");
    assert_eq!(history_kinds(&shop), ["deploy"], "nobody asked for a repair");
    let status = shop.shipline(&["status", "demo", "--check"]).expect(1).stdout;
    assert!(status.contains("dead since "), "{status}");

    let mended = shop.shipline(&["watch", "demo", "--once", "--ensure"]).expect(0).stdout;
    assert!(mended.contains("repair done") && mended.contains("repaired      slot 0"), "{mended}");
    assert_eq!(history_kinds(&shop), ["repair", "deploy"]);
    shop.shipline(&["status", "demo", "--check"]).expect(0);

    // In the foreground, until Ctrl-C.
    let mut watch = shop.watch(&["--ensure"]);
    let killed = unit(&shop.json(&["status", "demo"]), 1);
    signal(pid(&shop, &killed), "KILL");
    wait_for("the repair", LONG, || {
        watch.assert_alive();
        watch.text().contains("repaired      slot 1").then_some(())
    });
    assert_eq!(watch.text().matches("  dead  ").count(), 1, "{}", watch.text());
    signal(watch.pid(), "INT");
    assert_eq!(watch.wait(Duration::from_secs(30)), Some(0), "{}", watch.text());

    // A proxy that is away is no drift.
    shop.proxy.kill();
    let away = shop.shipline(&["watch", "demo", "--once"]).expect(3).stdout;
    assert!(away.contains("demo  unreachable   nobody can see what runs"), "{away}");
    shop.proxy.up(&shop.lab);
    let back = shop.shipline(&["watch", "demo", "--once"]).expect(0).stdout;
    assert!(back.contains("demo  recovered     was unreachable for"), "{back}");
    shop.shipline(&["stop", "demo"]).expect(0);
    shop.shipline(&["watch", "demo", "--once", "--ensure"]).expect(0);
    assert_eq!(history_kinds(&shop)[0], "stop");
}

#[test]
fn a_unit_that_begins_again_and_again_is_a_loop_and_is_named_once() {
    // It is well as long as its gate looks, and then dies, time after time.
    let dockerfile = "FROM busybox:1\nCOPY www /www\n\
        CMD [\"sh\", \"-c\", \"httpd -p 8080 -h /www; sleep 8; exit 7\"]\n";
    let deploy = deploy().replace("replicas: 2", "replicas: 1");
    let shop = Shop::of(Units::Containers, &deploy);
    shop.repository.write("Dockerfile", dockerfile);
    shop.commit("hello", true);
    shop.shipline(&["run", "--allow-side-effects"]).expect(0);
    let mut watch = shop.watch(&["--ensure"]);
    wait_for("the loop", LONG, || {
        watch.assert_alive();
        watch.text().contains("demo  restart-loop  slot 0 ").then_some(())
    });
    let told = watch.text();
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(watch.text(), told, "it is named once");
    signal(watch.pid(), "INT");
    assert_eq!(watch.wait(Duration::from_secs(30)), Some(0), "{}", watch.text());
    assert_eq!(history_kinds(&shop), ["deploy"], "the engine starts it again already");
}
