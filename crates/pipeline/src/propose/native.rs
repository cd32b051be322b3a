//! Languages that compile to a program: Rust, Go, C and C++.

use regex::Regex;
use serde_json::Value as Json;

use super::Draft;
use super::docker;
use super::listing::{Folder, between, major};

/// Minor versions of the compilers in the runner images: Rust 1.63, Go 1.19.
const RUST: u32 = 63;
const GO: u32 = 19;

pub(super) fn rust(here: &Folder<'_>) -> Option<Draft> {
    if !here.has("Cargo.toml") {
        return None;
    }
    let manifest = here.text("Cargo.toml").unwrap_or_default();
    let mut draft = Draft::new("rust-service", "`Cargo.toml` is a package of Cargo");
    let quoted = |key: &str| between(manifest, &format!("{key} = \""), "\"");
    let minor = |text: &str| text.strip_prefix("1.").and_then(major);
    let wanted = match (quoted("rust-version").and_then(minor), quoted("edition")) {
        (Some(minor), _) if minor > RUST => Some((minor, "`rust-version` in Cargo.toml")),
        // The edition of 2024 came with 1.85.
        (_, Some("2024")) => Some((85, "`edition` in Cargo.toml")),
        _ => None,
    };
    if let Some((minor, why)) = wanted {
        draft = draft.set("build-image", format!("rust:1.{minor}-bookworm"), why);
    }
    if !here.has("Cargo.lock") {
        let why = "there is no Cargo.lock; commit one, and remove this line";
        draft = draft.set("compile", "cargo build --release", why).set("test", "cargo test", why);
    }
    Some(draft)
}

pub(super) fn go(here: &Folder<'_>) -> Option<Draft> {
    if !here.has("go.mod") {
        return None;
    }
    let module = here.text("go.mod").unwrap_or_default();
    let draft = Draft::new("go-service", "`go.mod` is a module of Go");
    let version = module.lines().find_map(|line| line.trim().strip_prefix("go 1."));
    Some(match version.and_then(major) {
        Some(minor) if minor > GO => draft
            .set("build-image", format!("golang:1.{minor}-bookworm"), "`go` in go.mod")
            // That image has no gotestsum, and so there are no reports.
            .set("test", "go test ./...", "that image has no gotestsum")
            .set("reports", Json::Null, "`go test` writes none"),
        _ => draft,
    })
}

pub(super) fn cmake(here: &Folder<'_>) -> Option<Draft> {
    let there = here.has("CMakeLists.txt");
    there.then(|| Draft::new("cmake-service", "`CMakeLists.txt` is a build of CMake"))
}

pub(super) fn make(here: &Folder<'_>) -> Option<Draft> {
    let file = here.one_of(&["Makefile", "makefile", "GNUmakefile"])?;
    if !here.has_extension(&["c", "cc", "cpp", "cxx"]) {
        return None;
    }
    let text = here.text(file).unwrap_or_default();
    let mut draft = Draft::new("c-service", format!("`{file}` builds sources in C"));
    let target = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name}:")));
    if !target("test") {
        let (test, why) = if target("check") {
            ("make check", format!("the target `check` of {file}"))
        } else {
            ("echo 'no tests yet'", format!("{file} has no target `test`"))
        };
        draft = draft.set("test", test, why);
    }
    if docker::file(here).is_some() {
        return Some(draft);
    }
    Some(match program(text) {
        Some(program) => draft.set("binary", program, format!("as {file} names it")),
        None => draft,
    })
}

/// The program that a Makefile makes, where it is named plainly.
fn program(text: &str) -> Option<String> {
    let variable = r"(?m)^(?:TARGET|PROGRAM|PROG|BIN|BINARY|EXE)\s*[:?]?=\s*([A-Za-z0-9._/-]+)\s*$";
    let output = r"-o\s+([A-Za-z0-9_][A-Za-z0-9._/-]*)(?:\s|$)";
    let all = r"(?m)^(?:all|build):\s*([A-Za-z0-9_][A-Za-z0-9._/-]*)\s*$";
    let rule = r"(?m)^([A-Za-z0-9_][A-Za-z0-9._/-]*):[^=\n]*\n(?:\t[^\n]*\n)*?\t[^\n]*-o\s+\$@";
    [variable, output, all, rule].iter().find_map(|pattern| {
        let regex = Regex::new(pattern).ok()?;
        let mut names = regex.captures_iter(text).map(|captures| captures[1].to_owned());
        names.find(|name| !name.ends_with(".o") && !name.contains("test"))
    })
}
