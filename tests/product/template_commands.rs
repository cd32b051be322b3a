//! `shipline template`: what a person does who writes, locks and changes templates.

use std::path::Path;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran};
use crate::harness::template_server::TemplateServer;
use crate::local_run::repository;

const BUNDLED: &str = "template: docker-service@1\nwith:\n  image: registry.example.net/team/orders\n  \
    registry: harbor\n  environment: test\n";

#[test]
fn a_template_is_used_as_it_is_locked_or_not_at_all() {
    let lab = Lab::new();
    let folder = repository(&lab, BUNDLED);
    for verb in ["check", "plan", "run"] {
        let refused = lab.run(&folder, &[verb]).expect(2);
        assert!(
            refused
                .stderr
                .contains("error[E037]: template `docker-service@1` is not in `.shipline.lock`")
                && refused.stderr.contains("shipline template update"),
            "{}",
            refused.stderr
        );
    }
    let check = lab.run(&folder, &["template", "update", "--check"]).expect(1);
    assert!(check.stdout.contains(".shipline.lock would change"), "{}", check.stdout);
    assert!(!folder.join(".shipline.lock").exists());
    let wrote = lab.run(&folder, &["template", "update"]).expect(0);
    assert!(wrote.stdout.contains("docker-service@1: locked at 1"), "{}", wrote.stdout);
    lab.run(&folder, &["check", "--strict"]).expect(0);
    let again = lab.run(&folder, &["template", "update", "--format", "json"]).expect(0).json();
    assert_eq!(
        (&again["written"], &again["plans"][0]["changes"]),
        (&false.into(), &serde_json::json!([]))
    );

    // Two branches locked something, and Git left its marks.
    let lock = std::fs::read_to_string(folder.join(".shipline.lock")).expect("the lock is there");
    std::fs::write(folder.join(".shipline.lock"), format!("<<<<<<< HEAD\n{lock}"))
        .expect("written");
    let broken = lab.run(&folder, &["check"]).expect(2);
    assert!(
        broken.stderr.contains("error[E037]: `.shipline.lock` cannot be used")
            && broken.stderr.contains("--> .shipline.lock:"),
        "{}",
        broken.stderr
    );
    lab.run(&folder, &["template", "update"]).expect(0);
    assert_eq!(std::fs::read_to_string(folder.join(".shipline.lock")).expect("read"), lock);
}

#[test]
fn a_repository_of_templates_is_released_locked_and_moved() {
    let lab = Lab::new();
    let mut templates = TemplateServer::start(&lab.folder("templates"));
    let java = |image: &str| {
        format!(
            "description: Java\nparams:\n  tests: {{ type: string, default: make test, description: What tests }}\n\
             policy: {{ scan: locked }}\nimage: {image}\nstages:\n  compile: make\n  test: \"${{{{ params.tests }}}}\"\n  scan: ./scan\n"
        )
    };
    templates.release("java-service/template.yml", &java("debian:11"), "v2.3.0");
    let reference = format!("{}//java-service@2", templates.address());
    let folder = repository(&lab, &format!("template: {reference}\nwith: {{ tests: ./test }}\n"));
    let authority = templates.ca_file();
    let shipline = |arguments: &[&str]| {
        let mut command = lab.shipline();
        command.current_dir(&folder).args(arguments).env("GIT_SSL_CAINFO", &authority);
        Ran::of(&mut command)
    };
    let wrote = shipline(&["template", "update"]).expect(0);
    assert!(wrote.stdout.contains(&format!("{reference}: locked at 2.3.0")), "{}", wrote.stdout);
    let shown = shipline(&["template", "show", &reference]).expect(0).stdout;
    assert!(shown.contains("scan") && shown.contains("may be changed: nothing"), "{shown}");
    let plan = shipline(&["plan", "--format", "json"]).expect(0).json();
    assert_eq!(plan["templates"][0], format!("{}//java-service@2.3.0", templates.address()));

    // A newer version changes nothing until it is asked for, and then says what.
    templates.release("java-service/template.yml", &java("debian:12"), "v2.4.1");
    assert_eq!(image_of(&shipline(&["plan", "--format", "json"]), "compile"), "debian:11");
    let moved = shipline(&["template", "update"]).expect(0).stdout;
    assert!(moved.contains(&format!("{reference}: 2.3.0 → 2.4.1")), "{moved}");
    assert!(moved.contains("stage compile: image debian:11 → debian:12"), "{moved}");
    assert_eq!(image_of(&shipline(&["plan", "--format", "json"]), "compile"), "debian:12");

    // One that the pipeline does not fit any more leaves the lock as it was.
    let lock = std::fs::read_to_string(folder.join(".shipline.lock")).expect("the lock is there");
    templates.release(
        "java-service/template.yml",
        "params: {}\nimage: a:1\nstages: { a: make }\n",
        "v2.5",
    );
    let refused = shipline(&["template", "update"]).expect(2);
    assert!(
        refused.stderr.contains("E032") && refused.stderr.contains("stays as it was"),
        "{}",
        refused.stderr
    );
    assert_eq!(std::fs::read_to_string(folder.join(".shipline.lock")).expect("read"), lock);

    // What was fetched is read without the network; what was not is told.
    templates.stop();
    lab.run(&folder, &["plan", "--offline"]).expect(0);
    lab.run(&folder, &["plan"]).expect(0);
    let gone = shipline(&["template", "update"]).expect(2);
    assert!(gone.stderr.contains("error[E039]"), "{}", gone.stderr);
    std::fs::remove_dir_all(lab.home().join("templates")).expect("the store is there");
    let offline = lab.run(&folder, &["plan", "--offline"]).expect(2);
    assert!(offline.stderr.contains("`--offline` asks nobody"), "{}", offline.stderr);
}

#[test]
fn a_new_template_is_linted_tested_and_used_at_once() {
    let lab = Lab::new();
    let tree = Repository::create(&lab.folder("git")).tree;
    let run = |arguments: &[&str], code: i32| lab.run(&tree, arguments).expect(code);
    run(&["template", "new", "ci/java-service"], 0);
    run(&["template", "lint", "ci", "--strict"], 0);
    let first = run(&["template", "test", "ci"], 1);
    assert!(first.stdout.contains("0 passed, 1 failed"), "{}", first.stdout);
    run(&["template", "test", "ci", "--update"], 0);
    let same = run(&["template", "test", "."], 0);
    assert!(same.stdout.ends_with("1 passed, 0 failed\n"), "{}", same.stdout);
    assert!(run(&["template", "new", "ci/java-service"], 2).stderr.contains("is there already"));

    let file = tree.join("ci/java-service/template.yml");
    let text = std::fs::read_to_string(&file).expect("the template is there");
    std::fs::write(&file, text.replace("default: make,", "default: make -j2,")).expect("written");
    let differs = run(&["template", "test", "ci"], 0);
    assert!(
        differs.stdout.contains("1 passed"),
        "a command is no part of the tree: {}",
        differs.stdout
    );
    std::fs::write(&file, text.replace("timeout: 30m", "timeout: 45m")).expect("written");
    let differs = run(&["template", "test", "ci"], 1);
    assert!(
        differs.stdout.contains("timeout 30m") && differs.stdout.contains("timeout 45m"),
        "{}",
        differs.stdout
    );
    std::fs::write(&file, text.replace("params.compile }}", "params.compil }}")).expect("written");
    let wrong = run(&["template", "lint", "ci"], 2);
    assert!(
        wrong.stderr.contains("E041") && wrong.stderr.contains("ci/java-service/template.yml:"),
        "{}",
        wrong.stderr
    );
    let json = run(&["template", "lint", "ci", "--format", "json"], 2).json();
    assert!(json.as_array().expect("a list").iter().any(|found| found["code"] == "E041"));
    std::fs::write(&file, text).expect("written");

    // A file of the commit needs no lock.
    let pipeline =
        "template: ./ci/java-service/template.yml\nwith: { image: registry.example.net/a }\n";
    std::fs::write(tree.join(".shipline.yml"), pipeline).expect("written");
    run(&["check"], 0);
}

#[test]
fn templates_are_listed_and_shown() {
    let lab = Lab::new();
    let run = |arguments: &[&str], code: i32| lab.run(lab.path(), arguments).expect(code);
    let list = run(&["template", "list", "--format", "json"], 0).json();
    let names: Vec<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["template"].as_str())
        .collect();
    assert!(names.contains(&"maven-service") && names.contains(&"docker-service"), "{names:?}");
    assert!(list.as_array().expect("a list").iter().all(|row| row["description"].is_string()));
    for name in names {
        let shown = run(&["template", "show", name], 0).stdout;
        assert!(shown.contains("Stages\n") && shown.contains("    image: …\n"), "{shown}");
        let source = run(&["template", "show", name, "--source"], 0).stdout;
        assert!(source.contains("\nparams:\n"), "{source}");
    }
    let slip = run(&["template", "show", "maven-servce"], 2);
    assert!(slip.stderr.contains("did you mean `maven-service`?"), "{}", slip.stderr);
    let version = run(&["template", "show", "maven-service@99"], 2);
    assert!(version.stderr.contains("E031"), "{}", version.stderr);
    let path = run(&["template", "show", "../../etc/passwd"], 2);
    assert!(path.stderr.contains("stay inside"), "{}", path.stderr);
}

#[test]
fn the_pages_of_templates_have_the_parameters_that_there_are() {
    let lab = Lab::new();
    let root = crate::harness::lab::repository_root();
    let list = lab.run(lab.path(), &["template", "list", "--format", "json"]).expect(0).json();
    for row in list.as_array().expect("a list") {
        let name = row["template"].as_str().expect("a name");
        let page = root.join("docs/templates").join(format!("{name}.md"));
        let table = lab
            .run(lab.path(), &["template", "show", name, "--format", "markdown"])
            .expect(0)
            .stdout;
        same_table(&page, &table);
    }
}

/// Compares what stands between the marks of a page; `SHIPLINE_UPDATE_DOCS=1` writes it.
fn same_table(page: &Path, table: &str) {
    const BEGIN: &str = "<!-- parameters: begin -->\n";
    const END: &str = "<!-- parameters: end -->";
    let text =
        std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let (before, rest) = text.split_once(BEGIN).expect("the page has the first mark");
    let (_, after) = rest.split_once(END).expect("the page has the second mark");
    let new = format!("{before}{BEGIN}\n{table}\n{END}{after}");
    if std::env::var_os("SHIPLINE_UPDATE_DOCS").is_some() {
        std::fs::write(page, &new).expect("the page can be written");
    } else {
        assert!(text == new, "{}: run again with SHIPLINE_UPDATE_DOCS=1", page.display());
    }
}

fn image_of(ran: &Ran, stage: &str) -> String {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let plan = ran.json();
    let stages = plan["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|one| one["name"] == stage).expect("the stage is there");
    stage["image"].as_str().unwrap_or_default().to_owned()
}
