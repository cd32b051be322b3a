//! How an attempt ended, in the words of reliability: whose fault it was.

use event::{Outputs, Reused, StageResult};
use pipeline::{AllowFailure, Origin, Unresolved};

use crate::backend::{BackendError, Exit};
use crate::exhausted;
use crate::signal::exit_text;

/// How an attempt ended; becomes its `attempt.finished`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) result: StageResult,
    pub(crate) exit: Option<i64>,
    pub(crate) code: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) outputs: Outputs,
    /// It did not run: this pass stands for it.
    pub(crate) reused: Option<Reused>,
}

/// Why an attempt was ended from outside, if it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The deadline passed; the text is what E093 says.
    Deadline(String),
    Cancelled,
}

impl Verdict {
    fn new(result: StageResult, code: Option<&str>, reason: Option<String>) -> Self {
        let code = code.map(str::to_owned);
        Self { result, exit: None, code, reason, outputs: Outputs::new(), reused: None }
    }

    pub(crate) fn passed(outputs: Outputs) -> Self {
        Self { outputs, ..Self::new(StageResult::Passed, None, None) }
    }

    /// A former pass stands for it, since `what` is the same.
    pub(crate) fn unchanged(what: &str, reused: Reused, outputs: Outputs) -> Self {
        let reason = Some(format!("{what} are those of run {}", reused.run.short()));
        let unchanged = Self::new(StageResult::Unchanged, None, reason);
        Self { outputs, reused: Some(reused), ..unchanged }
    }

    /// The user's: what they wrote cannot be done.
    pub(crate) fn failed(code: Option<&str>, reason: impl Into<String>) -> Self {
        Self::new(StageResult::Failed, code, Some(reason.into()))
    }

    /// A value of the stage that could not be found.
    pub(crate) fn unresolved(unresolved: &Unresolved) -> Self {
        let Origin { file, line, column, .. } = &unresolved.origin;
        let reason = format!("{} ({file}:{line}:{column})", unresolved.message);
        Self::failed(Some(unresolved.code.name()), reason)
    }

    /// Docker's, a registry's, the network's, the disk's or ours.
    pub(crate) fn infrastructure(reason: impl Into<String>) -> Self {
        Self::new(StageResult::InfraError, Some("E099"), Some(reason.into()))
    }

    pub(crate) fn cut(cut: Cut) -> Self {
        match cut {
            Cut::Deadline(reason) => Self::new(StageResult::TimedOut, Some("E093"), Some(reason)),
            Cut::Cancelled => Self::new(StageResult::Cancelled, None, None),
        }
    }

    pub(crate) fn of_error(error: &BackendError) -> Self {
        match error {
            BackendError::User { code, message } => Self::failed(*code, message),
            BackendError::Infrastructure { part, message } => {
                Self::infrastructure(format!("{part}: {message}"))
            }
            BackendError::Cancelled => Self::cut(Cut::Cancelled),
        }
    }
}

/// Whether `allow-failure` names this end: then it is a `warning`. A fault of the
/// infrastructure is never allowed, and an exit that we brought about is no exit of
/// the command.
pub(crate) fn is_allowed(
    allowed: Option<&AllowFailure>,
    result: StageResult,
    exit: Option<i64>,
) -> bool {
    match allowed {
        None => false,
        Some(AllowFailure::Any) => matches!(
            result,
            StageResult::Failed | StageResult::TimedOut | StageResult::ResourceLimit
        ),
        Some(AllowFailure::ExitCodes(codes)) => {
            matches!(result, StageResult::Failed | StageResult::ResourceLimit)
                && exit.is_some_and(|exit| codes.iter().any(|code| i64::from(*code) == exit))
        }
    }
}

/// Judges an attempt after it has stopped. `cut` is set when it was us who ended it.
/// `hint` is what its output may say about a plain failure.
pub(crate) fn judge(
    exit: &Exit,
    cut: Option<Cut>,
    hint: Option<&str>,
    image: &str,
    commands: &[String],
) -> Verdict {
    let verdict = if let Some(cut) = cut {
        Verdict::cut(cut)
    } else if let Some(lost) = &exit.lost {
        Verdict::infrastructure(lost)
    } else if let Some(reason) = exhausted::of_failure(exit) {
        Verdict::new(StageResult::ResourceLimit, Some("E092"), Some(reason))
    } else {
        match exit.code {
            0 => Verdict::passed(Outputs::new()),
            125 if exit.refused.is_some() => {
                Verdict::infrastructure(exit.refused.as_deref().unwrap_or_default())
            }
            code @ (126 | 127) if exit.refused.is_some() => {
                let why = exit.refused.as_deref().unwrap_or_default();
                Verdict::failed(Some("E091"), not_begun(code, why, image))
            }
            code @ (126 | 127) => Verdict::failed(Some("E091"), not_run(code, image, commands)),
            code => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                Verdict::failed(None, format!("{}{hint}", exit_text(code)))
            }
        }
    };
    Verdict { exit: exit.lost.is_none().then_some(exit.code), ..verdict }
}

/// No command was reached; `why` may speak of the image already.
fn not_begun(code: i64, why: &str, image: &str) -> String {
    let (why, image) = match why.strip_suffix(" in the image") {
        Some(_) => (why, format!(" `{image}`")),
        None => (why, format!(" in image `{image}`")),
    };
    format!("exit {code}: {why}{image}")
}

fn not_run(code: i64, image: &str, commands: &[String]) -> String {
    let what = if code == 127 { "not found" } else { "not executable" };
    match commands {
        [command] if !command.contains('\n') => {
            format!("exit {code}: a command of `{command}` is {what} in image `{image}`")
        }
        _ => format!("exit {code}: the last command is {what} in image `{image}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(exit: &Exit, cut: Option<Cut>) -> (StageResult, Option<&'static str>, String) {
        let verdict = judge(exit, cut, None, "busybox:1", &["mkae test".to_owned()]);
        let code = verdict.code.as_deref().map(|code| match code {
            "E091" => "E091",
            "E092" => "E092",
            "E093" => "E093",
            "E099" => "E099",
            other => panic!("unexpected code {other}"),
        });
        (verdict.result, code, verdict.reason.unwrap_or_default())
    }

    fn exit(code: i64) -> Exit {
        Exit { code, ..Exit::default() }
    }

    #[test]
    fn exit_0_passes_and_any_other_exit_is_the_commands_fault() {
        assert_eq!(judged(&exit(0), None), (StageResult::Passed, None, String::new()));
        assert_eq!(judged(&exit(2), None), (StageResult::Failed, None, "exit 2".to_owned()));
    }

    #[test]
    fn a_command_that_is_not_there_is_named_with_its_image() {
        let (result, code, reason) = judged(&exit(127), None);
        assert_eq!((result, code), (StageResult::Failed, Some("E091")));
        assert_eq!(reason, "exit 127: a command of `mkae test` is not found in image `busybox:1`");
    }

    #[test]
    fn what_kept_the_commands_from_beginning_is_no_command() {
        let refused =
            |code, why: &str| judged(&Exit { refused: Some(why.to_owned()), ..exit(code) }, None);
        let (result, code, reason) = refused(126, "user `x` is not in the image");
        assert_eq!((result, code), (StageResult::Failed, Some("E091")));
        assert_eq!(reason, "exit 126: user `x` is not in the image `busybox:1`");
        let (_, _, reason) = refused(126, "the working directory `/x` does not exist");
        assert_eq!(
            reason,
            "exit 126: the working directory `/x` does not exist in image `busybox:1`"
        );
        let (result, code, _) = refused(125, "the records of the stage cannot be kept: full");
        assert_eq!((result, code), (StageResult::InfraError, Some("E099")));
        // It was said, and yet a command ran.
        assert_eq!(refused(3, "some of the output was not kept").0, StageResult::Failed);
    }

    #[test]
    fn the_oom_flag_is_a_resource_limit_unless_the_command_passed() {
        let oom = |code| Exit { code, oom_killed: true, ..Exit::default() };
        assert_eq!(judged(&oom(137), None).0, StageResult::ResourceLimit);
        assert_eq!(judged(&oom(1), None).1, Some("E092"));
        assert_eq!(judged(&oom(0), None).0, StageResult::Passed);
    }

    #[test]
    fn exit_137_is_ours_only_if_we_sent_the_signal() {
        let deadline = || Some(Cut::Deadline("timed out after 1s".to_owned()));
        assert_eq!(judged(&exit(137), None).0, StageResult::Failed);
        assert_eq!(judged(&exit(137), deadline()).0, StageResult::TimedOut);
        assert_eq!(judged(&exit(137), Some(Cut::Cancelled)).0, StageResult::Cancelled);
        let lost =
            Exit { code: 137, lost: Some("the engine restarted".to_owned()), ..Exit::default() };
        let (result, code, reason) = judged(&lost, None);
        assert_eq!((result, code), (StageResult::InfraError, Some("E099")));
        assert_eq!(reason, "the engine restarted");
        assert_eq!(
            judge(&lost, None, None, "", &[]).exit,
            None,
            "a lost exit code is not shown as one"
        );
    }

    #[test]
    fn a_stage_that_ends_well_after_its_deadline_is_timed_out() {
        let cut = Some(Cut::Deadline("timed out after 1s".to_owned()));
        assert_eq!(judged(&exit(0), cut).0, StageResult::TimedOut);
    }

    #[test]
    fn an_error_of_the_backend_says_whose_fault_it_was() {
        let user = BackendError::User { code: Some("E090"), message: "no such image".to_owned() };
        assert_eq!(Verdict::of_error(&user), Verdict::failed(Some("E090"), "no such image"));
        let infrastructure =
            BackendError::Infrastructure { part: "registry", message: "503".to_owned() };
        let verdict = Verdict::of_error(&infrastructure);
        assert_eq!(verdict.result, StageResult::InfraError);
        assert_eq!(verdict.reason.as_deref(), Some("registry: 503"));
    }
}
