//! `approve` and `trigger`: stages that wait for people and for other pipelines.

use super::Lowering;
use crate::plan::{ApproveWork, TriggerWork};
use crate::yaml::Entry;

impl Lowering<'_> {
    pub(super) fn approve(&mut self, _action: &Entry, _what: &str) -> Option<ApproveWork> {
        None
    }

    pub(super) fn trigger_stage(&mut self, _action: &Entry, _what: &str) -> Option<TriggerWork> {
        None
    }
}
