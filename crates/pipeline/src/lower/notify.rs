//! `notify`: who hears of a run.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::name;
use crate::plan::{Channel, MailEvent, MailRule, Notice};
use crate::scalar::Recipient;
use crate::yaml::{Map, Node, Value};

/// Channels that are an address in a secret.
const CHANNELS: [(&str, Channel); 5] = [
    ("webhook", Channel::Webhook),
    ("dingtalk", Channel::Dingtalk),
    ("wecom", Channel::Wecom),
    ("feishu", Channel::Feishu),
    ("slack", Channel::Slack),
];

impl Lowering<'_> {
    /// Mails, and messages to other channels: one map, or a list of them.
    pub(crate) fn notify(&mut self, node: &Node) -> (Vec<MailRule>, Vec<Notice>) {
        let mut mails = Vec::new();
        let mut notices = Vec::new();
        for map in node.one_or_many() {
            let Some(map) = self.fields(map, &keys::NOTIFY, "`notify`") else { continue };
            if let Some(mail) = map.get("mail") {
                mails.extend(mail.one_or_many().iter().filter_map(|rule| self.mail(rule)));
            }
            for (key, channel) in CHANNELS {
                let Some(node) = map.get(key) else { continue };
                let notices_of = node.one_or_many();
                notices
                    .extend(notices_of.iter().filter_map(|node| self.notice(key, channel, node)));
            }
        }
        (mails, notices)
    }

    fn mail(&mut self, node: &Node) -> Option<MailRule> {
        const EXAMPLE: &str = "for example `to: [committer, team@corp.example]`";
        let map = self
            .settings(node, &keys::MAIL, "`notify.mail`", |to| format!("mail: {{ to: {to} }}"))?;
        let Some(to) = map.get("to") else {
            let error = self.error_at(Code::E014, "`notify.mail` has no `to`", node);
            self.report(error.label(EXAMPLE));
            return None;
        };
        self.nobody("to", to, EXAMPLE);
        let to: Vec<Recipient> = self.list("notify.mail.to", to, Site::Pipeline, true);
        let on = self.events("notify.mail.on", map);
        Some(MailRule { to: to.into_iter().map(|to| to.0).collect(), on })
    }

    fn notice(&mut self, key: &str, channel: Channel, node: &Node) -> Option<Notice> {
        let what = format!("`notify.{key}`");
        if let Value::Text(text) = &node.value {
            let message = format!("{what} takes a map, not text");
            let error = self.error_at(Code::E012, message, node);
            self.report(match name::is_variable(text) {
                true => error.label(format!("write `{{ url: {text} }}`")),
                false => secret_only(error, key),
            });
            return None;
        }
        let map = self.fields(node, &keys::CHANNEL, &what)?;
        let on = self.events(&format!("notify.{key}.on"), map);
        let Some(url) = map.get("url") else {
            let error = self.error_at(Code::E014, format!("{what} has no `url`"), node);
            self.report(error.label("the name of a secret that holds the address"));
            return None;
        };
        Some(Notice { channel, url: self.secret_name(key, url)?, on })
    }

    /// The address of a channel lets whoever has it write there, so it is a secret,
    /// and never told.
    fn secret_name(&mut self, channel: &str, node: &Node) -> Option<String> {
        if let Value::Text(text) = &node.value
            && !name::is_variable(text)
        {
            let message = format!("`url` of `notify.{channel}` is not the name of a secret");
            let error = self.error_at(Code::E015, message, node);
            self.report(secret_only(error, channel));
            return None;
        }
        let path = format!("notify.{channel}.url");
        let name: String = self.value(&path, node, Site::Never("url"));
        (!name.is_empty()).then_some(name)
    }

    fn events(&mut self, path: &str, map: &Map) -> Vec<MailEvent> {
        let Some(node) = map.get("on") else { return vec![MailEvent::Broken, MailEvent::Fixed] };
        self.nobody("on", node, "for example `[broken, fixed]`, which is what holds without `on`");
        self.list(path, node, Site::Never("on"), true)
    }

    fn nobody(&mut self, key: &str, node: &Node, example: &str) {
        if matches!(node.as_list(), Some([])) {
            let message = format!("`{key}` is an empty list, so nobody would hear of anything");
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label(example));
        }
    }
}

/// The excerpt would show what must stay secret.
fn secret_only(
    error: crate::diagnostic::Diagnostic,
    channel: &str,
) -> crate::diagnostic::Diagnostic {
    error.without_excerpt().help(format!(
        "put the address into a secret and write its name: {channel}: {{ url: TEAM_CHANNEL }}"
    ))
}
