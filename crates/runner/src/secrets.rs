//! Secrets of a stage: those it names, and no others.

use pipeline::PlannedStage;

use crate::backend::SecretSpec;
use crate::executor::{Attempt, Shared};
use crate::masker::Masker;
use crate::verdict::Verdict;

/// Returns the secrets that a stage names, with their values.
pub(crate) fn of_stage(shared: &Shared, stage: &PlannedStage) -> Result<Vec<SecretSpec>, Verdict> {
    let missing = |reason: String| Verdict::failed(Some("E050"), reason);
    if !stage.secrets.is_empty() && !shared.context.trusted {
        return Err(missing("secrets are not for runs of people who may not push".to_owned()));
    }
    let secrets = stage.secrets.iter().map(|wanted| {
        let name = &wanted.name;
        let value = shared.secrets.0.get(name).ok_or_else(|| {
            missing(format!(
                "secret `{name}` is not there: for local runs, add a line `{name}=…` to \
                 `.shipline/secrets.env`"
            ))
        })?;
        if value.contains('\0') {
            return Err(missing(format!("secret `{name}` holds a NUL, which no process takes")));
        }
        let variable = wanted.env.as_ref().unwrap_or(name);
        Ok(SecretSpec {
            name: name.clone(),
            value: value.clone(),
            env: (!wanted.file).then(|| variable.clone()),
        })
    });
    secrets.collect()
}

/// Says which secrets are too short to be masked.
pub(crate) async fn tell_unmasked(attempt: &mut Attempt<'_>, secrets: &[SecretSpec]) {
    for SecretSpec { name, .. } in secrets.iter().filter(|secret| !Masker::masks(&secret.value)) {
        let line = format!("W052: secret `{name}` is shorter than 8 characters and not masked");
        attempt.log.say(line).await;
    }
}
