//! What is tried. Each experiment is a row of the table, with its goals.

pub mod again;
pub mod bad;
pub mod crash;
pub mod hosts;
pub mod rolling;
pub mod together;

use std::time::Duration;

use super::place::{Kind, Place, Shape};
use super::sampler::Rules;
use crate::harness::load::Mix;

/// How much of it.
#[derive(Clone, Debug)]
pub struct Scale {
    pub per_second: u32,
    pub deploys: usize,
    /// What the rolling deployments are under, and what all else is.
    pub mix: Mix,
    pub others: Mix,
    /// How long the load alone is looked at.
    pub alone: Duration,
    /// Places where the engine is killed; `None` for all there are.
    pub kills: Option<usize>,
    /// Pairs of deployments at once.
    pub pairs: usize,
}

impl Scale {
    /// In seconds.
    pub const fn short() -> Self {
        Self {
            per_second: 100,
            deploys: 2,
            mix: Mix::brief(),
            others: Mix::brief(),
            alone: Duration::from_secs(3),
            kills: Some(3),
            pairs: 1,
        }
    }
}

/// A place where version 1 serves.
fn serving(kind: Kind, shape: &Shape) -> Place {
    let place = Place::open(kind);
    place.deploy("1", &[], shape).expect(0);
    place
}

fn rules(shape: &Shape) -> Rules {
    Rules { replicas: shape.replicas, max_unavailable: 0, bad: 0 }
}
