//! The server: it remembers, starts and shows.
//!
//! ```text
//! poll, webhook, person ─▶ triggers ─▶ queue ─▶ runner ─▶ store ─▶ API, outbox
//! ```
//!
//! [`App`] holds the parts, [`serve()`] the loops. Whatever outlives a request is
//! one of those loops, derives its work from the store, and may be killed at any
//! time: the next start goes on from what is written down.

mod api;
mod app;
mod body;
pub mod config;
mod data;
mod deployments;
mod forge;
mod hints;
mod mails;
mod notices;
mod outbox;
mod problem;
mod queue;
mod reference;
mod retention;
mod router;
mod serve;
mod targets;
mod token;
mod triggers;
mod view;
mod warm;
mod watcher;

#[cfg(test)]
mod tests;

pub use api::environments::{
    DeploymentView, EnvironmentStatus, HostState, HostStatus, SwitchView, UnitView,
    deployment_view, environment_status, with_incidents,
};
pub use api::previews::{PreviewView, listed_releases, preview_view};
pub use api::test_cases::{PastTestView, TestView};
pub use api::units::UnitOutput;
pub use app::{App, OpenError, Outside, registries};
pub use data::{DataDirectory, DataError};
pub use outbox::{Post, PostError};
pub use queue::{StoreJournal, StoreResults};
pub use serve::{ServeError, serve};
pub use targets::{docker_target, hosts_target, inline_target, switch_access};
pub use token::{AdminToken, TokenError};
pub use view::{RunDetail, RunView, StageView, WaitView, stage_views, wait_views};
pub use watcher::{WatchError, Watched, Watcher};
