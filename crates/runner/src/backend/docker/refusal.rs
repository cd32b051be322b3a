//! Why a registry does not take what is pushed, and what to do about it.

use super::answer::{Answer, judge};
use super::retry::Failure;
use crate::backend::{BackendError, PushSpec};

/// Judges what the engine or the registry said of a push of `reference`, which is
/// `name` in its registry.
pub(super) fn of_push(
    spec: &PushSpec,
    reference: &str,
    name: &str,
    said: &str,
    status: Option<u16>,
) -> Failure {
    let host = &spec.registry.host;
    let project = name.split('/').next().unwrap_or(name);
    if let Some(way_out) = way_out(host, project, said) {
        let message = refused(spec, reference, said) + "\n  " + &way_out;
        return user(message).into();
    }
    match judge(said, status) {
        Answer::Refused => user(refused(spec, reference, said)).into(),
        Answer::Passing => Failure::Passing(format!("{reference} cannot be pushed: {said}")),
        Answer::Untrusted => {
            let message = format!("{reference} cannot be pushed: {said}");
            BackendError::Infrastructure { part: "registry", message }.into()
        }
    }
}

/// E090: the registry's answer to `reference`, and who we were to it.
pub(super) fn of_manifest(spec: &PushSpec, reference: &str, said: &str) -> BackendError {
    user(refused(spec, reference, said))
}

fn user(message: String) -> BackendError {
    BackendError::User { code: Some("E090"), message }
}

fn refused(spec: &PushSpec, reference: &str, said: &str) -> String {
    let registry = &spec.registry;
    let who = match &spec.credential {
        Some(name) if registry.username.is_empty() => format!("credential `{name}`"),
        Some(name) => format!("credential `{name}`, user `{}`", registry.login()),
        None if registry.username.is_empty() => "no credential".to_owned(),
        None => format!("user `{}` of Docker's configuration", registry.login()),
    };
    format!("{} refuses {reference} ({who}): {said}", registry.host)
}

/// What helps against a refusal that comes again until somebody changes something.
fn way_out(host: &str, project: &str, said: &str) -> Option<String> {
    let lower = said.to_ascii_lowercase();
    if lower.contains("immutable") {
        return Some(format!(
            "the tag is there already, and a rule of the project `{project}` keeps it as it is: push \
             a tag that is new each time, such as `${{{{ git.sha_short }}}}`, or change the rule \
             (Harbor: the project's Policy > Tag Immutability)"
        ));
    }
    if lower.contains("will exceed the configured upper limit") || lower.contains("quota exceeded")
    {
        return Some(format!(
            "the quota of the project `{project}` is used up: remove what is not needed (Harbor: \
             Policy > Tag Retention, then garbage collection), or have the quota raised"
        ));
    }
    if lower.contains("project") && lower.contains("not found") {
        return Some(format!(
            "there is no project `{project}`, and a push makes none: create it at \
             https://{host}/harbor/projects, or have an administrator run `curl -u USER \
             -H 'Content-Type: application/json' -d '{{\"project_name\": \"{project}\"}}' \
             https://{host}/api/v2.0/projects`"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;

    fn spec(credential: Option<&str>, username: &str) -> PushSpec {
        PushSpec {
            stage: "publish".to_owned(),
            attempt: 1,
            image: "sha256:0".to_owned(),
            tags: Vec::new(),
            credential: credential.map(str::to_owned),
            registry: Registry {
                host: "h:5000".to_owned(),
                username: username.to_owned(),
                password: "s3cret".to_owned(),
                ca_file: None,
            },
            scan: None,
        }
    }

    fn judged(spec: &PushSpec, said: &str) -> String {
        match of_push(spec, "h:5000/team/app:1", "team/app", said, Some(500)) {
            Failure::Final(BackendError::User { code, message }) => {
                format!("{} {message}", code.unwrap_or_default())
            }
            Failure::Final(error) => format!("infra {error}"),
            Failure::Passing(message) | Failure::Later(message, _) => format!("again {message}"),
        }
    }

    #[test]
    fn a_refusal_names_registry_reference_answer_and_credential_but_not_the_password() {
        assert_eq!(
            judged(&spec(Some("harbor"), "robot$team+ci"), "unauthorized: no"),
            "E090 h:5000 refuses h:5000/team/app:1 (credential `harbor`, user `robot$team+ci`): unauthorized: no"
        );
        assert!(judged(&spec(None, "ada"), "denied").contains("(user `ada` of Docker's config"));
        assert!(judged(&spec(None, ""), "denied").contains("(no credential): denied"));
    }

    #[test]
    fn what_a_project_lacks_or_forbids_is_told_with_the_way_out() {
        let spec = spec(Some("harbor"), "ci");
        for (said, way_out) in [
            (
                "unknown: Failed to process request due to 'app:1' configured as immutable.",
                "a rule of the project `team` keeps it as it is",
            ),
            (
                "denied: adding 20.3 MiB of storage resource, which when updated to current usage \
                 of 9.0 GiB will exceed the configured upper limit of 9.0 GiB.",
                "the quota of the project `team` is used up",
            ),
            (
                "unauthorized: project team not found: project team not found",
                "create it at https://h:5000/harbor/projects",
            ),
        ] {
            let judged = judged(&spec, said);
            assert!(judged.starts_with("E090 h:5000 refuses h:5000/team/app:1"), "{judged}");
            assert!(judged.contains(said) && judged.contains(way_out), "{judged}");
        }
    }

    #[test]
    fn faults_of_a_registry_are_nobodys_refusal() {
        let spec = spec(Some("harbor"), "ci");
        assert!(judged(&spec, "received unexpected HTTP status: 503 x").starts_with("again "));
        assert!(judged(&spec, "toomanyrequests: slow down").starts_with("again "));
        assert!(judged(&spec, "x509: unknown authority").starts_with("infra registry: "));
    }
}
