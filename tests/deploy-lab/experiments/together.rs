//! Two deployments at once: one wins, the other waits or is refused with the holder's name.

use std::time::Duration;

use chrono::{DateTime, Utc};
use event::{DeploymentState, EventKind};

use super::{Scale, rules, serving};
use crate::deploy_lab::observer::Observer;
use crate::deploy_lab::place::{Kind, Place, Shape};
use crate::deploy_lab::table::{Goal, Row};
use crate::deploy_lab::told::Told;

const PATIENCE: Duration = Duration::from_secs(180);

pub fn together(kind: Kind, scale: &Scale) -> Row {
    let shape = Shape { replicas: 2, ..Shape::default() };
    let place = serving(kind, &shape);
    let other = place.beside("other");
    let observer = Observer::begin(&place, scale.per_second, scale.others, rules(&shape));
    let mut wrong = Vec::new();
    for pair in 0..scale.pairs {
        let names = [format!("a{pair}"), format!("b{pair}")];
        place.write(&place.folder, &names[0], &[], &shape);
        place.write(&other, &names[1], &[], &shape);
        let mut runs =
            [place.begin(&place.folder, "a.log", &[]), place.begin(&other, "b.log", &[])];
        for run in &mut runs {
            match run.wait(PATIENCE) {
                Some(0) => {}
                Some(_) if run.text().contains("is held by") => {}
                Some(_) if run.text().contains("was requested later") => {}
                code => wrong.push(format!("pair {pair}: {code:?}: {}", run.text())),
            }
        }
        let serving = place.serving();
        let is_one = serving.len() == shape.replicas && names.contains(&serving[0]);
        if !is_one || serving.windows(2).any(|pair| pair[0] != pair[1]) {
            wrong.push(format!("pair {pair}: {serving:?} serve"));
        }
    }
    wrong.extend(overlaps(&place));
    let outcome = observer.end();
    let what = format!("two deployments at once, {} times", scale.pairs);
    let mut row = Row::new(what, kind.name(), outcome).goal(Goal::new(
        "one after the other, or refused",
        wrong.is_empty(),
        format!("{} were not", wrong.len()),
    ));
    row.notes.extend(wrong);
    row
}

/// Nobody has the lock while another has it.
fn overlaps(place: &Place) -> Vec<String> {
    let held = |told: &Told| -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let is_lock = |kind: &EventKind| matches!(kind, EventKind::DeploymentLocked { .. });
        let locked = told.events.iter().find(|event| is_lock(&event.kind))?;
        Some((locked.at, told.record.finished_at?))
    };
    let told = place.told();
    let mut spans: Vec<_> = told.iter().filter_map(held).collect();
    spans.sort();
    let overlapping = spans.windows(2).filter(|pair| pair[1].0 < pair[0].1);
    let unended = told.iter().filter(|told| told.state().is_none()).count();
    let stuck = told.iter().filter(|told| told.state() == Some(DeploymentState::Stuck)).count();
    let mut wrong: Vec<String> = overlapping
        .map(|pair| format!("locked {} before the end {}", pair[1].0, pair[0].1))
        .collect();
    if unended + stuck > 0 {
        wrong.push(format!("{unended} deployments have no end, {stuck} are stuck"));
    }
    wrong
}
