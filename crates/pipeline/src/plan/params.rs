//! Parameters of a manual run: what was given, checked, and the defaults.

use std::collections::BTreeMap;

use super::make::Planner;

impl Planner<'_> {
    /// Returns the value of every parameter that has one.
    pub(super) fn params(&mut self) -> BTreeMap<String, serde_json::Value> {
        BTreeMap::new()
    }
}
