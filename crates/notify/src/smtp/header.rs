//! Headers that lettre does not know, or would fold.

use lettre::message::header::{Header, HeaderName, HeaderValue};

use super::SendError;

/// Tells vacation notices to keep silent.
#[derive(Clone)]
pub(super) struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// An id in its brackets, which is never folded: mail programs compare it as it is.
#[derive(Clone)]
pub(super) struct MessageId(String);

impl MessageId {
    pub(super) fn new(header: &str, id: &str) -> Result<Self, SendError> {
        let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
        let valid = |id: &str| {
            id.len() <= 200
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte))
        };
        match inner.is_some_and(valid) {
            true => Ok(Self(id.to_owned())),
            false => Err(SendError::Permanent(format!("`{}` is no {header}", id.escape_debug()))),
        }
    }

    pub(super) fn value(&self, name: &'static str) -> HeaderValue {
        let name = HeaderName::new_from_ascii_str(name);
        HeaderValue::dangerous_new_pre_encoded(name, self.0.clone(), self.0.clone())
    }
}

impl Header for MessageId {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Message-ID")
    }

    fn parse(id: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(id.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        self.value("Message-ID")
    }
}
