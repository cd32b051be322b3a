//! Mails about what somebody did in haste or over another's head, to all who hear of an
//! environment at all: a pure function.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use event::DeploymentId;
use pipeline::MailRule;
use serde::Serialize;

use crate::rule::{audiences, thread_of};
use crate::template::render;
use crate::{Address, Message, text};

/// Where it happened, and who is meant.
#[derive(Clone, Debug)]
pub struct NoticeContext {
    pub project: String,
    pub environment: String,
    /// The store's id; mails' ids end with it.
    pub instance: String,
    /// Of the pipeline that was deployed last: whoever any of them names is told.
    pub rules: Vec<MailRule>,
    pub at: DateTime<Utc>,
}

/// What was done.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A rollback that skipped drain and checks.
    Emergency { deployment: DeploymentId, by: String, version: String, reason: String },
    /// A lock that another had made is gone.
    Opened { by: String, owner: String, reason: String, until: DateTime<Utc> },
}

/// Returns the mail that tells of it; `None` where nobody's address is known.
pub fn notice(notice: &Notice, context: &NoticeContext) -> Option<Message> {
    let NoticeContext { project, environment, instance, rules, at } = context;
    let everybody = audiences(rules, |_| true, None).into_iter().flatten();
    // A lock may be of somebody whose name is an address.
    let owner = match notice {
        Notice::Emergency { .. } => None,
        Notice::Opened { owner, .. } => owner.parse::<Address>().ok(),
    };
    let to: BTreeSet<Address> = everybody.chain(owner).collect();
    if to.is_empty() {
        return None;
    }
    let moment = |at: &DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    let (id, word, by, facts, meaning) = match notice {
        Notice::Emergency { deployment, by, version, reason } => (
            deployment.to_string(),
            "emergency rollback",
            by,
            vec![Fact::new("to", version), Fact::new("because", reason)],
            "All units went back at once, without drain and without checks. Look at it when the \
             fire is out.",
        ),
        Notice::Opened { by, owner, reason, until } => (
            format!("{project}.{environment}.{}", at.timestamp_micros()),
            "lock opened",
            by,
            vec![
                Fact::new("lock of", owner),
                Fact::new("because", reason),
                Fact::new("until", &moment(until)),
            ],
            "Whatever was to be kept from changing may change now.",
        ),
    };
    let view = View {
        project: text::name(project),
        environment: text::name(environment),
        word,
        by: text::name(by),
        at: moment(at),
        facts,
        meaning,
    };
    let rendered = render("notice", &view);
    let message_id = format!("<{id}.notice@{instance}>");
    Some(Message {
        to: to.into_iter().collect(),
        subject: rendered.subject,
        text: rendered.text,
        html: rendered.html,
        dedupe_key: message_id.clone(),
        message_id,
        references: Some(thread_of(&["watch", project, environment], instance)),
        at: *at,
    })
}

#[derive(Serialize)]
struct View {
    project: String,
    environment: String,
    word: &'static str,
    by: String,
    at: String,
    facts: Vec<Fact>,
    meaning: &'static str,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
    row: String,
}

impl Fact {
    fn new(name: &'static str, value: &str) -> Self {
        let value = text::sentence(value);
        let row = format!("{name:<11}  {value}");
        Self { name, value, row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = "019ca8f0-1234-7000-8000-0123456789ab";

    fn context(rules: serde_json::Value) -> NoticeContext {
        NoticeContext {
            project: "shop".to_owned(),
            environment: "prod".to_owned(),
            instance: "beef".to_owned(),
            rules: serde_json::from_value(rules).expect("rules"),
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn emergency() -> Notice {
        Notice::Emergency {
            deployment: DEPLOYMENT.parse().expect("an id"),
            by: "ann".to_owned(),
            version: "main-01234567".to_owned(),
            reason: "orders are\nlost".to_owned(),
        }
    }

    fn opened(owner: &str) -> Notice {
        Notice::Opened {
            by: "ann".to_owned(),
            owner: owner.to_owned(),
            reason: "QA has <it>".to_owned(),
            until: DateTime::UNIX_EPOCH,
        }
    }

    fn to(message: &Message) -> Vec<&str> {
        message.to.iter().map(Address::as_str).collect()
    }

    #[test]
    fn whoever_hears_of_the_environment_at_all_hears_of_it_once() {
        let context = context(serde_json::json!([
            { "to": ["ops@corp.example", "committer"], "on": ["unhealthy"] },
            { "to": ["dev@corp.example", "ops@corp.example"], "on": ["failed"] },
        ]));
        let mail = notice(&emergency(), &context).expect("there are addresses");
        assert_eq!(to(&mail), ["dev@corp.example", "ops@corp.example"]);
        assert_eq!(mail.subject, "[shop] emergency rollback: prod, by ann");
        for part in ["to           main-01234567", "because      orders are lost", "1970-01-01"] {
            assert!(mail.text.contains(part), "{part} in {}", mail.text);
        }
        assert_eq!(mail.message_id, format!("<{DEPLOYMENT}.notice@beef>"));
        assert_eq!(notice(&emergency(), &context).expect("again").dedupe_key, mail.dedupe_key);
    }

    #[test]
    fn the_owner_of_a_lock_is_told_where_the_name_is_an_address() {
        let none = context(serde_json::json!([]));
        assert_eq!(notice(&opened("bob"), &none), None);
        let mail = notice(&opened("bob@corp.example"), &none).expect("an address");
        assert_eq!(to(&mail), ["bob@corp.example"]);
        assert_eq!(mail.subject, "[shop] lock opened: prod, by ann");
        assert!(mail.text.contains("because      QA has <it>"), "{}", mail.text);
        assert!(mail.html.contains("QA has &lt;it&gt;"), "{}", mail.html);
    }
}
