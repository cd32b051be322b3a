//! Text becomes a [`Document`], a [`Document`] a [`Pipeline`], a [`Pipeline`] a [`Plan`].
//!
//! Everything here is pure: no files, no clock, no environment, no async. What
//! the functions need arrives as a value ([`Context`]) or through [`Files`], and
//! what they have to say comes back as [`Diagnostics`], all at once.
//!
//! ```
//! use shipline_pipeline::{Bundled, SourceFile, check, parse};
//!
//! let source = SourceFile::new(".shipline.yml", "image: debian:12\nstages: { build: make }");
//! let (document, mut diagnostics) = parse(&source);
//! let (pipeline, more) = check(&document, &Bundled);
//! diagnostics.extend(more);
//! assert!(diagnostics.is_empty());
//! assert!(pipeline.is_some());
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod codes;
mod context;
mod diagnostic;
mod document;
mod drawing;
mod duration;
mod expression;
mod failure;
mod graph;
mod hosts;
mod keys;
mod layout;
mod lint;
mod lower;
mod model;
mod name;
mod pattern;
mod plan;
mod propose;
mod reference;
mod render;
mod resolve;
mod sarif;
mod scalar;
mod schema;
mod source;
mod suggest;
mod switch;
mod template;
mod verdict;
mod yaml;

pub use check::{check, check_template};
pub use codes::{CATALOGUE, Code, Explanation, explain};
pub use context::{
    Context, Environment, Git, InlineTarget, Offers, Place, PullRequest, SecretScope, StagePolicy,
    TargetSpec, Tier, TriggerEvent,
};
pub use diagnostic::{Diagnostic, Diagnostics, Related, Severity};
pub use document::{Document, parse};
pub use drawing::{TreeOptions, plan_dot, plan_mermaid, plan_svg, plan_text};
pub use duration::{Duration, DurationError};
pub use expression::slug;
pub use failure::Failure;
pub use hosts::{Only, TargetHost};
pub use layout::{
    FOLDER, OTHER_SYSTEMS, OtherSystem, SINGLE_FILE, both_layouts, file_of_other_system,
    no_pipeline_file, no_such_file, other_system, pipeline_of_file, unknown_pipeline,
};
pub use model::{Pipeline, Schedule};
pub use name::visible;
pub use pattern::FilePatterns;
pub use plan::*;
pub use propose::{Answers, Listing, Proposal, Setting, is_telling, pipeline_text, propose};
pub use render::Style;
pub use resolve::{Finished, RunFacts, Unresolved, resolve, settle};
pub use scalar::parse_size;
pub use schema::{schema, template_schema};
pub use source::{Place as SourcePlace, SourceFile};
pub use switch::{HaproxySpec, HookSpec, NginxSpec, SwitchSpec, TraefikSpec};
pub use template::{
    AboutParameter, AboutStage, AboutTemplate, Bundled, Files, GitTemplate, LOCK_FILE, Library,
    Lock, Locked, NotFound, Template, TemplateReference, is_version, newest_version, sort_versions,
};
pub use verdict::{Fate, NeedResult, NeedState, fate};

#[cfg(test)]
mod tests;
