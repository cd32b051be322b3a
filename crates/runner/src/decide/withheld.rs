//! What a run without side effects says instead of having them.

use pipeline::{ImageSource, NeedResult, Work};

use super::Pass;
use crate::SideEffects;

/// How the reason of a `push` or `deploy` stage begins that may not have effects.
pub const WITHHELD: &str = "side effects are withheld; `--allow-side-effects` runs it";

impl Pass<'_> {
    /// A deployment of what was not pushed would still tell what it would do.
    pub(super) fn would(&self, index: usize) -> Option<String> {
        let missing = self
            .needs(index)
            .find(|need| need.must_run && need.result == NeedResult::Skipped)
            .and_then(|need| self.schedule.index_of(need.name))?;
        self.reason_of(missing).starts_with(WITHHELD).then(|| self.withheld(index))?
    }

    pub(super) fn withheld(&self, index: usize) -> Option<String> {
        if self.schedule.side_effects == SideEffects::Allowed {
            return None;
        }
        let would = match &self.schedule.stage(index).work {
            Work::Push(push) => {
                let tags: Vec<String> = push.tags.iter().map(|tag| format!("`{tag}`")).collect();
                format!("would push {} to `{}`", tags.join(", "), push.registry)
            }
            Work::Deploy(deploy) => {
                let image = match &deploy.image {
                    Some(ImageSource::Stage(name)) => format!("the image of `{name}` "),
                    Some(ImageSource::Reference(reference)) => format!("`{reference}` "),
                    None => String::new(),
                };
                format!("would deploy {image}to `{}`", deploy.environment)
            }
            Work::Trigger(trigger) => format!("would start `{}`", trigger.pipeline),
            Work::Checkout { .. } | Work::Run(_) | Work::Build(_) | Work::Approve(_) => {
                return None;
            }
        };
        Some(format!("{WITHHELD}: {would}"))
    }
}
