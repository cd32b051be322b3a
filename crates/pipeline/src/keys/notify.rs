//! Keys of `notify`.

use super::form::{Form, VARIABLE};
use super::{Keys, key};
use crate::MailEvent;
use crate::expression::Site;
use crate::scalar::Scalar;

const EVENTS: Form = Form::OneOrMany(&Form::Words(<MailEvent as Scalar>::WORDS));
const ONE_CHANNEL: Form = Form::OneOrMany(&Form::Map(&CHANNEL));
const ON: &str = "What is told: `failed`, `broken` (failed, and the branch's previous run passed), `fixed` (the other way round), `always`, `deployed`, `rolled-back`, `approval` (somebody must approve), `unhealthy` (of what was deployed something is dead or not well, and when it is well again), `drift` (what runs is no longer what was deployed, and when it is again)";

pub(crate) static NOTIFY: Keys = Keys {
    name: "notify",
    about: "channels, and what each of them is told",
    all: &[
        key("dingtalk", ONE_CHANNEL, "A DingTalk robot").examples(&["{ url: TEAM_DINGTALK }"]),
        key("feishu", ONE_CHANNEL, "A Feishu robot").examples(&["{ url: TEAM_FEISHU }"]),
        key("mail", Form::OneOrMany(&Form::Map(&MAIL)), "Mail").examples(&["{ to: [committer] }"]),
        key("slack", ONE_CHANNEL, "A Slack webhook").examples(&["{ url: TEAM_SLACK }"]),
        key("webhook", ONE_CHANNEL, "JSON to any address").examples(&["{ url: TEAM_WEBHOOK }"]),
        key("wecom", ONE_CHANNEL, "A WeCom robot").examples(&["{ url: TEAM_WECOM }"]),
    ],
    others: None,
};

pub(crate) static CHANNEL: Keys = Keys {
    name: "notify.CHANNEL",
    about: "a channel that is not mail",
    all: &[
        key("on", EVENTS, ON).default("[broken, fixed]").examples(&["[failed, fixed]"]),
        key("url", Form::Like(&VARIABLE), "The name of the secret that holds the address")
            .required()
            .codes(&["E050", "W051"])
            .examples(&["SLACK_URL"]),
    ],
    others: None,
};

pub(crate) static MAIL: Keys = Keys {
    name: "notify.mail",
    about: "mail",
    all: &[
        key("on", EVENTS, ON).default("[broken, fixed]").examples(&["[failed, fixed]"]),
        key(
            "to",
            Form::OneOrMany(&Form::Text),
            "Addresses, or `committer`: who pushed, as the forge knows them",
        )
        .required()
        .codes(&["E015"])
        .at(Site::Pipeline)
        .examples(&["[committer, team@corp.example]"]),
    ],
    others: None,
};
