//! What a repository without a pipeline is proposed, and that the proposal holds.

use serde_json::json;

use super::*;
use crate::{Answers, Listing, Proposal, is_telling, pipeline_text, propose};

fn listing(files: &[(&str, &str)]) -> Listing {
    let telling = files.iter().filter(|(path, _)| is_telling(path));
    Listing::new(
        files.iter().map(|(path, _)| (*path).to_owned()),
        telling.map(|(path, text)| ((*path).to_owned(), (*text).to_owned())),
    )
}

fn answers() -> Answers {
    let why = || "as you gave it".to_owned();
    Answers {
        image: ("registry.example.net/team/orders".to_owned(), why()),
        registry: ("harbor".to_owned(), why()),
        environment: ("test".to_owned(), why()),
    }
}

/// One proposal in a line: `maven-service@1 port=9090 …`; and its file must be planned.
fn shown(proposal: &Proposal) -> String {
    let text = pipeline_text(proposal, &answers(), Some(".shipline/schema.json"));
    let mut line = proposal.template.clone();
    for setting in &proposal.with {
        line.push_str(&format!(" {}={}", setting.name, setting.value));
    }
    let found = found_in(&text, &Bundled, &on_main());
    assert!(!found.has_errors(), "{line}\n{text}\n{found}");
    line
}

fn proposed(files: &[(&str, &str)]) -> Vec<String> {
    propose(&listing(files)).iter().map(shown).collect()
}

#[test]
fn a_build_file_tells_the_template() {
    for (files, expected) in [
        (vec![("pom.xml", "<project/>")], "maven-service@1"),
        (vec![("settings.gradle.kts", "")], "gradle-service@1"),
        (vec![("Cargo.toml", "[package]"), ("Cargo.lock", "")], "rust-service@1"),
        (vec![("go.mod", "module x\n\ngo 1.19\n")], "go-service@1"),
        (vec![("composer.json", "{}"), ("phpunit.xml", "")], "php-service@1"),
        (vec![("requirements.txt", ""), ("tests/test_a.py", "")], "python-service@1"),
        (vec![("CMakeLists.txt", "")], "cmake-service@1"),
        (vec![("Makefile", "test:\n\t./t\n"), ("src/main.c", "")], "c-service@1"),
        (vec![("Dockerfile", "FROM x")], "docker-service@1"),
        (vec![("public/index.html", "")], "static-site@1 health-path=\"/\""),
    ] {
        assert_eq!(proposed(&files), [expected], "{files:?}");
    }
    assert!(proposed(&[("README.md", ""), ("Makefile", "all:")]).is_empty());
}

#[test]
fn what_can_be_read_from_the_files_is_filled_in() {
    assert_eq!(
        proposed(&[
            (
                "pom.xml",
                "<properties><java.version>21</java.version></properties><artifactId>spring-boot-starter-actuator</artifactId>"
            ),
            ("src/main/resources/application.properties", "server.port = 9090\n"),
        ]),
        [
            "maven-service@1 build-image=\"maven:3-eclipse-temurin-21\" runtime-image=\"eclipse-temurin:21-jre\" packages=[] port=9090 health-path=\"/actuator/health\""
        ]
    );
    assert_eq!(
        proposed(&[
            ("pom.xml", "<release>17</release>"),
            ("docker/Dockerfile", "FROM x\nEXPOSE 9000/tcp\n")
        ]),
        [
            "maven-service@1 dockerfile=\"docker/Dockerfile\" port=9000",
            "docker-service@1 dockerfile=\"docker/Dockerfile\" port=9000"
        ]
    );
    assert_eq!(
        proposed(&[("go.mod", "go 1.23.1\n")]),
        ["go-service@1 build-image=\"golang:1.23-bookworm\" test=\"go test ./...\" reports=null"]
    );
    assert_eq!(
        proposed(&[("Cargo.toml", "edition = \"2024\"")]),
        [
            "rust-service@1 build-image=\"rust:1.85-bookworm\" compile=\"cargo build --release\" test=\"cargo test\""
        ]
    );
    assert_eq!(
        proposed(&[("Makefile", "BIN := bin/orders\n\ncheck:\n\t./t\n"), ("main.c", ""),]),
        ["c-service@1 test=\"make check\" binary=\"bin/orders\""]
    );
    for makefile in [
        "all: orders\n",
        "orders: main.c\n\tmkdir x\n\tcc -o $@ main.c\n",
        "main.o: main.c\n\tcc -c -o $@ main.c\norders: main.o\n\tcc -o $@ main.o\n",
        "all:\n\tcc main.c -o orders\n",
    ] {
        let makefile = format!("{makefile}test:\n\t./t\n");
        let files = [("Makefile", makefile.as_str()), ("main.c", "")];
        assert_eq!(proposed(&files), ["c-service@1 binary=\"orders\""], "{makefile}");
    }
    assert_eq!(
        proposed(&[
            ("build.gradle", "languageVersion = JavaLanguageVersion.of(21)"),
            ("gradlew", "")
        ]),
        [
            "gradle-service@1 compile=\"./gradlew --no-daemon assemble\" test=\"./gradlew --no-daemon test\" build-image=\"gradle:8-jdk21\" runtime-image=\"eclipse-temurin:21-jre\" packages=[]"
        ]
    );
}

#[test]
fn a_package_of_npm_is_a_service_or_pages() {
    let package = json!({
        "scripts": { "start": "node src/main.js", "test": "mocha" },
        "dependencies": { "express": "4" }, "engines": { "node": ">=22" },
    });
    assert_eq!(
        proposed(&[("package.json", &package.to_string()), ("package-lock.json", "")]),
        [
            "node-service@1 start=[\"node\",\"src/main.js\"] build-image=\"node:22\" runtime-image=\"node:22-slim\" packages=[]"
        ]
    );
    let package =
        json!({ "scripts": { "build": "vite build" }, "devDependencies": { "vite": "5" } });
    assert_eq!(
        proposed(&[("package.json", &package.to_string()), ("yarn.lock", ""), ("index.html", "")]),
        [
            "static-site@1 site=\"dist\" compile=\"npx --yes yarn@1 install --frozen-lockfile && npm run build\"",
            "static-site@1 health-path=\"/\" site=\".\""
        ]
    );
    let bare = json!({ "scripts": { "test": "echo \"Error: no test specified\" && exit 1" } });
    assert_eq!(
        proposed(&[("package.json", &bare.to_string())]),
        ["node-service@1 compile=\"npm install\" test=\"echo 'no tests yet'\""]
    );
    // What is no JSON is still a package.
    assert_eq!(proposed(&[("package.json", "{")]).len(), 1);
}

#[test]
fn python_is_started_as_its_files_tell() {
    for (files, start) in [
        (
            vec![("requirements.txt", "uvicorn==0.3\n"), ("main.py", "")],
            "[\"python3\",\"-m\",\"uvicorn\",\"main:app\",\"--host\",\"0.0.0.0\",\"--port\",\"8080\"]",
        ),
        (
            vec![("requirements.txt", "Gunicorn\n"), ("app.py", "")],
            "[\"python3\",\"-m\",\"gunicorn\",\"--bind\",\"0.0.0.0:8080\",\"app:app\"]",
        ),
        (
            vec![("requirements.txt", ""), ("manage.py", "")],
            "[\"python3\",\"manage.py\",\"runserver\",\"0.0.0.0:8080\"]",
        ),
        (
            vec![("requirements.txt", ""), ("orders/__main__.py", "")],
            "[\"python3\",\"-m\",\"orders\"]",
        ),
        (vec![("requirements.txt", ""), ("server.py", "")], "[\"python3\",\"server.py\"]"),
    ] {
        let lines = proposed(&files);
        assert_eq!(lines, [format!("python-service@1 test=\"echo 'no tests yet'\" start={start}")]);
    }
    // With a Dockerfile that has the last word.
    let with = [("requirements.txt", ""), ("server.py", ""), ("test_a.py", ""), ("Dockerfile", "")];
    assert_eq!(proposed(&with), ["python-service@1", "docker-service@1"]);
}

#[test]
fn several_builds_are_told_the_root_first_and_parts_of_a_build_not_at_all() {
    assert_eq!(
        proposed(&[
            ("pom.xml", ""),
            ("core/pom.xml", ""),
            ("web/package.json", "{}"),
            ("web/package-lock.json", ""),
            ("node_modules/x/package.json", "{}"),
        ]),
        ["maven-service@1", "node-service@1 test=\"echo 'no tests yet'\" context=\"web\"",]
    );
    let folders = proposed(&[("api/go.mod", "go 1.18\n"), ("web/index.html", "")]);
    assert_eq!(folders[0], "go-service@1 context=\"api\"");
    assert_eq!(folders.len(), 2);
}

#[test]
fn the_file_says_where_every_value_is_from() {
    let proposals = propose(&listing(&[("pom.xml", ""), ("Dockerfile", "EXPOSE 9000")]));
    assert_eq!(
        pipeline_text(&proposals[0], &answers(), Some(".shipline/schema.json")),
        "# yaml-language-server: $schema=.shipline/schema.json
# Written by `shipline init`: `pom.xml` is a build of Maven.
# What it does and everything it can be told: shipline template show maven-service@1
# What a run would do, and why:               shipline plan
template: maven-service@1
with:
  image: registry.example.net/team/orders    # as you gave it
  registry: harbor                           # as you gave it
  environment: test                          # as you gave it
  port: 9000                                 # `EXPOSE` in Dockerfile

# A stage of the template is changed by its name, a new one is placed among them:
# stages:
#   unit-test: { env: { TZ: UTC }, run-before: ./ci/prepare.sh }
#   lint: { after: compile, before: image, run: ./ci/lint.sh }
"
    );
}
