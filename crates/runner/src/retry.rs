//! Whether an attempt is repeated, and when.

use chrono::TimeDelta;
use event::StageResult;
use pipeline::{PlannedStage, RetryOn, Work};

/// The longest pause between two attempts.
const LONGEST: TimeDelta = TimeDelta::minutes(1);

/// How long to wait after the `attempt`th attempt before the next; `None` is the last.
///
/// A deployment is never repeated: what it changed is changed, and how to go on is
/// for its own engine to say. Nor is an approval, which somebody gave or did not.
pub(crate) fn backoff(
    stage: &PlannedStage,
    attempt: u32,
    result: StageResult,
    exit: Option<i64>,
) -> Option<TimeDelta> {
    if matches!(stage.work, Work::Deploy(_) | Work::Approve(_)) || attempt > stage.retry.max {
        return None;
    }
    let repeats = stage.retry.on.iter().any(|on| match on {
        RetryOn::Infrastructure => result == StageResult::InfraError,
        RetryOn::Timeout => result == StageResult::TimedOut,
        RetryOn::ResourceLimit => result == StageResult::ResourceLimit,
        // An exit that we brought about is none of the command.
        RetryOn::Exit(codes) => {
            result == StageResult::Failed
                && exit.is_some_and(|exit| codes.iter().any(|code| i64::from(*code) == exit))
        }
    });
    let doubled = 1 << attempt.saturating_sub(1).min(16);
    let backoff = TimeDelta::from_std(stage.retry.backoff.std()).unwrap_or(LONGEST);
    repeats.then(|| backoff.checked_mul(doubled).unwrap_or(LONGEST).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use pipeline::Retry;
    use serde_json::json;

    use super::*;
    use crate::testing::stage_of;

    fn stages() -> [PlannedStage; 4] {
        let push = json!({"action": "push", "image": {"reference": "a:1"}, "registry": "harbor",
            "tags": ["a:1"]});
        [
            stage_of("run", &[], json!({"action": "run", "image": "busybox:1", "run": ["true"]})),
            stage_of(
                "build",
                &[],
                json!({"action": "build", "context": ".", "file": "Dockerfile"}),
            ),
            stage_of("push", &[], push),
            PlannedStage::new("deploy", Work::Deploy(Box::default())),
        ]
    }

    /// Every way an attempt ends that is no pass.
    const ENDS: [(&str, StageResult, Option<i64>); 6] = [
        ("exit 75", StageResult::Failed, Some(75)),
        ("exit 1", StageResult::Failed, Some(1)),
        ("timed out", StageResult::TimedOut, Some(137)),
        ("out of memory", StageResult::ResourceLimit, Some(137)),
        ("infrastructure", StageResult::InfraError, None),
        ("cancelled", StageResult::Cancelled, Some(143)),
    ];

    /// The table of what is repeated: for each action, the ends that are.
    fn repeated(retry: &Retry) -> Vec<String> {
        let line = |mut stage: PlannedStage| {
            stage.retry = retry.clone();
            let again = ENDS.iter().filter(|(_, result, exit)| {
                let first = backoff(&stage, 1, *result, *exit).is_some();
                assert!(backoff(&stage, 1 + retry.max, *result, *exit).is_none(), "no end");
                first
            });
            let ends: Vec<&str> = again.map(|(end, ..)| *end).collect();
            format!("{}: {}", stage.name, ends.join(", "))
        };
        stages().map(line).to_vec()
    }

    #[test]
    fn what_nobody_says_is_infrastructure_once_and_never_a_deployment() {
        assert_eq!(
            repeated(&Retry::builtin()),
            ["run: infrastructure", "build: infrastructure", "push: infrastructure", "deploy: "]
        );
    }

    #[test]
    fn of_everything_that_can_be_named_only_that_is_repeated() {
        let all = vec![
            RetryOn::Infrastructure,
            RetryOn::Timeout,
            RetryOn::ResourceLimit,
            RetryOn::Exit(vec![75]),
        ];
        let retry = Retry { max: 2, on: all, ..Retry::builtin() };
        let ends = "exit 75, timed out, out of memory, infrastructure";
        assert_eq!(
            repeated(&retry),
            [
                format!("run: {ends}"),
                format!("build: {ends}"),
                format!("push: {ends}"),
                "deploy: ".to_owned()
            ]
        );
        for (on, end) in [
            (RetryOn::Infrastructure, "infrastructure"),
            (RetryOn::Timeout, "timed out"),
            (RetryOn::ResourceLimit, "out of memory"),
            (RetryOn::Exit(vec![2, 75]), "exit 75"),
        ] {
            let retry = Retry { on: vec![on], ..Retry::builtin() };
            assert_eq!(repeated(&retry)[0], format!("run: {end}"));
        }
        let never = Retry { max: 0, ..Retry::builtin() };
        assert_eq!(repeated(&never), ["run: ", "build: ", "push: ", "deploy: "]);
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let mut stage = stages()[0].clone();
        stage.retry.max = 40;
        let pauses: Vec<i64> = [1, 2, 3, 4, 5, 40]
            .into_iter()
            .filter_map(|attempt| backoff(&stage, attempt, StageResult::InfraError, None))
            .map(|pause| pause.num_seconds())
            .collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    }
}
