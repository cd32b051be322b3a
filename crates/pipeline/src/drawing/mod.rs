//! A plan for people: as a tree of text, and as a graph for other programs and pages.
//!
//! All of them draw one [`chart`]: the stages with what they wait for, where the
//! cells of a matrix may be one.

mod chart;
mod details;
mod dot;
mod layers;
mod mermaid;
mod paint;
mod svg;
mod tree;
mod words;

pub use dot::plan_dot;
pub use mermaid::plan_mermaid;
pub use svg::plan_svg;
pub use tree::{TreeOptions, plan_text};
