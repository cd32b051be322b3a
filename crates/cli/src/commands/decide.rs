//! `shipline decide`: what becomes of a deployment that is held, said from anywhere.

use event::Decision;
use serde_json::Value;

use super::trigger::word;
use crate::arguments::DecideArguments;
use crate::environments::Environments;
use crate::error::CommandError;
use crate::text;

pub(super) async fn decide(arguments: &DecideArguments) -> Result<u8, CommandError> {
    let environment = &arguments.environment;
    let environments = Environments::open(&arguments.place).await?;
    let Some(held) = environments.held(environment).await? else {
        return Err(CommandError::usage(format_args!(
            "no deployment to `{environment}` waits for a decision"
        ))
        .hint(format_args!("`shipline history {environment}` says what became of them")));
    };
    let decision = arguments.decision.into();
    let (id, reason) = (word(&held, "deployment"), arguments.reason.as_deref());
    let decided = environments.decide(&id, decision, reason).await?;
    super::show(arguments.format, &decided, |decided| said(decided, decision))?;
    Ok(0)
}

fn said(deployment: &Value, decision: Decision) -> String {
    let id = word(deployment, "short");
    let what = match decision {
        Decision::Continue => "goes on",
        Decision::Rollback => "goes back",
    };
    let Some(state) = deployment["state"].as_str() else {
        return format!(
            "deployment {id} {what}; `shipline status --deployment {id} --wait` says how it ends\n"
        );
    };
    let because =
        deployment["outcome"].as_str().map(|outcome| format!(": {}", text::plain(outcome)));
    format!("deployment {id} ended {state}{}\n", because.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_what_is_to_come_or_what_has_come_already() {
        let on = json!({ "short": "3f9a0c1d", "state": null });
        assert_eq!(
            said(&on, Decision::Continue),
            "deployment 3f9a0c1d goes on; `shipline status --deployment 3f9a0c1d --wait` says how it ends\n"
        );
        let over = json!({ "short": "3f9a0c1d", "state": "rolled-back", "outcome": "it is bad" });
        assert_eq!(
            said(&over, Decision::Rollback),
            "deployment 3f9a0c1d ended rolled-back: it is bad\n"
        );
    }
}
