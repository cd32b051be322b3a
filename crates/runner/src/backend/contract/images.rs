//! Images: built from what stages left, and pushed.

use event::OutputStream;
use pipeline::BuildWork;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::{
    Backend, BackendError, BuildSpec, Built, Chunk, PushSpec, Pushed, RunContext, SecretSpec,
};
use super::{PATIENCE, attempt, layer, run_to_end};
use crate::Registry;

fn build(run: &RunContext, index: u32, file: &str) -> BuildSpec {
    BuildSpec {
        stage: format!("b{index}"),
        attempt: 1,
        name: format!("shipline-{}-b{index}-1", run.run.short()),
        work: BuildWork { context: ".".to_owned(), file: file.to_owned(), ..BuildWork::default() },
        layer: layer(run, index),
        lower: vec![layer(run, 80), layer(run, 0)],
        merge: None,
        registries: Vec::new(),
        secrets: Vec::new(),
    }
}

fn push(image: &str, registry: &Registry) -> PushSpec {
    PushSpec {
        stage: "publish".to_owned(),
        attempt: 1,
        image: image.to_owned(),
        tags: vec![format!("{}/team/contract:1", registry.host)],
        credential: Some("harbor".to_owned()),
        registry: registry.clone(),
        scan: None,
    }
}

/// Awaits what tells what it does, and returns what it wrote to stdout.
async fn told<T>(work: impl AsyncFnOnce(mpsc::Sender<Chunk>) -> T) -> (T, String) {
    let (output, mut said) = mpsc::channel(4);
    let hearing = async {
        let mut heard = Vec::new();
        while let Some(Chunk { stream, bytes }) = said.recv().await {
            if stream == OutputStream::Stdout {
                heard.extend_from_slice(&bytes);
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    };
    let (done, heard) = tokio::join!(timeout(PATIENCE, work(output)), hearing);
    (done.expect("it ends"), heard)
}

async fn made(
    backend: &dyn Backend,
    run: &RunContext,
    spec: &BuildSpec,
) -> (Result<Built, BackendError>, String) {
    let cancel = CancellationToken::new();
    told(async |output| backend.build(run, spec, &output, &cancel).await).await
}

async fn pushed(
    backend: &dyn Backend,
    run: &RunContext,
    spec: &PushSpec,
) -> Result<Pushed, BackendError> {
    let cancel = CancellationToken::new();
    told(async |output| backend.push(run, spec, &output, &cancel).await).await.0
}

fn code(error: &BackendError) -> Option<&'static str> {
    match error {
        BackendError::User { code, .. } => *code,
        other => panic!("it is the user's: {other}"),
    }
}

/// What a stage wrote is built, with its secrets; what is pushed is known by its digest. What
/// is not there is the user's to mend, and a build that is cancelled ends.
pub(crate) async fn images_are_built_and_pushed(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
    registry: &Registry,
) {
    // Steps that no other run had: builders remember those.
    let run_id = run.run.to_string();
    let write = |file: &str, step: &str| {
        [
            format!("echo 'FROM {image}' >{file}"),
            format!("echo 'ENV RUN={run_id}' >>{file}"),
            format!("echo 'RUN {step}' >>{file}"),
        ]
    };
    let lines: Vec<String> = [
        write("Dockerfile", "--mount=type=secret,id=KEY cat /run/secrets/KEY"),
        write("Failing", "exit 3"),
        write("Endless", "sleep 600"),
    ]
    .concat();
    let commands: Vec<&str> = lines.iter().map(String::as_str).collect();
    let written = attempt(run, 80, image, &commands);
    assert_eq!(run_to_end(backend, run, &written).await.2.code, 0);
    backend.seal(run, written.layer).await.unwrap();

    let key = SecretSpec { name: "KEY".to_owned(), value: "swordfish".to_owned(), env: None };
    let spec = BuildSpec { secrets: vec![key], ..build(run, 81, "Dockerfile") };
    let (built, said) = made(backend, run, &spec).await;
    let id = built.unwrap().id;
    assert!(id.starts_with("sha256:") && said.contains("swordfish"), "{id} {said}");
    let failed = made(backend, run, &build(run, 82, "Failing")).await.0.unwrap_err();
    assert_eq!(code(&failed), None, "the end of a step is like that of a command: {failed}");
    let missing = made(backend, run, &build(run, 83, "docker/missing")).await.0.unwrap_err();
    assert_eq!(code(&missing), Some("E097"));
    assert!(missing.to_string().contains("`docker/missing` of `build.file`"), "{missing}");

    let cancel = CancellationToken::new();
    let endless = build(run, 84, "Endless");
    let building = told(async |output| backend.build(run, &endless, &output, &cancel).await);
    let cancelling = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cancel.cancel();
    };
    let ((ended, _), ()) = tokio::join!(building, cancelling);
    assert!(matches!(ended, Err(BackendError::Cancelled)), "{ended:?}");

    let first = pushed(backend, run, &push(&id, registry)).await.unwrap();
    assert_eq!(first.reference, format!("{}/team/contract@{}", registry.host, first.digest));
    assert!(first.digest.starts_with("sha256:"), "{first:?}");
    let again = pushed(backend, run, &push(&id, registry)).await.unwrap();
    assert_eq!(again, first, "pushing again changes nothing");
    let never = format!("sha256:{}", "0".repeat(64));
    let refused = pushed(backend, run, &push(&never, registry)).await.unwrap_err();
    assert_eq!(code(&refused), Some("E090"));
}
