//! Text becomes a [`Document`], a [`Document`] a [`Pipeline`], a [`Pipeline`] a [`Plan`].
//!
//! Everything here is pure: no files, no clock, no environment, no async. What
//! the functions need arrives as a value ([`Context`]) or through [`Files`], and
//! what they have to say comes back as [`Diagnostics`], all at once.

mod context;
mod duration;
mod plan;

pub use context::{Context, Environment, Git, InlineTarget, Place, TargetSpec, Tier, TriggerEvent};
pub use duration::Duration;
pub use plan::{
    ActionKind, BuildWork, Decision, DeployWork, Edge, EdgeReason, Expose, Health,
    ImageSource, MailEvent, MailRule, Origin, OriginKind, Plan, PlannedStage, Probe,
    PushWork, RunWork, SecretUse, Strategy, Work,
};
