//! Checks of deployments that run commands, on the backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use deploy::{CheckLine, CheckRunner, Commands, Ran, TargetError};
use event::OutputStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Registries;
use crate::backend::{Backend, BackendError, CheckSpec, Chunk};
use crate::masker::{MaskedStream, Masker};

/// Chunks of output on their way.
const CHUNKS: usize = 16;
/// The longest line that is told as one.
const LONGEST: usize = 4096;

/// Runs checks in containers of a backend.
pub struct ContainerChecks {
    backend: Arc<dyn Backend>,
    instance: String,
    registries: Registries,
    masker: Arc<Masker>,
    /// What every stage has, for all checks.
    env: BTreeMap<String, String>,
}

impl ContainerChecks {
    /// What is made on the engine belongs to `instance`. Passwords of the registries are
    /// not shown in what checks write.
    pub fn new(
        backend: Arc<dyn Backend>,
        instance: String,
        registries: Registries,
    ) -> Result<Self, BackendError> {
        let passwords = registries.named.values().map(|registry| &registry.password);
        let masker = Masker::new(passwords).map_err(|error| BackendError::Infrastructure {
            part: "shipline",
            message: format!("passwords of registries cannot be masked: {error}"),
        })?;
        Ok(Self::masked(backend, instance, registries, Arc::new(masker)))
    }

    pub(crate) fn masked(
        backend: Arc<dyn Backend>,
        instance: String,
        registries: Registries,
        masker: Arc<Masker>,
    ) -> Self {
        let env = [("CI", "true"), ("SHIPLINE", env!("CARGO_PKG_VERSION"))];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { backend, instance, registries, masker, env }
    }

    fn spec(&self, commands: &Commands<'_>) -> CheckSpec {
        let Commands { step, deployment, env, reaches } = commands;
        let number = Uuid::now_v7().simple().to_string();
        CheckSpec {
            instance: self.instance.clone(),
            name: format!("shipline-check-{}-{}", deployment.short(), &number[24..]),
            image: step.image.clone(),
            registry: self.registries.for_reference(&step.image).cloned(),
            commands: step.run.clone(),
            env: self.env.clone().into_iter().chain(env.clone()).collect(),
            reaches: reaches.clone(),
        }
    }
}

#[async_trait]
impl CheckRunner for ContainerChecks {
    async fn prepare(&self, image: &str, cancel: &CancellationToken) -> Result<(), TargetError> {
        let registry = self.registries.for_reference(image);
        self.backend.image(image, registry, false, cancel).await.map(drop).map_err(told)
    }

    async fn run(
        &self,
        commands: &Commands<'_>,
        output: &mpsc::Sender<CheckLine>,
        cancel: &CancellationToken,
    ) -> Result<Ran, TargetError> {
        let (backend, spec) = (Arc::clone(&self.backend), self.spec(commands));
        let (said, chunks) = mpsc::channel(CHUNKS);
        let token = cancel.child_token();
        // Dropped, the container is ended and removed by a task that lives on.
        let _ends = token.clone().drop_guard();
        let checking = tokio::spawn(async move { backend.check(&spec, &said, &token).await });
        let telling = tell(chunks, &self.masker, output);
        let (checked, ()) = tokio::join!(checking, telling);
        match checked {
            Ok(Ok(exit)) => Ok(Ran { exit: exit.code }),
            Ok(Err(error)) => Err(told(error)),
            Err(panic) => Err(TargetError::Infrastructure {
                part: "shipline".to_owned(),
                message: format!("the check broke: {panic}"),
            }),
        }
    }

    async fn clear(&self) -> Result<(), TargetError> {
        self.backend.sweep_checks(&self.instance).await.map(drop).map_err(told)
    }
}

fn told(error: BackendError) -> TargetError {
    match error {
        BackendError::User { message, .. } => TargetError::Refused { message },
        BackendError::Infrastructure { part, message } => {
            TargetError::Infrastructure { part: part.to_owned(), message }
        }
        BackendError::Cancelled => TargetError::Refused { message: "cancelled".to_owned() },
    }
}

/// Passes on what is said, masked and line by line, the streams told apart.
async fn tell(
    mut chunks: mpsc::Receiver<Chunk>,
    masker: &Arc<Masker>,
    output: &mpsc::Sender<CheckLine>,
) {
    let stream = || Lines { masked: MaskedStream::new(Arc::clone(masker)), begun: BytesMut::new() };
    let (mut out, mut err) = (stream(), stream());
    while let Some(Chunk { stream, bytes }) = chunks.recv().await {
        let lines = match stream {
            OutputStream::Stderr => err.push(&bytes),
            OutputStream::Stdout => out.push(&bytes),
            // Whole lines, and ours.
            OutputStream::Engine => {
                let text = String::from_utf8_lossy(&bytes);
                text.lines().map(|line| masker.text(line)).collect()
            }
        };
        let echo = stream == OutputStream::Engine;
        for text in lines {
            // Nobody listening any more is not the check's problem.
            let _ = output.send(CheckLine { text, echo }).await;
        }
    }
    for text in out.finish().into_iter().chain(err.finish()) {
        let _ = output.send(CheckLine { text, echo: false }).await;
    }
}

/// One stream, masked, as lines.
struct Lines {
    masked: MaskedStream,
    /// A line that has not ended.
    begun: BytesMut,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let masked = self.masked.push(bytes);
        self.begun.extend_from_slice(masked.as_bytes());
        let mut lines = Vec::new();
        loop {
            let end = self.begun.iter().position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    let line = self.begun.split_to(end + 1);
                    lines.push(text(&line[..end]));
                }
                None if self.begun.len() > LONGEST => {
                    let line = self.begun.split_to(LONGEST);
                    lines.push(text(&line));
                }
                None => return lines,
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        let rest = self.masked.finish();
        self.begun.extend_from_slice(rest.as_bytes());
        let whole = self.begun.to_vec();
        whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(text).collect()
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_told_line_by_line_and_without_secrets() {
        let (said, chunks) = mpsc::channel(8);
        let (output, mut lines) = mpsc::channel(8);
        let masker = Arc::new(Masker::new(["hunter22"]).unwrap());
        let telling = async {
            tell(chunks, &masker, &output).await;
            drop(output);
        };
        let saying = async {
            for (stream, bytes) in [
                (OutputStream::Engine, &b"$ smoke\n"[..]),
                (OutputStream::Stdout, b"one\r\ntwo hunt"),
                (OutputStream::Stderr, b"oops\n"),
                (OutputStream::Stdout, b"er22\nend"),
            ] {
                let chunk = Chunk { stream, bytes: bytes::Bytes::from_static(bytes) };
                said.send(chunk).await.unwrap();
            }
            drop(said);
        };
        let hearing = async {
            let mut heard = Vec::new();
            while let Some(line) = lines.recv().await {
                heard.push(line.text);
            }
            heard.sort();
            heard
        };
        let ((), (), heard) = tokio::join!(telling, saying, hearing);
        assert_eq!(heard.len(), 5, "{heard:?}");
        assert!(!heard.concat().contains("hunter22"), "{heard:?}");
        for line in ["$ smoke", "one", "oops", "end"] {
            assert!(heard.iter().any(|heard| heard == line), "{heard:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let masker = Arc::new(Masker::new([""; 0]).unwrap());
        let mut lines = Lines { masked: MaskedStream::new(masker), begun: BytesMut::new() };
        let told: usize = lines.push(&vec![b'x'; 10_000]).iter().map(String::len).sum();
        let rest: usize = lines.finish().iter().map(String::len).sum();
        assert_eq!(told + rest, 10_000);
    }
}
