//! `notify`: who hears of a run.

use super::Lowering;
use crate::MailEvent;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::Mail;
use crate::scalar::Recipient;
use crate::yaml::{Node, Value};

impl Lowering<'_> {
    pub(super) fn notify(&mut self, node: &Node) -> Vec<Mail> {
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
        mails
    }

    fn mail(&mut self, node: &Node) -> Option<Mail> {
        let map = self.fields(node, &keys::MAIL, "`notify.mail`")?;
        let Some(to) = map.get("to") else {
            let error = self.error_at(Code::E014, "`notify.mail` has no `to`", node);
            self.report(error.label("for example `to: [committer, team@corp.example]`"));
            return None;
        };
        let to = self.list::<Recipient>("to", to, Site::Pipeline, true);
        let on = map.get("on").map_or_else(
            || vec![MailEvent::Broken, MailEvent::Fixed],
            |node| {
                let events =
                    self.list::<MailEvent>("on", node, Site::Never("notify.mail.on"), true);
                events.iter().filter_map(|event| event.known().copied()).collect()
            },
        );
        Some(Mail { to, on })
    }
}
