//! `notify`: who hears of a run.

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{MailEvent, MailRule, Notice};
use crate::scalar::Recipient;
use crate::yaml::{Node, Value};

impl Lowering<'_> {
    /// Mails, and messages to other channels.
    pub(crate) fn notify(&mut self, node: &Node) -> (Vec<MailRule>, Vec<Notice>) {
        let channels = match &node.value {
            Value::List(channels) => channels.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut mails = Vec::new();
        for channel in channels {
            let Some(map) = self.fields(channel, &keys::NOTIFY, "`notify`") else { continue };
            let Some(mail) = map.get("mail") else { continue };
            let rules = match &mail.value {
                Value::List(rules) => rules.as_slice(),
                _ => std::slice::from_ref(mail),
            };
            mails.extend(rules.iter().filter_map(|rule| self.mail(rule)));
        }
        (mails, Vec::new())
    }

    fn mail(&mut self, node: &Node) -> Option<MailRule> {
        let map = self.fields(node, &keys::MAIL, "`notify.mail`")?;
        let Some(to) = map.get("to") else {
            let error = self.error_at(Code::E014, "`notify.mail` has no `to`", node);
            self.report(error.label("for example `to: [committer, team@corp.example]`"));
            return None;
        };
        let to: Vec<Recipient> = self.list("notify.mail.to", to, Site::Pipeline, true);
        let on = match map.get("on") {
            Some(node) => self.list("notify.mail.on", node, Site::Never("notify.mail.on"), true),
            None => vec![MailEvent::Broken, MailEvent::Fixed],
        };
        Some(MailRule { to: to.into_iter().map(|to| to.0).collect(), on })
    }
}
