//! A mail that only needs to be delivered; the payload of the outbox.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Address;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub to: Vec<Address>,
    /// One line.
    pub subject: String,
    pub text: String,
    pub html: String,
    /// With its brackets; the same however often it is sent.
    pub message_id: String,
    /// The id that all mails of the same pipeline and branch refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<String>,
    /// Equal for equal messages.
    pub dedupe_key: String,
    /// When what it tells of happened.
    pub at: DateTime<Utc>,
}
