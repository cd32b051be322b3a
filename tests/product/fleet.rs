//! Hosts that come, go and fail, and who is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::lab::Lab;
use crate::harness::mail::MailServer;
use crate::harness::process::wait_for;
use crate::harness::server::{Server, ServerParts};
use crate::harness::site::Site;
use crate::hosts::{end_in, end_of};

const RUN: [&str; 4] = ["run", "--allow-side-effects", "--format", "json"];
/// Long enough for a machine that has much to do.
const LONG: Duration = Duration::from_secs(120);

fn status(site: &Site) -> Value {
    site.ask(&["status", "demo", "--format", "json"]).expect(0).json()
}

/// The state of each host, in the order of the target.
fn states(site: &Site) -> Vec<String> {
    let status = status(site);
    let hosts = status["hosts"].as_array().expect("hosts").iter();
    hosts.map(|host| host["state"].as_str().expect("a state").to_owned()).collect()
}

#[test]
fn a_host_that_joins_the_list_is_empty_until_it_is_deployed_to() {
    let site = Site::open(3);
    let all = site.plain();
    site.pipeline(&all[..2], "batches: [1, 100%]");
    site.release("one", true);
    site.repository.commit("first");
    site.run().expect(0);
    assert_eq!(states(&site), ["serving", "serving"]);
    assert_eq!(site.hosts.answer(3), "");

    // In front of the others, whose slots change with it.
    let joined = [&all[2..], &all[..2]].concat();
    site.pipeline(&joined, "batches: [1, 100%]");
    assert_eq!(states(&site), ["empty", "serving", "serving"]);
    let shown = site.ask(&["status", "demo"]).expect(0).stdout;
    assert!(shown.contains("host 127.0.1.3: empty: nothing was deployed to it yet"), "{shown}");
    // The release that is there already is brought to it alone.
    let ran = site.ask(&["deploy", "demo", "--format", "json"]);
    let deployed = ran.expect(0).json();
    assert_eq!(deployed["state"], "succeeded", "{deployed:#}");
    assert_eq!(states(&site), ["serving", "serving", "serving"]);
    site.assert_serve("one");
    assert_eq!(site.routed(), 3);
}

#[test]
fn a_host_that_dies_between_two_batches_is_left_out_listed_and_brought_up_by_itself() {
    let mut site = Site::open(3);
    let hosts = site.plain();
    let watched = "batch: 1, bake: 4s, tolerate: 1";
    site.pipeline(&hosts, watched);
    site.release("one", true);
    site.repository.commit("first");
    site.run().expect(0);

    site.release("two", true);
    let mut running = site.begin(&RUN);
    wait_for("the first host", LONG, || (site.hosts.answer(1) == "release two\n").then_some(()));
    site.hosts.die(3);
    assert_eq!(running.wait(LONG), Some(0), "{}", running.text());
    let lines = running.text();
    let lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (state, reason) = end_in(lines);
    assert_eq!(state, "deployed", "{reason}");
    assert!(reason.contains("given up, as tolerated: slot 2: "), "{reason}");
    assert!(reason.contains("host 127.0.1.3: "), "{reason}");
    // It serves the old release to whoever asks it, and nobody is sent there.
    assert_eq!(site.hosts.answer(3), "release one\n");
    assert_eq!(site.routed(), 2);
    assert_eq!(states(&site), ["serving", "serving", "away"]);
    let shown = site.ask(&["status", "demo"]).expect(0).stdout;
    assert!(shown.contains("host 127.0.1.3: away: nobody can look at it"), "{shown}");
    assert!(shown.contains("slot 2: its host cannot be reached"), "{shown}");

    site.hosts.revive(3);
    let one = ["deploy", "demo", "--only", "host=127.0.1.3", "--format", "json"];
    let one = site.ask(&one).expect(0).json();
    assert_eq!(one["state"], "succeeded", "{one:#}");
    site.assert_serve("two");
    assert_eq!((site.routed(), states(&site)), (3, vec!["serving".to_owned(); 3]));

    // Beyond the budget the others go back, and the host that is away is named.
    site.pipeline(&hosts, "batch: 1, bake: 4s");
    site.release("three", true);
    let mut running = site.begin(&RUN);
    wait_for("the first host", LONG, || (site.hosts.answer(1) == "release three\n").then_some(()));
    site.hosts.die(2);
    assert_eq!(running.wait(LONG), Some(1), "{}", running.text());
    assert_eq!(site.hosts.answer(1), "release two\n");
    assert_eq!(site.hosts.answer(3), "release two\n");
    site.hosts.revive(2);
    let again = site.run().expect(0);
    let (state, reason) = end_of(&again);
    assert_eq!(state, "deployed", "{reason}");
    site.assert_serve("three");
}

#[test]
fn a_mail_names_the_host_that_failed_and_why() {
    let site = Site::open(7);
    let mail = MailServer::start(&site.lab.folder("mail"));
    let parts = ServerParts {
        registry: None,
        mail: Some(&mail),
        proxy: None,
        project: "site",
        environment: "docker",
    };
    // Its own laboratory: what a server leaves is cleared away with it.
    let lab = Lab::new();
    let server = Server::start_with(&lab, &parts, &environment(&site));
    let stage = site.stage("fleet", 7, "batches: [1, 100%], max-unavailable: 3");
    let text =
        format!("name: site\n{stage}notify: {{ mail: {{ to: ops@example.net, on: [failed] }} }}\n");
    site.repository.write(".shipline.yml", &text);
    let bare = site.repository.bare.display().to_string();
    server.client(&lab, &["project", "create", "site", "--git", &bare, "--poll", "1s"]).expect(0);
    site.release("one", true);
    let sha = site.repository.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, LONG);
    assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
    assert_eq!(mail.mails().len(), 0, "a deployment makes no noise");

    site.release("two", true);
    site.repository.write("site/breaks-7", "");
    let sha = site.repository.commit_and_push("host 7 does not like it");
    let row = server.wait_for_run(&lab, &sha, LONG);
    assert_eq!(row["result"], "failed", "{row:#}\n{}", server.log());
    let told = mail.wait_for_subject("site", LONG).plain();
    assert!(told.contains("to fleet: rolled-back"), "{told}");
    assert!(told.contains("host 127.0.1.7: GET http://127.0.1.7:"), "{told}");
    assert!(told.contains("/health.txt → 503"), "{told}");
    site.assert_serve("one");
}

/// The hosts of a site as a target of a server, and an environment on them.
fn environment(site: &Site) -> String {
    let hosts: Vec<_> =
        site.plain().iter().map(|host| json!(host.trim_matches('\'')).to_string()).collect();
    let text = |value: &str| json!(value).to_string();
    format!(
        "\n[targets.fleet]\nhosts = {{ hosts = [{}], path = {}, identity = {}, known-hosts = {}, \
         proxy = {} }}\nprojects = [\"site\"]\n\n[projects.site.environments.fleet]\n\
         target = \"fleet\"\ntier = \"test\"\n",
        hosts.join(", "),
        text(&site.hosts.path.display().to_string()),
        text(&site.hosts.key("client")),
        text(&site.hosts.key("known")),
        text(&site.proxy.control.display().to_string()),
    )
}

#[test]
fn programs_are_told_what_a_new_host_lacks() {
    let mut site = Site::open(2);
    let hosts = site.plain();
    site.pipeline(&hosts, "batches: [100%]");
    let known = site.hosts.key("known");
    std::fs::remove_file(&known).expect("it is there");
    let told = |site: &Site, more: &[&str], code: i32| {
        let arguments = ["target", "bootstrap", "demo", "--format", "json"];
        site.ask(&[&arguments, more].concat()).expect(code).json()
    };
    let unknown = told(&site, &[], 1);
    let first = &unknown[0];
    assert_eq!((&first["host"], &first["key"]), (&json!("127.0.1.1"), &json!("unknown")));
    assert_eq!(first["address"], json!(site.hosts.address(1)));
    let fingerprint = first["keys"][0]["fingerprint"].as_str().expect("a key").to_owned();
    assert!(fingerprint.starts_with("SHA256:"), "{first:#}");
    assert_eq!(first["keys"][0]["kind"], "ED25519", "{first:#}");
    assert!(first["problems"][0].as_str().is_some_and(|it| it.starts_with("its key is not known")));
    assert!(!std::path::Path::new(&known).exists(), "nothing is pinned without `--apply`");

    // The other one does not answer.
    site.hosts.die(2);
    let some = told(&site, &["--apply", "--fingerprint", &fingerprint], 1);
    let (first, second) = (&some[0], &some[1]);
    assert_eq!((&first["key"], &first["user"]), (&json!("pinned"), &json!(site.hosts.user)));
    assert!(first["problems"].is_null(), "{first:#}");
    assert!(first["free_mb"].as_u64().is_some_and(|free| free > 0), "{first:#}");
    let runtimes = first["runtimes"].as_array().expect("runtimes");
    assert!(runtimes.contains(&json!("nginx")), "{first:#}");
    let made: Vec<_> = first["folders"].as_array().expect("folders").iter().collect();
    assert_eq!(made.len(), 3, "{first:#}");
    assert!(site.hosts.root(1).join("releases").is_dir());
    assert_eq!(second["key"], "unknown", "{second:#}");
    let problem = second["problems"][0].as_str().expect("a problem");
    assert_eq!(problem, "it shows no key to this machine");

    site.hosts.revive(2);
    let all = told(&site, &["--apply", "--accept-new"], 0);
    assert_eq!((&all[0]["key"], &all[1]["key"]), (&json!("known"), &json!("pinned")), "{all:#}");
    assert!(all[0]["folders"].is_null(), "what is there is not made: {all:#}");
    assert_eq!(told(&site, &[], 0)[1]["key"], "known");
}
