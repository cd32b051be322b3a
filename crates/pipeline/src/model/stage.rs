//! A stage, and its one action.

use super::Setting;
use crate::Duration;
use crate::pattern::Pattern;
use crate::scalar::{AnyText, Count, Host, ImageReference, Port, UrlPath, WorkspacePath};
use crate::source::Span;

#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Of the name.
    pub(crate) span: Span,
    pub(crate) action: Action,
    pub(crate) when: When,
    pub(crate) timeout: Setting<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) enum When {
    Always,
    /// `when: off`.
    Off,
    /// One of these must hold.
    Any(Vec<Condition>),
}

/// All of it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `None`: any branch, or none.
    pub(crate) branch: Option<Vec<Pattern>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Run(Run),
    Build(Build),
    Push(Push),
    Deploy(Box<Deploy>),
}

impl Action {
    /// The image it takes from a stage or a registry.
    pub(crate) const fn image(&self) -> Option<&Image> {
        match self {
            Self::Push(push) => Some(&push.image),
            Self::Deploy(deploy) => Some(&deploy.image),
            Self::Run(_) | Self::Build(_) => None,
        }
    }

    /// Whether a later stage can name it as `image`.
    pub(crate) const fn makes_image(&self) -> bool {
        matches!(self, Self::Build(_) | Self::Push(_))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) image: Setting<ImageReference>,
    pub(crate) commands: Vec<Setting<String>>,
    pub(crate) env: Vec<(String, Setting<AnyText>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) context: Setting<WorkspacePath>,
    pub(crate) file: Setting<WorkspacePath>,
    pub(crate) args: Vec<(String, Setting<AnyText>)>,
    pub(crate) tags: Vec<Setting<ImageReference>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) image: Image,
    pub(crate) registry: Setting<String>,
    pub(crate) tags: Vec<Setting<ImageReference>>,
}

/// What `image` of a `push` or `deploy` names.
#[derive(Clone, Debug)]
pub(crate) enum Image {
    Stage { stage: usize, span: Span },
    Reference(Setting<ImageReference>),
}

#[derive(Clone, Debug)]
pub(crate) struct Deploy {
    pub(crate) environment: Setting<String>,
    pub(crate) image: Image,
    /// `None`: the environment's, else 1.
    pub(crate) replicas: Option<Setting<Count>>,
    pub(crate) expose: Option<Expose>,
    pub(crate) health: Option<Health>,
    pub(crate) strategy: Strategy,
    pub(crate) env: Vec<(String, Setting<AnyText>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Expose {
    pub(crate) port: Setting<Port>,
    pub(crate) host: Setting<Host>,
    pub(crate) path: Setting<UrlPath>,
}

#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) probe: Probe,
    pub(crate) interval: Setting<Duration>,
    pub(crate) timeout: Setting<Duration>,
    pub(crate) successes: Setting<Count>,
    pub(crate) failures: Setting<Count>,
    pub(crate) start_period: Setting<Duration>,
    pub(crate) deadline: Setting<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) enum Probe {
    Http { path: Setting<UrlPath>, port: Setting<Port> },
    Tcp(Setting<Port>),
}

#[derive(Clone, Debug)]
pub(crate) struct Strategy {
    pub(crate) batch: Setting<Count>,
    pub(crate) bake: Setting<Duration>,
    pub(crate) drain: Setting<Duration>,
}
