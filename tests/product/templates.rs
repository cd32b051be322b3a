//! Every template of the library, on a small real project of its kind in
//! `tests/templates`: from a commit to an answer over HTTP.

use std::process::Command;
use std::time::Instant;

use crate::faults::configure;
use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker, objects, repository_root};
use crate::harness::registry::{ImageRegistry, PASSWORD};
use crate::harness::server::Proxy;

/// What a stage of every template but `docker-service` is.
const STAGES: [&str; 7] =
    ["checkout", "compile", "unit-test", "package", "image", "push", "deploy"];

#[test]
fn c_service_compiles_tests_and_deploys() {
    released("c-service", &[("/", "orders in C\n")], None);
}

#[test]
fn cmake_service_compiles_tests_and_deploys() {
    released("cmake-service", &[("/", "orders in C++\n")], Some(2));
}

#[test]
fn docker_service_builds_and_deploys() {
    released("docker-service", &[("/", "orders from a Dockerfile\n")], None);
}

#[test]
fn go_service_compiles_tests_and_deploys() {
    released("go-service", &[("/", "orders in Go\n")], Some(2));
}

#[test]
fn gradle_service_compiles_tests_and_deploys() {
    released("gradle-service", &[("/", "orders by Gradle\n")], Some(2));
}

#[test]
fn maven_service_compiles_tests_and_deploys() {
    released("maven-service", &[("/", "orders by Maven\n")], Some(2));
}

#[test]
fn node_service_installs_tests_and_deploys() {
    released("node-service", &[("/", "orders on Node.js\n")], Some(2));
}

#[test]
fn php_service_installs_tests_and_deploys() {
    released("php-service", &[("/", "orders in PHP\n")], Some(2));
}

#[test]
fn python_service_installs_tests_and_deploys() {
    released("python-service", &[("/", "orders in Python\n")], Some(2));
}

#[test]
fn rust_service_compiles_tests_and_deploys() {
    released("rust-service", &[("/", "orders in Rust\n")], None);
}

#[test]
fn static_site_is_made_smaller_and_served() {
    released("static-site", &[("/style.css", "h1{color:#369}"), ("/health", "ok\n")], None);
}

/// The stage `package` of all templates begins alike; one of them stands for all.
#[test]
fn a_dockerfile_of_the_repository_is_used_as_it_is() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, PASSWORD);
    let repository = project(&lab, &images, "c-service");
    repository.write("Dockerfile", "FROM busybox:1\nCOPY build/orders /own\n");
    repository.commit("a Dockerfile");
    // Nothing leaves the machine: `push` and `deploy` are skipped.
    lab.run(&repository.tree, &["run"]).expect(0);
    let id = image(&images, "c-service");
    let history = docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", &id]);
    assert!(history.contains("/own") && !history.contains("/app"), "{history}");
}

/// With what a template requires, and nothing else.
#[test]
fn every_template_is_planned_with_its_smallest_parameters() {
    let folder = repository_root().join("templates/pipelines");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the templates are there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names.len(), 11, "{names:?}");
    for name in names {
        let lab = Lab::new();
        let repository = Repository::create(&lab.folder("git"));
        repository.write(
            ".shipline.yml",
            &format!(
                "template: {name}@1\nwith: {{ image: registry.example/team/orders, registry: demo, environment: demo }}\n\
                 environments: {{ demo: {{ target: {{ docker: {{ host: \"unix:///var/run/docker.sock\" }} }} }} }}\n"
            ),
        );
        lab.lock(&repository.tree);
        repository.commit("smallest");
        lab.run(&repository.tree, &["check", "--strict"]).expect(0);
        let plan = lab.run(&repository.tree, &["plan", "--format", "json"]).expect(0).json();
        let stages = plan["stages"].as_array().expect("a plan has stages");
        let planned: Vec<&str> = stages.iter().filter_map(|stage| stage["name"].as_str()).collect();
        assert_eq!(planned, stages_of(&name), "{name}");
    }
}

/// Runs the project of a template: `pages` are paths and what the service answers
/// behind the proxy, `tests` how many unit tests its report tells of, if it has one.
fn released(name: &str, pages: &[(&str, &str)], tests: Option<u64>) {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, PASSWORD);
    let proxy = Proxy::start(&lab);
    let repository = project(&lab, &images, name);
    let control = proxy.control.display().to_string();
    repository.replace(".shipline.yml", "/run/shipline/proxy.sock", &control);
    repository.commit("the proxy");

    let began = Instant::now();
    let lines = lab
        .run(&repository.tree, &["run", "--allow-side-effects", "--format", "json"])
        .expect(0)
        .lines();
    println!("{name} took {:.0} s:", began.elapsed().as_secs_f64());
    let mut passed = Vec::new();
    for line in lines.iter().filter(|line| line["kind"] == "stage.finished") {
        let stage = line["stage"].as_str().unwrap_or_default();
        println!("  {stage:<10} {} ms", line["duration_ms"]);
        assert_eq!(line["result"], "passed", "{line:#}");
        passed.push(stage);
    }
    assert_eq!(passed, stages_of(name));
    let read = lines.iter().find(|line| line["kind"] == "report.read");
    assert_eq!(read.map(|line| &line["stage"]), tests.map(|_| "unit-test".into()).as_ref());
    assert_eq!(read.and_then(|line| line["tests"].as_u64()), tests);

    for (path, text) in pages {
        assert_eq!(get(&format!("http://{}{path}", proxy.address)), *text, "{path}");
    }

    let unit = format!("ancestor={}", image(&images, name));
    let label = "{{.Label \"shipline.instance\"}}";
    let instance = docker(&["ps", "--filter", &unit, "--format", label]);
    assert!(!objects(instance.trim()).is_empty(), "the deployed unit is there");
    lab.run(lab.path(), &["clean", "--all", "--deployed"]).expect(0);
    assert_eq!(objects(instance.trim()), Vec::<String>::new());
}

/// A repository with the project of a template, which pushes to `images`.
fn project(lab: &Lab, images: &ImageRegistry, name: &str) -> Repository {
    let repository = Repository::create(&lab.folder("git"));
    repository.copy(&repository_root().join("tests/templates").join(name));
    repository.replace(".shipline.yml", "registry.example.net", &images.host());
    lab.lock(&repository.tree);
    repository.commit(name);
    repository
}

/// The id of the image that the project of a template became.
fn image(images: &ImageRegistry, name: &str) -> String {
    let repository = format!("{}/templates/{name}", images.host());
    docker(&["images", "--quiet", "--no-trunc", &repository]).trim().to_owned()
}

fn stages_of(template: &str) -> Vec<&'static str> {
    let dockerfile = template == "docker-service";
    let own = |stage: &&str| !dockerfile || !["compile", "unit-test", "package"].contains(stage);
    STAGES.into_iter().filter(own).collect()
}

fn get(address: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "5", address])
        .output()
        .expect("curl can be started");
    assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
