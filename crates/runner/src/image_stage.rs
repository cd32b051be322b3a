//! Stages that make an image and bring it to a registry.

use event::{Outputs, StageResult};
use pipeline::{BuildWork, ImageSource, PushWork};

use crate::artifacts::with_artifacts;
use crate::backend::{BuildSpec, PushSpec};
use crate::executor::Attempt;
use crate::secrets;
use crate::verdict::Verdict;

/// Output of a `build` stage: `sha256:…` of the image's configuration.
pub(crate) const IMAGE: &str = "image";
/// Outputs of a `push` stage.
pub(crate) const DIGEST: &str = "digest";
pub(crate) const REF: &str = "ref";

pub(crate) async fn build(attempt: &mut Attempt<'_>, work: &BuildWork) -> Result<Verdict, Verdict> {
    let secrets = secrets::of_stage(attempt.shared, attempt.stage)?;
    secrets::tell_unmasked(attempt, &secrets).await;
    attempt.report_started(None).await;
    let (shared, assignment) = (attempt.shared, attempt.assignment);
    let spec = &BuildSpec {
        stage: attempt.stage.name.clone(),
        attempt: assignment.attempt,
        name: assignment.name.clone(),
        work: work.clone(),
        layer: assignment.layer(),
        lower: assignment.lower.clone(),
        merge: attempt.stage.merge.clone(),
        registries: shared.registries.named.values().cloned().collect(),
        secrets,
    };
    let built = attempt
        .supervise(|output, token| async move {
            shared.backend.build(&shared.context, spec, &output, &token).await
        })
        .await;
    let verdict = match built {
        Ok(built) => Verdict::passed(outputs([(IMAGE, built.id)])),
        Err(verdict) => verdict,
    };
    let view = assignment.view(attempt.stage);
    Ok(with_artifacts(attempt, verdict, &view).await)
}

pub(crate) async fn push(attempt: &mut Attempt<'_>, work: &PushWork) -> Result<Verdict, Verdict> {
    attempt.report_started(None).await;
    let (shared, assignment) = (attempt.shared, attempt.assignment);
    let Some(registry) = shared.registries.get(&work.registry) else {
        let known: Vec<&str> = shared.registries.named.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let reason = format!("registry `{}` is not configured; there are: {known}", work.registry);
        return Err(Verdict::failed(Some("E065"), reason));
    };
    let image = match &work.image {
        ImageSource::Reference(reference) => reference.clone(),
        ImageSource::Stage(stage) => text(&assignment.source.outputs, IMAGE)
            .ok_or_else(|| no_image(stage, assignment.source.result, "push"))?,
    };
    let spec = &PushSpec {
        stage: attempt.stage.name.clone(),
        attempt: assignment.attempt,
        image,
        tags: work.tags.clone(),
        credential: Some(work.registry.clone()),
        registry: registry.clone(),
        scan: work.scan.clone(),
    };
    let pushed = attempt
        .supervise(|output, token| async move {
            shared.backend.push(&shared.context, spec, &output, &token).await
        })
        .await?;
    Ok(Verdict::passed(outputs([(DIGEST, pushed.digest), (REF, pushed.reference)])))
}

/// Says that there is no image to `push` or `deploy`. A stage that failed and was
/// needed all the same, by `allow-failure` or by `run-on`, has made none, which is
/// no fault of the infrastructure.
pub(crate) fn no_image(stage: &str, result: Option<StageResult>, purpose: &str) -> Verdict {
    let reason = format!("stage `{stage}` left no image to {purpose}");
    let why = match result {
        Some(StageResult::Passed | StageResult::Unchanged) | None => {
            return Verdict::infrastructure(reason);
        }
        Some(StageResult::Warning) => "it failed, which its `allow-failure` lets pass".to_owned(),
        Some(result) => format!("it ended `{}`", result.name()),
    };
    Verdict::failed(Some("E090"), format!("{reason}: {why}"))
}

/// Returns the output `name` if it is a text.
pub(crate) fn text(outputs: &Outputs, name: &str) -> Option<String> {
    outputs.get(name)?.as_str().map(str::to_owned)
}

pub(crate) fn outputs<const N: usize>(values: [(&str, String); N]) -> Outputs {
    values.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}
