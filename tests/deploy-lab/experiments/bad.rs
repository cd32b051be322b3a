//! Releases that are bad, in their first batch or in their second.

use std::time::Duration;

use event::DeploymentState;

use super::{Scale, rules, serving};
use crate::deploy_lab::observer::Observer;
use crate::deploy_lab::place::{Kind, Place, Shape};
use crate::deploy_lab::sampler::Rules;
use crate::deploy_lab::table::{Goal, Row};

/// From the verdict until traffic is as it was.
const RESTORED: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    NeverHealthy,
    CrashLoop,
    /// It answers that it is another release than the one that was deployed.
    WrongVersion,
    /// Well when it is admitted, and not much longer.
    LaterSick,
}

impl Bad {
    pub const ALL: [Self; 4] =
        [Self::NeverHealthy, Self::CrashLoop, Self::WrongVersion, Self::LaterSick];

    const fn name(self) -> &'static str {
        match self {
            Self::NeverHealthy => "never healthy",
            Self::CrashLoop => "crash loop",
            Self::WrongVersion => "wrong version",
            Self::LaterSick => "healthy, then bad in bake",
        }
    }

    const fn knobs(self) -> (&'static str, &'static str) {
        match self {
            Self::NeverHealthy => ("HEALTH_FLIP_AFTER", "0s"),
            Self::CrashLoop => ("CRASH_LOOP", "100ms"),
            Self::WrongVersion => ("LIE_VERSION", "1"),
            Self::LaterSick => ("HEALTH_FLIP_AFTER", "3s"),
        }
    }

    /// Whether it is found before any request reaches it.
    const fn is_caught_before_admit(self) -> bool {
        !matches!(self, Self::LaterSick)
    }

    fn shape(self) -> Shape {
        match self {
            Self::LaterSick => Shape { bake: Duration::from_secs(6), ..Shape::default() },
            // Waited for to the end.
            Self::NeverHealthy | Self::WrongVersion => {
                Shape { deadline: Duration::from_secs(4), ..Shape::default() }
            }
            Self::CrashLoop => Shape::default(),
        }
    }
}

/// Version 2 is bad from its batch `batch` on.
pub fn bad(kind: Kind, bad: Bad, batch: usize, scale: &Scale) -> Row {
    let shape = bad.shape();
    let place = serving(kind, &Shape { deadline: Shape::default().deadline, ..shape.clone() });
    row(&place, bad, batch, &shape, scale)
}

fn row(place: &Place, bad: Bad, batch: usize, shape: &Shape, scale: &Scale) -> Row {
    let spared = (batch - 1) * shape.batch;
    place.witness.spare(spared);
    // What gets sick while it is admitted is missed until its batch is taken back.
    let sick = if bad == Bad::LaterSick { shape.batch } else { 0 };
    let rules = Rules { bad: sick, ..rules(shape) };
    let before = place.serving();
    let observer = Observer::begin(place, scale.per_second, scale.others, rules);
    std::thread::sleep(Duration::from_secs(1));
    let ran = place.deploy("2", &[bad.knobs()], shape);
    let (told, after) = (place.last(), place.serving());
    let outcome = observer.end();
    let exposed = outcome.seen.most.get("2").copied().unwrap_or(0);
    let most = spared + if bad.is_caught_before_admit() { 0 } else { shape.batch };
    // Where nothing had been admitted, it is restored when what was made is gone.
    let restored = match (outcome.seen.last_change(), told.verdict()) {
        (Some(change), Some(verdict)) if change > verdict => (change - verdict).to_std().ok(),
        (_, Some(_)) if exposed == 0 => told.restored_after(),
        _ => None,
    };
    let state = told.state();
    let mut row = Row::new(format!("{}, batch {batch}", bad.name()), place.kind.name(), outcome)
        .deploys(told.took())
        .restores(restored)
        .goal(Goal::within("restored", restored, RESTORED))
        .goal(Goal::new(
            "rolled back",
            state == Some(DeploymentState::RolledBack) && after == before,
            format!("{state:?}, {after:?} serve"),
        ))
        .goal(Goal::new(
            format!("≤ {most} units of it admitted"),
            exposed <= most,
            format!("{exposed} admitted"),
        ));
    if state != Some(DeploymentState::RolledBack) {
        row.notes.push(format!("{:?}\n{}{}", told.record.outcome, ran.stdout, ran.stderr));
    }
    row
}
