//! What already runs, deployed once more; and the way back while it is warm.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use event::DeploymentState;
use serde_json::Value;

use super::{Scale, rules, serving};
use crate::deploy_lab::observer::Observer;
use crate::deploy_lab::place::{Kind, Place, Shape};
use crate::deploy_lab::table::{Goal, Row};
use crate::harness::process::Process;

const WARM: Duration = Duration::from_secs(3);

/// Nothing may happen to any unit, nor to the routes.
pub fn again(kind: Kind, scale: &Scale) -> Row {
    let shape = Shape::default();
    let place = serving(kind, &shape);
    let observer = Observer::begin(&place, scale.per_second, scale.others, rules(&shape));
    let mutations = Mutations::watch(&place);
    // Of what the proxy keeps, the lease is of whoever deploys, and none of the routes.
    let routes = || {
        let kept = std::fs::read(place.lab.path().join("proxy/routes.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&kept).map(|mut kept| kept["routes"].take()).ok()
    };
    let (units, before) = (place.witness.units().len(), routes());
    place.run().expect(0);
    let told = place.last();
    let mutations = mutations.seen();
    let changed = usize::from(before != routes()) + place.witness.units().len() - units;
    let outcome = observer.end();
    let count = mutations.len() + changed;
    let mut row = Row::new("what runs already is deployed", kind.name(), outcome)
        .deploys(told.took())
        .goal(Goal::new(
            "0 mutations",
            count == 0 && told.state() == Some(DeploymentState::Succeeded),
            format!("{count} mutations"),
        ));
    row.notes.extend(mutations);
    row
}

/// Back to the release before.
pub fn back(kind: Kind, scale: &Scale) -> Row {
    let shape = Shape::default();
    let place = serving(kind, &shape);
    place.deploy("2", &[], &shape).expect(0);
    let observer = Observer::begin(&place, scale.per_second, scale.others, rules(&shape));
    std::thread::sleep(Duration::from_secs(1));
    let ran = place.rollback();
    let (told, serving) = (place.last(), place.serving());
    let outcome = observer.end();
    // What is drained afterwards nobody waits for.
    let switched = outcome.seen.last_change().map(|at| at - told.record.requested_at);
    let restored = switched.and_then(|took| took.to_std().ok());
    let mut row = Row::new("warm rollback", kind.name(), outcome)
        .deploys(told.took())
        .restores(restored)
        .goal(Goal::within("restored", restored, WARM))
        .goal(Goal::new(
            "version 1 serves",
            ran.code == 0 && serving == vec!["1"; shape.replicas],
            format!("exit {}, {serving:?} serve", ran.code),
        ));
    if ran.code != 0 {
        row.notes.push(format!("{}{}", ran.stdout, ran.stderr));
    }
    row
}

/// What happens to units, told by whoever runs them.
enum Mutations {
    Docker(Process),
    /// The folders of units, and what was in them.
    Process {
        root: PathBuf,
        before: BTreeMap<PathBuf, Vec<u8>>,
    },
}

impl Mutations {
    fn watch(place: &Place) -> Self {
        match place.kind {
            Kind::Docker => {
                let mut command = Command::new("docker");
                command.args(["events", "--format", "{{json .}}", "--filter", "type=container"]);
                command.args(["--filter", "label=shipline.kind=unit", "--filter"]);
                command.arg(format!("label=shipline.instance={}", place.lab.instance()));
                let log = place.lab.path().join("events.log");
                let process = Process::start(&mut command, &log);
                // It says nothing when it listens.
                std::thread::sleep(Duration::from_millis(500));
                Self::Docker(process)
            }
            Kind::Process => {
                let root = place.root();
                Self::Process { before: records(&root), root }
            }
        }
    }

    fn seen(self) -> Vec<String> {
        // What was done a moment ago is told a moment later.
        std::thread::sleep(Duration::from_millis(300));
        match self {
            Self::Docker(process) => {
                let text = process.text();
                let events = text.lines().filter_map(|line| serde_json::from_str(line).ok());
                let told = |event: Value| {
                    let name = event["Actor"]["Attributes"]["name"].as_str().unwrap_or_default();
                    let action = event["Action"].as_str().unwrap_or_default();
                    // To look is no mutation.
                    (!action.starts_with("exec_")).then(|| format!("{action} {name}"))
                };
                events.filter_map(told).collect()
            }
            Self::Process { root, before } => {
                let after = records(&root);
                let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
                let all: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
                all.into_iter().filter(differs).map(|path| path.display().to_string()).collect()
            }
        }
    }
}

/// What each unit is and which process it has.
fn records(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let units = std::fs::read_dir(root.join("units")).into_iter().flatten().flatten();
    units
        .flat_map(|unit| ["unit.json", "process"].map(|name| unit.path().join(name)))
        .filter_map(|path| std::fs::read(&path).ok().map(|text| (path, text)))
        .collect()
}
