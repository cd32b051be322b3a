//! `matrix`: the axes of a stage, as they are written.

use super::Lowering;
use crate::model::Matrix;
use crate::yaml::Entry;

impl Lowering<'_> {
    pub(super) fn matrix(&mut self, _stage: &str, _entry: &Entry) -> Option<Matrix> {
        None
    }
}
