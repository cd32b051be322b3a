//! How a run looks: as a tree that stands still on a terminal, as lines elsewhere.
//!
//! Only what an observation says is shown, so a recorded run shown again looks the same.
//! [`Tree`] and [`Reporter`] say what is to be seen, [`Screen`] draws it; none of them
//! knows the time.

mod chain;
mod failure;
mod output;
mod plain;
mod rollout;
mod screen;
mod style;
mod told;
mod tree;
mod visible;
mod width;

pub(crate) use failure::Excerpts;
pub(crate) use plain::Reporter;
pub(crate) use rollout::{End, Rollout};
pub(crate) use screen::{Screen, Size};
pub(crate) use style::{Style, shows_a_tree, width_of_stdout};
pub(crate) use tree::Tree;
pub(crate) use visible::{readable, visible};
