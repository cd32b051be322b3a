//! The engine is killed at every op; meanwhile traffic flows, and the next start ends what
//! was left.

use std::time::Duration;

use chrono::Utc;
use event::DeploymentState;

use super::{Scale, rules, serving};
use crate::deploy_lab::observer::Observer;
use crate::deploy_lab::place::{ENVIRONMENT, Kind, PROJECT, Place, Shape};
use crate::deploy_lab::table::{Goal, Row};

const TERMINAL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the deployment was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Forward,
    /// The unit of its second batch crashes, so that it goes back.
    Back,
}

impl Way {
    const fn knobs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Forward => &[],
            Self::Back => &[("CRASH_LOOP", "100ms")],
        }
    }

    /// How it exits when nobody kills it.
    const fn code(self) -> i32 {
        match self {
            Self::Forward => 0,
            Self::Back => 1,
        }
    }
}

pub fn killed(kind: Kind, way: Way, scale: &Scale) -> Row {
    let shape = Shape { replicas: 2, ..Shape::default() };
    let place = serving(kind, &shape);
    place.witness.spare(1);
    let all = places(&place, way, &shape);
    let count = all.len();
    let places = chosen(&all, scale.kills);
    let observer = Observer::begin(&place, scale.per_second, scale.others, rules(&shape));
    let (mut died, mut slowest, mut wrong) = (0, Duration::ZERO, Vec::new());
    for (number, name) in (0..).zip(&places) {
        let version = format!("k{number}");
        match kill(&place, way, name, &version, &shape) {
            Ok(Some(took)) => {
                died += 1;
                slowest = slowest.max(took);
            }
            // Lives differ a little.
            Ok(None) => {}
            Err(why) => {
                died += 1;
                wrong.push(format!("killed {name}: {why}"));
            }
        }
    }
    let outcome = observer.end();
    let what = match way {
        Way::Forward => "a deployment",
        Way::Back => "one that goes back",
    };
    let what = format!("engine killed at {died} of {count} places of {what}");
    let mut row = Row::new(what, kind.name(), outcome)
        .restores(Some(slowest))
        .goal(Goal::within("terminal after restart", Some(slowest), TERMINAL))
        .goal(Goal::new("each ended whole", wrong.is_empty(), format!("{} did not", wrong.len())))
        .goal(Goal::at_least("kills", died, (places.len() as u64 * 3).div_ceil(4)));
    row.notes.extend(wrong);
    row
}

/// The places of one deployment, in their order, from the first look at the units on.
fn places(place: &Place, way: Way, shape: &Shape) -> Vec<String> {
    let log = place.lab.path().join("places");
    place.write(&place.folder, "places", way.knobs(), shape);
    let path = log.display().to_string();
    let mut run = place.begin(&place.folder, "places.log", &[("SHIPLINE_CRASH_LOG", &path)]);
    assert_eq!(run.wait(PATIENCE), Some(way.code()), "{}", run.text());
    let text = std::fs::read_to_string(&log).expect("places were passed");
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, name)| name.to_owned())
        .collect();
    let first = names.iter().position(|name| name.starts_with("before observe"));
    let last = names.iter().rposition(|name| acts(name));
    // With the commits before, which ask for the lock, the lease at the target, and what
    // gives both back.
    let first = first.expect("a deployment looks").saturating_sub(10);
    let last = (last.expect("a deployment acts") + 7).min(names.len());
    names[first..last].to_vec()
}

fn acts(name: &str) -> bool {
    ["observe", "apply", "undo"].iter().any(|call| name.contains(call))
}

/// So many of them, spread evenly.
fn chosen(places: &[String], most: Option<usize>) -> Vec<String> {
    let most = most.unwrap_or(places.len()).min(places.len());
    (0..most).map(|number| places[(number * 2 + 1) * places.len() / (2 * most)].clone()).collect()
}

/// Returns how long after the restart the deployment had its end; nothing if it did not die.
fn kill(
    place: &Place,
    way: Way,
    name: &str,
    version: &str,
    shape: &Shape,
) -> Result<Option<Duration>, String> {
    let former = place.told().len();
    place.write(&place.folder, version, way.knobs(), shape);
    let mut run = place.begin(&place.folder, "killed.log", &[("SHIPLINE_CRASH_AT", name)]);
    if let Some(code) = run.wait(PATIENCE) {
        return if code == way.code() {
            Ok(None)
        } else {
            Err(format!("exit {code}: {}", run.text()))
        };
    }
    if run.is_alive() {
        return Err("it neither ended nor died".to_owned());
    }
    let restarted = Utc::now();
    // Any run of this home first ends what a former one left.
    let text = format!("name: {PROJECT}\nimage: busybox:1\nstages:\n  nothing: 'true'\n");
    std::fs::write(place.folder.join(".shipline.yml"), text).expect("a file can be written");
    let next = place.lab.run(&place.folder, &["run"]);
    if next.code != 0 {
        return Err(format!("the next run ended with {}: {}", next.code, next.stderr));
    }
    place.write(&place.folder, version, &[], shape);
    let told = place.told();
    let mut took = Duration::ZERO;
    if told.len() > former {
        let last = &told[0];
        let end = last.record.finished_at.ok_or_else(|| {
            format!("the deployment to {ENVIRONMENT} has no end:\n{}{}", next.stdout, next.stderr)
        })?;
        took = (end - restarted).to_std().unwrap_or_default();
        use DeploymentState::{Failed, RolledBack, Succeeded};
        if !matches!(last.state(), Some(Succeeded | RolledBack | Failed)) {
            return Err(format!("it ended as {:?}: {:?}", last.state(), last.record.outcome));
        }
        let serving = place.serving();
        let is_new = last.state() == Some(Succeeded);
        let right = serving.len() == shape.replicas
            && serving.iter().all(|served| (served == version) == is_new)
            && serving.windows(2).all(|pair| pair[0] == pair[1]);
        if !right {
            return Err(format!("it ended as {:?}, and {serving:?} serve", last.state()));
        }
    }
    Ok(Some(took))
}
