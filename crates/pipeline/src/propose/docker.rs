//! Dockerfiles: the build of last resort, and what one tells beside another build.

use serde_json::Value as Json;

use super::Draft;
use super::listing::Folder;

/// Names that `Dockerfile` has where it is not at its usual place.
const OTHERS: [&str; 6] = [
    "docker/Dockerfile",
    "deploy/Dockerfile",
    "build/Dockerfile",
    ".docker/Dockerfile",
    "Dockerfile.prod",
    "Dockerfile.production",
];
const DEFAULT_PORT: u32 = 8080;

pub(super) fn dockerfile(here: &Folder<'_>) -> Option<Draft> {
    let file = file(here)?;
    Some(Draft::new(
        "docker-service",
        format!("`{file}` builds the image, and nothing else is known"),
    ))
}

/// Whether the image is described, so that no template writes its own Dockerfile.
pub(super) fn file(here: &Folder<'_>) -> Option<&'static str> {
    if here.has("Dockerfile") { Some("Dockerfile") } else { here.one_of(&OTHERS) }
}

/// A Dockerfile that is not where a template looks for it.
pub(super) fn elsewhere(here: &Folder<'_>) -> Option<(&'static str, Json, String)> {
    let file = file(here).filter(|file| *file != "Dockerfile")?;
    Some(("dockerfile", file.into(), "the image is described there".to_owned()))
}

/// The port that the image says it listens at.
pub(super) fn port(here: &Folder<'_>) -> Option<(&'static str, Json, String)> {
    let file = file(here)?;
    let lines = here.text(file)?.lines().map(str::trim);
    let mut exposed = lines.filter_map(|line| {
        let (word, rest) = line.split_once(char::is_whitespace)?;
        word.eq_ignore_ascii_case("EXPOSE").then_some(rest)
    });
    let port: u32 = exposed.next()?.split(['/', ' ']).next()?.parse().ok()?;
    let said = port != DEFAULT_PORT && (1..=65535).contains(&port);
    said.then(|| ("port", port.into(), format!("`EXPOSE` in {file}")))
}
