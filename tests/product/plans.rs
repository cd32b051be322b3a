//! `check`, `plan`, `explain` and `schema` as somebody at a shell meets them.

use crate::harness::git::Repository;
use crate::harness::lab::Lab;

const PIPELINE: &str = "image: debian:12
on:
  push: { branch: main }
  tag: {}
  manual:
    params: { target: { type: enum, values: [staging, prod], default: staging } }
stages:
  build: { secrets: [TOKEN, OTHER], run: make }
  docs: { needs: [build], when: { changed: [docs/**] }, run: make docs }
  test: { needs: [build], matrix: { n: [1, 2] }, run: make test }
  release: { needs: [docs, test], when: { tag: v* }, run: make release }
";

/// A repository with two commits: the second changes `docs/guide.md`.
fn repository(lab: &Lab) -> Repository {
    let repository = Repository::create(&lab.folder("repository"));
    repository.write(".shipline.yml", PIPELINE);
    repository.write(".gitignore", ".shipline/secrets.env\n");
    repository.commit("first");
    repository.write("docs/guide.md", "");
    repository.commit("second");
    repository
}

/// State and reason of a stage in the plan that `arguments` ask for.
#[track_caller]
fn state(lab: &Lab, repository: &Repository, arguments: &[&str], stage: &str) -> String {
    let arguments = [&["plan", "--format", "json"], arguments].concat();
    let plan = lab.run(&repository.tree, &arguments).expect(0).json();
    let stages = plan["stages"].as_array().expect("a plan has stages");
    let found = stages.iter().find(|found| found["name"] == stage).expect("the stage is there");
    format!("{}: {}", found["state"], found["reason"]).replace('"', "")
}

#[test]
fn the_event_is_read_from_git_and_only_exceptions_are_typed() {
    let lab = Lab::new();
    let repository = repository(&lab);
    let docs = |arguments: &[&str]| state(&lab, &repository, arguments, "docs");
    assert!(docs(&[]).starts_with("run: "), "the last commit changed it: {}", docs(&[]));
    assert!(docs(&["--event", "push"]).starts_with("run: "));
    assert!(docs(&["--changed", "src/a.c"]).starts_with("skip: "));
    assert!(docs(&["--changed", "src/a.c", "--changed", "docs/b"]).starts_with("run: "));
    repository.write("src/a.c", "");
    repository.commit("third");
    assert!(docs(&[]).starts_with("skip: "), "{}", docs(&[]));
    repository.write("docs/new.md", "");
    assert!(docs(&[]).starts_with("run: "), "what is not committed counts: {}", docs(&[]));
    let release = |arguments: &[&str]| state(&lab, &repository, arguments, "release");
    assert!(release(&[]).starts_with("skip: "));
    assert!(release(&["--tag", "v1.0"]).starts_with("run: "), "{}", release(&["--tag", "v1.0"]));
    assert!(release(&["--tag", "x1.0"]).starts_with("skip: "));
}

#[test]
fn simulations_that_contradict_themselves_are_refused() {
    let lab = Lab::new();
    let repository = repository(&lab);
    for (arguments, says) in [
        (
            &["--event", "push", "--tag", "v1"] as &[&str],
            "`--tag` is of a tag, and the event is `push`",
        ),
        (&["--event", "tag"], "the commit has no tag"),
        (&["--number", "1", "--param", "target=prod"], "an event is one of them"),
        (&["--param", "target"], "`--param target` has no value"),
        (&["--branch", " "], "`--branch` has no name"),
        (&["--event", "pushed"], "[possible values: push, tag,"),
        (&["--all", "--format", "svg"], "`--all` is for `--format text`"),
    ] {
        let said = lab.run(&repository.tree, &[&["plan"], arguments].concat()).expect(2).stderr;
        assert!(said.contains(says), "{arguments:?} says:\n{said}");
    }
}

#[test]
fn a_plan_is_drawn_in_every_form_with_the_same_bytes_each_time() {
    let lab = Lab::new();
    let repository = repository(&lab);
    for (format, begins) in [
        ("text", "tree (.shipline.yml): manual, branch main, commit "),
        ("json", "{\n  \"format\": 1,"),
        ("dot", "digraph \"tree\" {"),
        ("mermaid", "flowchart LR\n"),
        ("svg", "<svg xmlns="),
    ] {
        let arguments = ["plan", "--format", format];
        let first = lab.run(&repository.tree, &arguments).expect(0).stdout;
        assert!(first.starts_with(begins), "{first}");
        assert_eq!(first, lab.run(&repository.tree, &arguments).expect(0).stdout);
    }
    let all = lab.run(&repository.tree, &["plan", "--all", "--origins"]).expect(0).stdout;
    assert!(all.contains("test[n=1]") && all.contains("test[n=2]"), "{all}");
    assert!(all.contains("image = debian:12  <- .shipline.yml:1:8, defaults"), "{all}");
}

#[test]
fn secrets_are_present_when_the_file_that_git_ignores_has_them() {
    let lab = Lab::new();
    let repository = repository(&lab);
    repository.write(".shipline/secrets.env", "TOKEN=never-shown\n");
    let told = lab.run(&repository.tree, &["plan"]).expect(0);
    assert!(told.stdout.contains("secret TOKEN (present) · secret OTHER (missing)"), "{told:?}");
    let json = lab.run(&repository.tree, &["plan", "--format", "json"]).expect(0).stdout;
    assert!(!json.contains("never-shown") && !told.stdout.contains("never-shown"));
    repository.write(".gitignore", "");
    let refused = lab.run(&repository.tree, &["plan"]).expect(2).stderr;
    assert!(refused.contains("`.shipline/secrets.env` holds secrets, and Git does not ignore it"));
}

#[test]
fn an_event_that_would_start_nothing_on_a_server_says_so() {
    let lab = Lab::new();
    let repository = repository(&lab);
    let quiet = lab.run(&repository.tree, &["plan", "--event", "push"]).expect(0).stderr;
    assert_eq!(quiet, "");
    let arguments = ["plan", "--event", "push", "--branch", "topic"];
    let said = lab.run(&repository.tree, &arguments).expect(0).stderr;
    assert!(said.starts_with("warning: on a server this event starts nothing: "), "{said}");
}

#[test]
fn check_takes_a_file_and_strict_makes_warnings_count() {
    let lab = Lab::new();
    let folder = lab.folder("loose");
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file can be written");
    };
    write("ci/build.yml", "image: debian\nstages: { build: make }\n");
    let warned = lab.run(&folder, &["check", "ci/build.yml"]).expect(0).stderr;
    assert!(warned.contains("warning[W070]") && warned.contains("ci/build.yml:1:8"), "{warned}");
    lab.run(&folder, &["check", "--strict", "ci/build.yml"]).expect(2);
    let sarif = lab.run(&folder, &["check", "ci/build.yml", "--format", "sarif"]).expect(0).json();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "W070");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "ci/build.yml");
    let missing = lab.run(&folder, &["check", "ci/biuld.yml"]).expect(2).stderr;
    assert!(missing.contains("error[E005]: there is no file `ci/biuld.yml`"), "{missing}");
    assert!(missing.contains("did you mean `ci/build.yml`?"), "{missing}");
    lab.run(&folder, &["check", "--pipeline", "a", "ci/build.yml"]).expect(2);
}

#[test]
fn files_of_other_systems_are_recognised() {
    for (path, system) in [
        ("Jenkinsfile", "Jenkins"),
        (".gitlab-ci.yml", "GitLab"),
        (".woodpecker.yml", "Woodpecker"),
        (".woodpecker/test.yml", "Woodpecker"),
        (".drone.yml", "Drone"),
        (".github/workflows/ci.yaml", "GitHub Actions"),
        (".circleci/config.yml", "CircleCI"),
        ("azure-pipelines.yml", "Azure Pipelines"),
        ("bitbucket-pipelines.yml", "Bitbucket Pipelines"),
    ] {
        let lab = Lab::new();
        let folder = lab.folder("repository");
        std::fs::create_dir(folder.join(".git")).expect("a folder can be made");
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(&file, "").expect("a file can be written");
        for arguments in [&["check"] as &[&str], &["check", path]] {
            let said = lab.run(&folder, arguments).expect(2).stderr;
            assert!(said.starts_with("error[E080]: "), "{said}");
            assert!(said.contains(&format!("`{path}`")) && said.contains(system), "{said}");
            assert!(said.contains("shipline import"), "{said}");
        }
    }
}

#[test]
fn explain_lists_all_codes_and_knows_what_was_meant() {
    let lab = Lab::new();
    let list = lab.run(lab.path(), &["explain"]).expect(0).stdout;
    assert!(list.starts_with("CODE  MEANING\nE001  not YAML\n"), "{list}");
    assert!(list.contains("\nE099  "), "codes of a run are there, too: {list}");
    let json = lab.run(lab.path(), &["explain", "--format", "json"]).expect(0).json();
    assert_eq!(json.as_array().map(Vec::len), Some(list.lines().count() - 1));
    let one = lab.run(lab.path(), &["explain", "w070", "--format", "json"]).expect(0).json();
    assert_eq!(one["code"], "W070");
    let unknown = lab.run(lab.path(), &["explain", "E070"]).expect(2).stderr;
    assert!(unknown.contains("`E070` is no code") && unknown.contains("did you mean `W070`"));
}

#[test]
fn the_schema_is_printed_for_files_and_for_templates() {
    let lab = Lab::new();
    let schema = lab.run(lab.path(), &["schema"]).expect(0).json();
    assert!(schema["properties"]["stages"].is_object(), "{schema:#}");
    let template = lab.run(lab.path(), &["schema", "--template"]).expect(0).json();
    assert!(template["properties"]["policy"].is_object(), "{template:#}");
}
