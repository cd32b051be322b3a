//! Java: Maven and Gradle.

use serde_json::json;

use super::Draft;
use super::docker;
use super::listing::{Folder, between, major};

/// The JDK of the runner image.
const JDK: u32 = 17;
const PROPERTIES: &str = "src/main/resources/application.properties";

pub(super) fn maven(here: &Folder<'_>) -> Option<Draft> {
    if !here.has("pom.xml") {
        return None;
    }
    let pom = here.text("pom.xml").unwrap_or_default();
    let draft = Draft::new("maven-service", "`pom.xml` is a build of Maven");
    let release = ["maven.compiler.release", "java.version", "maven.compiler.target", "release"];
    let release = release.iter().find_map(|tag| {
        let version = between(pom, &format!("<{tag}>"), &format!("</{tag}>"))?;
        Some((major(version)?, format!("`{tag}` in pom.xml")))
    });
    let draft = match release {
        Some((jdk, why)) if jdk > JDK => {
            newer(draft, here, jdk, &why, &format!("maven:3-eclipse-temurin-{jdk}"))
        }
        _ => draft,
    };
    Some(spring(draft, here, pom))
}

pub(super) fn gradle(here: &Folder<'_>) -> Option<Draft> {
    let file = here.one_of(&[
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
    ])?;
    let build = here.text("build.gradle").or_else(|| here.text("build.gradle.kts"));
    let build = build.unwrap_or_default();
    let mut draft = Draft::new("gradle-service", format!("`{file}` is a build of Gradle"));
    if here.has("gradlew") {
        let why = "the wrapper of the repository";
        draft = draft.set("compile", "./gradlew --no-daemon assemble", why).set(
            "test",
            "./gradlew --no-daemon test",
            why,
        );
    }
    let toolchain = between(build, "JavaLanguageVersion.of(", ")")
        .or_else(|| between(build, "jvmToolchain(", ")"))
        .or_else(|| between(build, "JavaVersion.VERSION_", "\n"));
    if let Some(jdk) = toolchain.and_then(major).filter(|jdk| *jdk > JDK) {
        draft = newer(
            draft,
            here,
            jdk,
            &format!("Java {jdk} in {file}"),
            &format!("gradle:8-jdk{jdk}"),
        );
    }
    Some(spring(draft, here, build))
}

/// A JDK that the runner image does not have.
fn newer(draft: Draft, here: &Folder<'_>, jdk: u32, why: &str, image: &str) -> Draft {
    let draft = draft.set("build-image", image, why);
    if docker::file(here).is_some() {
        return draft;
    }
    draft.set("runtime-image", format!("eclipse-temurin:{jdk}-jre"), why).set(
        "packages",
        json!([]),
        "that image has the runtime",
    )
}

/// Spring Boot says where it answers.
fn spring(draft: Draft, here: &Folder<'_>, build: &str) -> Draft {
    let port = here.text(PROPERTIES).and_then(|text| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix("server.port"))?;
        line.trim_start().strip_prefix('=')?.trim().parse::<u32>().ok()
    });
    let draft = match port {
        // The image has the last word, and is looked at later.
        Some(port) if port != 8080 && docker::port(here).is_none() => {
            draft.set("port", port, "`server.port` in application.properties")
        }
        _ => draft,
    };
    if build.contains("spring-boot-starter-actuator") {
        return draft.set("health-path", "/actuator/health", "Spring Boot's actuator");
    }
    draft
}
