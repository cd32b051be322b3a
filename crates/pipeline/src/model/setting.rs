//! A value of the file: known, or still an expression.

use crate::OriginKind;
use crate::expression::Piece;
use crate::source::Span;

#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) given: Given<T>,
    /// Where the value stands; `None` for what is built in.
    pub(crate) span: Option<Span>,
    pub(crate) origin: SettingOrigin,
}

/// Where a value came from, for `plan --origins`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettingOrigin {
    pub(crate) by: OriginKind,
    /// `None` for what is built in.
    pub(crate) at: Option<Span>,
}

#[derive(Clone, Debug)]
pub(crate) enum Given<T> {
    Value(T),
    Expression(Vec<Piece>),
}

impl<T> Setting<T> {
    pub(crate) const fn builtin(value: T) -> Self {
        let origin = SettingOrigin { by: OriginKind::Builtin, at: None };
        Self { given: Given::Value(value), span: None, origin }
    }

    /// The value, unless it depends on the event.
    pub(crate) const fn known(&self) -> Option<&T> {
        match &self.given {
            Given::Value(value) => Some(value),
            Given::Expression(_) => None,
        }
    }
}
