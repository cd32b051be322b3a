//! Who hears of it, in which words.
//!
//! [`messages`] is pure: state, event and context in, mails out, each complete
//! with its ids; they are what the outbox keeps. [`Mailer`] delivers one, and
//! [`backoff`] says when to try again. Log lines that come in are masked
//! already; nothing here sees a secret.

mod address;
mod backoff;
mod context;
mod fact;
mod message;
mod notice;
mod rule;
mod smtp;
mod template;
mod text;
mod view;
mod watch;

#[cfg(test)]
mod samples;

pub use address::{Address, AddressError};
pub use backoff::backoff;
pub use context::{Commit, Deployment, MailContext, Unit};
pub use fact::Fact;
pub use message::Message;
pub use notice::{Notice, NoticeContext, notice};
pub use rule::{messages, notes};
pub use smtp::{Delivered, Mailer, MailerError, Refused, SendError, SmtpConfig};
pub use watch::{WatchContext, watch_messages};
