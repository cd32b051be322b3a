//! What became of a deployment: one sentence, and the exit code of it.

use serde_json::Value;

use crate::terminal::{End, visible};
use crate::text;

/// The exit code of a deployment that has ended.
pub(super) fn exit_code(deployment: &Value) -> u8 {
    let kind = deployment["kind"].as_str().unwrap_or_default();
    match deployment["state"].as_str().unwrap_or_default() {
        "succeeded" => 0,
        // Nothing was switched, and nobody's release is to blame.
        "failed" if deployment["infrastructure"] == true => 3,
        // The lock was not to be had; or, with the lock, another one had come first.
        "refused" if deployment["held_lock"] == false => 3,
        "refused" => 2,
        // A rollback is never rolled back.
        "rolled-back" if kind == "rollback" => 5,
        "rolled-back" => 4,
        "stuck" => 5,
        _ => 1,
    }
}

/// Says how a deployment ended, and what runs now.
pub(super) fn sentence(deployment: &Value, status: &Value, end: Option<&End>) -> String {
    let environment = deployment["environment"].as_str().unwrap_or_default();
    let took = end.map(|end| text::duration(end.duration_ms));
    let after = took.as_ref().map(|took| format!(" after {took}")).unwrap_or_default();
    let reason = visible(deployment["outcome"].as_str().unwrap_or("no reason given"));
    let runs = running(environment, status);
    let kind = deployment["kind"].as_str().unwrap_or("deploy");
    let text = match deployment["state"].as_str().unwrap_or("unknown") {
        "succeeded" => {
            let took = took.map(|took| format!("; {took}")).unwrap_or_default();
            format!("{}{runs}{took}", part(deployment))
        }
        "rolled-back" => format!("{kind} failed: {reason}\nrolled back: {runs}{after}"),
        "failed" => format!("{kind} failed{after}: {reason}\n{runs}"),
        "cancelled" => format!("{kind} cancelled{after}: {reason}\n{runs}"),
        "refused" => format!("{kind} refused: {reason}\n{runs}"),
        "stuck" => format!("{kind} is stuck{after}: {reason}\n{}{runs}", units(status)),
        state => format!("{kind} {state}{after}: {reason}\n{runs}"),
    };
    text + &harm(deployment) + "\n"
}

/// Whom it has hurt: when a failure was found, and how many requests were cut.
fn harm(deployment: &Value) -> String {
    let caught = match deployment["caught"].as_str() {
        Some("before-admit") => "; caught before admit",
        Some("after-admit") => "; caught after admit",
        _ => "",
    };
    let cut = deployment["cut"].as_u64().unwrap_or_default();
    // Nothing was drained where nothing was admitted; after that, 0 is news as well.
    if cut == 0 && caught != "; caught after admit" {
        return caught.to_owned();
    }
    let s = if cut == 1 { "" } else { "s" };
    format!("{caught}; {cut} request{s} cut")
}

/// Says of a change of some units what it was, since what the environment should run
/// is still as it was.
fn part(deployment: &Value) -> String {
    let Some(slots) = slots(deployment) else { return String::new() };
    let kind = deployment["kind"].as_str().unwrap_or("deploy");
    let to = match (kind, deployment["version"].as_str()) {
        ("deploy", Some(version)) => format!(", to {}", visible(version)),
        _ => String::new(),
    };
    format!("{kind} of {slots} only{to}; ")
}

/// `slot 1`, `slots 0, 2`; `None` where a change is about all units.
fn slots(deployment: &Value) -> Option<String> {
    let slots: Vec<String> =
        deployment["slots"].as_array()?.iter().map(ToString::to_string).collect();
    let s = if slots.len() == 1 { "" } else { "s" };
    (!slots.is_empty()).then(|| format!("slot{s} {}", slots.join(", ")))
}

/// What a change was, as lists show it: `deploy`, `restart of slot 1`.
pub(super) fn kind_of(deployment: &Value) -> String {
    let kind = deployment["kind"].as_str().unwrap_or("-");
    match (slots(deployment), deployment["emergency"] == true) {
        (Some(slots), _) => format!("{kind} of {slots}"),
        (None, true) => format!("{kind}, emergency"),
        (None, false) => kind.to_owned(),
    }
}

/// What serves now: `prod runs v1.1.0 on 3 of 3 units`.
fn running(environment: &str, status: &Value) -> String {
    if let Some(error) = status["error"].as_str() {
        return format!("nobody knows what {environment} runs: {}", visible(error));
    }
    if status["stopped"] == true {
        return format!("{environment} is stopped, until `shipline start {environment}`");
    }
    let Some(release) = status["release"].as_str() else {
        return format!("nothing runs in {environment}");
    };
    let version = status["version"].as_str().unwrap_or(release);
    let serves = |unit: &&Value| {
        unit["release"] == *release && unit["admitted"] == true && unit["state"] == "running"
    };
    let count = status["units"].as_array().into_iter().flatten().filter(serves).count();
    let wanted = status["wanted"].as_u64().unwrap_or_default();
    let s = if wanted == 1 { "" } else { "s" };
    format!("{environment} runs {} on {count} of {wanted} unit{s}", visible(version))
}

/// What is where, for people who must put it right.
fn units(status: &Value) -> String {
    let units = status["units"].as_array().into_iter().flatten();
    let line = |unit: &Value| {
        let word = |field: &str| unit[field].as_str().unwrap_or("-").to_owned();
        let traffic = if unit["admitted"] == true { "in traffic" } else { "out of traffic" };
        format!("  {} {}: {}, {traffic}\n", word("unit"), word("version"), word("state"))
    };
    units.map(line).collect()
}

#[cfg(test)]
mod tests {
    use event::DeploymentState;
    use serde_json::json;

    use super::*;

    fn code(kind: &str, state: &str, held_lock: bool) -> u8 {
        exit_code(&json!({ "kind": kind, "state": state, "held_lock": held_lock }))
    }

    #[test]
    fn only_what_was_observed_exits_with_0() {
        let states = ["succeeded", "failed", "cancelled", "refused", "rolled-back", "stuck", ""];
        let codes = |kind: &str| states.map(|state| code(kind, state, true));
        for kind in ["deploy", "restart", "scale", "stop", "start"] {
            assert_eq!(codes(kind), [0, 1, 1, 2, 4, 5, 1], "{kind}");
        }
        assert_eq!(codes("rollback"), [0, 1, 1, 2, 5, 5, 1]);
    }

    #[test]
    fn a_lock_that_was_not_to_be_had_is_the_environments_fault() {
        assert_eq!(code("deploy", "refused", false), 3);
    }

    #[test]
    fn a_target_that_is_away_is_the_environments_fault_too() {
        let mut deployment = json!({ "kind": "rollback", "state": "failed", "held_lock": true });
        assert_eq!(exit_code(&deployment), 1);
        deployment["infrastructure"] = true.into();
        assert_eq!(exit_code(&deployment), 3);
    }

    #[test]
    fn the_last_sentence_says_whom_a_failure_has_hurt() {
        let said = |caught: &str, cut: u32| harm(&json!({ "caught": caught, "cut": cut }));
        assert_eq!(said("before-admit", 0), "; caught before admit");
        assert_eq!(said("after-admit", 0), "; caught after admit; 0 requests cut");
        assert_eq!(said("after-admit", 1), "; caught after admit; 1 request cut");
        assert_eq!(harm(&json!({ "cut": 2 })), "; 2 requests cut");
        assert_eq!(harm(&json!({ "cut": 0 })), "");
        let mut rolled_back = deployment("rolled-back");
        rolled_back["caught"] = "after-admit".into();
        assert!(sentence(&rolled_back, &status(), None).ends_with(
            "rolled back: prod runs v1.1.0 on 2 of 2 units; caught after admit; 0 requests cut\n"
        ));
    }

    fn status() -> Value {
        let unit = |slot: u32, release: &str, admitted: bool| {
            json!({ "unit": format!("shop-prod-{slot}"), "slot": slot, "release": release,
                    "version": release, "admitted": admitted, "state": "running" })
        };
        json!({
            "release": "v1", "version": "v1.1.0", "wanted": 2,
            "units": [unit(0, "v1", true), unit(1, "v1", true), unit(1, "v2", false)],
        })
    }

    fn deployment(state: &str) -> Value {
        json!({ "kind": "deploy", "environment": "prod", "state": state, "outcome": "a unit is unhealthy" })
    }

    fn said(state: &str) -> String {
        let end = End { state: DeploymentState::Succeeded, reason: None, duration_ms: 3_100 };
        sentence(&deployment(state), &status(), Some(&end))
    }

    #[test]
    fn the_last_sentence_says_what_runs_now() {
        assert_eq!(said("succeeded"), "prod runs v1.1.0 on 2 of 2 units; 3.1s\n");
        assert_eq!(
            said("rolled-back"),
            "deploy failed: a unit is unhealthy\nrolled back: prod runs v1.1.0 on 2 of 2 units after 3.1s\n"
        );
        assert_eq!(
            said("failed"),
            "deploy failed after 3.1s: a unit is unhealthy\nprod runs v1.1.0 on 2 of 2 units\n"
        );
        let stuck = said("stuck");
        assert!(stuck.contains("shop-prod-1 v2: running, out of traffic\n"), "{stuck}");
    }

    #[test]
    fn a_change_of_some_units_says_which_and_what_still_runs() {
        let mut some = deployment("succeeded");
        some["version"] = "v2".into();
        some["slots"] = json!([1]);
        assert_eq!(
            sentence(&some, &status(), None),
            "deploy of slot 1 only, to v2; prod runs v1.1.0 on 2 of 2 units\n"
        );
        some["slots"] = json!([0, 2]);
        some["kind"] = "restart".into();
        assert_eq!(kind_of(&some), "restart of slots 0, 2");
        assert_eq!(
            kind_of(&json!({ "kind": "rollback", "emergency": true })),
            "rollback, emergency"
        );
        assert_eq!(kind_of(&deployment("failed")), "deploy");
    }

    #[test]
    fn what_is_stopped_or_unknown_is_not_said_to_run() {
        let stopped = json!({ "stopped": true, "release": "v1", "units": [] });
        assert_eq!(running("prod", &stopped), "prod is stopped, until `shipline start prod`");
        let away = json!({ "error": "the engine is away", "release": "v1", "units": [] });
        assert_eq!(running("prod", &away), "nobody knows what prod runs: the engine is away");
        assert_eq!(running("prod", &json!({ "release": null })), "nothing runs in prod");
    }
}
