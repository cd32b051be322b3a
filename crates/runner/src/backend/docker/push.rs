//! An image to a registry, and the registry's word that it has it.

use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, fault, is_missing, status, text};
use super::harbor;
use super::image::credentials;
use super::reference::{split_host, split_tag};
use super::refusal;
use super::registry::manifest_digest;
use super::registry_client::RegistryClient;
use super::retry::{Failure, Tries};
use crate::backend::{BackendError, Chunk, PushSpec, Pushed};

pub(super) async fn push(
    engine: &Engine,
    spec: &PushSpec,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<Pushed, BackendError> {
    let targets =
        spec.tags.iter().map(|tag| Target::parse(spec, tag)).collect::<Result<Vec<_>, _>>()?;
    let mut pushed: Option<Pushed> = None;
    for target in &targets {
        tag(engine, spec, target).await?;
        let mut tries = Tries::default();
        let digest = loop {
            let tried = tokio::select! {
                tried = try_push(engine, spec, target, output) => tried,
                () = cancel.cancelled() => return Err(BackendError::Cancelled),
            };
            match tried {
                Ok(digest) => break digest,
                Err(failure) => {
                    if let (Failure::Passing(message) | Failure::Later(message, _), true) =
                        (&failure, tries.are_left())
                    {
                        say(output, format!("{message}; trying again")).await;
                    }
                    tries.after(failure, "registry", cancel).await?;
                }
            }
        };
        if let Some(first) = pushed.as_ref().filter(|first| first.digest != digest) {
            let message = format!(
                "{} is {digest}, but {} is {}: all tags must be one image",
                target.reference(),
                targets[0].reference(),
                first.digest
            );
            return Err(infrastructure(message));
        }
        say(output, format!("pushed {} ({digest})", target.reference())).await;
        let reference = format!("{}@{digest}", target.repository);
        pushed.get_or_insert(Pushed { digest, reference });
    }
    let pushed = pushed.ok_or_else(|| refuse("there is no tag in `push.tags`".to_owned()))?;
    if let (Some(scan), Some(target)) = (&spec.scan, targets.first()) {
        let image = harbor::Image {
            reference: &pushed.reference,
            name: &target.name,
            digest: &pushed.digest,
        };
        tokio::select! {
            passed = harbor::gate(spec, scan, &image, output) => passed?,
            () = cancel.cancelled() => return Err(BackendError::Cancelled),
        }
    }
    Ok(pushed)
}

pub(super) async fn say(output: &mpsc::Sender<Chunk>, line: String) {
    // Nobody listening is no reason to fail.
    drop(output.send(Chunk::engine(line)).await);
}

/// One tag, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// As it was written.
    repository: String,
    tag: String,
    /// Inside the registry.
    name: String,
}

impl Target {
    /// The password goes to the host it belongs to and to no other.
    fn parse(spec: &PushSpec, text: &str) -> Result<Self, BackendError> {
        if text.contains('@') {
            let message = format!("`{text}` of `push.tags` is a digest; a push goes to a tag");
            return Err(refuse(message));
        }
        let (repository, tag) = split_tag(text);
        let (host, name) = split_host(repository);
        if host != spec.registry.host {
            let credential = spec.credential.as_deref().unwrap_or("the credential");
            return Err(refuse(format!(
                "`{text}` of `push.tags` is not on {}, which `{credential}` is for",
                spec.registry.host
            )));
        }
        let tag = tag.unwrap_or("latest").to_owned();
        Ok(Self { repository: repository.to_owned(), tag, name })
    }

    fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

async fn tag(engine: &Engine, spec: &PushSpec, target: &Target) -> Result<(), BackendError> {
    let options =
        TagImageOptionsBuilder::default().repo(&target.repository).tag(&target.tag).build();
    match engine.docker.tag_image(&spec.image, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if is_missing(&error) => {
            let message = format!("image `{}` is not on the engine", spec.image);
            Err(BackendError::User { code: Some("E090"), message })
        }
        Err(error) if status(&error) == Some(400) => {
            let reference = target.reference();
            Err(refuse(format!("`{reference}` of `push.tags` is no name: {}", text(&error))))
        }
        Err(error) => Err(fault(format!("`{}` cannot be tagged", target.reference()), &error)),
    }
}

/// Pushes once, and returns the digest if engine and registry agree about it.
async fn try_push(
    engine: &Engine,
    spec: &PushSpec,
    target: &Target,
    output: &mpsc::Sender<Chunk>,
) -> Result<String, Failure> {
    let options = PushImageOptionsBuilder::default().tag(&target.tag).build();
    let credentials = Some(credentials(&spec.registry));
    let mut progress =
        std::pin::pin!(engine.patient.push_image(&target.repository, Some(options), credentials));
    let mut sent = None;
    let mut layers = Layers::default();
    while let Some(step) = progress.next().await {
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                let (reference, said) = (target.reference(), text(&error));
                let refused =
                    refusal::of_push(spec, &reference, &target.name, &said, status(&error));
                let fault = RegistryClient::out_of_order(&spec.registry).await;
                return Err(fault.unwrap_or(refused));
            }
        };
        let Some(status) = step.status else { continue };
        match digest_of(&status, &target.tag) {
            Some(digest) => sent = Some(digest.to_owned()),
            None => layers.count(&status),
        }
    }
    if let Some(line) = layers.told() {
        say(output, line).await;
    }
    let client = RegistryClient::connect(&spec.registry).await?;
    let refusal = |said: &str| refusal::of_manifest(spec, &target.reference(), said);
    let found = manifest_digest(&client, &target.name, &target.tag, refusal).await?;
    match sent {
        Some(sent) if sent != found => {
            let message = format!(
                "{} says that {} is {found}, but {sent} was sent: it keeps something else, or \
                 somebody pushed the same tag meanwhile",
                spec.registry.host,
                target.reference()
            );
            Err(infrastructure(message).into())
        }
        _ => Ok(found),
    }
}

/// The engine's last line: `latest: digest: sha256:… size: 1234`.
fn digest_of<'a>(status: &'a str, tag: &str) -> Option<&'a str> {
    let rest = status.strip_prefix(tag)?.strip_prefix(": digest: ")?;
    rest.split(' ').next().filter(|digest| digest.starts_with("sha256:"))
}

#[derive(Default)]
struct Layers {
    pushed: usize,
    there: usize,
}

impl Layers {
    fn count(&mut self, status: &str) {
        match status {
            "Pushed" => self.pushed += 1,
            "Layer already exists" => self.there += 1,
            status if status.starts_with("Mounted from") => self.there += 1,
            _ => {}
        }
    }

    fn told(&self) -> Option<String> {
        let total = self.pushed + self.there;
        (total > 0).then(|| format!("{total} layers, {} of them already there", self.there))
    }
}

/// Where it is to go is no place for an image.
fn refuse(message: String) -> BackendError {
    BackendError::User { code: Some("E090"), message }
}

fn infrastructure(message: String) -> BackendError {
    BackendError::Infrastructure { part: "registry", message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;

    fn spec(host: &str) -> PushSpec {
        PushSpec {
            stage: "publish".to_owned(),
            attempt: 1,
            image: "sha256:0".to_owned(),
            tags: Vec::new(),
            credential: Some("harbor".to_owned()),
            registry: Registry {
                host: host.to_owned(),
                username: "robot$ci".to_owned(),
                password: "s3cret".to_owned(),
                ca_file: None,
            },
            scan: None,
        }
    }

    #[test]
    fn a_tag_is_taken_apart() {
        let target = Target::parse(&spec("h:5000"), "h:5000/team/app:1.0").unwrap();
        assert_eq!(
            target,
            Target {
                repository: "h:5000/team/app".to_owned(),
                tag: "1.0".to_owned(),
                name: "team/app".to_owned(),
            }
        );
        assert_eq!(Target::parse(&spec("h:5000"), "h:5000/app").unwrap().tag, "latest");
    }

    #[test]
    fn a_password_is_not_sent_to_another_host() {
        let error = Target::parse(&spec("h:5000"), "evil.example/app:1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`evil.example/app:1` of `push.tags` is not on h:5000, which `harbor` is for"
        );
    }

    #[test]
    fn the_digest_is_in_the_last_line() {
        assert_eq!(digest_of("1.0: digest: sha256:ab size: 527", "1.0"), Some("sha256:ab"));
        assert_eq!(digest_of("1.0: digest: nothing", "1.0"), None);
        assert_eq!(digest_of("Pushed", "1.0"), None);
    }
}
