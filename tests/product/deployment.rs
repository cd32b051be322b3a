//! Rolling deployments from a laptop: behind the proxy, under load, and back.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran, repository_root};
use crate::harness::load::Load;
use crate::harness::server::Proxy;

/// A shell service on busybox: `/health` and `/` come from files of the image.
fn pipeline(proxy: &Proxy) -> String {
    format!(
        "name: shop\n\
         environments:\n  demo: {{ tier: dev, target: {{ docker: {{ host: 'unix:///var/run/docker.sock', proxy: '{}' }} }} }}\n\
         stages:\n  image: {{ build: {{ file: Dockerfile }} }}\n  deploy:\n    timeout: 5m\n    deploy:\n      environment: demo\n      \
         image: image\n      replicas: 2\n      expose: {{ port: 8080 }}\n      \
         health: {{ http: /health, port: 8080, interval: 200ms, successes: 2, deadline: 8s }}\n      strategy: {{ drain: 5s }}\n",
        proxy.control.display()
    )
}

struct Shop {
    lab: Lab,
    proxy: Proxy,
    folder: PathBuf,
}

impl Shop {
    fn open() -> Self {
        let lab = Lab::new();
        let proxy = Proxy::start(&lab);
        let repository = Repository::create(&lab.folder("git"));
        repository.copy(&repository_root().join("tests/demo/service"));
        repository.write(".shipline.yml", &pipeline(&proxy));
        repository.write(
            "Dockerfile",
            "FROM shipline/c:12 AS build\nCOPY . /src\nRUN make -C /src\nFROM debian:12\n\
             COPY --from=build /src/build/hello /hello\nCMD [\"/hello\"]\n",
        );
        repository.write(".dockerignore", ".git\nbuild\n");
        repository.commit("first");
        Self { folder: repository.tree, lab, proxy }
    }

    fn write(&self, version: &str, healthy: bool) {
        let text =
            format!("#define VERSION \"{version}\"\n#define HEALTHY {}\n", u8::from(healthy));
        std::fs::write(self.folder.join("src/version.h"), text).expect("a file can be written");
    }

    fn run(&self) -> Ran {
        self.lab.run(&self.folder, &["run", "--allow-side-effects", "--format", "json"])
    }

    fn status(&self) -> Value {
        self.lab.run(&self.folder, &["status", "demo", "--format", "json"]).expect(0).json()
    }

    #[track_caller]
    fn assert_serves(&self, version: &str) {
        let url = format!("http://{}/", self.proxy.address);
        let output =
            std::process::Command::new("curl").args(["--silent", "--max-time", "5", &url]).output();
        let answer =
            String::from_utf8_lossy(&output.expect("curl can be started").stdout).into_owned();
        assert!(answer.contains(version), "{answer}");
    }
}

#[test]
fn releases_roll_without_losing_a_request_and_a_bad_one_rolls_itself_back() {
    let shop = Shop::open();
    shop.write("1.0.0", true);
    shop.run().expect(0);
    shop.assert_serves("1.0.0");
    let first = shop.status();
    let units = first["units"].as_array().expect("units");
    assert_eq!(units.iter().filter(|unit| unit["admitted"] == true).count(), 2, "{first:#}");

    let load = Load::start(shop.proxy.address, 100, Duration::from_secs(120));
    shop.write("2.0.0", true);
    shop.run().expect(0);
    shop.assert_serves("2.0.0");

    shop.write("3.0.0", false);
    let bad = shop.run().expect(1);
    let lines = bad.lines();
    let deploy = lines
        .iter()
        .find(|line| line["kind"] == "attempt.finished" && line["stage"] == "deploy")
        .expect("the deploy has an end");
    assert_eq!(
        (&deploy["result"], &deploy["code"]),
        (&"failed".into(), &"E098".into()),
        "{deploy:#}"
    );
    assert_eq!(deploy["outputs"]["state"], "rolled-back", "{deploy:#}");
    shop.assert_serves("2.0.0");

    let back =
        shop.lab.run(&shop.folder, &["rollback", "demo", "--format", "json"]).expect(0).json();
    assert_eq!(back["state"], "succeeded", "{back:#}");
    shop.assert_serves("1.0.0");

    let report = load.stop();
    assert!(report.sent > 500, "{report:?}");
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert_eq!(
        report.versions.keys().map(String::as_str).collect::<Vec<_>>(),
        ["1.0.0", "2.0.0"],
        "no request reached the bad release"
    );
}

#[test]
fn the_first_release_that_never_gets_healthy_leaves_nothing() {
    let shop = Shop::open();
    shop.write("1.0.0", false);
    let ran = shop.lab.run(&shop.folder, &["run", "--allow-side-effects"]).expect(1);
    let told = &crate::failures::told(&ran.stdout)["deploy"];
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("  error[E098]: "), "{told}");
    assert!(lines[1].contains("--> .shipline.yml:9:"), "{told}");
    assert!(lines[3].contains("environment: demo") && lines[4].contains("^^^^"), "{told}");
    assert_eq!(lines.last(), Some(&"    = help: `shipline explain E098` tells more"), "{told}");
    let status = shop.status();
    assert_eq!(status["units"], serde_json::json!([]), "{status:#}");
}

#[test]
fn rolling_back_to_a_release_that_never_was_names_those_there_are() {
    let shop = Shop::open();
    shop.write("1.0.0", true);
    shop.run().expect(0);
    let ran = shop.lab.run(&shop.folder, &["rollback", "demo", "no-such-release"]).expect(2);
    assert!(ran.stderr.contains("no-such-release"), "{}", ran.stderr);
}
